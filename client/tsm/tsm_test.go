package tsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/faketsm"
)

// machine is a configfs-tsm that fails on demand, as a kernel does: with an errno in a path error.
type machine struct {
	configfsi.Client
	reports *faketsm.ReportSubsystem
	fail    func(operation, attribute string) error // may be nil
}

func newMachine(provider string) *machine {
	reports := faketsm.ReportV7(0)
	fallback := reports.ReadAttr
	reports.ReadAttr = func(e *faketsm.ReportEntry, attribute string) ([]byte, error) {
		if attribute == "provider" {
			return []byte(provider + "\n"), nil
		}
		return fallback(e, attribute)
	}
	return &machine{Client: &faketsm.Client{Subsystems: map[string]configfsi.Client{"report": reports}}, reports: reports}
}

func (m *machine) failing(operation, name string) error {
	if m.fail == nil {
		return nil
	}
	if err := m.fail(operation, path.Base(name)); err != nil {
		return &fs.PathError{Op: operation, Path: name, Err: err}
	}
	return nil
}

func (m *machine) MkdirTemp(dir, pattern string) (string, error) {
	if err := m.failing("mkdir", dir); err != nil {
		return "", err
	}
	return m.Client.MkdirTemp(dir, pattern)
}

func (m *machine) ReadFile(name string) ([]byte, error) {
	if err := m.failing("read", name); err != nil {
		return nil, err
	}
	return m.Client.ReadFile(name)
}

func (m *machine) WriteFile(name string, content []byte) error {
	if err := m.failing("write", name); err != nil {
		return err
	}
	return m.Client.WriteFile(name, content)
}

