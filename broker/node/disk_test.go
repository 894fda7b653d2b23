//go:build linux

package node_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/kbs/kbstest"
	"github.com/vouchsafe/vouchsafe/client"
)

// smallDisk returns a folder with a file system of its own.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=48m,mode=0700"); err != nil {
		t.Skipf("cannot mount a small file system (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// httpClient returns a client that trusts the broker and has connections of its own, of HTTP/1.1.
func (p *process) httpClient() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 256}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// ready returns the status of the readiness probe.
func (p *process) ready(c *http.Client) int {
	p.t.Helper()
	response, err := c.Get(p.URL + "/readyz")
	if err != nil {
		p.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// TestDiskFull fills the file system under a broker while workloads ask for secrets by both protocols: each answer is a secret whose
// decision is in the log, or 503 with Retry-After. With space again everything works as before.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t)
	dir := filepath.Join(disk, "broker")
	l := newLoad(11)
	p := start(t, dir)
	if err := l.prepare(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	p.kill()
	look := newInspector(t, dir)
	p = start(t, dir)
	c := p.httpClient()
	for _, name := range crashSecrets {
		if _, err := p.admin().PutSecret(t.Context(), wire.SecretPut{SecretName: wire.SecretName{Name: name}, Value: []byte(name)}); err != nil {
			t.Fatal(err)
		}
		l.secrets[name].known = secretState{current: 1, last: 1, values: map[uint64][]byte{1: []byte(name)}}
	}
	for range 2 {
		until := make(chan struct{})
		refused := askUntil(t, p, l, until)
		received := l.releasedSoFar()
		more := func() bool { return l.releasedSoFar() > received+20 }
		eventually(t, 30*time.Second, "secrets are released", more)
		filler := fill(t, filepath.Join(disk, "filler"))
		eventually(t, 30*time.Second, "the broker refuses by both protocols", func() bool { return refused.least() > 10 })
		eventually(t, 10*time.Second, "it says that it is not ready", func() bool { return p.ready(c) == http.StatusServiceUnavailable })
		putRefused(t, p.admin())
		if _, err := p.admin().Secret(t.Context(), crashSecrets[0]); err != nil {
			t.Errorf("reading on a full disk: %v", err)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		received = l.releasedSoFar()
		eventually(t, 30*time.Second, "secrets are released again", more)
		close(until)
		refused.workers.Wait()
		eventually(t, 10*time.Second, "it is ready again", func() bool { return p.ready(c) == http.StatusOK })
		if got, err := p.workload(nil).Fetch(t.Context(), crashSecrets[0]); err != nil || string(got[0].Value) != crashSecrets[0] {
			t.Fatalf("with space again: %v", err)
		}
		t.Logf("503 to %d native releases and %d of KBS", refused.native, refused.kbs)
	}
	p.kill()
	look.inspect(l)
	t.Logf("%d releases received, each in the log", len(l.releases))
}

// putRefused holds that a secret cannot be written, and that the answer says so and when to come back.
func putRefused(t *testing.T, c *admin.Client) {
	t.Helper()
	_, err := c.PutSecret(t.Context(), wire.SecretPut{SecretName: wire.SecretName{Name: "full/app/it"}, Value: make([]byte, 512<<10)})
	var refused *admin.Error
	if !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable || refused.RetryAfter == 0 {
		t.Errorf("a write on a full disk: %v", err)
	}
}

// refusals counts the answers 503.
type refusals struct {
	workers     sync.WaitGroup
	mu          sync.Mutex
	native, kbs int
}

func (r *refusals) least() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return min(r.native, r.kbs)
}

func (r *refusals) add(n *int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n++
}

// askUntil has workloads ask all the time, and fails the test at any answer but a secret or 503 with Retry-After.
func askUntil(t *testing.T, p *process, l *load, until <-chan struct{}) *refusals {
	t.Helper()
	r := &refusals{}
	l.p = p
	l.client = func() *http.Client {
		c := p.httpClient()
		c.Transport = &witness{l, &politeness{t, c.Transport}}
		return c
	}
	ask := func(step func(context.Context) error, count *int, unavailable func(error) bool) {
		r.workers.Go(func() {
			for {
				select {
				case <-until:
					return
				default:
				}
				switch err := step(t.Context()); {
				case err == nil:
				case unavailable(err):
					r.add(count)
				default:
					t.Errorf("on a full disk: %v", err)
					return
				}
			}
		})
	}
	for range 2 {
		ask(l.fetch(envelope.X25519), &r.native, func(err error) bool { return errors.Is(err, client.ErrUnavailable) })
		ask(l.fetchKBS(), &r.kbs, func(err error) bool {
			var refused *kbstest.Error
			return errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable
		})
	}
	return r
}

// politeness holds that every answer of 500 and over is a 503 that says when to come back.
type politeness struct {
	t    *testing.T
	base http.RoundTripper
}

func (p *politeness) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := p.base.RoundTrip(r)
	if err == nil && response.StatusCode >= 500 {
		if after, err := strconv.Atoi(response.Header.Get("Retry-After")); response.StatusCode != 503 || err != nil || after < 1 {
			p.t.Errorf("%s: status %d with Retry-After %q", r.URL.Path, response.StatusCode, response.Header.Get("Retry-After"))
		}
	}
	return response, err
}

// fill writes a file until there is no space.
func fill(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = file.Write(block)
	}
	if closed := file.Close(); !errors.Is(err, syscall.ENOSPC) || closed != nil {
		t.Fatal(err, closed)
	}
	return path
}

