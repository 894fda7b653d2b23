package vaulttest

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
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

	mutex   sync.Mutex
	process *process // nil when it does not run
	watcher *watcher

	names    atomic.Int64 // of mounts, policies and roles
	standbys atomic.Int64
}

// process is one run of the server's program.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed once it has been waited for
}

// patience is how long is waited for what Vault does within a second: tests run on busy machines.
const patience = time.Minute

func start(t testing.TB, program string, opts ...Option) *Server {
	t.Helper()
	o := options{storage: "inmem", level: "info"}
	for _, option := range opts {
		option(&o)
	}
	s := made(t, program, o)
	if err := s.first(); err != nil {
		t.Fatalf("vaulttest: %v", err)
	}
	return s
}

// made returns a server that ends with t.
func made(t testing.TB, program string, o options) *Server {
	t.Helper()
	// Not t.TempDir, whose paths can be longer than the name of a socket may be. The watcher removes it if this process cannot.
	dir, err := os.MkdirTemp("", "vaulttest")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{program: program, dir: dir, options: o}
	t.Cleanup(s.stop)
	s.showOnFailure(t)
	return s
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

// prepare makes folders, the certificate and the watcher.
func (s *Server) prepare() error {
	s.PluginDir = s.options.plugins
	if s.PluginDir == "" {
		s.PluginDir = filepath.Join(s.dir, "plugins")
	}
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
	s.watcher, err = watch(s.dir)
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
		if listen, err = freePort(); err != nil {
			return err
		}
		if s.options.storage == "raft" {
			if cluster, err = freePort(); err != nil {
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
		"-listen=" + listen, "-storage=" + s.options.storage, "-data=" + s.options.folder, "-plugins=" + s.PluginDir, "-log-level=" + s.options.level,
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
	// Nothing of this process's environment, in which there may be another Vault's address and token.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "TMPDIR=" + filepath.Join(s.dir, "tmp")}
	cmd.Stdout, cmd.Stderr = writer, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that its plugins end with it
	err = cmd.Start()
	err = errors.Join(err, writer.Close())
	if err != nil {
		return err
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	s.mutex.Lock()
	s.process = p
	s.mutex.Unlock()
	s.watcher.of(cmd.Process.Pid)

	if err := reader.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	url, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		s.kill()
		return fmt.Errorf("the server did not start: %w", err)
	}
	s.Address = strings.TrimSpace(url)
	return nil
}

// kill ends the process and its plugins at once, and waits until it has ended.
func (s *Server) kill() {
	s.mutex.Lock()
	p := s.process
	s.process = nil
	s.mutex.Unlock()
	if p == nil {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
	s.watcher.of(0)
}

// stop ends the server for good.
func (s *Server) stop() {
	s.kill()
	s.watcher.end()
	_ = os.RemoveAll(s.dir)
}

// signal sends a signal to the process and its plugins.
func (s *Server) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.process == nil {
		t.Fatal("vaulttest: the server does not run")
	}
	if err := syscall.Kill(-s.process.cmd.Process.Pid, signal); err != nil {
		t.Fatal(err)
	}
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

// watcher is a process that outlives this one for a moment, to end a server and to remove its folder.
type watcher struct {
	cmd   *exec.Cmd
	lines io.WriteCloser
}

// watched reads the server's process, line after line, until this process closes the pipe or has ended. An empty line is for none.
const watched = `while read -r line; do group=$line; done; [ -z "$group" ] || kill -9 -- "-$group"; rm -rf -- "$1"`

func watch(dir string) (*watcher, error) {
	cmd := exec.CommandContext(context.Background(), "/bin/sh", "-c", watched, "vaulttest", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what ends this process from the terminal does not end it
	lines, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &watcher{cmd: cmd, lines: lines}, cmd.Start()
}

// of says which process is to be ended; 0 for none.
func (w *watcher) of(pid int) {
	line := "\n"
	if pid != 0 {
		line = strconv.Itoa(pid) + "\n"
	}
	_, _ = io.WriteString(w.lines, line)
}

// end has the watcher do its work.
func (w *watcher) end() {
	if w == nil {
		return
	}
	_ = w.lines.Close()
	_ = w.cmd.Wait()
}

// freePort returns an address on loopback whose port is free, and below those from which the system takes ports for connections: a server that is started
// again must find its port free, and a client that tries to reach one that does not run must not be connected to itself.
func freePort() (string, error) {
	var err error
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+rand.IntN(12000)))
		var listener net.Listener
		if listener, err = net.Listen("tcp", address); err == nil {
			return address, listener.Close()
		}
	}
	return "", fmt.Errorf("no free port: %w", err)
}
