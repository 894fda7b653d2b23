// Package testserver runs the server processes that tests use, such as Vault and PostgreSQL: one process at a time and those that it starts, as one
// group, which ends with the test, and also when the test binary is killed.
package testserver

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
)

// ErrNotRunning means that there is no process to signal.
var ErrNotRunning = errors.New("the server does not run")

// Keeper keeps one process. It may be used by several goroutines.
type Keeper struct {
	dir     string
	watcher *exec.Cmd
	lines   io.WriteCloser // to the watcher

	mutex   sync.Mutex
	process *Process // nil when none was started since the last was killed
}

// Process is one run of a server.
type Process struct {
	pid   int
	ended chan struct{}
	err   error // of its end; read once ended is closed
}

// Ended is closed once the process has ended; Err then says how.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err waits until the process has ended, and says how: nil for exit code 0.
func (p *Process) Err() error {
	<-p.ended
	return p.err
}

// watch is the watcher: a shell that reads, line after line, which group of processes is to be ended, until this process closes the pipe or has ended
// itself. An empty line is for none. Parent death signals would not do: they depend on the thread that started the process, do not reach what the
// server starts, and leave the folder.
const watch = `while read -r line; do group=$line; done; [ -z "$group" ] || kill -s KILL -- "-$group"; rm -rf -- "$1"`

// New returns a keeper of a process whose files are in a folder, which End removes.
func New(dir string) (*Keeper, error) {
	k := &Keeper{dir: dir, watcher: exec.Command("/bin/sh", "-c", watch, "testserver", dir)}
	k.watcher.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what ends this process from the terminal does not end it
	var err error
	if k.lines, err = k.watcher.StdinPipe(); err != nil {
		return nil, err
	}
	return k, k.watcher.Start()
}

// Start starts the process, in a group of its own.
func (k *Keeper) Start(cmd *exec.Cmd) (*Process, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.process != nil {
		return nil, errors.New("the server runs already")
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{pid: cmd.Process.Pid, ended: make(chan struct{})}
	k.process = p
	_, err := io.WriteString(k.lines, strconv.Itoa(p.pid)+"\n")
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, err
}

// Signal sends a signal to the group.
func (k *Keeper) Signal(signal syscall.Signal) error {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.process == nil {
		return ErrNotRunning
	}
	return syscall.Kill(-k.process.pid, signal)
}

// Kill ends the group at once and waits until the process has ended.
func (k *Keeper) Kill() {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.process == nil {
		return
	}
	_ = syscall.Kill(-k.process.pid, syscall.SIGKILL)
	<-k.process.ended
	_, _ = io.WriteString(k.lines, "\n")
	k.process = nil
}

// End ends the group and removes the folder.
func (k *Keeper) End() error {
	k.Kill()
	return errors.Join(k.lines.Close(), k.watcher.Wait(), os.RemoveAll(k.dir))
}

// The ports that FreePort chooses from are below those from which Linux takes ports for connections.
const (
	firstPort = 20000
	ports     = 12000
)

// FreePort returns an address on loopback whose port is free, and not one that the system gives to connections: a server that is started again must
// find its port free, and a client that tries to reach one that does not run must not be connected to itself.
func FreePort() (string, error) {
	var err error
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(ports)))
		var listener net.Listener
		if listener, err = net.Listen("tcp", address); err == nil {
			return address, listener.Close()
		}
	}
	return "", fmt.Errorf("no free port: %w", err)
}