// TestReadOnlyDisk takes a running broker's right to write to any file, which is what a disk that turned read-only is to it, and gives it
// back.
func TestReadOnlyDisk(t *testing.T) {
	p := start(t, filepath.Join(t.TempDir(), "broker"))
	c := p.httpClient()
	w := p.workload(nil)
	fetch := func() error {
		got, err := w.Fetch(t.Context(), p.Secret)
		if err == nil && !bytes.Contains(got[0].Value, []byte("horse")) {
			t.Fatalf("released %q", got[0].Value)
		}
		return err
	}
	if err := fetch(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p.limitFiles(0)
		for range 10 {
			if err := fetch(); !errors.Is(err, client.ErrUnavailable) {
				t.Fatalf("without the right to write: %v", err)
			}
		}
		putRefused(t, p.admin())
		if status := p.ready(c); status != http.StatusServiceUnavailable {
			t.Errorf("readiness is %d", status)
		}
		p.limitFiles(unix.RLIM_INFINITY)
		if status := p.ready(c); status != http.StatusOK {
			t.Errorf("readiness is %d with the right to write again", status)
		}
		if err := fetch(); err != nil {
			t.Fatalf("with the right to write again: %v", err)
		}
	}
	p.kill()
}

// limitFiles sets up to which offset the process may write to files.
func (p *process) limitFiles(most uint64) {
	p.t.Helper()
	limit := unix.Rlimit{Cur: most, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		p.t.Skipf("limits of another process cannot be set here: %v", err)
	}
}

// TestReadOnlyStart starts a broker on a file system that is mounted for reading: it says so. Writable again, it starts.
func TestReadOnlyStart(t *testing.T) {
	disk := smallDisk(t)
	dir := filepath.Join(disk, "broker")
	p := start(t, dir)
	p.kill()
	remount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT|flags, "size=48m,mode=0700"); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	refused := spawn(t, dir)
	if err := refused.cmd.Wait(); err == nil || !strings.Contains(refused.stderr.String(), "read-only file system") {
		t.Errorf("on a read-only disk: %v, %s", err, refused.stderr)
	}
	remount(0)
	p = start(t, dir)
	if _, err := p.workload(nil).Fetch(t.Context(), p.Secret); err != nil {
		t.Errorf("writable again: %v", err)
	}
	p.kill()
}
