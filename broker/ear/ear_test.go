package ear

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
	"github.com/vouchsafe/vouchsafe/store"
)

var issued = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const jwk = `{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`

// snpGuest has the claims of a guest that the baseline accepts.
func snpGuest() *attest.Claims {
	return &attest.Claims{
		Kind: attest.SNP, HardwareRoot: "amd-genoa", Bound: attest.Ptr(true),
		Measurement: strings.Repeat("6a", 48), ReportData: strings.Repeat("01", 64), InitData: strings.Repeat("02", 32),
		InitDataBound: attest.Ptr(true), InitDataClaims: map[string]string{"aa.toml": "url = \"https://kbs\"\n", "policy.rego": "a < b && c > d"},
		Debug: attest.Ptr(false), MigrationAgent: attest.Ptr(false), VMPL: attest.Ptr(0), TCBStatus: "up-to-date",
		Collateral: &attest.CollateralClaims{Current: true, Expires: issued.Add(1000 * time.Hour), RevocationChecked: true, Source: "evidence"},
		SNP: &attest.SNPClaims{ReportVersion: 3, Product: "Genoa", SigningKey: "vcek", ChipID: "c0", Policy: 0x30000, SMTAllowed: true,
			ReportedTCB: attest.TCBVersion{Bootloader: 9, SNP: 21, Microcode: 72}, CPUIDFamily: attest.Ptr(25)},
	}
}

func tpmHost() *attest.Claims {
	return &attest.Claims{
		Kind: attest.TPM, HardwareRoot: "tpm-enrolled", Bound: attest.Ptr(true), ReportData: strings.Repeat("03", 32),
		Collateral: &attest.CollateralClaims{Current: true},
		TPM:        &attest.TPMClaims{AKName: "000b", Host: "db-1", Enrolled: true, Bank: "sha256", PCRs: map[int]string{0: "aa", 7: "bb", 11: "cc"}},
		Boot:       &attest.BootClaims{SecureBoot: attest.Ptr(true), CommandLine: "root=/dev/sda1 x<y", PCRs: []int{4, 7}},
	}
}

func sampleGuest() *attest.Claims {
	return &attest.Claims{
		Kind: attest.Sample, Bound: attest.Ptr(true), ReportData: "00", Sample: &attest.SampleClaims{SVN: "1"},
		Devices: []attest.Claims{
			{Kind: attest.SampleDevice, Bound: attest.Ptr(true), Sample: &attest.SampleClaims{SVN: "2"}},
			{Kind: attest.SampleDevice, Bound: attest.Ptr(true), Sample: &attest.SampleClaims{SVN: "3"}},
			{Kind: "nvidia", Bound: attest.Ptr(true)},
		},
	}
}

func token(claims *attest.Claims) *Token {
	return &Token{
		ID: "0197", Issuer: "https://broker.example.org", Issued: issued, Expires: issued.Add(5 * time.Minute), Build: "vouchsafe test",
		Namespace: "default", Nonce: strings.Repeat("A", 43) + "=", Recipient: []byte(jwk), Evidence: "sha256:" + strings.Repeat("0", 64),
		Decision: "0196", Attested: issued.Add(123456789), Claims: claims,
	}
}

