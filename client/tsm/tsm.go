// Package tsm asks the kernel of a confidential guest for an attestation report, through configfs-tsm: the one interface that Linux has for
// all of them since version 6.7 (Documentation/ABI/testing/configfs-tsm-report). What a report looks like, and what goes with it, is for the
// collectors that use it: packages snpdevice and tdxdevice.
//
// # The protocol
//
// Below /sys/kernel/config/tsm/report a caller makes a directory of its own, writes to the attributes in it what it wants, and reads the answer:
//
//	inblob      written: the report data, 1 to 64 bytes; TDX takes 64 only
//	privlevel   written: the privilege level to report, 0 to 3, where the hardware has such (VMPL of SEV-SNP)
//	generation  read: how many writes there were
//	provider    read: the driver behind the interface, "sev_guest", "tdx_guest", "arm_cca_guest"
//	outblob     read: the report; reading it makes the kernel ask the firmware
//	auxblob     read: what the host adds, where there is such: the certificate table of SEV-SNP
//
// The directory is removed afterwards. After each answer the generation is held against the number of writes made here: another process that
// writes into the same directory would else have its own report data attested under our name.
//
// # What is tried again
//
// The kernel takes one request at a time. EBUSY, EAGAIN, EINTR and a generation that somebody else moved are tried again, each time in a
// new directory, [tries] times with a growing pause. All other errors are final, and say what to do: no driver behind the interface
// (ENXIO), not permitted (EACCES), no answer of the host or its firmware (EIO, ETIMEDOUT). The kernel itself waits up to 60 seconds for
// firmware that is rationed by an SNP host, and up to 30 for a quote of TDX; a request under way cannot be cut off, so the context is
// looked at between requests.
//
// Nothing is verified here. Needs the right to make directories below the interface: root, usually.
package tsm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/linuxtsm"
)

// Names of drivers, as the attribute provider gives them.
const (
	ProviderSNP = "sev_guest"
	ProviderTDX = "tdx_guest"
	ProviderCCA = "arm_cca_guest"
)

// MaxData is how much report data a request takes, in bytes (TSM_REPORT_INBLOB_MAX).
const MaxData = 64

// MaxPrivilege is the highest number of a privilege level, the one with the fewest rights.
const MaxPrivilege = 3

// maxBlob bounds what is taken from the kernel, in bytes. It allows 32 KiB for a report, and 16 KiB for certificates; later ones may allow more.
const maxBlob = 1 << 20

// tries is how often a request is made, and firstPause how long the first wait between two takes. It doubles: three seconds in all.
const (
	tries      = 5
	firstPause = 200 * time.Millisecond
)

// reports is where directories are made.
const reports = configfsi.TsmPrefix + "/report"

// Config says how to ask. The zero Config asks the kernel.
type Config struct {
	FS    configfsi.Client                                 // the interface; the kernel's when nil
	Sleep func(ctx context.Context, d time.Duration) error // waits between tries; by the wall clock when nil
}

// Client asks for reports. It is safe for concurrent use.
type Client struct{ c Config }

// New returns a Client, or an error that says what the machine lacks.
func New(c Config) (*Client, error) {
	if c.FS == nil {
		kernel, err := linuxtsm.MakeClient()
		if err != nil {
			return nil, fmt.Errorf("tsm: no configfs-tsm: it needs a confidential guest with Linux 6.7 or later, the module of its hardware "+
				"(sev-guest, tdx_guest or arm-cca-guest), and configfs mounted: %w", err)
		}
		c.FS = kernel
	}
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	return &Client{c}, nil
}

// Request is what to ask for.
type Request struct {
	Provider  string // the driver that must answer: a report of other hardware is an error
	Data      []byte // 1 to MaxData bytes
	Privilege *uint  // 0 to MaxPrivilege; the kernel's default when nil
	Aux       bool   // whether to ask for what the host adds
}

// Report is the answer.
type Report struct {
	Out []byte // the report
	Aux []byte // what the host adds; nil when there is nothing
}

// Provider returns the driver behind the interface. A request is begun for it and given up: the firmware is asked only when its
// answer is read, and hosts ration that.
func (c *Client) Provider(ctx context.Context) (string, error) {
	var provider string
	err := c.retry(ctx, func() error {
		return c.with(func(e *entry) (err error) {
			if err := e.write("inblob", make([]byte, MaxData)); err != nil {
				return err
			}
			provider, err = e.provider()
			return err
		})
	})
	return provider, err
}

// Expect returns nil when the driver behind the interface has the given name, and else an error that says which one it is.
func (c *Client) Expect(ctx context.Context, provider string) error {
	got, err := c.Provider(ctx)
	if err != nil {
		return err
	}
	return expect(got, provider)
}

func expect(got, want string) error {
	if got != want {
		return fmt.Errorf("tsm: the machine's reports come from %.32q, not from %s", got, want)
	}
	return nil
}