// client returns a client of the machine, and the pauses it made.
func (m *machine) client(t *testing.T) (*Client, *[]time.Duration) {
	t.Helper()
	pauses := new([]time.Duration)
	c, err := New(Config{FS: m, Sleep: func(ctx context.Context, d time.Duration) error {
		*pauses = append(*pauses, d)
		return ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c, pauses
}

func (m *machine) clean(t *testing.T) {
	t.Helper()
	if len(m.reports.Entries) != 0 {
		t.Errorf("%d directories were left behind", len(m.reports.Entries))
	}
}

func TestGet(t *testing.T) {
	m := newMachine("sev_guest")
	c, pauses := m.client(t)
	level := uint(2)
	for _, test := range []struct {
		request Request
		out     string
		aux     string
	}{
		{Request{Provider: ProviderSNP, Data: []byte{0xab}}, "privlevel: 0\ninblob: ab", ""},
		{Request{Provider: ProviderSNP, Data: bytes.Repeat([]byte{1}, 64), Aux: true}, "privlevel: 0\ninblob: " + strings.Repeat("01", 64), "auxblob"},
		{Request{Provider: ProviderSNP, Data: []byte{0xcd}, Privilege: &level}, "privlevel: 2\ninblob: cd", ""},
	} {
		report, err := c.Get(t.Context(), test.request)
		if err != nil || string(report.Out) != test.out || string(report.Aux) != test.aux {
			t.Errorf("%+v: %v, %v", test.request, report, err)
		}
	}
	if len(*pauses) != 0 {
		t.Errorf("it paused %v", *pauses)
	}
	m.clean(t)
}

func TestGetRefuses(t *testing.T) {
	m := newMachine("sev_guest")
	c, _ := m.client(t)
	four := uint(4)
	for name, request := range map[string]Request{
		"no data":               {Provider: ProviderSNP},
		"too much data":         {Provider: ProviderSNP, Data: make([]byte, 65)},
		"privilege level 4":     {Provider: ProviderSNP, Data: []byte{1}, Privilege: &four},
		"other hardware's data": {Provider: ProviderTDX, Data: []byte{1}},
		"any hardware's data":   {Data: []byte{1}},
	} {
		if report, err := c.Get(t.Context(), request); err == nil {
			t.Errorf("%s: %v", name, report)
		}
	}
	m.clean(t)
}

// TestProviderAsksNoFirmware: hosts ration reports.
func TestProviderAsksNoFirmware(t *testing.T) {
	m := newMachine("tdx_guest")
	c, _ := m.client(t)
	m.fail = func(operation, attribute string) error {
		if operation == "read" && strings.HasSuffix(attribute, "blob") {
			t.Errorf("%s was read", attribute)
		}
		return nil
	}
	if provider, err := c.Provider(t.Context()); err != nil || provider != ProviderTDX {
		t.Errorf("%q, %v", provider, err)
	}
	if err := c.Expect(t.Context(), ProviderTDX); err != nil {
		t.Error(err)
	}
	if err := c.Expect(t.Context(), ProviderSNP); err == nil || !strings.Contains(err.Error(), "tdx_guest") {
		t.Errorf("%v", err)
	}
	m.clean(t)
}

// TestPassingErrors are tried again, so often and no more.
func TestPassingErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EBUSY, syscall.EAGAIN, syscall.EINTR} {
		for _, at := range []string{"mkdir report", "write inblob", "read outblob", "read generation"} {
			m := newMachine("sev_guest")
			c, pauses := m.client(t)
			failures := 2
			m.fail = func(operation, attribute string) error {
				if operation+" "+attribute == at && failures > 0 {
					failures--
					return errno
				}
				return nil
			}
			if _, err := c.Get(t.Context(), Request{Provider: ProviderSNP, Data: []byte{1}}); err != nil {
				t.Errorf("%s: %v: %v", at, errno, err)
			}
			if want := []time.Duration{firstPause, 2 * firstPause}; !slices.Equal(*pauses, want) {
				t.Errorf("%s: %v: it paused %v", at, errno, *pauses)
			}
			failures = 1 << 30
			*pauses = nil
			if _, err := c.Get(t.Context(), Request{Provider: ProviderSNP, Data: []byte{1}}); !errors.Is(err, errno) || len(*pauses) != tries-1 {
				t.Errorf("%s: always %v: %v after %d pauses", at, errno, err, len(*pauses))
			}
			m.clean(t)
		}
	}
}

// TestFinalErrors are not tried again, and say what to do.
func TestFinalErrors(t *testing.T) {
	for _, test := range []struct {
		at    string
		errno syscall.Errno
		want  string
	}{
		{"mkdir report", syscall.ENXIO, "load the module"},
		{"mkdir report", syscall.EACCES, "run as root"},
		{"mkdir report", syscall.EPERM, "run as root"},
		{"mkdir report", syscall.ENOENT, "configfs mounted"},
		{"read outblob", syscall.EIO, "did not answer"},
		{"read outblob", syscall.ETIMEDOUT, "quote generation service"},
		{"read auxblob", syscall.EINVAL, "auxblob"},
	} {
		m := newMachine("sev_guest")
		c, pauses := m.client(t)
		m.fail = func(operation, attribute string) error {
			if operation+" "+attribute == test.at {
				return test.errno
			}
			return nil
		}
		_, err := c.Get(t.Context(), Request{Provider: ProviderSNP, Data: []byte{1}, Aux: true})
		if !errors.Is(err, test.errno) || !strings.Contains(err.Error(), test.want) || len(*pauses) != 0 {
			t.Errorf("%s: %v: %v after %d pauses", test.at, test.errno, err, len(*pauses))
		}
		m.clean(t)
	}
}

// TestIntruder: another process that writes into the request's directory must not have its data attested as ours.
func TestIntruder(t *testing.T) {
	for _, attribute := range []string{"provider", "outblob", "auxblob"} {
		m := newMachine("sev_guest")
		c, _ := m.client(t)
		times := 0
		m.fail = func(operation, name string) error {
			if operation != "read" || name != attribute {
				return nil
			}
			times++
			for entry := range m.reports.Entries {
				if err := m.reports.WriteFile(path.Join(reports, entry, "inblob"), []byte("intruder's")); err != nil {
					t.Error(err)
				}
			}
			return nil
		}
		report, err := c.Get(t.Context(), Request{Provider: ProviderSNP, Data: []byte{1}, Aux: true})
		if !errors.Is(err, errMoved) || times != tries {
			t.Errorf("%s: %v, %v after %d times", attribute, report, err, times)
		}
		m.clean(t)
	}
}

func TestTooLarge(t *testing.T) {
	m := newMachine("sev_guest")
	c, _ := m.client(t)
	m.reports.ReadAttr = func(*faketsm.ReportEntry, string) ([]byte, error) { return make([]byte, maxBlob+1), nil }
	if _, err := c.Get(t.Context(), Request{Provider: ProviderSNP, Data: []byte{1}}); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Error(err)
	}
}

func TestCancelled(t *testing.T) {
	m := newMachine("sev_guest")
	c, _ := m.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	m.fail = func(operation, _ string) error { cancel(); return syscall.EBUSY }
	if _, err := c.Get(ctx, Request{Provider: ProviderSNP, Data: []byte{1}}); !errors.Is(err, context.Canceled) {
		t.Errorf("while it waits: %v", err)
	}
	m.fail = func(string, string) error { t.Error("the kernel was asked"); return nil }
	if _, err := c.Get(ctx, Request{Provider: ProviderSNP, Data: []byte{1}}); !errors.Is(err, context.Canceled) {
		t.Errorf("before: %v", err)
	}
}

func TestConcurrent(t *testing.T) {
	m := newMachine("sev_guest")
	c, err := New(Config{FS: m})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			report, err := c.Get(t.Context(), Request{Provider: ProviderSNP, Data: []byte{byte(i)}})
			if err != nil || string(report.Out) != fmt.Sprintf("privlevel: 0\ninblob: %02x", i) {
				t.Errorf("%d: %v, %v", i, report, err)
			}
		})
	}
	group.Wait()
	m.clean(t)
}

// TestKernel asks the kernel this test runs on, which has no such interface or says so.
func TestKernel(t *testing.T) {
	c, err := New(Config{})
	if _, stat := os.Stat(reports); stat != nil {
		if err == nil || !strings.Contains(err.Error(), "Linux 6.7") {
			t.Errorf("%v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	provider, err := c.Provider(t.Context())
	t.Logf("provider %q, %v", provider, err)
}
