package snpdevice

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/faketsm"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
)

// machine is a configfs-tsm whose reports are signed by a virtual device.
type machine struct {
	*faketsm.ReportSubsystem
	device *virtual.Device
	root   *virtual.Root

	provider string
	table    bool                // whether the host supplies certificates
	change   func([]byte) []byte // changes a report; may be nil
}

func newMachine(t *testing.T, floor uint) *machine {
	t.Helper()
	root, err := virtual.NewRoot(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	device, err := root.NewDevice(rand.Reader, time.Now(), virtual.Config{})
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{ReportSubsystem: faketsm.ReportV7(floor), device: device, root: root, provider: "sev_guest\n", table: true}
	fallback := m.ReadAttr
	m.ReadAttr = func(e *faketsm.ReportEntry, attr string) ([]byte, error) {
		extended := func() ([]byte, error) { return device.Evidence(rand.Reader, e.InAttrs["inblob"].Value) }
		switch attr {
		case "provider":
			return []byte(m.provider), nil
		case "outblob":
			b, err := extended()
			if err != nil {
				return nil, err
			}
			if b = b[:reportSize]; m.change != nil {
				b = m.change(b)
			}
			return b, nil
		case "auxblob":
			if !m.table {
				return nil, nil
			}
			b, err := extended()
			if err != nil {
				return nil, err
			}
			return b[reportSize:], nil
		}
		return fallback(e, attr)
	}
	return m
}

func (m *machine) tsm() configfsi.Client {
	return &faketsm.Client{Subsystems: map[string]configfsi.Client{"report": m}}
}

func (m *machine) collector(t *testing.T, vmpl *uint) *Device {
	t.Helper()
	d, err := Open(t.Context(), Config{TSM: m.tsm(), VMPL: vmpl})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestEvidence: what is collected verifies, and is bound to the digest.
func TestEvidence(t *testing.T) {
	m := newMachine(t, 0)
	d := m.collector(t, nil)
	if d.Kind() != attest.SNP {
		t.Errorf("kind %q", d.Kind())
	}
	verifier, err := virtual.NewVerifier(m.root.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{32, 48, 64} {
		digest := bytes.Repeat([]byte{7}, size)
		evidence, err := d.Evidence(t.Context(), digest)
		if err != nil {
			t.Fatal(err)
		}
		in := attest.Input{Namespace: "default", Evidence: evidence, Binding: attest.BoundTo(digest), Time: time.Now()}
		if _, err := verifier.Verify(t.Context(), in); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		in.Binding = attest.BoundTo(bytes.Repeat([]byte{8}, size))
		var refusal *attest.Refusal
		if _, err := verifier.Verify(t.Context(), in); !errors.As(err, &refusal) || refusal.Code != attest.CodeBinding {
			t.Errorf("another digest of %d bytes: %v", size, err)
		}
	}
	if len(m.Entries) != 0 {
		t.Errorf("%d directories were left behind", len(m.Entries))
	}
}

// TestOpenAsksForNoReport: hosts ration them.
func TestOpenAsksForNoReport(t *testing.T) {
	m := newMachine(t, 0)
	m.change = func([]byte) []byte { t.Error("a report was asked for"); return nil }
	m.collector(t, nil)
	m.provider = "tdx_guest\n"
	if _, err := Open(t.Context(), Config{TSM: m.tsm()}); err == nil || !strings.Contains(err.Error(), "tdx_guest") {
		t.Errorf("a guest of TDX: %v", err)
	}
	if len(m.Entries) != 0 {
		t.Errorf("%d directories were left behind", len(m.Entries))
	}
}

func TestWithoutCertificates(t *testing.T) {
	m := newMachine(t, 0)
	m.table = false
	if evidence, err := m.collector(t, nil).Evidence(t.Context(), make([]byte, 48)); err != nil || len(evidence) != reportSize {
		t.Errorf("%d bytes, %v", len(evidence), err)
	}
}

func TestEvidenceRefuses(t *testing.T) {
	m := newMachine(t, 2)
	d := m.collector(t, nil)
	for _, size := range []int{0, 65} {
		if _, err := d.Evidence(t.Context(), make([]byte, size)); err == nil {
			t.Errorf("a digest of %d bytes passed", size)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Evidence(cancelled, make([]byte, 48)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, test := range []struct {
		name, want string
		change     func()
	}{
		{"a TDX guest", "not from sev_guest", func() { m.provider = "tdx_guest\n" }},
		{"a short report", "1183 bytes", func() { m.change = func(b []byte) []byte { return b[:reportSize-1] } }},
		{"a report about something else", "other data", func() { m.change = func(b []byte) []byte { b[reportDataOffset] ^= 1; return b } }},
		{"a table without end", "certificate table", func() {
			read := m.ReadAttr
			m.ReadAttr = func(e *faketsm.ReportEntry, attr string) ([]byte, error) {
				if attr == "auxblob" {
					return make([]byte, maxTable+1), nil
				}
				return read(e, attr)
			}
		}},
	} {
		m.provider, m.change = "sev_guest\n", nil
		test.change()
		if _, err := d.Evidence(t.Context(), []byte{1}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestVMPL(t *testing.T) {
	m := newMachine(t, 2)
	above, own, none := uint(1), uint(2), uint(4)
	if _, err := m.collector(t, &above).Evidence(t.Context(), []byte{1}); err == nil {
		t.Error("asked for a level above its own")
	}
	if _, err := m.collector(t, &own).Evidence(t.Context(), []byte{1}); err != nil {
		t.Errorf("its own level: %v", err)
	}
	if _, err := Open(t.Context(), Config{TSM: m.tsm(), VMPL: &none}); err == nil {
		t.Error("VMPL 4 passed")
	}
}

func TestConcurrent(t *testing.T) {
	d := newMachine(t, 0).collector(t, nil)
	var group sync.WaitGroup
	for i := range byte(8) {
		group.Go(func() {
			digest := bytes.Repeat([]byte{i + 1}, 48)
			evidence, err := d.Evidence(t.Context(), digest)
			if err != nil || !bytes.Equal(evidence[reportDataOffset:][:48], digest) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	group.Wait()
}
