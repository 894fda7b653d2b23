//go:build unix

package node_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/dev"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
)

// built is testbroker, which is built once, when a test asks for it.
var built struct {
	sync.Once
	dir, program string
	err          error
}

func TestMain(m *testing.M) {
	status := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(status)
}

// program returns the path of testbroker.
func program(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "vouchsafe-node-"); built.err != nil {
			return
		}
		built.program = filepath.Join(built.dir, "testbroker")
		build := exec.Command("go", "build", "-o", built.program, "./internal/testbroker")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("building the broker to test: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.program
}

// process is a broker in a process of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Reader
	stderr *output
	dev.Info
	ca    []byte
	token string
}

// spawn starts a broker on a folder and does not wait for it.
func spawn(t *testing.T, dir string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program(t), dir), stderr: &output{}}
	p.cmd.Stderr = p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(stdout)
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// start starts a broker on a folder and waits until it serves.
func start(t *testing.T, dir string) *process {
	t.Helper()
	p := spawn(t, dir)
	url, err := p.stdout.ReadString('\n')
	if err != nil {
		_ = p.cmd.Wait()
		t.Fatalf("the broker did not start: %s", p.stderr)
	}
	p.Info = dev.Info{
		URL: strings.TrimSpace(url), CACert: filepath.Join(dir, "tls", "ca.pem"), TokenFile: filepath.Join(dir, "admin.token"),
		Tee: filepath.Join(dir, "tee"), TeeTampered: filepath.Join(dir, "tee-tampered"), Secret: dev.SampleSecret,
	}
	if p.ca, err = os.ReadFile(p.CACert); err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(p.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	p.token = strings.TrimSpace(string(token))
	return p
}

// kill ends the process at once, as a loss of power would. That it ended by itself before is a failure.
func (p *process) kill() {
	p.t.Helper()
	killed := p.cmd.Process.Kill()
	var status *exec.ExitError
	if err := p.cmd.Wait(); killed != nil || !errors.As(err, &status) || status.ExitCode() != -1 {
		p.t.Fatalf("the broker ended by itself: %v\n%s", err, p.stderr)
	}
	p.checkStderr()
}

// stop ends the process as an operator does.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("the broker did not end well: %v\n%s", err, p.stderr)
	}
	p.checkStderr()
}

// checkStderr fails the test when the process said that it has a bug.
func (p *process) checkStderr() {
	p.t.Helper()
	for _, word := range []string{"panic:", "fatal error:", "ended in a bug"} {
		if text := p.stderr.String(); strings.Contains(text, word) {
			p.t.Fatalf("the broker said:\n%s", text)
		}
	}
}

// admin returns an administrator's client.
func (p *process) admin() *admin.Client {
	p.t.Helper()
	c, err := admin.New(admin.Config{Address: p.URL, Token: p.token, CACert: p.ca})
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// workload returns the client of a good workload, which tries once. change may set more.
func (p *process) workload(change func(*client.Config)) *client.Client {
	p.t.Helper()
	device, err := virtualdevice.Load(p.Tee)
	if err != nil {
		p.t.Fatal(err)
	}
	c := client.Config{URL: p.URL, Collector: device, CA: p.ca, Retry: client.Retry{Max: 1}}
	if change != nil {
		change(&c)
	}
	w, err := client.New(c)
	if err != nil {
		p.t.Fatal(err)
	}
	return w
}

// anonymous returns the memory of the process that is not a mapped file, in bytes: the store's file is mapped, and its pages are the
// system's to take.
func (p *process) anonymous() int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Skipf("the memory of a process cannot be read here: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return kib << 10
		}
	}
	p.t.Fatal("no RssAnon")
	return 0
}

// metric returns the sum of a metric over its labels.
func (p *process) metric(client *http.Client, name string) float64 {
	p.t.Helper()
	response, err := client.Get(p.URL + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	sum, found := 0.0, false
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		series, value, ok := strings.Cut(lines.Text(), " ")
		if base, _, _ := strings.Cut(series, "{"); !ok || base != name {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		sum, found = sum+v, true
	}
	if !found {
		p.t.Fatalf("there is no metric %s", name)
	}
	return sum
}

// output collects what a process says, up to a bound.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b[:min(len(b), max(0, 256<<10-len(o.text)))]...)
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// number reads a positive number from the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, not a positive number", name, text)
	}
	return n
}

// eventually fails the test when a condition does not come true in time.
func eventually(t *testing.T, within time.Duration, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v not yet: %s", within, what)
		}
	}
}
