package azuredevice

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure"
)

// TestEvidence collects on a machine, and verifies as a broker does.
func TestEvidence(t *testing.T) {
	for _, kind := range []attest.Kind{attest.AzSNPvTPM, attest.AzTDXvTPM} {
		m := newMachine(t, kind)
		m.soft.Extend(crypto.SHA256, 11, bytes.Repeat([]byte{3}, 32))
		for name, test := range map[string]struct {
			config Config
			delay  int
			layout int
		}{
			"a paravisor that knows user data": {Config{}, 0, 2},
			"one that takes its time":          {Config{Layout: 2}, 3, 2},
			"one that does not":                {Config{Wait: time.Millisecond}, -1, 1},
			"one that is not asked":            {Config{Layout: 1}, 0, 1},
		} {
			t.Run(string(kind)+"/"+name, func(t *testing.T) {
				m.t = t
				m.with(func(tpm transport.TPM) { m.report(tpm, nil) })
				test.config.Metadata = m.imds()
				d, _, err := m.open(test.config, test.delay)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				if d.Kind() != kind {
					t.Errorf("a machine of kind %s", d.Kind())
				}
				evidence, err := d.Evidence(t.Context(), digest)
				if err != nil {
					t.Fatal(err)
				}
				if d.ignored != (test.config.Layout == 0 && test.layout == 1) {
					t.Error("whether the paravisor ignores user data is not remembered as it was found")
				}
				claims, err := m.verify(evidence, digest)
				if err != nil {
					t.Fatal(err)
				}
				want := sha256.Sum256(append(make([]byte, 32), bytes.Repeat([]byte{3}, 32)...))
				if claims.Kind != kind || claims.Azure.LayoutVersion != test.layout || claims.Azure.UserDataBound != (test.layout == 2) ||
					claims.TPM.PCRs[11] != hex.EncodeToString(want[:]) || claims.ReportData != hex.EncodeToString(digest) {
					t.Errorf("claims %+v\n%+v\n%+v", claims, claims.Azure, claims.TPM)
				}
				// For another nonce it is nothing, and the next is as good as the first.
				other := bytes.Repeat([]byte{7}, 48)
				var refusal *attest.Refusal
				if _, err := m.verify(evidence, other); !errors.As(err, &refusal) || refusal.Code != attest.CodeBinding {
					t.Errorf("relayed: %v", err)
				}
				if test.layout == 1 {
					return
				}
				evidence, err = d.Evidence(t.Context(), other)
				if err == nil {
					_, err = m.verify(evidence, other)
				}
				if err != nil {
					t.Errorf("another nonce: %v", err)
				}
			})
		}
		m.t = t
		if kind == attest.AzTDXvTPM {
			testWithoutHost(t, m)
		}
	}
}

// testWithoutHost has a TDX machine whose host makes no quotes.
func testWithoutHost(t *testing.T, m *machine) {
	if _, _, err := m.open(Config{}, 0); err == nil {
		t.Error("a TDX machine without a metadata service")
	}
	d, _, err := m.open(Config{Layout: 1, Metadata: m.imds()}, 0)
	if err != nil {
		t.Fatal(err)
	}
	m.host.Close()
	if _, err := d.Evidence(t.Context(), digest); err == nil {
		t.Error("evidence without a quote")
	}
}

// TestRefuses has machines and requests that no evidence can be made of.
func TestRefuses(t *testing.T) {
	m := newMachine(t, attest.AzSNPvTPM)
	for want, config := range map[string]Config{"layout 3": {Layout: 3}, "layout -1": {Layout: -1}, "a wait of -1": {Wait: -1}} {
		if _, err := Open(t.Context(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v is a configuration: %v", config, err)
		}
	}
	d, p, err := m.open(Config{Layout: 2, Wait: 10 * time.Millisecond, Metadata: m.imds()}, -1)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 20, 31, 49, 64} {
		if _, err := d.Evidence(t.Context(), make([]byte, size)); err == nil {
			t.Errorf("a digest of %d bytes", size)
		}
	}
	if _, err := d.Evidence(t.Context(), digest); !errors.Is(err, errNotReissued) {
		t.Errorf("a paravisor that does not answer: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := d.Evidence(ended, digest); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ended: %v", err)
	}
	// The report that the paravisor makes is about something else, or damaged for good.
	p.delay, d.config.Wait = 0, 300*time.Millisecond
	p.tamper = func([]byte) []byte { return m.hclReport(m.ak, []byte("else")) }
	if _, err := d.Evidence(t.Context(), digest); !errors.Is(err, errNotReissued) {
		t.Errorf("a report about something else: %v", err)
	}
	p.delay = 0
	p.tamper = func(b []byte) []byte { b[1300] ^= 1; return b }
	if _, err := d.Evidence(t.Context(), digest); err == nil {
		t.Error("a damaged report was presented")
	}
	// A report about a key that the TPM has not.
	p.delay = 0
	p.tamper = func([]byte) []byte {
		other, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		return m.hclReport(&other.PublicKey, digest)
	}
	m.report(d.tpm, nil)
	if _, err := d.Evidence(t.Context(), digest); err == nil || !strings.Contains(err.Error(), "not the one in the HCL report") {
		t.Errorf("another key: %v", err)
	}
}

