package examples_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vouchsafe/vouchsafe/internal/fences"
)

// The programs that pages run and that are not this project's: a stand-in for Vault's, which is not to be had as a module of reasonable size.
func TestMain(m *testing.M) {
	testscript.Main(cleaning{m}, map[string]func(){"vault": func() { os.Exit(vaultCLI(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }})
}

// cleaning removes the programs that were built when the tests have been run.
type cleaning struct{ *testing.M }

func (c cleaning) Run() int {
	defer func() { _ = os.RemoveAll(built.dir) }()
	return c.M.Run()
}

// built are this project's programs, which all pages run.
var built struct {
	sync.Once
	dir string
	err error
}

// patience is how long a test waits for what takes a second on a machine that is not busy.
const patience = 60 * time.Second

// A page is an example that is followed as its README says: every block of commands, in order, in a copy of the example's folder. Each block is a shell
// of its own, which stops at the first command that fails; what one exports, those after it have. A note before a block says what is expected:
//
//	stays: PORT     it is a server, which goes on in the background; the port is listened on, and a file is there if one is named behind it
//	stopped         the server in the background is ended first, as by Ctrl-C
//	prints: TEXT    the text is in what it prints
//	fails: TEXT     its last command fails, and says this
//
// Several are divided by "; ".
type page struct {
	t        *testing.T
	dir      string
	env      []string
	exports  string            // lines of the blocks so far
	here     *strings.Replacer // what the page says for what the test has: ports, addresses
	server   *exec.Cmd
	serverIn *bytes.Buffer // what it printed
}

// newPage copies an example's folder. Old and new are pairs of texts that are exchanged in its files and commands.
func newPage(t *testing.T, example string, env []string, oldnew ...string) *page {
	t.Helper()
	p := &page{t: t, dir: t.TempDir(), here: strings.NewReplacer(oldnew...)}
	p.env = append(os.Environ(), "PATH="+programs(t)+string(filepath.ListSeparator)+os.Getenv("PATH"), "TZ=UTC")
	p.env = append(p.env, env...)
	err := filepath.WalkDir(example, func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(example, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(p.dir, name), 0o755)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			p.write(name, p.here.Replace(string(text)), info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p
}

// programs returns the folder of this project's programs, which are built once.
func programs(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "vouchsafe-examples"); built.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", built.dir+"/", "../cmd/vouchsafe", "../cmd/vouchsafe-agent")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

func (p *page) write(name, text string, mode os.FileMode) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), mode); err != nil {
		p.t.Fatal(err)
	}
}

func (p *page) read(name string) string {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// follow runs what the page says.
func (p *page) follow() {
	p.t.Helper()
	blocks, err := fences.Parse(p.read("README.md"))
	if err != nil {
		p.t.Fatal(err)
	}
	ran := 0
	for _, b := range blocks {
		if b.Language == "sh" {
			ran++
			p.run(b)
		}
	}
	if ran == 0 {
		p.t.Fatal("the page has no commands")
	}
}

// run runs one block.
func (p *page) run(b fences.Block) {
	p.t.Helper()
	where := fmt.Sprintf("README.md:%d", b.Line)
	var prints, fails string
	for note := range strings.SplitSeq(b.Note, "; ") {
		switch what, text, _ := strings.Cut(note, ": "); what {
		case "stays":
			p.serve(where, b.Text, text)
			return
		case "stopped":
			p.stop()
		case "prints":
			prints = text
		case "fails":
			fails = text
		case "":
		default:
			p.t.Fatalf("%s: unknown note %q", where, note)
		}
	}
	out, err := p.shell(b.Text).CombinedOutput()
	p.t.Logf("%s:\n%s%s", where, b.Text, out)
	switch {
	case (err != nil) != (fails != ""):
		p.t.Fatalf("%s: %v%s", where, err, p.said())
	case !strings.Contains(string(out), prints) || !strings.Contains(string(out), fails):
		p.t.Fatalf("%s: %q is not in what it printed%s", where, prints+fails, p.said())
	}
	for line := range strings.Lines(b.Text) {
		if strings.HasPrefix(line, "export ") {
			p.exports += line
		}
	}
}

func (p *page) shell(commands string) *exec.Cmd {
	c := exec.CommandContext(p.t.Context(), "bash", "-euo", "pipefail", "-c", p.exports+commands)
	c.Dir, c.Env = p.dir, p.env
	return c
}

// serve starts a server and waits until it listens, and has made a file if one is named.
func (p *page) serve(where, command, ready string) {
	p.t.Helper()
	port, file, _ := strings.Cut(ready, " ")
	p.server, p.serverIn = p.shell("exec "+command), new(bytes.Buffer)
	p.server.Cancel = func() error { return p.server.Process.Signal(os.Interrupt) }
	p.server.WaitDelay = patience
	p.server.Stdout, p.server.Stderr = p.serverIn, p.serverIn
	if err := p.server.Start(); err != nil {
		p.t.Fatalf("%s: %v", where, err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", "localhost:"+port); err == nil {
			_ = c.Close()
			if _, err := os.Stat(filepath.Join(p.dir, file)); err == nil {
				return
			}
		}
		if time.Now().After(end) || p.server.Process.Signal(syscall.Signal(0)) != nil {
			p.t.Fatalf("%s: nothing listens on port %s%s", where, port, p.said())
		}
	}
}

// stop ends the server.
func (p *page) stop() {
	if p.server == nil {
		return
	}
	_ = p.server.Process.Signal(os.Interrupt)
	if err := p.server.Wait(); err != nil && p.t.Context().Err() == nil {
		p.t.Errorf("the server: %v", err)
	}
	p.server = nil
}

// said ends the server and returns what it said.
func (p *page) said() string {
	if p.server == nil {
		return ""
	}
	p.stop()
	return "\nthe server:\n" + p.serverIn.String()
}

// need skips a test where a program that the page uses is not installed.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
}

// freePort returns a port of loopback that nothing listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