// Get returns a report about the request's data.
func (c *Client) Get(ctx context.Context, r Request) (*Report, error) {
	switch {
	case len(r.Data) == 0 || len(r.Data) > MaxData:
		return nil, fmt.Errorf("tsm: report data of %d bytes, not 1 to %d", len(r.Data), MaxData)
	case r.Privilege != nil && *r.Privilege > MaxPrivilege:
		return nil, fmt.Errorf("tsm: privilege level %d is not 0 to %d", *r.Privilege, MaxPrivilege)
	}
	var report *Report
	err := c.retry(ctx, func() error {
		return c.with(func(e *entry) (err error) {
			report, err = e.report(r)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return report, nil
}

// errMoved says that somebody else wrote into the directory of a request.
var errMoved = errors.New("another process wrote into the request's directory")

// retry runs attempt until it succeeds, fails for good or was tried often enough.
func (c *Client) retry(ctx context.Context, attempt func() error) error {
	pause := firstPause
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("tsm: %w", err)
		}
		err := attempt()
		passing := errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) || errors.Is(err, errMoved)
		if !passing || n == tries {
			return explain(err)
		}
		if err := c.c.Sleep(ctx, pause); err != nil {
			return fmt.Errorf("tsm: %w", err)
		}
		pause *= 2
	}
}

// explain says what an error of the kernel means and what to do.
func explain(err error) error {
	if err == nil {
		return nil
	}
	advice := ""
	switch {
	case errors.Is(err, syscall.ENXIO):
		advice = "no driver is behind the interface: load the module of the machine's hardware, sev-guest or tdx_guest"
	case errors.Is(err, fs.ErrPermission):
		advice = "run as root"
	case errors.Is(err, fs.ErrNotExist):
		advice = "the interface is gone: is configfs mounted?"
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EIO):
		advice = "the host or its firmware did not answer as it should; the kernel's log says more. A host that rations SEV-SNP reports, or a host " +
			"of TDX without a running quote generation service, looks like this"
	case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.EAGAIN):
		advice = fmt.Sprintf("tried %d times, and always busy", tries)
	default:
		return fmt.Errorf("tsm: %w", err)
	}
	return fmt.Errorf("tsm: %w (%s)", err, advice)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// entry is a directory of its own for one request.
type entry struct {
	fs         configfsi.Client
	dir        string
	generation uint64 // that the kernel should be at
}

// with makes a directory for use and removes it.
func (c *Client) with(use func(*entry) error) error {
	dir, err := c.c.FS.MkdirTemp(reports, "vouchsafe-")
	if err != nil {
		return fmt.Errorf("making a request below %s: %w", reports, err)
	}
	e := &entry{fs: c.c.FS, dir: dir}
	if e.generation, err = e.readGeneration(); err == nil {
		err = use(e)
	}
	return errors.Join(err, c.c.FS.RemoveAll(dir))
}

func (e *entry) report(r Request) (*Report, error) {
	if err := e.write("inblob", r.Data); err != nil {
		return nil, err
	}
	if r.Privilege != nil {
		if err := e.write("privlevel", fmt.Appendf(nil, "%d", *r.Privilege)); err != nil {
			return nil, err
		}
	}
	// Before the firmware is asked: what other hardware answers is of no use.
	provider, err := e.provider()
	if err != nil {
		return nil, err
	}
	if err := expect(provider, r.Provider); err != nil {
		return nil, err
	}
	report := new(Report)
	if report.Out, err = e.read("outblob"); err != nil {
		return nil, err
	}
	if r.Aux {
		if report.Aux, err = e.read("auxblob"); err != nil {
			return nil, err
		}
	}
	return report, nil
}

func (e *entry) provider() (string, error) {
	text, err := e.read("provider")
	return strings.TrimSpace(string(text)), err
}

func (e *entry) write(attribute string, content []byte) error {
	if err := e.fs.WriteFile(path.Join(e.dir, attribute), content); err != nil {
		return fmt.Errorf("writing %s: %w", attribute, err)
	}
	e.generation++
	return nil
}

// read reads an attribute, and makes sure that it answers what was written here.
func (e *entry) read(attribute string) ([]byte, error) {
	content, err := e.fs.ReadFile(path.Join(e.dir, attribute))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", attribute, err)
	}
	if len(content) > maxBlob {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are taken", attribute, len(content), maxBlob)
	}
	generation, err := e.readGeneration()
	if err != nil {
		return nil, err
	}
	if generation != e.generation {
		return nil, fmt.Errorf("reading %s: %w: generation %d, not %d", attribute, errMoved, generation, e.generation)
	}
	return content, nil
}

func (e *entry) readGeneration() (uint64, error) {
	text, err := e.fs.ReadFile(path.Join(e.dir, "generation"))
	if err != nil {
		return 0, fmt.Errorf("reading generation: %w", err)
	}
	number, err := configfsi.Kstrtouint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("generation is no number: %w", err)
	}
	return number, nil
}
