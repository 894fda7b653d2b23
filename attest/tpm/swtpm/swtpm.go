// Package swtpm runs the software TPM of libtpms as a process, for tests and demonstrations. A TPM it makes has an endorsement
// key with a certificate by a local authority of its own, so that everything but the hardware is as with a real one. It proves nothing
// about a machine: a server that trusts its authority trusts whoever can read the folder it is in.
//
// It needs the programs swtpm and swtpm_setup with swtpm_localca (Debian: swtpm, swtpm-tools), and stops only the process it started.
//
// The folder given to [Start] gets: tpm/ (the TPM's state), ca/ (the authority), sock (the command socket), log. One that has a
// TPM already is used again, so that starting anew is what a reboot is to a machine: PCRs are reset, keys stay.
package swtpm

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/tpm"
)

// ErrAbsent is returned, wrapped, where the programs are not installed.
var ErrAbsent = errors.New("swtpm: not installed")

// maxSocket bounds the socket's path, in bytes: what a sockaddr_un holds, less its final zero.
const maxSocket = 107

// startTimeout is how long a started TPM may take to answer. It takes some 50 ms; tests share machines.
const startTimeout = 10 * time.Second

// Process is a running software TPM.
type Process struct {
	dir     string
	command *exec.Cmd
	exited  chan struct{}
}

// Start makes a TPM in dir unless there is one, and runs it until ctx is done or Stop is called.
func Start(ctx context.Context, dir string) (*Process, error) {
	programs := make(map[string]string)
	for _, name := range []string{"swtpm", "swtpm_setup", "swtpm_localca"} {
		path, err := exec.LookPath(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
		}
		programs[name] = path
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	p := &Process{dir: dir, exited: make(chan struct{})}
	if len(p.socket()) > maxSocket {
		return nil, fmt.Errorf("swtpm: the path %s is over %d bytes, which is what a socket's name may have", p.socket(), maxSocket)
	}
	if _, err := os.Stat(p.path("tpm", "tpm2-00.permall")); errors.Is(err, fs.ErrNotExist) {
		if err := p.manufacture(ctx, programs["swtpm_setup"], programs["swtpm_localca"]); err != nil {
			return nil, err
		}
	}
	if err := os.Remove(p.socket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	p.command = exec.CommandContext(ctx, programs["swtpm"], "socket", "--tpm2",
		"--tpmstate", "dir="+p.path("tpm"),
		"--server", "type=unixio,path="+p.socket(),
		"--log", "file="+p.path("log"),
		"--flags", "not-need-init,startup-clear")
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("swtpm: %w", err)
	}
	go func() {
		_ = p.command.Wait() // how it ended does not matter: it is stopped by a signal
		close(p.exited)
	}()
	if err := p.await(ctx); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

func (p *Process) path(parts ...string) string {
	return filepath.Join(append([]string{p.dir}, parts...)...)
}

func (p *Process) socket() string { return p.path("sock") }

// manufacture makes the authority and the TPM, with an RSA and an elliptic-curve endorsement key and their certificates.
func (p *Process) manufacture(ctx context.Context, setup, localca string) error {
	for _, name := range []string{"tpm", "ca"} {
		if err := os.MkdirAll(p.path(name), 0o700); err != nil {
			return err
		}
	}
	files := map[string]string{
		"ca.conf": fmt.Sprintf("statedir = %[1]s\nsigningkey = %[1]s/signkey.pem\nissuercert = %[1]s/issuercert.pem\ncertserial = %[1]s/certserial\n",
			p.path("ca")),
		"ca.options": "--platform-manufacturer Vouchsafe\n--platform-version 1\n--platform-model swtpm\n",
		"setup.conf": fmt.Sprintf("create_certs_tool = %s\ncreate_certs_tool_config = %s\ncreate_certs_tool_options = %s\nactive_pcr_banks = sha256,sha384\n",
			localca, p.path("ca.conf"), p.path("ca.options")),
	}
	for name, content := range files {
		if err := os.WriteFile(p.path(name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	command := exec.CommandContext(ctx, setup, "--tpm2", "--tpm-state", p.path("tpm"), "--config", p.path("setup.conf"),
		"--create-ek-cert", "--lock-nvram")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("swtpm: swtpm_setup: %w\n%s", err, output)
	}
	return nil
}

// await returns when the socket accepts.
func (p *Process) await(ctx context.Context) error {
	deadline := time.Now().Add(startTimeout)
	for {
		connection, err := Dial(ctx, p.Addr())
		if err == nil {
			return connection.Close()
		}
		select {
		case <-p.exited:
			output, _ := os.ReadFile(p.path("log"))
			return fmt.Errorf("swtpm: it ended at once\n%s", output)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("swtpm: it does not answer: %w", err)
		}
	}
}

// Addr returns the address that [Dial] and the agent take.
func (p *Process) Addr() string { return unixPrefix + p.socket() }

// RootFile and IntermediateFile are PEM files of the authority that certified the endorsement keys.
func (p *Process) RootFile() string         { return p.path("ca", "swtpm-localca-rootca-cert.pem") }
func (p *Process) IntermediateFile() string { return p.path("ca", "issuercert.pem") }

// Authority returns the root and the intermediate of the endorsement certificates.
func (p *Process) Authority() (roots, intermediates []*x509.Certificate, err error) {
	var files [2][]*x509.Certificate
	for i, name := range []string{p.RootFile(), p.IntermediateFile()} {
		content, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, err
		}
		if files[i], err = tpm.ParsePEM(content); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return files[0], files[1], nil
}

// Stop ends the process and waits for it. A stopped TPM may be started again from its folder.
func (p *Process) Stop() {
	_ = p.command.Process.Signal(os.Interrupt) // it may have ended already
	select {
	case <-p.exited:
	case <-time.After(startTimeout):
		_ = p.command.Process.Kill()
		<-p.exited
	}
}
