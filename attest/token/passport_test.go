package token

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// TestPassport takes an EAR without a nonce of ours, and refuses what is no passport.
func TestPassport(t *testing.T) {
	f := fakes()["ear"]
	f.trusted.Passport, f.trusted.MaxAge = true, 2*time.Minute
	v, _ := verifierOf(t, f, fakes()["google"])
	p, err := v.Passport(t.Context(), []byte(f.token()), now)
	if err != nil {
		t.Fatal(err)
	}
	canonical := must(canonicalJSON(string(must(json.Marshal(recipientJWK())))))
	if string(p.Recipient) != string(canonical) || p.Nonce != "bm9uY2U=" || !p.Issued.Equal(now.Add(-time.Minute)) || !p.Expires.Equal(now.Add(time.Minute)) {
		t.Errorf("%+v", p)
	}
	c := p.Claims
	if c.Kind != attest.Token || c.Bound == nil || *c.Bound || !c.Token.Passport || c.Measurement != measurement || c.Token.Verifier != "trustee" {
		t.Errorf("%+v", c)
	}
	f.trusted.MaxAge = time.Hour // beyond the token's own end
	v, _ = verifierOf(t, f, fakes()["google"])
	if p, err := v.Passport(t.Context(), []byte(f.token()), now); err != nil || !p.Expires.Equal(now.Add(4*time.Minute)) {
		t.Errorf("%+v, %v", p, err)
	}
	for name, test := range map[string]struct {
		token string
		want  attest.Code
	}{
		"of a verifier that is not configured so": {fakes()["google"].token(), attest.CodeBinding},
		"without a key":              {f.with(func(p claimSet) { annotated(p)["runtime_data_claims"] = claimSet{"nonce": "x"} }), attest.CodeBinding},
		"without runtime data":       {f.with(func(p claimSet) { delete(annotated(p), "runtime_data_claims") }), attest.CodeBinding},
		"with null for runtime data": {f.with(func(p claimSet) { annotated(p)["runtime_data_claims"] = nil }), attest.CodeBinding},
		"whose key is only confirmed": {f.with(func(p claimSet) {
			delete(annotated(p), "runtime_data_claims")
			p["cnf"] = claimSet{"jwk": recipientJWK()}
		}), attest.CodeMalformed},
		"whose key is a text": {f.with(func(p claimSet) { annotated(p)["runtime_data_claims"] = claimSet{"tee-pubkey": "x"} }), attest.CodeMalformed},
		"whose key is huge": {f.with(func(p claimSet) {
			annotated(p)["runtime_data_claims"] = claimSet{"tee-pubkey": claimSet{"n": strings.Repeat("x", maxKey)}}
		}), attest.CodeMalformed},
		"whose nonce is a number": {f.with(func(p claimSet) { annotated(p)["runtime_data_claims"].(claimSet)["nonce"] = 1 }), attest.CodeMalformed},
		"with the key on a GPU": {f.with(func(p claimSet) {
			d := annotated(p)["runtime_data_claims"]
			delete(annotated(p), "runtime_data_claims")
			submod(p, "gpu0")["ear.veraison.annotated-evidence"] = claimSet{"runtime_data_claims": d}
		}), attest.CodeBinding},
		"expired":           {f.with(func(p claimSet) { p["exp"] = now.Unix() }), attest.CodeTokenTime},
		"contraindicated":   {f.with(func(p claimSet) { submod(p, "cpu0")["ear.status"] = contraindicated }), attest.CodeVerdict},
		"for somebody else": {f.with(func(p claimSet) { p["aud"] = "https://other.example" }), attest.CodeAudience},
		"in JSON":           {`{"token": "` + f.token() + `"}`, attest.CodeMalformed},
		"unsigned":          {f.withHeader(func(h claimSet) { h["alg"] = "none" }), attest.CodeAlgorithm},
	} {
		if _, err := v.Passport(t.Context(), []byte(test.token), now); codeOf(t, err) != test.want {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	// A verifier for passports still needs a nonce where one was asked for.
	unbound := f.with(func(p claimSet) { annotated(p)["report_data"] = strings.Repeat("0", 128) })
	if _, err := v.Verify(t.Context(), input([]byte(unbound))); codeOf(t, err) != attest.CodeBinding {
		t.Error(err)
	}
	off := fakes()["ear"]
	v, _ = verifierOf(t, off)
	if _, err := v.Passport(t.Context(), []byte(off.token()), now); codeOf(t, err) != attest.CodeBinding {
		t.Errorf("not configured: %v", err)
	}
}

// TestVectorEAR signs the claims of a real EAR, of an SGX enclave that can be debugged on a platform that is out of date.
func TestVectorEAR(t *testing.T) {
	var claims claimSet
	if err := json.Unmarshal(vectors.Read(t, "ear/example-claims.json"), &claims); err != nil {
		t.Fatal(err)
	}
	f := fakes()["ear"]
	f.payload = func() claimSet { return claims }
	v, _ := verifierOf(t, f)
	in := input(nil)
	in.Time = time.Unix(1760426134, 0).Add(time.Minute)
	in.Binding = attest.BoundTo([]byte("test"))
	token := func() []byte {
		// Through json.Number's place in float64, which holds these dates.
		claims["iat"], claims["exp"] = int64(1760426134), int64(1760426434)
		return []byte(f.token())
	}
	in.Evidence = token()
	if _, err := v.Verify(t.Context(), in); codeOf(t, err) != attest.CodeVerdict {
		t.Errorf("contraindicated: %v", err)
	}
	submod(claims, "cpu0")["ear.status"] = "warning" // as it would be if that verifier's policy accepted the platform
	in.Evidence = token()
	c, err := v.Verify(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if c.Measurement != "8f173e4613ff05c52aaf04162d234edae8c9977eae47eb2299ae16a553011c68" || c.Debug == nil || !*c.Debug || c.Token.TEE != "sgx" ||
		c.TCBStatus != attest.TCBRevoked || len(c.Token.Advisories) != 10 || !strings.HasPrefix(c.ReportData, "74657374") || !c.Collateral.Current ||
		c.Token.Signer != "83d719e77deaca1470f6baf62a4d774303c899db69020f9c70ee1dfc08c7ce9e" || c.InitDataBound != nil {
		t.Errorf("%+v %+v", c, c.Token)
	}
	sgx := annotated(claims)["sgx"].(claimSet)
	sgx["collateral_expiration_status"] = "1"
	submod(claims, "cpu0")["ear.trustworthiness-vector"].(claimSet)["hardware"] = 32
	in.Evidence = token()
	if c, err := v.Verify(t.Context(), in); err != nil || c.TCBStatus != attest.TCBOutOfDate || c.Collateral.Current {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestTCB maps what tokens say of the TCB. A word that is not known, and silence, are absent.
func TestTCB(t *testing.T) {
	for word, status := range tcbStatuses {
		if strings.ReplaceAll(status, "-", "") != strings.ToLower(word) {
			t.Errorf("%s is %s", word, status)
		}
	}
	intel := fakes()["intel"]
	v, _ := verifierOf(t, intel, fakes()["google"])
	for word, want := range map[string]string{"UpToDate": "up-to-date", "Revoked": "revoked", "OK": "", "uptodate": "", "": ""} {
		c, err := v.Verify(t.Context(), input([]byte(intel.with(func(p claimSet) { p["attester_tcb_status"] = word }))))
		if err != nil || c.TCBStatus != want {
			t.Errorf("%q: %q, %v", word, c.TCBStatus, err)
		}
	}
	google := fakes()["google"]
	for word, want := range map[string]string{"UpToDate": "up-to-date", "OutOfDate": "out-of-date", "x": ""} {
		c, err := v.Verify(t.Context(), input([]byte(google.with(func(p claimSet) { p["tdx"] = claimSet{"gcp_attester_tcb_status": word} }))))
		if err != nil || c.TCBStatus != want {
			t.Errorf("Google's %q: %q, %v", word, c.TCBStatus, err)
		}
	}
	for _, test := range []struct {
		status   string
		hardware any
		want     string
	}{
		{"", nil, ""}, {"", 0, ""}, {"", 1, ""}, {"", -1, ""}, {"", 2, attest.TCBElsewhere}, {"", 31, attest.TCBElsewhere}, {"", 32, attest.TCBOutOfDate},
		{"", 96, attest.TCBRevoked}, {"UpToDate", 2, attest.TCBUpToDate}, {"UpToDate", 33, attest.TCBOutOfDate}, {"UpToDate", 97, attest.TCBRevoked},
		{"UpToDate", nil, attest.TCBUpToDate}, {"SWHardeningNeeded", 32, attest.TCBSWHardening}, {"Revoked", 2, attest.TCBRevoked}, {"new word", 2, ""},
	} {
		f := fakes()["ear"]
		v, _ := verifierOf(t, f)
		c, err := v.Verify(t.Context(), input([]byte(f.with(func(p claimSet) {
			delete(annotated(p), "snp")
			annotated(p)["tdx"] = claimSet{}
			if test.status != "" {
				annotated(p)["tdx"] = claimSet{"tcb_status": test.status}
			}
			vector := submod(p, "cpu0")["ear.trustworthiness-vector"].(claimSet)
			if vector["hardware"] = test.hardware; test.hardware == nil {
				delete(vector, "hardware")
			}
		}))))
		if err != nil || c.TCBStatus != test.want {
			t.Errorf("%q with hardware %v: %q, want %q, %v", test.status, test.hardware, c.TCBStatus, test.want, err)
		}
	}
}

// tdxEvidence replaces the evidence of an EAR by that of a trust domain.
func tdxEvidence(tdx claimSet) func(claimSet) {
	return func(p claimSet) { delete(annotated(p), "snp"); annotated(p)["tdx"] = tdx }
}

// TestDebug: debugging is what the token says, true when any member says so, and never false of a machine whose memory is not encrypted.
func TestDebug(t *testing.T) {
	yes, no := true, false
	for name, test := range map[string]struct {
		fake string
		edit func(claimSet)
		want *bool
	}{
		"google, enabled":          {"google", func(p claimSet) { p["dbgstat"] = "enabled" }, &yes},
		"google, another word":     {"google", func(p claimSet) { p["dbgstat"] = "disabled" }, nil},
		"google, nothing":          {"google", func(p claimSet) { delete(p, "dbgstat") }, nil},
		"google, SEV-ES":           {"google", func(p claimSet) { p["hwmodel"] = "GCP_AMD_SEV_ES" }, &no},
		"google, no encryption":    {"google", func(p claimSet) { p["hwmodel"] = "GCP_SHIELDED_VM" }, nil},
		"google, unknown hardware": {"google", func(p claimSet) { p["hwmodel"] = "GCP_NEW" }, nil},
		"azure, debug":             {"azure-vm", func(p claimSet) { p["x-ms-isolation-tee"].(claimSet)["x-ms-sevsnpvm-is-debuggable"] = true }, &yes},
		"azure, nothing":           {"azure-vm", func(p claimSet) { delete(p["x-ms-isolation-tee"].(claimSet), "x-ms-sevsnpvm-is-debuggable") }, nil},
		"azure, no hardware":       {"azure-vm", func(p claimSet) { delete(p, "x-ms-isolation-tee"); p["x-ms-sevsnpvm-is-debuggable"] = false }, nil},
		"intel, one says so":       {"intel", func(p claimSet) { p["tdx_td_attributes_debug"] = true }, &yes},
		"intel, the other does":    {"intel", func(p claimSet) { p["tdx_is_debuggable"] = true }, &yes},
		"intel, dbgstat":           {"intel", func(p claimSet) { p["dbgstat"] = "enabled" }, &yes},
		"intel, SGX":               {"intel-sgx", func(p claimSet) { p["dbgstat"] = "enabled" }, &yes},
		"azure, TDX":               {"azure-tdx", func(p claimSet) { p["dbgstat"] = "not-reported" }, &yes},
		"intel, nothing":           {"intel", func(p claimSet) { delete(p, "tdx_is_debuggable"); delete(p, "tdx_td_attributes_debug") }, nil},
		"ear, debug":               {"ear", func(p claimSet) { annotated(p)["snp"].(claimSet)["policy_debug_allowed"] = true }, &yes},
		"ear, nothing":             {"ear", func(p claimSet) { annotated(p)["snp"] = claimSet{} }, nil},
		"ear, TDX": {"ear", func(p claimSet) {
			delete(annotated(p), "snp")
			annotated(p)["tdx"] = claimSet{"td_attributes": claimSet{"debug": true}}
		}, &yes},
		"ear, TDX attributes":        {"ear", tdxEvidence(claimSet{"quote": claimSet{"body": claimSet{"td_attributes": "0000001000000000"}}}), &no},
		"ear, TDX debug attributes":  {"ear", tdxEvidence(claimSet{"quote": claimSet{"body": claimSet{"td_attributes": "0100001000000000"}}}), &yes},
		"ear, TDX profiled":          {"ear", tdxEvidence(claimSet{"td_attributes": claimSet{"debug": false}, "quote": claimSet{"body": claimSet{"td_attributes": "2000001000000000"}}}), &yes},
		"intel, profiled":            {"intel", func(p claimSet) { p["tdx_td_attributes"] = "2000001000000000" }, &yes},
		"azure, TDX, profiled":       {"azure-tdx", func(p claimSet) { p["tdx_td_attributes"] = "1000001000000000" }, &yes},
		"ear, TDX contradiction":     {"ear", tdxEvidence(claimSet{"td_attributes": claimSet{"debug": false}, "quote": claimSet{"body": claimSet{"td_attributes": "0100001000000000"}}}), &yes},
		"ear, TDX contradiction too": {"ear", tdxEvidence(claimSet{"td_attributes": claimSet{"debug": true}, "quote": claimSet{"body": claimSet{"td_attributes": "0000001000000000"}}}), &yes},
		"ear, unknown evidence":      {"ear", func(p claimSet) { delete(annotated(p), "snp"); annotated(p)["hygondcu"] = claimSet{} }, nil},
	} {
		f := fakes()[test.fake]
		v, _ := verifierOf(t, f)
		c, err := v.Verify(t.Context(), input([]byte(f.with(test.edit))))
		if err != nil || (c.Debug == nil) != (test.want == nil) || c.Debug != nil && *c.Debug != *test.want {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// TestMigratable: a trust domain that can be migrated says so in its attributes, whoever issues the token.
func TestMigratable(t *testing.T) {
	body := func(attributes string) claimSet {
		return claimSet{"td_attributes": claimSet{"debug": false}, "quote": claimSet{"body": claimSet{"td_attributes": attributes}}}
	}
	yes, no := true, false
	for name, test := range map[string]struct {
		fake string
		edit func(claimSet)
		want *bool
	}{
		"ear":             {"ear", tdxEvidence(body("0000003000000000")), &yes},
		"ear, not":        {"ear", tdxEvidence(body("0000001000000000")), &no},
		"ear, not said":   {"ear", tdxEvidence(claimSet{"td_attributes": claimSet{"debug": false}}), nil},
		"intel":           {"intel", func(p claimSet) { p["tdx_td_attributes"] = "0000002000000000" }, &yes},
		"intel, not":      {"intel", func(p claimSet) { p["tdx_td_attributes"] = "0000001000000000" }, &no},
		"azure":           {"azure-tdx", func(p claimSet) { p["tdx_td_attributes"] = "0000003000000000" }, &yes},
		"azure, not said": {"azure-tdx", func(p claimSet) { delete(p, "tdx_td_attributes") }, nil},
	} {
		f := fakes()[test.fake]
		v, _ := verifierOf(t, f)
		c, err := v.Verify(t.Context(), input([]byte(f.with(test.edit))))
		if err != nil || (c.MigrationAgent == nil) != (test.want == nil) || c.MigrationAgent != nil && *c.MigrationAgent != *test.want {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}
