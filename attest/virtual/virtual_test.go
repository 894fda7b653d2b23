package virtual

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-sev-guest/verify/testdata"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

var (
	now      = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	digest48 = []byte("0123456789abcdef0123456789abcdef0123456789abcdef")
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func input(evidence []byte) attest.Input {
	return attest.Input{Evidence: evidence, Binding: attest.BoundTo(digest48), Time: now}
}

func wantCode(tb testing.TB, err error, code attest.Code) {
	tb.Helper()
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		tb.Errorf("error %v, want %s", err, code)
	}
}

func TestDevice(t *testing.T) {
	root := must(NewRoot(rand.Reader, now))
	v := must(NewVerifier(root.Certificate()))
	init := &attest.InitData{Algorithm: "sha256", Digest: bytes.Repeat([]byte{5}, 32), Data: map[string]string{"a": "b"}}
	cfg := Config{VMPL: 1, GuestSVN: 3, Debug: true, HostData: must(snp.HostData(init))}
	copy(cfg.Measurement[:], "measurement")
	d := must(root.NewDevice(rand.Reader, now, cfg))
	in := input(must(d.Evidence(rand.Reader, digest48)))
	in.Init = init
	claims, err := v.Verify(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if claims.Kind != attest.Virtual || claims.HardwareRoot != attest.RootVirtual || !*claims.Bound || !*claims.Debug || *claims.VMPL != 1 ||
		*claims.MigrationAgent || !*claims.InitDataBound || claims.SNP.GuestSVN != 3 || claims.SNP.ChipID == "" ||
		!strings.HasPrefix(claims.Measurement, "6d6561737572656d656e74") || !claims.Collateral.Current {
		t.Errorf("claims %+v %+v", claims, claims.SNP)
	}
}

// TestApart: evidence of one kind is refused by the other's verifier.
func TestApart(t *testing.T) {
	root := must(NewRoot(rand.Reader, now))
	d := must(root.NewDevice(rand.Reader, now, Config{}))
	hardware := must(snp.New(snp.Config{}))
	_, err := hardware.Verify(t.Context(), input(must(d.Evidence(rand.Reader, digest48))))
	wantCode(t, err, attest.CodeCertUntrusted)

	real := append(bytes.Clone(testdata.AttestationBytes), snp.Certificates{VCEK: testdata.VcekBytes}.Table()...)
	in := attest.Input{Evidence: real, Binding: attest.Unbound(), Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	if _, err := hardware.Verify(t.Context(), in); err != nil {
		t.Fatalf("the real report is not good: %v", err)
	}
	v := must(NewVerifier(root.Certificate()))
	_, err = v.Verify(t.Context(), in)
	wantCode(t, err, attest.CodeCertUntrusted)
}

func TestRefusals(t *testing.T) {
	root, other := must(NewRoot(rand.Reader, now)), must(NewRoot(rand.Reader, now))
	d := must(root.NewDevice(rand.Reader, now, Config{}))
	v := must(NewVerifier(root.Certificate()))
	evidence := must(d.Evidence(rand.Reader, digest48))

	in := input(evidence)
	in.Binding = attest.BoundTo([]byte("other"))
	_, err := v.Verify(t.Context(), in)
	wantCode(t, err, attest.CodeBinding)
	in = input(evidence)
	in.Time = now.AddDate(6, 0, 0)
	_, err = v.Verify(t.Context(), in)
	wantCode(t, err, attest.CodeCertExpired)
	_, err = v.Verify(t.Context(), input(evidence[:snp.ReportSize]))
	wantCode(t, err, attest.CodeCertMissing)

	// A root of the same name, as every development root has it.
	foreign := must(other.NewDevice(rand.Reader, now, Config{}))
	_, err = v.Verify(t.Context(), input(must(foreign.Evidence(rand.Reader, digest48))))
	wantCode(t, err, attest.CodeCertUntrusted)

	// A device's key must not certify further devices.
	intermediate := &Root{key: d.key, cert: d.cert}
	if fake, err := intermediate.NewDevice(rand.Reader, now, Config{}); err == nil {
		_, err = v.Verify(t.Context(), input(must(fake.Evidence(rand.Reader, digest48))))
		wantCode(t, err, attest.CodeCertUntrusted)
	}

	// Another chip or TCB than the certificate's.
	moved := must(d.With(func(*Config) {}))
	moved.cfg.ChipID[0]++
	_, err = v.Verify(t.Context(), input(must(moved.Evidence(rand.Reader, digest48))))
	wantCode(t, err, attest.CodeCertMismatch)
	raised := must(d.With(func(*Config) {}))
	raised.cfg.TCB.SNP++
	_, err = v.Verify(t.Context(), input(must(raised.Evidence(rand.Reader, digest48))))
	wantCode(t, err, attest.CodeCertMismatch)

	if _, err := NewVerifier(d.cert); err == nil {
		t.Error("a device's certificate was taken for a root")
	}
	if _, err := NewVerifier(nil); err == nil {
		t.Error("no root was taken for one")
	}
}

// TestEveryBitOfReport: no flip in the report or the certificate passes.
func TestEveryBitOfReport(t *testing.T) {
	root := must(NewRoot(rand.Reader, now))
	d := must(root.NewDevice(rand.Reader, now, Config{}))
	v := must(NewVerifier(root.Certificate()))
	evidence := must(d.Evidence(rand.Reader, digest48))
	for at := 0; at < len(evidence); at += mutate.Stride(1) {
		flipped := bytes.Clone(evidence)
		flipped[at] ^= 1 << (at % 8)
		if _, err := v.Verify(t.Context(), input(flipped)); err == nil {
			t.Errorf("byte %#x of %#x changed and the evidence passed", at, len(evidence))
		}
	}
}

func TestSave(t *testing.T) {
	root := must(NewRoot(rand.Reader, now))
	root = must(ParseRoot(must(root.Marshal())))
	dir := filepath.Join(t.TempDir(), "device")
	d := must(root.NewDevice(rand.Reader, now, Config{GuestSVN: 9}))
	for range 2 { // the second replaces
		if err := d.Save(dir); err != nil {
			t.Fatal(err)
		}
	}
	files := must(os.ReadDir(dir))
	if len(files) != 2 {
		t.Errorf("%d files", len(files))
	}
	for _, f := range files {
		if mode := must(f.Info()).Mode(); mode != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), mode)
		}
	}
	loaded := must(LoadDevice(dir))
	if loaded.cfg != d.cfg || loaded.reportID != d.reportID {
		t.Error("another device was loaded")
	}
	v := must(NewVerifier(root.Certificate()))
	if _, err := v.Verify(t.Context(), input(must(loaded.Evidence(rand.Reader, digest48)))); err != nil {
		t.Error(err)
	}
	name := filepath.Join(dir, fileConfig)
	text := string(must(os.ReadFile(name)))
	for what, edited := range map[string]string{
		"unknown member": strings.Replace(text, `"debug"`, `"more": 1, "debug"`, 1),
		"short":          strings.Replace(text, `"measurement": "00`, `"measurement": "`, 1),
		"other TCB":      strings.Replace(text, `"SNP": 23`, `"SNP": 24`, 1),
		"trailing":       text + "{}",
		"VMPL":           strings.Replace(text, `"vmpl": 0`, `"vmpl": 4`, 1),
	} {
		if edited == text {
			t.Fatalf("%s: nothing was edited", what)
		}
		if err := os.WriteFile(name, []byte(edited), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadDevice(dir); err == nil {
			t.Errorf("%s: loaded", what)
		}
	}
	if _, err := LoadDevice(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
	pem := must(root.Marshal())
	for _, bad := range [][]byte{nil, pem[:len(pem)/2], append(bytes.Clone(pem), "more"...), must(marshalPair(d.key, d.cert))} {
		if _, err := ParseRoot(bad); err == nil {
			t.Errorf("a root was read from %q", bad)
		}
	}
}

func TestDeviceConfig(t *testing.T) {
	root := must(NewRoot(rand.Reader, now))
	for _, cfg := range []Config{{VMPL: 4}, {TCB: snp.TCB{FMC: 1}}} {
		if _, err := root.NewDevice(rand.Reader, now, cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	d := must(root.NewDevice(rand.Reader, now, Config{}))
	if _, err := d.Evidence(rand.Reader, make([]byte, 65)); err == nil {
		t.Error("65 bytes of report data were accepted")
	}
	if _, err := NewRoot(bytes.NewReader(nil), now); err == nil {
		t.Error("a root was made without randomness")
	}
}

func TestMutations(t *testing.T) {
	root := must(NewRoot(rand.Reader, now))
	d := must(root.NewDevice(rand.Reader, now, Config{}))
	v := must(NewVerifier(root.Certificate()))
	good := must(d.Evidence(rand.Reader, digest48))
	mutate.Run(t, [][]byte{good}, func(t *testing.T, data []byte) {
		claims, err := v.Verify(t.Context(), input(data))
		var refusal *attest.Refusal
		if err != nil && !errors.As(err, &refusal) {
			t.Fatalf("an error of another kind: %v", err)
		}
		// What passes is the good report with its certificate; bytes of the table that nothing points to may differ.
		if err == nil && (!bytes.Equal(data[:snp.ReportSize], good[:snp.ReportSize]) || claims.SNP == nil) {
			t.Fatal("a report that was changed passed")
		}
	})
}
