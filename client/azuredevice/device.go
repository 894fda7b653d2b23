// Package azuredevice is the guest's side of evidence of the kinds az-snp-vtpm and az-tdx-vtpm, on Azure confidential VMs: it has the virtual TPM
// of the paravisor quote all PCRs and collects what vouches for that TPM. What it makes is described and verified by package attest/azure.
//
// # Where it finds things
//
// In the TPM, /dev/tpmrm0: the HCL report in NV index 0x01400001, the attestation key (AK) at the persistent handle 0x81000003. The event log
// is read from securityfs where it can be, and left out where it cannot. From the metadata service of the host, at 169.254.169.254 ([IMDS]): the
// certificate of the processor's key on SEV-SNP, and on TDX the quote for the TD report that is in the HCL report, which only the host can have made.
//
// # Layouts
//
// For layout 2 the digest is written to NV index 0x01400002, which is defined where it is not there yet, 64 bytes that the owner may write and
// read. A paravisor that knows it has the processor make a new report with the digest in "user-data", within a few seconds, and the collector
// waits for that. Layout 1 leaves the report as it is, which may be as old as the boot. The broker says which it got (azure.layout_version).
//
// # Limits
//
// Nothing is verified here but that the parts fit each other: it is the broker that must not believe the guest. The owner hierarchy must
// have an empty authorisation, as operating systems leave it. The paravisor's TPM takes up to 50 bytes to quote over, so a digest by SHA-512 does not fit. One
// Device is one connection, safe for concurrent use, one collection at a time. Another program that writes user data at the same time makes
// a collection of layout 2 wait in vain.
package azuredevice

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure"
	"github.com/vouchsafe/vouchsafe/attest/tpm/swtpm"
)

// Defaults of [Config].
const (
	DefaultDevice   = "/dev/tpmrm0"
	DefaultEventLog = "/sys/kernel/security/tpm0/binary_bios_measurements"
	DefaultWait     = 15 * time.Second // paravisors have been seen to take up to 4 s
)

// NoEventLog is the [Config].EventLog that presents none.
const NoEventLog = "none"

// maxEventLog bounds the log that is presented, in bytes: what a broker reads.
const maxEventLog = 256 << 10

// Metadata is where the host answers, an [IMDS] outside tests.
type Metadata interface {
	// VCEK returns the certificate of the processor's signing key, DER.
	VCEK(ctx context.Context) ([]byte, error)
	// TDQuote returns a quote for a TD report of 1024 bytes.
	TDQuote(ctx context.Context, report []byte) ([]byte, error)
}

// Config says which TPM and how.
type Config struct {
	Device   string // DefaultDevice when empty; "swtpm:unix:PATH" or "swtpm:HOST:PORT" for a software TPM
	EventLog string // DefaultEventLog when empty, but "none" then for a software TPM, whose log this machine's is not; "none" for no log

	// Metadata answers for the host. Nil on SEV-SNP leaves the certificate out, which the broker then must have; TDX needs it.
	Metadata Metadata

	// Layout is 2 to have the digest put into the hardware's report and to fail where the paravisor does not, 1 to leave the report as it is, or 0
	// to try 2 and fall back to 1, which costs Wait, once for each Device, on a machine that cannot.
	Layout int

	// Wait is how long the paravisor may take for a new report; DefaultWait when zero.
	Wait time.Duration
}

// Device is an open TPM of a confidential VM.
type Device struct {
	config Config
	kind   attest.Kind

	mu      sync.Mutex
	tpm     transport.TPMCloser
	ignored bool // whether user data was written, and the paravisor made no new report
}

// Open opens the TPM. It fails where there is no HCL report: the machine is then no confidential VM of Azure's. One that is there and cannot be
// read or understood is an [ErrReport]. Nothing is written to the TPM.
func Open(ctx context.Context, config Config) (*Device, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	soft := strings.HasPrefix(config.Device, swtpm.Prefix)
	if config.Device == "" {
		config.Device = DefaultDevice
	}
	if config.EventLog == "" && soft {
		config.EventLog = NoEventLog
	}
	var (
		tpm transport.TPMCloser
		err error
	)
	if soft {
		tpm, err = swtpm.Dial(ctx, config.Device)
	} else {
		tpm, err = linuxtpm.Open(config.Device)
	}
	if err != nil {
		return nil, fmt.Errorf("azuredevice: opening %s: %w", config.Device, err)
	}
	return open(config, tpm)
}

// open takes tpm over.
func open(config Config, tpm transport.TPMCloser) (*Device, error) {
	if config.EventLog == "" {
		config.EventLog = DefaultEventLog
	}
	if config.Wait == 0 {
		config.Wait = DefaultWait
	}
	d := &Device{config: config, tpm: tpm}
	if err := d.detect(); err != nil {
		return nil, errors.Join(err, tpm.Close())
	}
	return d, nil
}

func (config Config) check() error {
	if config.Layout < 0 || config.Layout > 2 {
		return fmt.Errorf("azuredevice: layout %d is not 1, 2 or 0 for what the paravisor can", config.Layout)
	}
	if config.Wait < 0 {
		return fmt.Errorf("azuredevice: a wait of %v", config.Wait)
	}
	return nil
}

// detect finds out which kind of machine this is.
func (d *Device) detect() error {
	report, err := d.hclReport()
	if err != nil {
		return err
	}
	d.kind = attest.AzSNPvTPM
	if report.Type == azure.TypeTDX {
		d.kind = attest.AzTDXvTPM
		if d.config.Metadata == nil {
			return errors.New("azuredevice: a TDX machine needs the metadata service, which makes its quotes, and none is configured")
		}
	}
	return nil
}

// Close closes the connection.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tpm.Close()
}

// Kind returns [attest.AzSNPvTPM] or [attest.AzTDXvTPM], as the HCL report says.
func (d *Device) Kind() attest.Kind { return d.kind }

// eventLog reads the firmware's log. A kernel without one, or a caller who may not read it, presents none, and the claims
// about the boot are absent then.
func (d *Device) eventLog() ([]byte, error) {
	if d.config.EventLog == NoEventLog {
		return nil, nil
	}
	log, err := os.ReadFile(d.config.EventLog)
	switch {
	case d.config.EventLog == DefaultEventLog && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("azuredevice: the event log: %w", err)
	case len(log) > maxEventLog:
		return nil, fmt.Errorf("azuredevice: the event log has %d bytes; brokers read up to %d", len(log), maxEventLog)
	}
	return log, nil
}
