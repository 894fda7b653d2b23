package vaulttest

import (
	"bufio"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/testserver"
)

// Server is a Vault server: one process after another, on the same port and, unless it is in memory, with the same data.
type Server struct {
	Address    string         // URL of the API
	RootToken  string         //
	UnsealKeys []string       // one is enough
	PluginDir  string         // where Vault looks for plugins
	CAFile     string         // PEM file of the authority of the certificate; "" without WithTLS
	CAPool     *x509.CertPool // the same; nil without WithTLS
	AuditLog   string         // file that Vault writes its audit log to; "" without WithAuditLog

	program   string
	dir       string // everything of this server, but data that a test wants elsewhere
	options   options
	authority *Authority
	listen    string // port of the API
	cluster   string // port for other nodes; "" unless raft
	cert, key string // files

	keeper *testserver.Keeper

	names    atomic.Int64 // of mounts, policies and roles
	standbys atomic.Int64
}

// patience is how long is waited for what Vault does within a second: tests run on busy machines.
const patience = time.Minute

func start(t testing.TB, program string, opts ...Option) *Server {
	t.Helper()
	s := made(t, program, optionsOf(opts))
	if err := s.first(); err != nil {
		t.Fatalf("vaulttest: %v", err)
	}
	return s
}

func optionsOf(all []Option) options {
	o := options{storage: "inmem"}
	for _, option := range all {
		option(&o)
	}
	return o
}

// made returns a server that ends with t.
func made(t testing.TB, program string, o options) *Server {
	t.Helper()
	s, err := newServer(program, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	s.showOnFailure(t)
	return s
}

// newServer returns a server that was not started.
func newServer(program string, o options) (*Server, error) {
	// Not a test's folder, whose path can be longer than the name of a socket may be. The watcher removes it if this process cannot.
	dir, err := os.MkdirTemp("", "vaulttest")
	if err != nil {
		return nil, err
	}
	return &Server{program: program, dir: dir, options: o}, nil
}

// first makes what the server needs, starts it, initialises and unseals it.
func (s *Server) first() error {
	if err := s.prepare(); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	if err := s.initialise(); err != nil {
		return err
	}
	if err := s.unseal(); err != nil {
		return err
	}
	if !s.options.audit {
		return nil
	}
	s.AuditLog = filepath.Join(s.dir, "audit.log")
	return s.write("sys/audit/file", map[string]any{"type": "file", "options": map[string]string{"file_path": s.AuditLog}}, nil)
}

// prepare makes folders, the certificate and what keeps the process.
func (s *Server) prepare() error {
	s.PluginDir = filepath.Join(s.dir, "plugins")
	if s.options.folder == "" {
		s.options.folder = filepath.Join(s.dir, "data")
	}
	for _, dir := range []string{s.PluginDir, s.options.folder, filepath.Join(s.dir, "tmp")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	var err error
	if s.PluginDir, err = filepath.EvalSymlinks(s.PluginDir); err != nil {
		return err
	}
	if s.options.tls {
		if s.authority == nil {
			if s.authority, err = newAuthority(s.dir); err != nil {
				return err
			}
		}
		s.CAFile, s.CAPool = s.authority.File, s.authority.Pool
		if s.cert, s.key, err = s.authority.issue(s.dir, "vault"); err != nil {
			return err
		}
	}
	s.keeper, err = testserver.New(s.dir)
	return err
}

// begin starts the process, which listens when begin returns; the first time on ports that are free.
func (s *Server) begin() error {
	if s.listen != "" {
		return s.run(s.listen, s.cluster)
	}
	var err error
	for range 5 { // a port that is free now need not be when the server opens it
		var listen, cluster string
		if listen, err = testserver.FreePort(); err != nil {
			return err
		}
		if s.options.storage == "raft" {
			if cluster, err = testserver.FreePort(); err != nil {
				return err
			}
		}
		if err = s.run(listen, cluster); err == nil {
			s.listen, s.cluster = listen, cluster
			return nil
		}
		if output := s.output(0); !strings.Contains(output, "address already in use") {
			return fmt.Errorf("%w\n%s", err, output)
		}
	}
	return err
}

// run starts the process and waits until it listens.
func (s *Server) run(listen, cluster string) error {
	arguments := []string{
		"-listen=" + listen, "-storage=" + s.options.storage, "-data=" + s.options.folder, "-plugins=" + s.PluginDir, "-log-level=info",
	}
	if cluster != "" {
		arguments = append(arguments, "-cluster="+cluster, "-node=node"+s.options.node)
	}
	if s.cert != "" {
		arguments = append(arguments, "-tls-cert="+s.cert, "-tls-key="+s.key)
	}
	output, err := os.OpenFile(filepath.Join(s.dir, "output.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer output.Close()
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()

	cmd := exec.Command(s.program, arguments...)
	cmd.Dir = s.dir
	// Nothing of this process's environment, in which there may be another Vault's address and token. A server that lives for a minute collects its garbage seldom:
	// a tenth less of the processor.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "TMPDIR=" + filepath.Join(s.dir, "tmp"), "GOGC=400"}
	cmd.Stdout, cmd.Stderr = writer, output
	_, err = s.keeper.Start(cmd)
	if err = errors.Join(err, writer.Close()); err != nil {
		return err
	}
	if err := reader.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	url, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		s.keeper.Kill()
		return fmt.Errorf("the server did not start: %w", err)
	}
	s.Address = strings.TrimSpace(url)
	return nil
}

// stop ends the server for good.
func (s *Server) stop() {
	if s.keeper == nil {
		_ = os.RemoveAll(s.dir)
		return
	}
	_ = s.keeper.End()
}

// output returns what the server has said, from an offset in bytes on.
func (s *Server) output(from int64) string {
	file, err := os.Open(filepath.Join(s.dir, "output.log"))
	if err != nil {
		return ""
	}
	defer file.Close()
	text, _ := io.ReadAll(io.NewSectionReader(file, from, 1<<30))
	return string(text)
}

// shown is how many of a server's last lines go with a failing test.
const shown = 200

// showOnFailure logs what the server says from now on until t ends, if t fails.
func (s *Server) showOnFailure(t testing.TB) {
	t.Helper()
	var from int64
	if info, err := os.Stat(filepath.Join(s.dir, "output.log")); err == nil {
		from = info.Size()
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		lines := slices.Collect(strings.Lines(s.output(from)))
		t.Logf("the Vault server's output (%d lines, at most %d shown):\n%s", len(lines), shown, strings.Join(lines[max(0, len(lines)-shown):], ""))
	})
}
