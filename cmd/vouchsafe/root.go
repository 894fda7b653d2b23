package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/internal/cli"
)

// The exit codes, which scripts may rely on.
const (
	exitOK     = 0 // done, or the answer is yes
	exitNo     = 1 // the answer is no: refused, denied, not found, or a check found something
	exitFailed = 2 // could not be carried out, or not judged: usage, no connection, a broker that is not ready
)

const exitHelp = `Exit codes:
  0  done, or the answer is yes
  1  the answer is no: refused, denied, not found, or a check found something
  2  it could not be carried out or judged: a mistake in the command, no
     connection, a broker that is not ready`

// program is what commands share: where they read and write, and the flags of all of them.
type program struct {
	in          io.Reader
	out, errOut io.Writer
	format      string // "table" or "json"
}

// no is an error by which a command says that the answer is no. Its message was not printed yet.
type no struct{ error }

func (n no) Unwrap() error { return n.error }

// silent is a no whose command has printed everything itself.
type silent struct{ code int }

func (s silent) Error() string { return fmt.Sprintf("exit code %d", s.code) }

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	p := &program{in: in, out: out, errOut: errOut}
	root := p.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	var (
		quiet  silent
		answer no
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &quiet):
		return quiet.code
	case errors.As(err, &answer):
		p.printError(err)
		return exitNo
	default:
		p.printError(err)
		return exitFailed
	}
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "vouchsafe",
		Short: "Release secrets only to workloads that can prove what they are",
		Long: `Vouchsafe releases secrets only to workloads that can prove what they are.

Workloads in confidential virtual machines, and hosts with a TPM, present attestation evidence. The broker verifies it, judges it
by the release policy of the very secret asked for, records the decision, and encrypts the secret to a key that only that
workload holds.

  Try it:      vouchsafe dev
  Set it up:   vouchsafe init, then vouchsafe server
  Guests use:  vouchsafe-agent fetch NAME

Environment, where no flag says otherwise:
  VOUCHSAFE_ADDR        the broker's URL, https://HOST:PORT
  VOUCHSAFE_TOKEN_FILE  file with an administrator's token
  VOUCHSAFE_CLIENT_CERT, VOUCHSAFE_CLIENT_KEY
                        PEM files with a certificate and its key, instead
  VOUCHSAFE_CACERT      PEM file of the authority that the broker's certificate
                        comes from (default: those that the system trusts)

` + exitHelp + `

With --format=json results are JSON on standard output, and an error is one line on standard error: {"code": …, "message": …}. The
code is the broker's, or "failed" where no broker said it.`,
		Version:           version(),
		PersistentPreRunE: func(*cobra.Command, []string) error { return p.checkFormat() },
	}
	root.PersistentFlags().StringVar(&p.format, "format", "table", "output as `FORMAT`: table for people, json for scripts")
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run a broker:"},
		&cobra.Group{ID: "admin", Title: "Administer a running broker:"},
		&cobra.Group{ID: "offline", Title: "Work without a broker:"},
	)
	root.AddCommand(
		p.devCommand(), p.initCommand(), p.serverCommand(),
		p.secretCommand(), p.leaseCommand(), p.applyCommand(), p.diffCommand(), p.exportCommand(), p.policyCommand(), p.approvalRulesCommand(), p.referenceCommand(),
		p.regoCommand(), p.importCommand(),
		p.explainCommand(), p.decisionsCommand(), p.auditCommand(),
		p.whoamiCommand(), p.namespaceCommand(), p.tokenCommand(), p.keyCommand(), p.enrolmentCommand(), p.backupCommand(),
		p.evidenceCommand(), p.collateralCommand(), p.measureCommand(), p.schemaCommand(), p.storeCommand(), p.vaultCommand(), p.restoreCommand(), p.versionCommand(),
	)
	root.SetVersionTemplate("{{.Version}}\n")
	cli.Prepare(root)
	return root
}

func (p *program) checkFormat() error {
	if p.format != "table" && p.format != "json" {
		return fmt.Errorf("--format is %q, not table or json", p.format)
	}
	return nil
}

func (p *program) json() bool { return p.format == "json" }

// printJSON prints v for scripts, indented, as all JSON that this program prints.
func (p *program) printJSON(v any) error {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printError prints what went wrong where errors go.
func (p *program) printError(err error) {
	text := strings.TrimSpace(err.Error())
	if p.json() {
		p.printErrorJSON(errorCode(err), text)
		return
	}
	fmt.Fprintf(p.errOut, "vouchsafe: %s\n", strings.ReplaceAll(plain(text), "\n", "\n  "))
}

// errorCode is the code that the broker gave, for scripts.
func errorCode(err error) string {
	var e *admin.Error
	if errors.As(err, &e) && e.Code != "" {
		return string(e.Code)
	}
	return "failed"
}

func (p *program) printErrorJSON(code, message string) {
	text, err := json.Marshal(struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{code, message})
	if err != nil { // two strings always encode
		panic(err)
	}
	fmt.Fprintf(p.errOut, "%s\n", text)
}

// group puts subcommands under a command that does nothing itself. What it says when it is called alone is for package cli.
func group(id, use, short string, subcommands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, GroupID: id,
	}
	c.AddCommand(subcommands...)
	return c
}
