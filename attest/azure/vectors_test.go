package azure

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure/azuretest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/tdx"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// recorded is a time at which the real certificates are valid, and the collateral that is made for the real TD.
var recorded = dcaptest.Now

// realSNP returns a verifier of real machines.
func realSNP(tb testing.TB, config snp.Config) *Verifier {
	tb.Helper()
	hardware, err := snp.New(config)
	if err != nil {
		tb.Fatal(err)
	}
	v, err := New(Config{Hardware: hardware})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// vectorTDX returns the verifier that judges the real TD quote: that of package tdx, with what dcaptest says of its collateral.
func vectorTDX(tb testing.TB) *Verifier {
	tb.Helper()
	service, roots := dcaptest.RecordedAzure(dcaptest.Shared())
	hardware, err := tdx.NewTrusting(tdx.Config{Endorsements: service}, roots)
	if err != nil {
		tb.Fatal(err)
	}
	v, err := New(Config{Hardware: hardware})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// vector is real evidence, what it is bound to and what it says.
type vector struct {
	file     string
	version  int
	bound    string
	pcr0     string
	verifier func(testing.TB) *Verifier
}

func snpVerifier(tb testing.TB) *Verifier { return realSNP(tb, snp.Config{}) }

// bound2 is the digest in the evidence of layout 2.
const bound2 = "\x98\x2f\x5c\x6e\x45\xdf\x0e\xd3\xf1\x0b\x6f\x60\xb0\x2f\x0c\x83\x90\xe2\x81\x30\x0f\x38\x05\xe2\x27\x9c\x16\x16\x8c\xd6\xae\x9a" +
	"\xa3\x98\xf6\x47\xca\xa2\x33\x87\x48\xcd\x0f\xd9\xf5\xf8\x19\xef"

var real = []vector{
	{"az-snp-vtpm/evidence-v0.json", 0, "challenge", "e15c4479", snpVerifier},
	{"az-snp-vtpm/evidence-v1.json", 1, "challenge", "e15c4479", snpVerifier},
	{"az-snp-vtpm/evidence-v2.json", 2, bound2, "84275b2f", snpVerifier},
	{"az-tdx-vtpm/evidence-v1.json", 1, "challenge", "782b20b1", vectorTDX},
}

func TestVectors(t *testing.T) {
	for _, test := range real {
		t.Run(test.file, func(t *testing.T) {
			evidence := vectors.Read(t, test.file)
			v := test.verifier(t)
			in := attest.Input{Evidence: evidence, Binding: attest.BoundTo([]byte(test.bound)), Time: recorded}
			claims, err := v.Verify(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			a := claims.Azure
			if claims.Kind != v.Kind() || !*claims.Bound || a.LayoutVersion != test.version || !strings.HasPrefix(claims.TPM.PCRs[0], test.pcr0) ||
				len(claims.TPM.PCRs) != 24 || !strings.HasSuffix(claims.TPM.PCRs[17], "ffff") || claims.TPM.Bank != "sha256" ||
				*claims.Debug || *claims.MigrationAgent || !*a.SecureBoot || !*a.TPMEnabled || !*a.ConsoleEnabled || len(a.VMUniqueID) != 36 ||
				a.UserDataBound != (test.version == 2) || len(a.UserData) != 128 || claims.InitData != "" || claims.Collateral == nil {
				t.Errorf("claims %+v\n%+v\n%+v", claims, a, claims.TPM)
			}
			if v.Kind() == attest.AzSNPvTPM && (*claims.VMPL != 0 || claims.HardwareRoot != attest.RootMilan || claims.SNP.ReportVersion != 3 ||
				!strings.HasPrefix(claims.SNP.IDKeyDigest, "942fd93e") || claims.TDX != nil) {
				t.Errorf("claims %+v\n%+v", claims, claims.SNP)
			}
			if v.Kind() == attest.AzTDXvTPM && (!strings.HasPrefix(claims.Measurement, "024a32b0") || claims.HardwareRoot != attest.RootIntel ||
				*a.TPMPersisted || a.RootCertThumbprint == "" || claims.SNP != nil || claims.VMPL != nil || claims.Intel.FMSPC != "00806f050000" ||
				claims.TCBStatus != attest.TCBUpToDate || claims.Collateral.Current) { // Intel's lists of 2023
				t.Errorf("claims %+v\n%+v", claims, a)
			}
			// Looked at without a nonce it is the same, and unbound; for another nonce it is nothing.
			in.Binding = attest.Unbound()
			if claims, err = v.Verify(t.Context(), in); err != nil || *claims.Bound {
				t.Errorf("unbound: %v", err)
			}
			in.Binding = attest.BoundTo(digest)
			_, err = v.Verify(t.Context(), in)
			wantCode(t, err, attest.CodeBinding)
			in.Binding = attest.Binding{}
			_, err = v.Verify(t.Context(), in)
			wantCode(t, err, attest.CodeBinding)
		})
	}
}

// TestVectorsBeforeAndAfter judges real evidence when the certificate of its chip is not valid.
func TestVectorsBeforeAndAfter(t *testing.T) {
	evidence := vectors.Read(t, "az-snp-vtpm/evidence-v2.json")
	v := snpVerifier(t)
	for _, year := range []int{-20, 20} {
		_, err := v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.BoundTo([]byte(bound2)), Time: recorded.AddDate(year, 0, 0)})
		wantCode(t, err, attest.CodeCertExpired)
	}
}

// hardwareReport returns the processor's report in evidence.
func hardwareReport(t *testing.T, e *Evidence) *snp.Report {
	t.Helper()
	outer, err := ParseHCLReport(e.HCLReport)
	if err != nil {
		t.Fatal(err)
	}
	report, err := snp.ParseReport(outer.Hardware)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// TestVectorsLocalCertificate takes the certificate out of real evidence: it is found in the local folder, and without that it is missing.
func TestVectorsLocalCertificate(t *testing.T) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(vectors.Read(t, "az-snp-vtpm/evidence-v2.json"), &members); err != nil {
		t.Fatal(err)
	}
	with, err := ParseEvidence(attest.AzSNPvTPM, vectors.Read(t, "az-snp-vtpm/evidence-v2.json"))
	if err != nil {
		t.Fatal(err)
	}
	names, err := snp.CertificateNames(hardwareReport(t, with))
	if err != nil {
		t.Fatal(err)
	}
	local := realSNP(t, snp.Config{Certificates: fstest.MapFS{names[0]: {Data: with.VCEK}}})
	for name, value := range map[string]string{"absent": "", "null": "null", "empty": `""`} {
		delete(members, "vcek")
		if value != "" {
			members["vcek"] = json.RawMessage(value)
		}
		evidence, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		in := attest.Input{Evidence: evidence, Binding: attest.BoundTo([]byte(bound2)), Time: recorded}
		claims, err := local.Verify(t.Context(), in)
		if err != nil || claims.Collateral.Source != "local" {
			t.Errorf("%s: %v", name, err)
		}
		var unavailable *attest.Unavailable
		if _, err := snpVerifier(t).Verify(t.Context(), in); !errors.As(err, &unavailable) {
			t.Errorf("%s: without any certificate: %v", name, err)
		}
	}
}

// TestVectorsCrossed presents parts of one real machine with parts of another, and one kind for the other.
func TestVectorsCrossed(t *testing.T) {
	read := func(name string) map[string]any {
		var members map[string]any
		if err := json.Unmarshal(vectors.Read(t, name), &members); err != nil {
			t.Fatal(err)
		}
		return members
	}
	for _, test := range []struct {
		name, member string
		code         attest.Code
	}{
		{"another machine's quote", "tpm_quote", attest.CodeBinding}, // it has its own nonce, too
		{"another machine's HCL report", "hcl_report", attest.CodeSignature},
		{"another chip's certificate", "vcek", attest.CodeCertMismatch},
	} {
		first, second := read("az-snp-vtpm/evidence-v1.json"), read("az-snp-vtpm/evidence-v2.json")
		first[test.member] = second[test.member]
		evidence, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		_, err = snpVerifier(t).Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.BoundTo([]byte("challenge")), Time: recorded})
		t.Run(test.name, func(t *testing.T) { wantCode(t, err, test.code) })
	}
	_, err := vectorTDX(t).Verify(t.Context(), attest.Input{Evidence: vectors.Read(t, "az-snp-vtpm/evidence-v1.json"), Binding: attest.Unbound()})
	wantCode(t, err, attest.CodeMalformed)
	// An SEV-SNP report where a TD report is due.
	tdx := read("az-tdx-vtpm/evidence-v1.json")
	tdx["hcl_report"] = read("az-snp-vtpm/evidence-v1.json")["hcl_report"]
	evidence, err := json.Marshal(tdx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = vectorTDX(t).Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.Unbound()})
	wantCode(t, err, attest.CodeMalformed)
	// The first layout says that it has what the second has to have.
	first := read("az-snp-vtpm/evidence-v1.json")
	first["version"] = 2
	if evidence, err = json.Marshal(first); err != nil {
		t.Fatal(err)
	}
	for _, binding := range []attest.Binding{attest.BoundTo([]byte("challenge")), attest.Unbound()} {
		_, err = snpVerifier(t).Verify(t.Context(), attest.Input{Evidence: evidence, Binding: binding, Time: recorded})
		wantCode(t, err, attest.CodeBinding)
	}
}

