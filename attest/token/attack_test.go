package token

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// TestRefusals is a table of bad tokens, each bad in one way, with the code of each.
func TestRefusals(t *testing.T) {
	all := fakes()
	google, ear, azure := all["google"], all["ear"], all["azure-vm"]
	header := func(f *fake, name string, value any) string {
		return f.withHeader(func(h claimSet) {
			if h[name] = value; value == nil {
				delete(h, name)
			}
		})
	}
	claim := func(f *fake, name string, value any) string {
		return f.with(func(p claimSet) {
			if p[name] = value; value == nil {
				delete(p, name)
			}
		})
	}
	parts := strings.Split(google.token(), ".")
	spki := must(x509.MarshalPKIXPublicKey(rsaKey().Public()))
	symmetric := func(secret []byte) string {
		input := raw64([]byte(`{"alg":"HS256","kid":"`+fmt.Sprint(google.header["kid"])+`"}`)) + "." + parts[1]
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		return input + "." + raw64(mac.Sum(nil))
	}
	payload := string(must(base64.RawURLEncoding.DecodeString(parts[1])))
	otherJWK := claimSet{"kty": "RSA", "e": "AQAB", "n": raw64(otherRSA().N.Bytes())}
	for name, test := range map[string]struct {
		token string
		want  attest.Code
	}{
		"empty":                      {"", attest.CodeMalformed},
		"two parts":                  {parts[0] + "." + parts[1], attest.CodeMalformed},
		"four parts":                 {strings.Join(parts, ".") + ".", attest.CodeMalformed},
		"five parts":                 {google.token() + ".a.b", attest.CodeMalformed},
		"no header":                  {"." + parts[1] + "." + parts[2], attest.CodeMalformed},
		"no payload":                 {parts[0] + ".." + parts[2], attest.CodeMalformed},
		"no signature":               {parts[0] + "." + parts[1] + ".", attest.CodeMalformed},
		"white space before":         {" " + google.token(), attest.CodeMalformed},
		"white space behind":         {google.token() + "\n", attest.CodeMalformed},
		"line break within":          {parts[0] + "." + parts[1][:8] + "\n" + parts[1][8:] + "." + parts[2], attest.CodeMalformed},
		"padding":                    {parts[0] + "." + parts[1] + "." + parts[2] + "==", attest.CodeMalformed},
		"standard base64":            {parts[0] + "." + parts[1] + ".+/" + parts[2][2:], attest.CodeMalformed},
		"JSON serialisation":         {`{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`, attest.CodeMalformed},
		"header that is a list":      {raw64([]byte(`["RS256"]`)) + "." + parts[1] + "." + parts[2], attest.CodeMalformed},
		"payload that is a list":     {sign(google.key, google.header, []any{1}), attest.CodeMalformed},
		"payload that is a token":    {sign(google.key, google.header, []byte(google.token())), attest.CodeMalformed},
		"content that is a token":    {header(google, "cty", "JWT"), attest.CodeMalformed},
		"member twice":               {sign(google.key, google.header, []byte(`{"iss":"x",`+payload[1:])), attest.CodeMalformed},
		"inner member twice":         {sign(google.key, google.header, []byte(strings.Replace(payload, `"container":{`, `"container":{"image_digest":"x",`, 1))), attest.CodeMalformed},
		"header member twice":        {raw64([]byte(`{"alg":"none","alg":"RS256","kid":"x"}`)) + "." + parts[1] + "." + parts[2], attest.CodeMalformed},
		"not UTF-8":                  {sign(google.key, google.header, []byte("{\"a\":\"\xff\",\"iss\":1}")), attest.CodeMalformed},
		"something after the claims": {sign(google.key, google.header, []byte(payload+"{}")), attest.CodeMalformed},
		"issuer that is a number":    {claim(google, "iss", 1), attest.CodeMalformed},
		"over the limit":             {strings.Repeat("a", MaxToken) + ".a.b", attest.CodeTooLarge},
		"evidence over the limit":    {strings.Repeat("a", MaxEvidence+1), attest.CodeTooLarge},
		"header over the limit":      {strings.Repeat("a", maxHeader+1) + ".a.b", attest.CodeMalformed},
		"signature over the limit":   {"a.b." + strings.Repeat("a", maxSignature+1), attest.CodeMalformed},

		"crit":             {header(google, "crit", []string{"b64"}), attest.CodeMalformed},
		"empty crit":       {header(google, "crit", []string{}), attest.CodeMalformed},
		"null crit":        {google.withHeader(func(h claimSet) { h["crit"] = nil }), attest.CodeMalformed},
		"b64":              {header(google, "b64", false), attest.CodeMalformed},
		"encrypted":        {header(google, "enc", "A256GCM"), attest.CodeMalformed},
		"compressed":       {header(google, "zip", "DEF"), attest.CodeMalformed},
		"another typ":      {header(google, "typ", "at+jwt"), attest.CodeMalformed},
		"kid as a number":  {header(google, "kid", 7), attest.CodeMalformed},
		"jwk as a text":    {header(google, "jwk", "x"), attest.CodeMalformed},
		"kid too long":     {header(google, "kid", strings.Repeat("k", maxKeyID+1)), attest.CodeMalformed},
		"no alg":           {header(google, "alg", nil), attest.CodeAlgorithm},
		"alg none":         {header(google, "alg", "none"), attest.CodeAlgorithm},
		"alg NONE":         {raw64([]byte(`{"alg":"None","kid":"x"}`)) + "." + parts[1] + "." + "AA", attest.CodeAlgorithm},
		"alg in lower":     {header(google, "alg", "rs256"), attest.CodeAlgorithm},
		"PS256":            {header(google, "alg", "PS256"), attest.CodeAlgorithm},
		"not of Google":    {header(google, "alg", "PS384"), attest.CodeAlgorithm},
		"ECDSA for RSA":    {header(google, "alg", "ES256"), attest.CodeAlgorithm},
		"RSA for ECDSA":    {sign(rsaKey(), claimSet{"alg": "RS256", "kid": "ear-1"}, ear.payload()), attest.CodeAlgorithm},
		"P-384 for P-256":  {header(ear, "alg", "ES384"), attest.CodeAlgorithm},
		"HMAC with SPKI":   {symmetric(spki), attest.CodeAlgorithm},
		"HMAC with no key": {symmetric(nil), attest.CodeAlgorithm},

		"unknown issuer":       {claim(google, "iss", "https://accounts.google.com"), attest.CodeIssuer},
		"issuer with a slash":  {claim(google, "iss", google.trusted.Issuer+"/"), attest.CodeIssuer},
		"issuer in upper case": {claim(google, "iss", strings.ToUpper(google.trusted.Issuer)), attest.CodeIssuer},
		"EAR with an issuer":   {claim(ear, "iss", "https://as.example"), attest.CodeIssuer},
		"the other's issuer":   {sign(google.key, google.header, azure.payload()), attest.CodeIssuerKey},
		"no issuer":            {claim(google, "iss", nil), attest.CodeAlgorithm}, // which makes it one of the EAR's

		"unknown kid":           {header(google, "kid", "nobody's"), attest.CodeIssuerKey},
		"no kid":                {header(google, "kid", nil), attest.CodeIssuerKey},
		"empty kid":             {header(google, "kid", ""), attest.CodeIssuerKey},
		"own jwk":               {sign(otherRSA(), claimSet{"alg": "RS256", "jwk": otherJWK}, google.payload()), attest.CodeIssuerKey},
		"own jwk and their kid": {sign(otherRSA(), claimSet{"alg": "RS256", "kid": google.header["kid"], "jwk": otherJWK}, google.payload()), attest.CodeSignature},
		"own jku":               {sign(otherRSA(), claimSet{"alg": "RS256", "kid": google.header["kid"], "jku": "https://attacker.example/"}, google.payload()), attest.CodeSignature},
		"own x5u":               {sign(otherRSA(), claimSet{"alg": "RS256", "kid": google.header["kid"], "x5u": "https://attacker.example/"}, google.payload()), attest.CodeSignature},
		"another key":           {sign(otherRSA(), google.header, google.payload()), attest.CodeSignature},
		"signature of another":  {parts[0] + "." + parts[1] + "." + strings.Split(azure.token(), ".")[2], attest.CodeSignature},
		"payload of another":    {parts[0] + "." + strings.Split(google.with(func(p claimSet) { p["dbgstat"] = "enabled" }), ".")[1] + "." + parts[2], attest.CodeSignature},

		"another audience":     {claim(google, "aud", "https://sts.googleapis.com"), attest.CodeAudience},
		"no audience":          {claim(google, "aud", nil), attest.CodeAudience},
		"empty audience":       {claim(google, "aud", ""), attest.CodeAudience},
		"part of the audience": {claim(google, "aud", "https://broker.example/x"), attest.CodeAudience},
		"audience not asked":   {claim(ear, "aud", "https://other.example"), attest.CodeAudience},
		"audience as a number": {claim(google, "aud", 1), attest.CodeMalformed},
		"one of two audiences": {claim(google, "aud", []string{"a", "https://broker.example"}), ""},

		"contraindicated":          {ear.with(func(p claimSet) { submod(p, "cpu0")["ear.status"] = "contraindicated" }), attest.CodeVerdict},
		"contraindicated GPU":      {ear.with(func(p claimSet) { submod(p, "gpu0")["ear.status"] = "contraindicated" }), attest.CodeVerdict},
		"unknown status":           {ear.with(func(p claimSet) { submod(p, "cpu0")["ear.status"] = "great" }), attest.CodeMalformed},
		"no status":                {ear.with(func(p claimSet) { delete(submod(p, "gpu0"), "ear.status") }), attest.CodeMalformed},
		"no machine":               {ear.with(func(p claimSet) { delete(p["submods"].(claimSet), "cpu0") }), attest.CodeMalformed},
		"no submodules":            {claim(ear, "submods", nil), attest.CodeMalformed},
		"too many submodules":      {ear.with(func(p claimSet) { many(p["submods"].(claimSet)) }), attest.CodeMalformed},
		"two machines in one":      {ear.with(func(p claimSet) { annotated(p)["tdx"] = claimSet{} }), attest.CodeMalformed},
		"sample evidence":          {ear.with(func(p claimSet) { delete(annotated(p), "snp"); annotated(p)["sample"] = claimSet{"svn": "1"} }), attest.CodeNotVerifiable},
		"virtual evidence":         {ear.with(func(p claimSet) { delete(annotated(p), "snp"); annotated(p)["virtual"] = claimSet{} }), attest.CodeNotVerifiable},
		"measurement too short":    {ear.with(func(p claimSet) { annotated(p)["snp"].(claimSet)["measurement"] = "00" }), attest.CodeMalformed},
		"debug as a text":          {ear.with(func(p claimSet) { annotated(p)["snp"].(claimSet)["policy_debug_allowed"] = "false" }), attest.CodeMalformed},
		"VMPL as a fraction":       {ear.with(func(p claimSet) { annotated(p)["snp"].(claimSet)["vmpl"] = 0.5 }), attest.CodeMalformed},
		"confirms another key":     {claim(ear, "cnf", claimSet{"jwk": claimSet{"kty": "EC"}}), attest.CodeMalformed},
		"runtime data twice":       {sign(ear.key, ear.header, bytes.Replace(must(json.Marshal(ear.payload())), []byte(`{"nonce":`), []byte(`{"nonce":"x","nonce":`), 1)), attest.CodeMalformed},
		"Azure: a TPM only":        {claim(azure, "x-ms-attestation-type", "tpm"), attest.CodeVersionUnsupported},
		"Azure: unknown hardware":  {azure.with(func(p claimSet) { p["x-ms-isolation-tee"].(claimSet)["x-ms-attestation-type"] = "cca" }), attest.CodeVersionUnsupported},
		"Azure: no type":           {claim(azure, "x-ms-attestation-type", nil), attest.CodeVersionUnsupported},
		"Azure: debug as a text":   {azure.with(func(p claimSet) { p["x-ms-isolation-tee"].(claimSet)["x-ms-sevsnpvm-is-debuggable"] = "false" }), attest.CodeMalformed},
		"Azure: hardware a text":   {claim(azure, "x-ms-isolation-tee", "x"), attest.CodeMalformed},
		"Intel: another attester":  {claim(all["intel"], "attester_type", "NVGPU"), attest.CodeVersionUnsupported},
		"Intel: two attesters":     {claim(all["intel"], "tdx", claimSet{}), attest.CodeMalformed},
		"Google: env not of texts": {google.with(func(p claimSet) { p["submods"].(claimSet)["container"].(claimSet)["env"] = claimSet{"A": 1} }), attest.CodeMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			v, _ := verifierOf(t, google, ear, azure, all["intel"])
			if _, err := v.Verify(t.Context(), input([]byte(test.token))); codeOf(t, err) != test.want {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func many(submods claimSet) {
	for i := range maxSubmodules {
		submods[fmt.Sprintf("gpu%d", i+1)] = claimSet{"ear.status": "none"}
	}
}

// TestTimes judges each date of a token on both sides of its limit.
func TestTimes(t *testing.T) {
	seconds := func(at time.Time) any { return at.Unix() }
	for name, test := range map[string]struct {
		member string
		value  any
		want   attest.Code
	}{
		"expires now":                       {"exp", seconds(now), attest.CodeTokenTime},
		"expired a second ago":              {"exp", seconds(now.Add(-time.Second)), attest.CodeTokenTime},
		"expires in a second":               {"exp", seconds(now.Add(time.Second)), ""},
		"issued within the skew":            {"iat", seconds(now.Add(MaxSkew)), ""},
		"issued in the future":              {"iat", seconds(now.Add(MaxSkew + time.Second)), attest.CodeTokenTime},
		"begins within the skew":            {"nbf", seconds(now.Add(MaxSkew)), ""},
		"begins in the future":              {"nbf", seconds(now.Add(MaxSkew + time.Second)), attest.CodeTokenTime},
		"as old as may be":                  {"iat", seconds(now.Add(-DefaultMaxAge)), ""},
		"older":                             {"iat", seconds(now.Add(-DefaultMaxAge - time.Second)), attest.CodeTokenTime},
		"lives longer than Google's":        {"exp", seconds(now.Add(3 * time.Hour)), attest.CodeTokenTime},
		"lives for ever":                    {"exp", int64(maxNumber), attest.CodeTokenTime},
		"beyond what a number holds":        {"exp", int64(maxNumber + 1), attest.CodeMalformed},
		"a date that is a fraction":         {"exp", float64(now.Unix()) + 0.5, attest.CodeMalformed},
		"a date that is a text":             {"exp", "1798113600", attest.CodeMalformed},
		"a date that is negative":           {"iat", -1, attest.CodeMalformed},
		"a date in exponents":               {"exp", json.RawMessage("2e9"), attest.CodeMalformed},
		"no iat":                            {"iat", nil, attest.CodeTokenTime},
		"no exp":                            {"exp", nil, attest.CodeTokenTime},
		"no nbf":                            {"nbf", nil, attest.CodeTokenTime},
		"ends before it begins":             {"exp", seconds(now.Add(-2 * time.Minute)), attest.CodeTokenTime},
		"issued when the world was created": {"iat", 0, attest.CodeTokenTime},
	} {
		t.Run(name, func(t *testing.T) {
			f := fakes()["google"]
			v, _ := verifierOf(t, f)
			token := f.with(func(p claimSet) { p[test.member] = test.value })
			if _, err := v.Verify(t.Context(), input([]byte(token))); codeOf(t, err) != test.want {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestMaxAge: the configured age counts, for tokens that live longer.
func TestMaxAge(t *testing.T) {
	f := fakes()["azure-vm"] // good for eight hours
	f.trusted.MaxAge = 2 * time.Hour
	v, _ := verifierOf(t, f)
	in := input([]byte(f.token()))
	for after, want := range map[time.Duration]attest.Code{2*time.Hour - time.Minute: "", 2*time.Hour - time.Minute + time.Second: attest.CodeTokenTime} {
		in.Time = now.Add(after)
		if _, err := v.Verify(t.Context(), in); codeOf(t, err) != want {
			t.Errorf("after %v: %v, want %q", after, err, want)
		}
	}
}

// TestFlips flips a bit of every byte of a good token of each form, one at a time: never is one accepted.
func TestFlips(t *testing.T) {
	for name, f := range fakes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, _ := verifierOf(t, f)
			good := f.evidence(f.token())
			if _, err := v.Verify(t.Context(), input(good)); err != nil {
				t.Fatal(err)
			}
			for i := range good {
				bad := bytes.Clone(good)
				bad[i] ^= 1 << (i % 8)
				if _, err := v.Verify(t.Context(), input(bad)); codeOf(t, err) == "" {
					t.Fatalf("a bit of byte %d of %d flipped: accepted", i, len(good))
				}
			}
		})
	}
}

// TestTruncation cuts a good token of each form off at every length, and puts something behind it.
func TestTruncation(t *testing.T) {
	for name, f := range fakes() {
		v, _ := verifierOf(t, f)
		good := f.evidence(f.token())
		for n := range good {
			if _, err := v.Verify(t.Context(), input(good[:n])); codeOf(t, err) == "" {
				t.Fatalf("%s: %d of %d bytes: accepted", name, n, len(good))
			}
		}
		for _, more := range []string{"A", ".", "=", "\x00", "{}"} {
			if _, err := v.Verify(t.Context(), input(append(bytes.Clone(good), more...))); codeOf(t, err) == "" {
				t.Errorf("%s with %q behind it: accepted", name, more)
			}
		}
	}
}

// TestMemory: no evidence within the limit on its size makes the verifier allocate much more than it.
func TestMemory(t *testing.T) {
	f := fakes()["google"]
	v, _ := verifierOf(t, f, nvidiaFake())
	wide := func(open, item string) []byte { return []byte(open + strings.Repeat(item, (200<<10)/len(item))) }
	for name, evidence := range map[string][]byte{
		"dots":          bytes.Repeat([]byte("."), MaxToken),
		"deep payload":  []byte(sign(f.key, f.header, wide(`{"iss":`, "["))),
		"many members":  []byte(sign(f.key, f.header, append(wide(`{"iss":"x"`, `,"":1`), '}'))),
		"deep evidence": wide(`{"token":`, "["),
		"deep set":      wide("[", "["),
		"many tokens":   append(append([]byte(`[["JWT","a.b.c"],{"":""`), wide("", `,"":""`)...), "}]"...),
		"long audience": []byte(f.with(func(p claimSet) { p["aud"] = make([]string, 40_000) })),
		"long member":   []byte(f.with(func(p claimSet) { p["submods"] = strings.Repeat("x", 200<<10) })),
	} {
		for _, verifier := range []attest.Verifier{v, v.Device(nil)} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := verifier.Verify(t.Context(), input(evidence))
			runtime.ReadMemStats(&after)
			if codeOf(t, err) == "" {
				t.Errorf("%s: accepted", name)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
				t.Errorf("%s: %d bytes allocated", name, n)
			}
		}
	}
}

// TestReplay: what was accepted once is accepted again for the same digest only; the broker spends its nonces.
func TestReplay(t *testing.T) {
	f := fakes()["ear"]
	v, _ := verifierOf(t, f)
	in := input([]byte(f.token()))
	for range 2 {
		if _, err := v.Verify(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	in.Time = now.Add(5 * time.Minute)
	if _, err := v.Verify(t.Context(), in); codeOf(t, err) != attest.CodeTokenTime {
		t.Error(err)
	}
}

func parseSeeds(tb testing.TB) [][]byte {
	tb.Helper()
	var seeds [][]byte
	for _, f := range fakes() {
		seeds = append(seeds, f.evidence(f.token()))
	}
	return append(seeds, nvidiaSet(nil), jwks(map[string]crypto.Signer{"a": rsaKey(), "b": p256Key()}))
}

// accepted holds what was accepted against what was signed: nothing else may ever be.
func checkVerify(tb testing.TB, v *Verifier, good map[string]bool, evidence []byte) {
	tb.Helper()
	for _, verifier := range []attest.Verifier{v, v.Device(nil)} {
		_, err := verifier.Verify(tb.Context(), input(evidence))
		if codeOf(tb, err) == "" && !good[string(bytes.TrimSpace(evidence))] {
			var compact json.RawMessage
			// White space in JSON is not signed.
			if json.Unmarshal(evidence, &compact) != nil || !good[string(mustCompact(evidence))] {
				tb.Fatalf("accepted: %q", evidence)
			}
		}
	}
}

func mustCompact(text []byte) []byte {
	var b bytes.Buffer
	_ = json.Compact(&b, text)
	return b.Bytes()
}

func verifierOfAll(tb testing.TB) (*Verifier, [][]byte, map[string]bool) {
	tb.Helper()
	all := fakes()
	v, _ := verifierOf(tb, all["ear"], all["google"], all["azure-vm"], all["intel"], nvidiaFake())
	seeds := parseSeeds(tb)
	good := map[string]bool{}
	for _, seed := range seeds {
		good[string(seed)] = true
		good[string(mustCompact(seed))] = true
	}
	return v, seeds, good
}

func FuzzVerify(f *testing.F) {
	v, seeds, good := verifierOfAll(f)
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, evidence []byte) { checkVerify(t, v, good, evidence) })
}

func FuzzKeySet(f *testing.F) {
	for _, seed := range parseSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text []byte) { checkKeySet(t, text) })
}

func checkKeySet(tb testing.TB, text []byte) {
	tb.Helper()
	set, err := parseKeySet(text)
	if (err == nil) != (len(set) > 0) {
		tb.Fatalf("%d keys and %v", len(set), err)
	}
	for _, k := range set {
		if err := checkPublic(k.public); err != nil || len(k.spki) != 64 {
			tb.Fatalf("a key that is not acceptable: %v", err)
		}
	}
}

// FuzzPayload reads payloads as if they were signed, by every format.
func FuzzPayload(f *testing.F) {
	for _, fake := range fakes() {
		f.Add(must(json.Marshal(fake.payload())))
	}
	f.Fuzz(func(t *testing.T, text []byte) { checkPayload(t, text) })
}

func checkPayload(tb testing.TB, text []byte) {
	tb.Helper()
	for _, format := range Formats() {
		payload, err := parseObject(string(text))
		if err != nil {
			return
		}
		s := &signed{
			issuer: &issuer{Trusted: Trusted{Name: "n", Format: format, MaxAge: DefaultMaxAge, Audiences: []string{"https://broker.example"}}, preset: presets[format]},
			key:    &key{}, payload: payload, at: now,
			claims: &attest.Claims{Kind: attest.Token, Collateral: &attest.CollateralClaims{}},
		}
		if s.begin() != nil {
			continue
		}
		claims, err := s.appraise()
		if codeOf(tb, err) != "" {
			continue
		}
		codeOf(tb, s.bind(attest.BoundTo(digest), claims, nil))
		if _, err := json.Marshal(claims); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestMutations(t *testing.T) {
	v, seeds, good := verifierOfAll(t)
	t.Run("verify", func(t *testing.T) {
		mutate.Run(t, seeds, func(t *testing.T, b []byte) { checkVerify(t, v, good, b) })
	})
	t.Run("key set", func(t *testing.T) {
		sets := [][]byte{jwks(map[string]crypto.Signer{"a": rsaKey(), "b": p256Key(), "c": p384Key()})}
		mutate.Run(t, sets, func(t *testing.T, b []byte) { checkKeySet(t, b) })
	})
	t.Run("payload", func(t *testing.T) {
		var payloads [][]byte
		for _, f := range fakes() {
			payloads = append(payloads, must(json.Marshal(f.payload())))
		}
		mutate.Run(t, payloads, func(t *testing.T, b []byte) { checkPayload(t, b) })
	})
}
