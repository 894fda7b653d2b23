//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/doctor"
	"github.com/vouchsafe/vouchsafe/client/nvidiadevice"
	"github.com/vouchsafe/vouchsafe/client/tsm"
)

// errUnfit says that a diagnosis, already printed, is that it does not work.
var errUnfit = errors.New("this machine is not fit for it")

// physician is the command doctor.
type physician struct {
	at     connection
	host   bool
	format string
}

func (p *program) doctorCommand() *cobra.Command {
	d := new(physician)
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say whether this machine can attest itself, and what is missing",
		Long: `Say whether this machine can attest itself, by what, what is missing, and how to get it. With --host, say instead
whether this node can run confidential machines.

It looks at files, at who may open them, at the kernel's log, at what nvidia-smi says and, on a machine of Azure, at
whether its TPM is a paravisor's. It changes nothing, asks no firmware for evidence, and prints nothing secret. It asks no network, unless --addr is given: then it also says
whether that broker can be reached, and whether it verifies this machine's kind of evidence. What a broker's policies
say is not known here.

Most findings need root to be found. --format=json is for scripts: {"mode", "ok", "kind", "devices", "verdict",
"findings": [{"id", "severity", "title", "detail", "fix"}]}; ids stay the same between versions, severity is one of
problem, warning, note and ok, and the most important come first.`,
		Example: `  vouchsafe-agent doctor
  vouchsafe-agent doctor --addr https://broker.example:8443 --cacert ca.pem
  vouchsafe-agent doctor --host
  vouchsafe-agent doctor --format=json | jq -r '.findings[] | select(.severity == "problem") | .id'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return d.run(c.Context(), p) },
	}
	c.Flags().BoolVar(&d.host, "host", false, "diagnose a node that is to run confidential machines")
	c.Flags().StringVar(&d.format, "format", "text", "`FORMAT` of the diagnosis: text or json")
	d.at.add(c)
	c.Flags().Lookup("addr").Usage = "`URL` of a broker to ask too; the environment counts for nothing here"
	return c
}

func (d *physician) run(ctx context.Context, p *program) error {
	if d.format != "text" && d.format != "json" {
		return fmt.Errorf("--format is %.32q, not text or json", d.format)
	}
	if d.host && d.at.address != "" {
		return errors.New("--host and --addr do not go together: a node that runs machines asks no broker")
	}
	m := p.machine
	m.Provider, m.Paravisor, m.GPUProgram = p.provider, p.paravisor, gpuProgram
	var report *doctor.Report
	if d.host {
		report = doctor.Host(ctx, m)
	} else {
		report = doctor.Guest(ctx, m, collectable()...)
	}
	if d.at.address != "" {
		if err := d.broker(ctx, report); err != nil {
			return err
		}
	}
	var err error
	if d.format == "json" {
		err = printJSON(p.out, report)
	} else {
		err = report.Print(p.out)
	}
	if err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	if !report.OK {
		return errUnfit
	}
	return nil
}

// provider asks for the driver behind the interface for reports.
func (p *program) provider(ctx context.Context) (string, error) {
	c, err := tsm.New(tsm.Config{FS: p.tsm})
	if err != nil {
		return "", err
	}
	return c.Provider(ctx)
}

// paravisor asks the TPM whether a paravisor keeps a report of the hardware in it. Nothing is written to it.
func (p *program) paravisor(ctx context.Context) (attest.Kind, error) {
	c, done, err := openAzure(ctx, new(guest), p.system)
	if err != nil {
		return "", err
	}
	defer done()
	return c.Kind(), nil
}

// gpuProgram says whether GPUs can be asked without further flags.
func gpuProgram() error {
	_, err := nvidiadevice.New(nvidiadevice.Config{})
	return err
}

// broker adds what a broker says to a report.
func (d *physician) broker(ctx context.Context, report *doctor.Report) error {
	ca, err := d.at.read()
	if err != nil {
		return err
	}
	kinds, err := client.Kinds(ctx, client.Config{URL: d.at.address, CA: ca, Timeout: d.at.timeout})
	if err != nil {
		report.Add(doctor.Finding{ID: "broker.unreachable", Severity: doctor.Problem, Title: "the broker gives no answer",
			Detail: fmt.Sprintf("%.300q", err.Error()) + ".", Fix: []string{"Check --addr and --cacert, the network between, and whether the broker runs."}})
		report.Verdict += " The broker could not be asked."
		return nil
	}
	verifies := fmt.Sprintf("It verifies %.300q.", kinds)
	report.Add(doctor.Finding{ID: "broker.reached", Severity: doctor.OK, Title: "the broker can be reached", Detail: verifies})
	for _, kind := range append([]attest.Kind{report.Kind}, report.Devices...) {
		switch {
		case kind == "":
		case slices.Contains(kinds, kind):
			report.Add(doctor.Finding{ID: "broker.verifies-" + string(kind), Severity: doctor.OK, Title: fmt.Sprintf("the broker verifies evidence of kind %s", kind)})
		case kind == report.Kind:
			report.Add(doctor.Finding{ID: "broker.kind", Severity: doctor.Problem, Title: fmt.Sprintf("the broker does not verify evidence of kind %s", kind),
				Detail: verifies, Fix: []string{"Ask its operator to turn it on."}})
			report.Verdict += fmt.Sprintf(" The broker does not verify evidence of kind %s.", kind)
		default:
			report.Add(doctor.Finding{ID: "broker.device-" + string(kind), Severity: doctor.Warning,
				Title: fmt.Sprintf("the broker does not verify devices of kind %s", kind), Detail: "A request with one is refused as a whole."})
		}
	}
	return nil
}

// Limits of what a diagnosis runs and reads.
const (
	programTime = 20 * time.Second // nvidia-smi takes seconds on a machine with many GPUs and no persistence
	maxOutput   = 64 << 10         // bytes
	maxLog      = 4 << 20          // bytes; kernels keep up to some MiB
)

// programFolders are where those that a diagnosis runs may be. PATH may lead anywhere, and this runs as root.
var programFolders = [...]string{"/usr/bin", "/usr/local/bin", "/bin", "/run/nvidia/driver/usr/bin"}

// thisMachine is the one this program runs on.
func thisMachine() doctor.Machine {
	return doctor.Machine{
		Root: os.DirFS("/"),
		Open: func(path string, write bool) error {
			flags := unix.O_RDONLY
			if write {
				flags = unix.O_RDWR
			}
			fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
			if err != nil {
				return &fs.PathError{Op: "open", Path: path, Err: err}
			}
			return unix.Close(fd)
		},
		Log: func() (string, error) {
			log := make([]byte, maxLog)
			n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, log)
			if err != nil {
				return "", err
			}
			return string(log[:n]), nil
		},
		Run: runProgram,
	}
}

// runProgram runs a program of the system, with nothing of our environment.
func runProgram(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, programTime)
	defer cancel()
	for _, folder := range programFolders {
		path := folder + "/" + name
		if _, err := os.Stat(path); err != nil {
			continue
		}
		c := exec.CommandContext(ctx, path, args...)
		c.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
		output, err := c.Output()
		return string(output[:min(len(output), maxOutput)]), err
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}
