package tdx

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tdxtesting "github.com/google/go-tdx-guest/testing"
	"github.com/google/go-tdx-guest/verify"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// TestRealQuoteAndCollateral: everything is Intel's, and every clone has it. The prototype is older than every level that Intel lists, so all that
// can be said of it is the worst.
func TestRealQuoteAndCollateral(t *testing.T) {
	v, err := New(Config{Endorsements: dcaptest.Recorded()})
	if err != nil {
		t.Fatal(err)
	}
	evidence := dcaptest.RecordedQuote()
	for range 2 {
		claims, err := v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.Unbound(), Time: dcaptest.RecordedAt})
		if err != nil {
			t.Fatal(err)
		}
		in := claims.Intel
		if claims.HardwareRoot != "intel-sgx" || *claims.Bound || *claims.Debug || *claims.MigrationAgent || !claims.Collateral.Current ||
			claims.TCBStatus != "revoked" || in.Platform.Listed || in.QE.Status != "up-to-date" || in.FMSPC != "50806f000000" || in.PCESVN != 11 ||
			in.Authority != "platform" || in.TCBEvaluationNumber != 15 || claims.TDX.SEPTVEDisable || !claims.TDX.ProtectionKeys {
			t.Errorf("claims %+v\n%+v", claims, in)
		}
	}
	// It is not bound to anything of today's.
	_, err = v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.BoundTo(dcaptest.Binding), Time: dcaptest.RecordedAt})
	dcaptest.WantCode(t, err, attest.CodeBinding)
	// A month later the collateral is late, and within a grace it is not.
	for grace, current := range map[time.Duration]bool{0: false, 60 * 24 * time.Hour: true} {
		v, err := New(Config{Endorsements: dcaptest.Recorded(), Grace: grace})
		if err != nil {
			t.Fatal(err)
		}
		claims, err := v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.Unbound(), Time: dcaptest.RecordedAt.AddDate(0, 1, 0)})
		if err != nil || claims.Collateral.Current != current || !claims.Collateral.Stale {
			t.Errorf("grace %v: %+v, %v", grace, claims, err)
		}
	}
	// When the certificate of who signed the collateral has run out, nothing can be said.
	_, err = v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.Unbound(), Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
	wantUnavailable(t, err)
	// And when the platform's has, it is refused.
	_, err = v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.Unbound(), Time: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)})
	dcaptest.WantCode(t, err, attest.CodeCertExpired)
}

// TestVector is the shared quote, judged by Intel's collateral of the time, which is for the same family of processors.
func TestVector(t *testing.T) {
	quote := vectors.Read(t, "tdx/quote-v4.dat")
	v, err := New(Config{Endorsements: dcaptest.Recorded()})
	if err != nil {
		t.Fatal(err)
	}
	for form, evidence := range map[string][]byte{"raw": quote, "KBS": kbs(quote, "null"), "filled up with zeros": append(bytes.Clone(quote), make([]byte, 3000)...)} {
		claims, err := v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.Unbound(), Time: dcaptest.RecordedAt})
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		if !strings.HasPrefix(claims.Measurement, "705ee938") || !strings.HasPrefix(claims.ReportData, "7c71fe2c") || !*claims.Debug ||
			claims.TCBStatus != "up-to-date" || !claims.Collateral.Current || claims.TDX.TDAttributes != "0100001000000000" {
			t.Errorf("%s: claims %+v\n%+v\n%+v", form, claims, claims.TDX, claims.Intel)
		}
		field, err := hex.DecodeString(claims.ReportData)
		if err != nil {
			t.Fatal(err)
		}
		claims, err = v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.BoundTo(field), Time: dcaptest.RecordedAt})
		if err != nil || !*claims.Bound {
			t.Errorf("%s, with the report data it carries: %v", form, err)
		}
	}
	names, err := EndorsementNames(quote)
	if err != nil || !slices.Equal(names, []string{"intel/tcb/tdx/50806f000000", "intel/identity/tdqe", "intel/crl/platform", "intel/crl/root"}) {
		t.Errorf("names %v, %v", names, err)
	}
}

// realWith is a verifier that trusts Intel's root for platforms and the world's for collateral, and the service that says info of the real platform.
func realWith(tb testing.TB, info, identity dcaptest.Object) (*Verifier, *dcaptest.Service) {
	tb.Helper()
	intel, err := dcap.IntelRoots()
	if err != nil {
		tb.Fatal(err)
	}
	s := dcaptest.Recorded()
	s.PutTCB(dcaptest.Shared(), dcap.TDX, &dcaptest.Machine{FMSPC: info["fmspc"].(string)}, info)
	s.PutIdentity(dcaptest.Shared(), dcap.TDX, identity)
	return verifier(tb, s, dcap.Roots{Platform: intel.Platform, Collateral: dcaptest.Shared().Root.Certificate}), s
}