// TestVectorTDXQuote changes the report data of the real TD quote: the quote then is of another machine.
func TestVectorTDXQuote(t *testing.T) {
	var members map[string]any
	if err := json.Unmarshal(vectors.Read(t, "az-tdx-vtpm/evidence-v1.json"), &members); err != nil {
		t.Fatal(err)
	}
	quote, err := base64.URLEncoding.DecodeString(members["td_quote"].(string))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{azuretest.QuoteReportData, azuretest.QuoteReportData + 31, azuretest.QuoteReportData + 32, azuretest.QuoteReportData + 63} {
		quote[at] ^= 1
		members["td_quote"] = base64url(quote)
		quote[at] ^= 1
		evidence, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		_, err = vectorTDX(t).Verify(context.Background(), attest.Input{Evidence: evidence, Binding: attest.BoundTo([]byte("challenge")), Time: recorded})
		wantCode(t, err, attest.CodeKeyNotReported)
	}
}

// TestVectorTDXChanged changes one byte in every so many of the real TD quote, which its signature covers or that vouches for its key.
func TestVectorTDXChanged(t *testing.T) {
	evidence := vectors.Read(t, "az-tdx-vtpm/evidence-v1.json")
	e, err := ParseEvidence(attest.AzTDXvTPM, evidence)
	if err != nil {
		t.Fatal(err)
	}
	v := vectorTDX(t)
	in := attest.Input{Binding: attest.BoundTo([]byte("challenge")), Time: recorded}
	if _, err := v.judge(t.Context(), in, e); err != nil {
		t.Fatal(err)
	}
	for at := 0; at < azuretest.QuoteBodyEnd+64; at += certificateStep() {
		e.TDQuote[at] ^= 1
		if _, err := v.judge(t.Context(), in, e); err == nil {
			t.Errorf("byte %#x of the TD quote was changed, and it passes", at)
		}
		e.TDQuote[at] ^= 1
	}
	// As the broker is configured, with Intel's root alone, the collateral of this family is what is missing: all before that is in order.
	hardware, err := tdx.New(tdx.Config{Endorsements: dcaptest.Recorded()})
	if err != nil {
		t.Fatal(err)
	}
	if v, err = New(Config{Hardware: hardware}); err != nil {
		t.Fatal(err)
	}
	var unavailable *attest.Unavailable
	if _, err = v.judge(t.Context(), in, e); !errors.As(err, &unavailable) || !strings.Contains(unavailable.What, "intel/tcb/tdx/00806f050000") {
		t.Errorf("%v", err)
	}
}

