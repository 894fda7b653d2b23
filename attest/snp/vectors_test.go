package snp

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/validate"
	sevverify "github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/testdata"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// recorded is a time at which the real certificates are valid.
var recorded = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func inspect(tb testing.TB, cfg Config, evidence []byte) (*attest.Claims, error) {
	tb.Helper()
	v, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return v.Verify(tb.Context(), attest.Input{Evidence: evidence, Binding: attest.Unbound(), Time: recorded})
}

// milanDebug is the real Milan report of go-sev-guest, with its VCEK. Its policy allows debugging.
func milanDebug() []byte {
	return append(bytes.Clone(testdata.AttestationBytes), Certificates{VCEK: testdata.VcekBytes}.Table()...)
}

func TestGenoaVector(t *testing.T) {
	evidence := vectors.Read(t, "snp/genoa-v3-evidence.json")
	claims, err := inspect(t, Config{MinimumTCB: map[Product]TCB{Genoa: {Bootloader: 10, SNP: 23, Microcode: 25}}}, evidence)
	if err != nil {
		t.Fatal(err)
	}
	want := attest.TCBVersion{Bootloader: 10, TEE: 0, SNP: 23, Microcode: 25}
	if claims.Measurement != "6a6519d757e68c2e939c9dbbbc1828498e8de35d2766dd05f1a2cca5059d0cf4ae62a36d75c837974dd50b315506e73e" ||
		claims.SNP.ReportedTCB != want || claims.SNP.Policy != 0x30000 || claims.SNP.ReportVersion != 3 ||
		claims.SNP.Product != "Genoa" || claims.HardwareRoot != "amd-genoa" || *claims.Debug || *claims.VMPL != 0 ||
		*claims.MigrationAgent || *claims.Bound || claims.TCBStatus != "up-to-date" || !claims.SNP.SMTAllowed ||
		*claims.SNP.CPUIDModel != 160 || claims.SNP.CurrentFirmware != "1.55.40" || claims.SNP.PlatformInfo != 37 ||
		claims.SNP.IDKeyDigest != "" || !strings.HasPrefix(claims.SNP.ChipID, "371c55d6") {
		t.Errorf("claims %+v\n%+v", claims, claims.SNP)
	}
	// The report is old, so nothing fresh can match it.
	v, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.BoundTo(binding), Time: recorded})
	wantCode(t, err, attest.CodeBinding)
	field, err := hex.DecodeString(claims.ReportData)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.BoundTo(field), Time: recorded})
	if err != nil || !*bound.Bound {
		t.Errorf("with the report data it carries: %v", err)
	}
}

func TestMilanVector(t *testing.T) {
	raw, vcek := vectors.Read(t, "snp/milan-v2-report.bin"), vectors.Read(t, "snp/milan-v2-vcek.der")
	r, err := ParseReport(raw)
	if err != nil {
		t.Fatal(err)
	}
	names, err := CertificateNames(r)
	if err != nil {
		t.Fatal(err)
	}
	for source, test := range map[string]struct {
		cfg      Config
		evidence []byte
	}{
		"evidence": {Config{}, append(bytes.Clone(raw), Certificates{VCEK: vcek}.Table()...)},
		"local":    {Config{Certificates: fstest.MapFS{names[0]: {Data: vcek}}}, raw},
	} {
		claims, err := inspect(t, test.cfg, test.evidence)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(claims.Measurement, "a1f39304") || claims.Collateral.Source != source || *claims.Debug ||
			claims.SNP.CPUIDFamily != nil || claims.SNP.GuestSVN != 4 || claims.SNP.IDKeyDigest == "" ||
			claims.SNP.CurrentTCB.Microcode != 0xce || claims.SNP.ReportedTCB.Microcode != 0x73 {
			t.Errorf("claims %+v\n%+v", claims, claims.SNP)
		}
	}
}

func TestDebugMilan(t *testing.T) {
	claims, err := inspect(t, Config{}, milanDebug())
	if err != nil {
		t.Fatal(err)
	}
	if !*claims.Debug || claims.HardwareRoot != "amd-milan" {
		t.Errorf("claims %+v", claims)
	}
}

