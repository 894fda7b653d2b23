package tdxdevice

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/faketsm"
	eventlogs "github.com/google/go-eventlog/testdata"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// machine is a configfs-tsm that gives quotes which nobody signed.
type machine struct {
	*faketsm.ReportSubsystem
	provider string
	quote    func(data []byte) []byte
}

func newMachine() *machine {
	m := &machine{ReportSubsystem: faketsm.ReportV7(0), provider: "tdx_guest\n", quote: func(data []byte) []byte { return quoteOf(4, data) }}
	m.ReadAttr = func(e *faketsm.ReportEntry, attribute string) ([]byte, error) {
		switch attribute {
		case "provider":
			return []byte(m.provider), nil
		case "outblob":
			return m.quote(e.InAttrs["inblob"].Value), nil
		}
		return nil, os.ErrNotExist // as on TDX: there is no auxblob
	}
	return m
}

// quoteOf returns a quote of a version with data in its place, and some bytes of a signature.
func quoteOf(version int, data []byte) []byte {
	quote := make([]byte, headerSize+bodyHeaderSize+bodySize+100)
	binary.LittleEndian.PutUint16(quote, uint16(version))
	binary.LittleEndian.PutUint32(quote[4:], teeTypeTDX)
	at := headerSize + reportDataOffset
	if version == 5 {
		at += bodyHeaderSize
	}
	copy(quote[at:], data)
	return quote
}

func (m *machine) open(t *testing.T, log string) *Device {
	t.Helper()
	d, err := Open(t.Context(), Config{TSM: &faketsm.Client{Subsystems: map[string]configfsi.Client{"report": m}}, EventLog: log})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEvidence(t *testing.T) {
	log := filepath.Join(t.TempDir(), "CCEL")
	if err := os.WriteFile(log, eventlogs.Cos101AmdSevEventLog, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, version := range []int{4, 5} {
		m := newMachine()
		m.quote = func(data []byte) []byte { return quoteOf(version, data) }
		for _, size := range []int{32, 48, 64} {
			digest := bytes.Repeat([]byte{7}, size)
			evidence, err := m.open(t, log).Evidence(t.Context(), digest)
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Quote    []byte `json:"quote"`
				EventLog []byte `json:"cc_eventlog"`
			}
			if err := json.Unmarshal(evidence, &got); err != nil {
				t.Fatal(err)
			}
			padded := append(digest, make([]byte, 64-size)...)
			if !bytes.Equal(got.Quote, quoteOf(version, padded)) || !bytes.Equal(got.EventLog, eventlogs.Cos101AmdSevEventLog) {
				t.Errorf("version %d, %d bytes: a quote of %d bytes and a log of %d", version, size, len(got.Quote), len(got.EventLog))
			}
		}
		if len(m.Entries) != 0 {
			t.Errorf("%d directories were left behind", len(m.Entries))
		}
	}
}

// TestWithoutLog: null, as guests of Confidential Containers have it.
func TestWithoutLog(t *testing.T) {
	evidence, err := newMachine().open(t, NoEventLog).Evidence(t.Context(), make([]byte, 48))
	if err != nil || !bytes.HasSuffix(evidence, []byte(`","cc_eventlog":null}`)) {
		t.Errorf("%.100s, %v", evidence, err)
	}
	if _, err := os.Stat(DefaultEventLog); err != nil {
		if evidence, err = newMachine().open(t, "").Evidence(t.Context(), make([]byte, 48)); err != nil || !bytes.HasSuffix(evidence, []byte(`null}`)) {
			t.Errorf("a machine without a table: %.100s, %v", evidence, err)
		}
	}
	if _, err := newMachine().open(t, "/nonexistent/CCEL").Evidence(t.Context(), make([]byte, 48)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a log that was named and is not there: %v", err)
	}
	large := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(large, make([]byte, 512<<10+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newMachine().open(t, large).Evidence(t.Context(), make([]byte, 48)); err == nil || !strings.Contains(err.Error(), "the most") {
		t.Errorf("a log without end: %v", err)
	}
}

func TestRefuses(t *testing.T) {
	m := newMachine()
	d := m.open(t, NoEventLog)
	if d.Kind() != attest.TDX {
		t.Errorf("kind %q", d.Kind())
	}
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
	good := quoteOf(4, append([]byte{1}, make([]byte, 63)...))
	for _, test := range []struct {
		name, want string
		quote      func() []byte
	}{
		{"empty", "quote generation service", func() []byte { return nil }},
		{"short", "bytes", func() []byte { return good[:headerSize+bodyHeaderSize+bodySize-1] }},
		{"long", "bytes", func() []byte { return append(good, make([]byte, maxQuote)...) }},
		{"of SGX", "TEE type", func() []byte { b := bytes.Clone(good); b[4] = 0; return b }},
		{"of version 3", "version 3", func() []byte { b := bytes.Clone(good); b[0] = 3; return b }},
		{"about something else", "other data", func() []byte { b := bytes.Clone(good); b[headerSize+reportDataOffset] ^= 1; return b }},
		{"with data after the digest", "other data", func() []byte { b := bytes.Clone(good); b[headerSize+reportDataOffset+63] ^= 1; return b }},
		{"of version 5 laid out as 4", "other data", func() []byte { b := bytes.Clone(good); b[0] = 5; return b }},
	} {
		m.quote = func([]byte) []byte { return test.quote() }
		if _, err := d.Evidence(t.Context(), []byte{1}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if len(m.Entries) != 0 {
		t.Errorf("%d directories were left behind", len(m.Entries))
	}
	m.provider = "sev_guest"
	if _, err := d.Evidence(t.Context(), []byte{1}); err == nil || !strings.Contains(err.Error(), "sev_guest") {
		t.Errorf("the hardware changed: %v", err)
	}
	if _, err := Open(t.Context(), Config{TSM: &faketsm.Client{Subsystems: map[string]configfsi.Client{"report": m}}}); err == nil {
		t.Error("a guest of SEV-SNP passed")
	}
}

// TestRealQuote: the layout is that of a real quote.
func TestRealQuote(t *testing.T) {
	quote := vectors.Read(t, "tdx/quote-v4.dat")
	data := quote[headerSize+reportDataOffset:][:reportDataSize]
	if err := check(quote, data); err != nil {
		t.Error(err)
	}
	other := bytes.Clone(data)
	other[0] ^= 1
	if err := check(quote, other); err == nil {
		t.Error("other report data passed")
	}
}
