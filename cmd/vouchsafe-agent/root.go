//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"unicode"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/azuredevice"
	"github.com/vouchsafe/vouchsafe/client/doctor"
	"github.com/vouchsafe/vouchsafe/client/nitrodevice"
	"github.com/vouchsafe/vouchsafe/internal/cli"
)

// The exit codes, which scripts and service managers may rely on.
const (
	exitOK     = 0 // done
	exitNo     = 1 // the broker said no: it is final
	exitFailed = 2 // it could not be asked, or not believed, or what it gave not delivered
)

const exitHelp = `Exit codes:
  0  done
  1  the broker refused: denied, bad evidence, no such secret; asking again gets
     the same answer. Of doctor: this machine cannot attest itself, or host
  2  it could not be asked: usage, no connection, not available after all
     attempts, nothing that attests this machine, no place for the secret`

// system is what the program runs on.
type system struct {
	out, errOut io.Writer
	restore     func()               // undoes the hardening that a program which replaces this one would inherit
	tsm         configfsi.Client     // the interface for reports; the kernel's when nil
	tpm         string               // the TPM that is looked for
	nsm         nitrodevice.Module   // the security module of a Nitro enclave; the kernel's device when nil
	azure       azuredevice.Metadata // the metadata service of Azure's hosts; at its own address when nil
	machine     doctor.Machine       // what a diagnosis looks at, without the interface for reports
}

// program is what commands share.
type program struct{ system }

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, s system) int {
	p := &program{s}
	root := p.root()
	root.SetArgs(args)
	root.SetOut(s.out)
	root.SetErr(s.errOut)
	err := root.ExecuteContext(ctx)
	var refused *client.Refused
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &refused):
		p.printError(err)
		if refused.Decision != "" {
			p.say("  An operator can see every rule and value: vouchsafe explain %s", refused.Decision)
		}
		return exitNo
	case errors.Is(err, errUnfit): // the report says why
		return exitNo
	default:
		p.printError(err)
		return exitFailed
	}
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "vouchsafe-agent",
		Short: "Fetch secrets by proving what this machine is",
		Long: `vouchsafe-agent runs inside a confidential virtual machine, or on a host with a TPM. It has the hardware attest what
runs here, shows that to a Vouchsafe broker, and gets secrets encrypted to a key that it made a moment before and that
never leaves this process.

There is no password to keep for it: what the machine is decides, by the release policy of each secret. What it needs
to know is where the broker is and whom to trust for its certificate, and neither is secret:

  export VOUCHSAFE_ADDR=https://broker.example:8443
  export VOUCHSAFE_CACERT=/etc/vouchsafe/ca.pem
  vouchsafe-agent fetch payments/db/password

What attests this machine is found in this order, or said with --kind:
` + explain(machines()) + `
What is presented beside it, with --device:
` + explain(accompanying()) + `
'vouchsafe-agent doctor' says what this machine has, and what it lacks.

A broker that is busy or away is tried again, with growing pauses. A refusal is not: it is final, and its decision id
lets an operator see why.

Environment, where no flag says otherwise:
  VOUCHSAFE_ADDR        the broker's URL, https://HOST[:PORT][/PATH]
  VOUCHSAFE_CACERT      PEM file of the authority that the broker's certificate
                        comes from (default: those that the system trusts)
  VOUCHSAFE_KEYS        JWKS file with the keys that the broker signs with
                        (default: fetched from the broker over TLS)
  VOUCHSAFE_TOKEN_FILE  for enrol, file with the token of an enroller

` + exitHelp,
		Version: version(),
	}
	root.AddCommand(p.fetchCommand(), p.execCommand(), p.enrolCommand(), p.evidenceCommand(), p.doctorCommand(), p.versionCommand())
	root.SetVersionTemplate("{{.Version}}\n")
	cli.Prepare(root)
	return root
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(p.out, "vouchsafe-agent %s\n", version())
			return err
		},
	}
}

// version is that of the module, as the build recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// printJSON prints v for scripts.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printError prints what went wrong where errors go.
func (p *program) printError(err error) {
	p.say("vouchsafe-agent: %s", strings.TrimSuffix(err.Error(), "\n"))
}

// say prints a message where errors go, its further lines indented. What came over the network is in some, and must neither steer a terminal or
// a log nor look like another message.
func (p *program) say(format string, args ...any) {
	line := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return unicode.ReplacementChar
		}
		return r
	}, fmt.Sprintf(format, args...))
	fmt.Fprintln(p.errOut, strings.ReplaceAll(line, "\n", "\n  "))
}

// Limits of files that are read, in bytes.
const (
	maxToken    = 4 << 10   // a token has some sixty
	maxTrust    = 256 << 10 // certificates or keys: a system's whole bundle
	maxInitData = 128 << 10 // half of what a request has room for beside its evidence
)

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s has over %d bytes, the most that is read", path, limit)
	}
	return content, nil
}
