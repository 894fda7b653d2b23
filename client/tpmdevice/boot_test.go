package tpmdevice

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-eventlog/testdata"
	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
)

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// boot extends the TPM as a machine did that wrote the log, which is then the one the device presents.
func (b *bench) boot(t *testing.T, log []byte) Config {
	t.Helper()
	parsed, err := eventlog.Parse(log)
	if err != nil {
		t.Fatal(err)
	}
	digests := make(map[int][][]byte)
	for i := range parsed.Events {
		event := &parsed.Events[i]
		digests[event.PCR] = append(digests[event.PCR], parsed.Digest(event, crypto.SHA256))
	}
	for pcr, list := range digests {
		b.soft.Extend(crypto.SHA256, pcr, list...)
	}
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, log, 0o600); err != nil {
		t.Fatal(err)
	}
	return Config{EventLog: path}
}

func TestBootClaims(t *testing.T) {
	b := newBench(t)
	b.with(t, Config{}, func(device *Device) { b.enrol(t, device) })
	nonce := digest(t, "n", recipientA)
	for _, test := range []struct {
		name        string
		log         []byte
		secureBoot  bool
		commandLine string
	}{
		{"Ubuntu 24.04, GRUB, Secure Boot off", testdata.Ubuntu2404AmdSevSnpEventLog, false, testdata.Ubuntu2404AmdSevSnpCmdline},
		{"Container-Optimized OS 101, GRUB, Secure Boot on", testdata.Cos101AmdSevEventLog, true, testdata.Cos101AmdSevCmdline},
	} {
		t.Run(test.name, func(t *testing.T) {
			b.soft.Reboot()
			good := b.evidence(t, b.boot(t, test.log), nonce)
			claims, err := b.verify(t, good, nonce)
			if err != nil {
				t.Fatal(err)
			}
			boot := claims.Boot
			if boot == nil || boot.SecureBoot == nil || *boot.SecureBoot != test.secureBoot {
				t.Fatalf("boot claims %+v", boot)
			}
			if want := strings.TrimSuffix(test.commandLine, "\x00"); boot.CommandLine != want {
				t.Errorf("command line %q, want %q", boot.CommandLine, want)
			}
			if boot.Kernel == "" || len(boot.BootLoaders) == 0 || len(boot.PCRs) < 9 {
				t.Errorf("boot claims %+v", boot)
			}

			t.Run("command line rewritten", func(t *testing.T) {
				_, err := b.verify(t, edit(t, good, func(e *tpm.Evidence) { replace(t, e.EventLog, "console=ttyS0", "console=ttyS9") }), nonce)
				refused(t, err, attest.CodeEventLog)
			})
			t.Run("Secure Boot rewritten", func(t *testing.T) {
				name := "S\x00e\x00c\x00u\x00r\x00e\x00B\x00o\x00o\x00t\x00"
				from, to := name+"\x00", name+"\x01"
				if test.secureBoot {
					from, to = to, from
				}
				_, err := b.verify(t, edit(t, good, func(e *tpm.Evidence) { replace(t, e.EventLog, from, to) }), nonce)
				refused(t, err, attest.CodeEventLog)
			})
			t.Run("cut within an event", func(t *testing.T) {
				parsed, err := eventlog.Parse(test.log)
				if err != nil {
					t.Fatal(err)
				}
				last := parsed.Events[len(parsed.Events)-1]
				cut := bytes.LastIndex(test.log, last.Data)
				_, err = b.verify(t, edit(t, good, func(e *tpm.Evidence) { e.EventLog = e.EventLog[:cut] }), nonce)
				refused(t, err, attest.CodeMalformed)
			})
			t.Run("log of another boot", func(t *testing.T) {
				_, err := b.verify(t, edit(t, good, func(e *tpm.Evidence) { e.EventLog = testdata.Cos93AmdSevEventLog }), nonce)
				refused(t, err, attest.CodeEventLog)
			})
			t.Run("no log, no claims", func(t *testing.T) {
				claims, err := b.verify(t, edit(t, good, func(e *tpm.Evidence) { e.EventLog = nil }), nonce)
				if err != nil || claims.Boot != nil {
					t.Errorf("%v, %+v", err, claims)
				}
			})
		})
	}
}

// replace writes to over from, of the same length, wherever it is; it must be there.
func replace(t *testing.T, b []byte, from, to string) {
	t.Helper()
	count := 0
	for at := bytes.Index(b, []byte(from)); at >= 0; at = bytes.Index(b, []byte(from)) {
		copy(b[at:], to)
		count++
	}
	if count == 0 {
		t.Fatalf("%q is not in the log", from)
	}
}

func TestInitData(t *testing.T) {
	b := newBench(t)
	b.with(t, Config{}, func(device *Device) { b.enrol(t, device) })
	document := sha256.Sum256([]byte("init-data"))
	b.soft.Extend(crypto.SHA256, 8, document[:])
	nonce := digest(t, "n", recipientA)
	good := b.evidence(t, Config{}, nonce)
	verify := func(evidence, digest []byte) (*attest.Claims, error) {
		return b.verifier.Verify(t.Context(), attest.Input{
			Namespace: "default", Evidence: evidence, Binding: attest.BoundTo(nonce), Time: time.Now(),
			Init: &attest.InitData{Digest: digest, Data: map[string]string{"aa.toml": "x"}},
		})
	}
	claims, err := verify(good, document[:])
	if err != nil || !*claims.InitDataBound || claims.InitData != hexOf(document[:]) || claims.InitDataClaims["aa.toml"] != "x" {
		t.Errorf("the bound document: %+v, %v", claims, err)
	}
	claims, err = verify(good, make([]byte, 32))
	if err != nil || *claims.InitDataBound || claims.InitData != "" || claims.InitDataClaims != nil {
		t.Errorf("another document: %+v, %v", claims, err)
	}
	_, err = verify(good, make([]byte, 48))
	refused(t, err, attest.CodeInitData)
	_, err = verify(b.evidence(t, Config{Bank: "sha384"}, nonce), document[:])
	refused(t, err, attest.CodeInitData)
}

func TestOpenRefuses(t *testing.T) {
	for name, config := range map[string]Config{
		"bank":      {Device: "swtpm:unix:/nonexistent", Bank: "sha1"},
		"algorithm": {Device: "swtpm:unix:/nonexistent", Algorithm: "dsa"},
		"socket":    {Device: "swtpm:unix:/nonexistent"},
		"device":    {Device: "/dev/null/tpm"},
	} {
		if device, err := Open(t.Context(), config); err == nil {
			device.Close()
			t.Errorf("%s: opened", name)
		}
	}
	b := newBench(t)
	device := b.device(t, Config{})
	defer device.Close()
	if _, err := device.Evidence(t.Context(), make([]byte, 20)); err == nil {
		t.Error("evidence over a digest of 20 bytes")
	}
	device.config.EventLog = "/nonexistent"
	if _, err := device.Evidence(t.Context(), make([]byte, 32)); err == nil {
		t.Error("evidence without the event log that was named")
	}
}