func encode(t testing.TB, tok *Token) []byte {
	t.Helper()
	payload, err := tok.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func TestRoundTrip(t *testing.T) {
	for name, claims := range map[string]*attest.Claims{"snp": snpGuest(), "sample": sampleGuest()} {
		for _, audience := range []string{"", "https://relying.example.org"} {
			want := token(claims)
			want.Audience = audience
			got, err := Decode(encode(t, want))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s changed (-want +got):\n%s", name, diff)
			}
			if err := got.Check(issued.Add(time.Minute), want.Issuer, audience); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestShapeOfExample holds every member of a token that the reference verifier issued to being in ours, at the same place with the same type.
func TestShapeOfExample(t *testing.T) {
	var theirs, ours map[string]any
	if err := json.Unmarshal(vectors.Read(t, "ear/example-claims.json"), &theirs); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(encode(t, token(snpGuest())), &ours); err != nil {
		t.Fatal(err)
	}
	var compare func(path string, a, b any)
	compare = func(path string, a, b any) {
		object, ok := a.(map[string]any)
		if a == nil || !ok {
			if a != nil && fmt.Sprintf("%T", a) != fmt.Sprintf("%T", b) {
				t.Errorf("%s is a %T, not a %T", path, b, a)
			}
			return
		}
		mine, _ := b.(map[string]any)
		for name, value := range object {
			if name == "sgx" { // their kind's claims; ours are another kind's
				continue
			}
			if _, there := mine[name]; !there {
				t.Errorf("%s has no %q", path, name)
			}
			compare(path+"."+name, value, mine[name])
		}
	}
	compare("token", theirs, ours)
	at := func(v any, path ...string) any {
		for _, name := range path {
			m, _ := v.(map[string]any)
			v = m[name]
		}
		return v
	}
	annotated := []string{"submods", "cpu0", "ear.veraison.annotated-evidence"}
	key, _ := json.Marshal(at(ours, append(annotated, "runtime_data_claims", "tee-pubkey")...))
	confirmed, _ := json.Marshal(at(ours, "cnf", "jwk"))
	if string(key) != jwk || string(confirmed) != jwk {
		t.Errorf("the TEE's key is %s, and in cnf %s", key, confirmed)
	}
	for name, want := range map[string]any{
		"measurement": strings.Repeat("6a", 48), "policy_debug_allowed": false, "policy_migrate_ma": false, "policy_smt_allowed": true,
		"reported_tcb_snp": 21.0, "chip_id": "c0",
	} {
		if got := at(ours, append(annotated, "snp", name)...); got != want {
			t.Errorf("snp.%s is %v, not %v", name, got, want)
		}
	}
}

func TestSubmods(t *testing.T) {
	var d document
	if err := json.Unmarshal(encode(t, token(sampleGuest())), &d); err != nil {
		t.Fatal(err)
	}
	names := slices.Sorted(maps.Keys(d.Submods))
	if !slices.Equal(names, []string{"cpu0", "gpu0", "sampledevice0", "sampledevice1"}) {
		t.Error(names)
	}
	for name, mod := range d.Submods {
		if mod.Status != Contraindicated || mod.Policy != PolicyID {
			t.Errorf("%s is %s by %s", name, mod.Status, mod.Policy)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, change := range map[string]func(*Token){
		"no claims":          func(t *Token) { t.Claims = nil },
		"no kind":            func(t *Token) { t.Claims.Kind = "" },
		"a device":           func(t *Token) { t.Claims.Kind = attest.SampleDevice },
		"unbound":            func(t *Token) { t.Claims.Bound = attest.Ptr(false) },
		"bound unsaid":       func(t *Token) { t.Claims.Bound = nil },
		"no id":              func(t *Token) { t.ID = "" },
		"no issuer":          func(t *Token) { t.Issuer = "" },
		"no namespace":       func(t *Token) { t.Namespace = "" },
		"no nonce":           func(t *Token) { t.Nonce = "" },
		"no evidence":        func(t *Token) { t.Evidence = "" },
		"long decision":      func(t *Token) { t.Decision = strings.Repeat("x", maxText+1) },
		"no time":            func(t *Token) { t.Issued = time.Time{} },
		"expires at once":    func(t *Token) { t.Expires = t.Issued.Add(time.Second - 1) },
		"expired":            func(t *Token) { t.Expires = t.Issued.Add(-time.Hour) },
		"for ever":           func(t *Token) { t.Expires = t.Issued.Add(MaxLifetime + time.Second) },
		"attested later":     func(t *Token) { t.Attested = t.Issued.Add(time.Minute) },
		"attested never":     func(t *Token) { t.Attested = time.Time{} },
		"no recipient":       func(t *Token) { t.Recipient = nil },
		"recipient is null":  func(t *Token) { t.Recipient = []byte("null") },
		"not canonical":      func(t *Token) { t.Recipient = []byte(`{"kty":"EC","crv":"P-256"}`) },
		"recipient in array": func(t *Token) { t.Recipient = []byte("[" + jwk + "]") },
		"member twice":       func(t *Token) { t.Recipient = []byte(`{"crv":"a","crv":"b","kty":"EC"}`) },
		"no key type":        func(t *Token) { t.Recipient = []byte(`{"x":"a"}`) },
		"private member":     func(t *Token) { t.Recipient = []byte(`{"kty":"EC","x":{"y":1}}`) },
	} {
		tok := token(snpGuest())
		change(tok)
		if payload, err := tok.Encode(); err == nil {
			t.Errorf("%s: %s", name, payload)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := string(encode(t, token(snpGuest())))
	replace := func(old, with string) string {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("no %s in %s", old, good)
		}
		return strings.Replace(good, old, with, 1)
	}
	for name, payload := range map[string]string{
		"empty":                 "",
		"null":                  "null",
		"empty object":          "{}",
		"array":                 "[" + good + "]",
		"trailing":              good + "{}",
		"space":                 good + " ",
		"unknown member":        replace(`{"eat_profile"`, `{"admin":true,"eat_profile"`),
		"member twice":          replace(`"jti":"0197"`, `"jti":"0197","jti":"0197"`),
		"other case":            replace(`"jti"`, `"JTI"`),
		"reordered":             replace(`"iss":"https://broker.example.org","jti":"0197"`, `"jti":"0197","iss":"https://broker.example.org"`),
		"escaped":               replace(`"jti":"0197"`, `"jti":"\u0030197"`),
		"another profile":       replace(`2024:confidential`, `2025:confidential`),
		"another developer":     replace(Developer, Developer+"2"),
		"nbf is not iat":        replace(`"nbf":17`, `"nbf":16`),
		"fraction":              replace(`,"exp":`, `.5,"exp":`),
		"no expiry":             replace(`,"exp":1795435500`, ``),
		"expiry before issue":   replace(`"exp":17`, `"exp":16`),
		"unbound":               replace(`"bound":true`, `"bound":false`),
		"claims are null":       replace(`"claims":{`, `"claims":null,"x":{`),
		"unknown claim":         replace(`"claims":{"kind":"snp"`, `"claims":{"kind":"snp","nice":true`),
		"claim twice":           replace(`"claims":{"kind":"snp"`, `"claims":{"kind":"snp","kind":"snp"`),
		"claims reordered":      replace(`"claims":{"kind":"snp","hardware_root":"amd-genoa"`, `"claims":{"hardware_root":"amd-genoa","kind":"snp"`),
		"default written":       replace(`"claims":{"kind":"snp"`, `"claims":{"kind":"snp","devices":[]`),
		"key not canonical":     replace(`"cnf":{"jwk":{"alg":"ECDH-ES+A256KW","crv":"P-256"`, `"cnf":{"jwk":{"crv":"P-256","alg":"ECDH-ES+A256KW"`),
		"no private member":     good[:strings.LastIndex(good, `,"vouchsafe":`)] + "}",
		"vector of another sum": replace(`"executables":33`, `"executables":"33"`),
		"huge":                  good + strings.Repeat(" ", MaxPayload),
	} {
		if payload == good {
			t.Fatalf("%s: nothing changed", name)
		}
		// Without its claims a token is one this broker may have written, and still not a proof.
		if tok, err := Decode([]byte(payload)); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNoClaims) || tok != nil {
			t.Errorf("%s: %+v, %v", name, tok, err)
		}
	}
}

func TestCheck(t *testing.T) {
	tok := token(snpGuest())
	tok.Audience = "a"
	for _, test := range []struct {
		at               time.Duration
		issuer, audience string
		want             error
	}{
		{0, tok.Issuer, "a", nil},
		{-store.MaxSkew, tok.Issuer, "a", nil},
		{-store.MaxSkew - 1, tok.Issuer, "a", ErrEarly},
		{5*time.Minute - 1, tok.Issuer, "a", nil},
		{5 * time.Minute, tok.Issuer, "a", ErrExpired},
		{0, tok.Issuer, "", ErrElsewhere},
		{0, tok.Issuer, "b", ErrElsewhere},
		{0, "", "a", ErrElsewhere},
		{0, tok.Issuer + "/", "a", ErrElsewhere},
	} {
		if err := tok.Check(issued.Add(test.at), test.issuer, test.audience); !errors.Is(err, test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

func TestLargeInitData(t *testing.T) {
	small := token(snpGuest())
	large := token(snpGuest())
	large.Claims.InitDataClaims = map[string]string{"policy.rego": strings.Repeat("x", MaxInitData)}
	huge := token(snpGuest())
	huge.Claims.InitDataClaims = map[string]string{"policy.rego": strings.Repeat("x", MaxClaims)}

	if payload := encode(t, small); bytes.Contains(payload, []byte(`"init_data_claims":null`)) || len(payload) > 5<<10 {
		t.Errorf("a small document is left out, or the token has %d bytes", len(payload))
	}
	payload := encode(t, large)
	if !bytes.Contains(payload, []byte(`"init_data_claims":null`)) {
		t.Error("a large document is repeated")
	}
	if got, err := Decode(payload); err != nil || !cmp.Equal(got, large) {
		t.Errorf("claims with a large document: %v", err)
	}
	payload = encode(t, huge)
	if len(payload) > 5<<10 {
		t.Errorf("a token of %d bytes", len(payload))
	}
	if _, err := Decode(payload); !errors.Is(err, ErrNoClaims) {
		t.Errorf("a token without claims: %v", err)
	}
	data := token(tpmHost())
	data.Claims.ReportData = strings.Repeat("00", MaxPayload/2)
	if _, err := data.Encode(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a token over every bound: %v", err)
	}
}

func seeds(t testing.TB) [][]byte {
	huge := token(snpGuest())
	huge.Claims.InitDataClaims = map[string]string{"policy.rego": strings.Repeat("x", MaxClaims)}
	seeds := [][]byte{encode(t, token(sampleGuest())), encode(t, huge)}
	all := kinds()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		seeds = append(seeds, encode(t, token(all[name].claims)))
	}
	return seeds
}

// checkPayload holds Decode to reading only tokens that are whole, and that are written back with the same claims.
func checkPayload(t testing.TB, payload []byte) {
	t.Helper()
	tok, err := Decode(payload)
	if err != nil {
		if tok != nil || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNoClaims) {
			t.Errorf("%+v, %v", tok, err)
		}
		return
	}
	if tok.Claims.Bound == nil || !*tok.Claims.Bound || !tok.Expires.After(tok.Issued) {
		t.Errorf("read %+v", tok)
	}
	again, err := tok.Encode()
	if err != nil {
		t.Fatalf("read and not written: %v\n%s", err, payload)
	}
	back, err := Decode(again)
	if err != nil || !cmp.Equal(tok, back) {
		t.Errorf("read otherwise the second time: %v\n%s", err, payload)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, payload []byte) { checkPayload(t, payload) })
}

func TestMutations(t *testing.T) {
	mutate.Run(t, seeds(t), func(t *testing.T, input []byte) { checkPayload(t, input) })
}

func BenchmarkEncode(b *testing.B) {
	tok := token(snpGuest())
	for b.Loop() {
		encode(b, tok)
	}
	b.ReportMetric(float64(len(encode(b, tok))), "bytes")
}

func BenchmarkDecode(b *testing.B) {
	payload := encode(b, token(snpGuest()))
	for b.Loop() {
		if _, err := Decode(payload); err != nil {
			b.Fatal(err)
		}
	}
}