// TestPaddedQuote is a real quote by a TDX module of version 1, as the kernel's older interface returns it. Its PCK is younger than the lists, which
// are late then; who signed them is still valid.
func TestPaddedQuote(t *testing.T) {
	quote := cosQuote(t)
	info := dcaptest.TCBInfo(dcap.TDX, "UpToDate")
	names, err := EndorsementNames(quote)
	if err != nil {
		t.Fatal(err)
	}
	info["fmspc"] = strings.TrimPrefix(names[0], "intel/tcb/tdx/")
	info["tcbLevels"] = []dcaptest.Object{dcaptest.Level(dcap.TDX, 0, 0, "UpToDate")}
	v, _ := realWith(t, info, dcaptest.RecordedIdentity("UpToDate"))
	at := time.Date(2024, 8, 1, 0, 0, 0, 0, time.UTC)
	claims, err := v.Verify(t.Context(), attest.Input{Evidence: quote, Binding: attest.Unbound(), Time: at})
	if err != nil {
		t.Fatal(err)
	}
	// The module has SVN 4, between the levels 5 and 3 of TDX_01.
	if claims.TCBStatus != "out-of-date" || claims.Intel.ModuleID != "TDX_01" || claims.Intel.Module.Status != "out-of-date" ||
		claims.Intel.Platform.Status != "up-to-date" || claims.Collateral.Current || *claims.Debug {
		t.Errorf("claims %+v\n%+v", claims, claims.Intel)
	}
}

// TestRealEventLog replays a real guest's log to the registers of its real quote; with one event changed it is refused.
func TestRealEventLog(t *testing.T) {
	quote, log := cosQuote(t), cosFile(t, "ccel_data.dat")
	names, err := EndorsementNames(quote)
	if err != nil {
		t.Fatal(err)
	}
	info := dcaptest.TCBInfo(dcap.TDX, "UpToDate")
	info["fmspc"] = strings.TrimPrefix(names[0], "intel/tcb/tdx/")
	info["tcbLevels"] = []dcaptest.Object{dcaptest.Level(dcap.TDX, 0, 0, "UpToDate")}
	v, _ := realWith(t, info, dcaptest.RecordedIdentity("UpToDate"))
	judge := func(log []byte) (*attest.Claims, error) {
		evidence := kbs(quote, `"`+base64.StdEncoding.EncodeToString(log)+`"`)
		return v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.Unbound(), Time: time.Date(2024, 8, 1, 0, 0, 0, 0, time.UTC)})
	}
	claims, err := judge(log)
	if err != nil {
		t.Fatal(err)
	}
	if claims.Boot == nil || !slices.Contains(claims.Boot.RTMRs, 0) || !slices.Contains(claims.Boot.RTMRs, 1) || claims.Boot.SecureBoot == nil {
		t.Errorf("boot claims %+v", claims.Boot)
	}
	changed := bytes.Replace(log, claimDigest(t, claims.Boot.BootLoaders[0]), bytes.Repeat([]byte{1}, 48), 1)
	_, err = judge(changed)
	dcaptest.WantCode(t, err, attest.CodeEventLog)
}

func claimDigest(tb testing.TB, text string) []byte {
	tb.Helper()
	digest, err := hex.DecodeString(text)
	if err != nil {
		tb.Fatal(err)
	}
	return digest
}

func cosQuote(tb testing.TB) []byte {
	tb.Helper()
	return cosFile(tb, "cos-113-tdx-quote.dat")
}