// TestVectorsEndorsedCertificate takes the certificate out of real evidence: it is found among the collateral that a broker fetches or is given.
func TestVectorsEndorsedCertificate(t *testing.T) {
	e, err := ParseEvidence(attest.AzSNPvTPM, vectors.Read(t, "az-snp-vtpm/evidence-v2.json"))
	if err != nil {
		t.Fatal(err)
	}
	names, err := snp.EndorsementNames(hardwareReport(t, e))
	if err != nil {
		t.Fatal(err)
	}
	service := new(dcaptest.Service)
	certificate := e.VCEK
	service.Put(names[0], certificate, nil)
	e.VCEK = nil
	in := attest.Input{Binding: attest.BoundTo([]byte(bound2)), Time: recorded}
	claims, err := realSNP(t, snp.Config{Endorsements: service}).judge(t.Context(), in, e)
	if err != nil || claims.Collateral == nil || claims.HardwareRoot != attest.RootMilan || claims.Collateral.Source == "evidence" {
		t.Fatalf("%+v, %v", claims, err)
	}
	// Another chip's certificate under that name is bad collateral, which is no fault of the evidence; and so is none.
	other, err := ParseEvidence(attest.AzSNPvTPM, vectors.Read(t, "az-snp-vtpm/evidence-v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	wrong := new(dcaptest.Service)
	wrong.Put(names[0], other.VCEK, nil)
	for name, service := range map[string]*dcaptest.Service{"another chip's": wrong, "none": new(dcaptest.Service)} {
		var unavailable *attest.Unavailable
		if _, err := realSNP(t, snp.Config{Endorsements: service}).judge(t.Context(), in, e); !errors.As(err, &unavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMemoryIsUsedAgain: what evidence was decoded into may hold that of the next guest as soon as its claims are returned. They do not change with it, and
// nor does what the verifier of the hardware holds for the next time.
func TestMemoryIsUsedAgain(t *testing.T) {
	for _, test := range real {
		t.Run(test.file, func(t *testing.T) {
			v := test.verifier(t)
			in := attest.Input{Evidence: vectors.Read(t, test.file), Binding: attest.BoundTo([]byte(test.bound)), Time: recorded}
			var memory [spaceSize]byte
			evidence, err := parseInto(memory[:], v.kind, in.Evidence)
			if err != nil {
				t.Fatal(err)
			}
			claims, err := v.judge(t.Context(), in, evidence)
			if err != nil {
				t.Fatal(err)
			}
			before := jsonOf(t, claims)
			report := bytes.Clone(evidence.HCLReport)
			for i := range memory {
				memory[i] ^= 0xff
			}
			if test.version > 0 && bytes.Equal(evidence.HCLReport, report) { // layout 0 is of numbers
				t.Fatal("the memory given is not what evidence is decoded into")
			}
			if after := jsonOf(t, claims); after != before {
				t.Errorf("claims changed with the memory:\n%s\n%s", before, after)
			}
			again, err := v.Verify(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if text := jsonOf(t, again); text != before {
				t.Errorf("the same evidence again has other claims:\n%s\n%s", before, text)
			}
		})
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