// TestOpen opens by address, and reads the event log.
func TestOpen(t *testing.T) {
	m := newMachine(t, attest.AzSNPvTPM)
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, []byte("log"), 0o600); err != nil {
		t.Fatal(err)
	}
	collect := func(config Config) (*azure.Evidence, error) {
		config.Device, config.Layout = m.soft.Addr(), 1
		d, err := Open(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		text, err := d.Evidence(t.Context(), digest)
		if err != nil {
			return nil, err
		}
		return azure.ParseEvidence(d.Kind(), text)
	}
	if e, err := collect(Config{}); err != nil || e.EventLog != nil || e.AKPublic == nil || e.VCEK != nil {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err := collect(Config{EventLog: log}); err != nil || string(e.EventLog) != "log" {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := collect(Config{EventLog: log + "-absent"}); err == nil {
		t.Error("a log that was asked for is not there, and nobody says so")
	}
	if err := os.WriteFile(log, make([]byte, maxEventLog+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := collect(Config{EventLog: log}); err == nil {
		t.Error("a log that no broker reads")
	}
	testOddIndexes(t, m)
}

// testOddIndexes has indexes of other sizes than the paravisor's, and then none.
func testOddIndexes(t *testing.T, m *machine) {
	m.with(func(device transport.TPM) {
		_, err := tpm2.NVDefineSpace{AuthHandle: owner(), PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
			NVIndex: userDataIndex, NameAlg: tpm2.TPMAlgSHA256, DataSize: 32, Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true},
		})}.Execute(device)
		if err != nil {
			t.Fatal(err)
		}
	})
	d, _, err := m.open(Config{Layout: 2}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Evidence(t.Context(), digest); err == nil {
		t.Error("user data in an index that it does not fit")
	}
	if _, err := d.readNV(hclReportIndex, indexSize-1); err == nil {
		t.Error("an index over the limit")
	}
	area, err := tpm2.NVReadPublic{NVIndex: hclReportIndex}.Execute(d.tpm)
	if err == nil {
		_, err = tpm2.NVUndefineSpace{AuthHandle: owner(), NVIndex: tpm2.NamedHandle{Handle: hclReportIndex, Name: area.NVName}}.Execute(d.tpm)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := d.detect(); err == nil || !strings.Contains(err.Error(), "no confidential VM") {
		t.Errorf("a TPM without an HCL report: %v", err)
	}
	if _, err := Open(t.Context(), Config{Device: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a device that is not there")
	}
}

func TestIMDS(t *testing.T) {
	m := &machine{t: t}
	m.host = httptest.NewServer(http.HandlerFunc(m.serve))
	defer m.host.Close()
	for _, address := range []string{"169.254.169.254", "ftp://x", "http://user@x", "http://x/?y"} {
		if _, err := NewIMDS(IMDSConfig{Address: address}); err == nil {
			t.Errorf("%s is an address", address)
		}
	}
	if imds, err := NewIMDS(IMDSConfig{}); err != nil || imds.base != DefaultIMDS || imds.http.Transport.(*http.Transport).Proxy != nil {
		t.Errorf("the default: %v, %v", imds, err)
	}
	m.vcek = []byte{1, 2}
	if vcek, err := m.imds().VCEK(t.Context()); err != nil || !bytes.Equal(vcek, m.vcek) {
		t.Errorf("%x, %v", vcek, err)
	}
	if _, err := m.imds().TDQuote(t.Context(), make([]byte, 10)); err == nil || !strings.Contains(err.Error(), "status 400") {
		t.Errorf("a report that is none: %v", err)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"nothing":   func(http.ResponseWriter, *http.Request) {},
		"no JSON":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) },
		"no member": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) },
		"rubbish":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"vcekCert":"x","quote":"+"}`)) },
		"a key": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"vcekCert":"-----BEGIN KEY-----\nAAEC\n-----END KEY-----\n"}`))
		},
		"twice": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"quote":"AAAA","quote":"AAAA"}`))
		},
		"too much": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"quote":"` + strings.Repeat("A", maxAnswer) + `"}`))
		},
		"large": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"quote":"` + strings.Repeat("A", 24<<10) + `"}`))
		},
		"busy": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"somewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, m.host.URL+r.URL.Path, http.StatusTemporaryRedirect)
		},
		"closed early": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = w.Write([]byte("{"))
		},
	} {
		server := httptest.NewServer(answer)
		imds, err := NewIMDS(IMDSConfig{Address: server.URL, HTTP: server.Client()})
		if err != nil {
			t.Fatal(err)
		}
		before := m.requests.Load()
		if b, err := imds.VCEK(t.Context()); err == nil {
			t.Errorf("%s: a certificate %x", name, b)
		}
		if b, err := imds.TDQuote(t.Context(), make([]byte, 1024)); err == nil {
			t.Errorf("%s: a quote %x", name, b)
		}
		if m.requests.Load() != before {
			t.Errorf("%s: a redirect was followed", name)
		}
		server.Close()
		if _, err := imds.VCEK(t.Context()); err == nil {
			t.Error("a host that does not answer")
		}
	}
}