// cosFile is a file of a real guest, of the module's test data.
func cosFile(tb testing.TB, name string) []byte {
	tb.Helper()
	dir, err := exec.CommandContext(tb.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/go-tdx-guest").Output()
	if err != nil {
		tb.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "testing/testdata/ccel", name))
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

// kbs is a quote as KBS clients send it; log is JSON.
func kbs(quote []byte, log string) []byte {
	return []byte(`{"quote":"` + base64.StdEncoding.EncodeToString(quote) + `","cc_eventlog":` + log + `}`)
}

// tdxGuest is go-tdx-guest's verdict: on chain and signatures, and with collateral on the platform's state too, which it takes if it is up to date.
func tdxGuest(tb testing.TB, quote []byte, collateral bool) (err error) {
	tb.Helper()
	intel, rootsErr := dcap.IntelRoots()
	if rootsErr != nil {
		tb.Fatal(rootsErr)
	}
	pool := x509.NewCertPool()
	pool.AddCert(intel.Platform)
	defer func() {
		if p := recover(); p != nil { // some sizes are too much for it
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	at := dcaptest.RecordedAt
	return verify.RawTdxQuote(quote, &verify.Options{
		Now:          &verify.TimeSet{PckCertChain: at, TcbInfo: at, QeIdentity: at, PckCrl: at, RootCaCrl: at},
		TrustedRoots: pool, GetCollateral: collateral, CheckRevocations: collateral, Getter: tdxtesting.TestGetter,
	})
}

// TestOracle holds the verdict on a real quote and on changed ones against go-tdx-guest's. The root in the quote is left alone: it is nothing here, and
// compared with the trusted one there.
func TestOracle(t *testing.T) {
	v, err := New(Config{Endorsements: dcaptest.Recorded()})
	if err != nil {
		t.Fatal(err)
	}
	quote := dcaptest.RecordedQuote()
	for at := -1; at < bytes.LastIndex(quote, []byte("-----BEGIN")); at += 1 + at/16 {
		changed := bytes.Clone(quote)
		if at >= 0 {
			changed[at] ^= 1
		}
		_, ours := v.Verify(t.Context(), attest.Input{Evidence: changed, Binding: attest.Unbound(), Time: dcaptest.RecordedAt})
		if theirs := tdxGuest(t, changed, false); (ours == nil) != (theirs == nil) || (ours == nil) != (at < 0) {
			t.Errorf("byte %#x: %v here, %v by go-tdx-guest", at, ours, theirs)
		}
	}
	if err := tdxGuest(t, quote, true); err == nil {
		t.Error("go-tdx-guest takes the prototype for up to date")
	}
	if err := tdxGuest(t, vectors.Read(t, "tdx/quote-v4.dat"), true); err != nil {
		t.Errorf("go-tdx-guest does not take the shared quote for up to date, as it is here: %v", err)
	}
}

// TestAzureVector is the quote in the shared evidence of an Azure TD: real, of a TDX module of version 1, and bound to the paravisor's data.
func TestAzureVector(t *testing.T) {
	var evidence struct {
		Quote string `json:"td_quote"`
	}
	if err := json.Unmarshal(vectors.Read(t, "az-tdx-vtpm/evidence-v1.json"), &evidence); err != nil {
		t.Fatal(err)
	}
	quote, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(evidence.Quote, "="))
	if err != nil {
		t.Fatal(err)
	}
	names, err := EndorsementNames(quote)
	if err != nil || names[0] != "intel/tcb/tdx/00806f050000" {
		t.Fatalf("%v, %v", names, err)
	}
	service, roots := dcaptest.RecordedAzure(dcaptest.Shared())
	v := verifier(t, service, roots)
	claims, err := v.Verify(t.Context(), attest.Input{Evidence: quote, Binding: attest.Unbound(), Time: dcaptest.Now})
	if err != nil || claims.Intel.ModuleID != "TDX_01" || claims.Intel.Module.Status != "up-to-date" || *claims.Debug || claims.Collateral.Current {
		t.Errorf("claims %+v\n%+v, %v", claims, claims.Intel, err)
	}
}

// TestMemoryIsUsedAgain: what evidence was decoded into may hold that of the next guest as soon as its claims are returned. They do not change with it, and nor
// does what is held of the platform.
func TestMemoryIsUsedAgain(t *testing.T) {
	v, err := New(Config{Endorsements: dcaptest.Recorded()})
	if err != nil {
		t.Fatal(err)
	}
	in := attest.Input{Evidence: kbs(dcaptest.RecordedQuote(), "null"), Binding: attest.Unbound(), Time: dcaptest.RecordedAt}
	memory := new(dcap.Memory)
	claims, err := v.judge(t.Context(), in, memory)
	if err != nil {
		t.Fatal(err)
	}
	before, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	if *memory == (dcap.Memory{}) {
		t.Fatal("the memory given is not what evidence is decoded into")
	}
	for i := range memory {
		memory[i] ^= 0xff
	}
	if after, err := json.Marshal(claims); err != nil || !bytes.Equal(after, before) {
		t.Errorf("claims changed with the memory, %v:\n%s\n%s", err, before, after)
	}
	if claims, err = v.Verify(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(claims); err != nil || !bytes.Equal(again, before) {
		t.Errorf("the same evidence again has other claims, %v:\n%s\n%s", err, before, again)
	}
}