// TestOracle holds the verdict on real reports against go-sev-guest's, on good ones and on some that were changed. The Genoa
// evidence is not among them: it is from a Siena, whose model go-sev-guest does not know.
func TestOracle(t *testing.T) {
	raw, vcek := vectors.Read(t, "snp/milan-v2-report.bin"), vectors.Read(t, "snp/milan-v2-vcek.der")
	for name, seed := range map[string][]byte{
		"debug": milanDebug(),
		"milan": append(bytes.Clone(raw), Certificates{VCEK: vcek}.Table()...),
	} {
		for _, at := range []int{
			-1, 0, 0x08, 0x30, 0x34, 0x48, 0x4C, 0x50, 0x90, 0x180, 0x187, 0x188, 0x1A0, 0x1B8, 0x1EB, 0x1F8, 0x290, 0x2A0, 0x2D0,
			0x2E0, 0x330, 0x4A0, 0x4B0, 0x4B4, 0x600, 0x800,
		} {
			changed := bytes.Clone(seed)
			if at >= 0 {
				changed[at] ^= 1
			}
			_, ours := inspect(t, Config{}, changed)
			theirs := sevGuest(changed)
			if (ours == nil) != (theirs == nil) || (ours == nil) != (at < 0) {
				t.Errorf("%s, byte %#x: %v here, %v by go-sev-guest", name, at, ours, theirs)
			}
		}
	}
}

// sevGuest is go-sev-guest's verdict, of verify and of validate, which checks what verify does not.
func sevGuest(evidence []byte) error {
	a, err := abi.ReportCertsToProto(evidence)
	if err != nil {
		return err
	}
	if err := sevverify.SnpAttestation(a, &sevverify.Options{DisableCertFetching: true, Now: recorded}); err != nil {
		return err
	}
	return validate.SnpAttestation(a, &validate.Options{
		GuestPolicy: abi.SnpPolicy{SMT: true, Debug: true}, PermitProvisionalFirmware: true,
	})
}

// TestRoots holds the certificates that are built in against those of go-sev-guest.
func TestRoots(t *testing.T) {
	anchors, err := amdAnchors()
	if err != nil {
		t.Fatal(err)
	}
	theirs := map[Product][2][]byte{
		Milan: {trust.AskArkMilanVcekBytes, trust.AskArkMilanVlekBytes},
		Genoa: {trust.AskArkGenoaVcekBytes, trust.AskArkGenoaVlekBytes},
		Turin: {trust.AskArkTurinVcekBytes, trust.AskArkTurinVlekBytes},
	}
	for _, a := range anchors {
		for i, intermediate := range [][]byte{a.ask.Raw, a.asvk.Raw} {
			first, rest := pem.Decode(theirs[a.product][i])
			second, _ := pem.Decode(rest)
			if !bytes.Equal(first.Bytes, intermediate) || !bytes.Equal(second.Bytes, a.ark.Raw) {
				t.Errorf("%s differs from what go-sev-guest has", a.product)
			}
		}
	}
	// Intermediates of the wrong product, or the two kinds mixed up, are no anchor.
	for _, text := range [][]byte{milanPEM[:len(milanPEM)/2], genoaPEM, nil} {
		if _, err := parseAnchor(Milan, text); err == nil {
			t.Error("an anchor of Milan was made of something else")
		}
	}
}

// TestEveryByte changes every byte of real evidence in several ways: no change to a byte of the report, the certificate or the JSON
// that carries them passes.
func TestEveryByte(t *testing.T) {
	v, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	passes := func(data []byte) bool {
		_, err := v.Verify(t.Context(), attest.Input{Evidence: data, Binding: attest.Unbound(), Time: recorded})
		return err == nil
	}
	text := vectors.Read(t, "snp/genoa-v3-evidence.json")
	ev, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	table := ev.Certificates.Table()
	binary := append(ev.Report.Marshal(), table...)
	masks := []byte{0x01, 0x80}
	if os.Getenv("VOUCHSAFE_MUTATIONS") != "" { // the acceptance run
		masks = []byte{0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff}
	}
	for name, seed := range map[string][]byte{"binary": binary, "JSON": text} {
		if !passes(seed) {
			t.Fatalf("%s: the evidence itself does not pass", name)
		}
		for at := 0; at < len(seed); at += mutate.Stride(1) {
			for _, mask := range masks {
				changed := bytes.Clone(seed)
				changed[at] ^= mask
				if passes(changed) {
					t.Errorf("%s: byte %#x of %#x, changed by %#x, passed", name, at, len(seed), mask)
				}
			}
		}
	}
	for n := 0; n < len(binary); n += mutate.Stride(1) {
		if passes(binary[:n]) {
			t.Errorf("the first %d of %d bytes passed", n, len(binary))
		}
	}
	for n := 0; n < len(text); n += mutate.Stride(1) {
		if passes(text[:n]) {
			t.Errorf("the first %d of %d characters passed", n, len(text))
		}
	}
}
