package kbs_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/broker/kbs"
	"github.com/vouchsafe/vouchsafe/broker/kbs/kbstest"
)

// needsRego is the release policy of who comes from the reference server: what Rego says, within the baseline but for what development evidence lacks.
var needsRego = strings.Replace(strings.Replace(allowAll, "  require:\n    - {name: development, that: 'claims.kind in [\"virtual\", \"sample\"]'}\n", "  rego: required\n", 1),
	"name: development", "name: kbs", 1)

// ask sends a request of an administrator.
func ask(t *testing.T, b *brokertest.Broker, token, method, path, body string) ([]byte, error) {
	t.Helper()
	c := client(t, b)
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	reply, err := c.Do(t.Context(), method, path, []byte(body), header)
	if err != nil {
		return nil, err
	}
	return reply.Body, nil
}

func policyBody(source string) string {
	return `{"policy":"` + base64.RawURLEncoding.EncodeToString([]byte(source)) + `"}`
}

func attestationBody(id, source string) string {
	return fmt.Sprintf(`{"type":"rego","policy_id":%q,"policy":%q,"extra":1}`, id, base64.RawURLEncoding.EncodeToString([]byte(source)))
}

func must(t *testing.T, _ []byte, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRegoResourcePolicy has an operator's resource policy judge beside release policies: all must allow.
func TestRegoResourcePolicy(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	b.PutSecret("res/type/other", []byte(secret))
	guest := client(t, b)
	get := func(path string) string {
		t.Helper()
		got, err := guest.Get(t.Context(), path)
		if err != nil {
			return nameOf(err)
		}
		return string(got)
	}
	const onlyTag = `package policy
import rego.v1
default allow := false
allow if {
	data.plugin == "resource"
	data["resource-path"] == ["res", "type", "tag"]
	data.query == {}
	input.submods.cpu0["ear.veraison.annotated-evidence"].sample.svn == "1"
	input.submods.cpu0["ear.status"] in ["contraindicated", "warning"]
}`
	ids, err := ask(t, b, b.Token, "GET", "resource-policy", "")
	if err != nil || string(ids) != "[]" {
		t.Fatalf("%s, %v", ids, err)
	}
	if got := get("res/type/tag"); got != secret {
		t.Fatalf("without Rego: %s", got)
	}
	_, err = ask(t, b, b.Token, "POST", "resource-policy", policyBody("package policy\ndefault allow = false"))
	must(t, nil, err)
	_, err = guest.Get(t.Context(), "res/type/tag")
	wantError(t, err, http.StatusForbidden, "PolicyDeny")
	d := decisionOf(t, b, err)
	last := d.Secrets[0].Policies[len(d.Secrets[0].Policies)-1]
	if last.Policy != "rego/resource-policy" || last.Allow || last.Version != 1 || !strings.HasPrefix(last.Digest, "sha256:") || last.Rules[0].Outcome != "fail" {
		t.Errorf("the decision says %+v", last)
	}
	_, err = ask(t, b, b.Token, "POST", "resource-policy", policyBody(onlyTag))
	must(t, nil, err)
	if got := get("res/type/tag"); got != secret {
		t.Fatalf("allowed by both: %s", got)
	}
	// What Rego allows is released only where a release policy allows it too: none guards this one.
	_, err = ask(t, b, b.Token, "POST", "resource-policy", policyBody("package policy\nallow := true"))
	must(t, nil, err)
	if got := get("res/type/denied"); got != "403 PolicyDeny" {
		t.Errorf("without a release policy: %s", got)
	}
	ids, err = ask(t, b, b.Token, "GET", "resource-policy", "")
	if err != nil || string(ids) != `["resource-policy"]` {
		t.Errorf("%s, %v", ids, err)
	}

	// A policy that fails in one way or another refuses.
	for source, message := range map[string]string{
		"package policy\nallow if input.nothing":                                                   "gives no answer",
		"package policy\nallow := \"yes\"":                                                         "not of the form",
		"package policy\nn := numbers.range(1, 10000)\nallow if count([1 | n[_]; n[_]; n[_]]) > 0": "more than",
	} {
		_, err = ask(t, b, b.Token, "POST", "resource-policy", policyBody(source))
		must(t, nil, err)
		_, err = guest.Get(t.Context(), "res/type/tag")
		wantError(t, err, http.StatusForbidden, "PolicyDeny")
		d := decisionOf(t, b, err)
		rules := d.Secrets[0].Policies[len(d.Secrets[0].Policies)-1].Rules
		if rules[0].Outcome != "error" && rules[0].Outcome != "fail" || !strings.Contains(rules[0].Message, message) {
			t.Errorf("%s: %+v", source, rules)
		}
	}
}

// TestRegoRequired has what only Rego judges refused when Rego goes, and when the baseline fails.
func TestRegoRequired(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	if _, err := b.ActivatePolicy(t.Context(), b.Admin, "default", "development", 0); err != nil {
		t.Fatal(err)
	}
	b.ApplyPolicy(needsRego)
	guest := client(t, b)
	_, err := guest.Get(t.Context(), "res/type/tag")
	wantError(t, err, http.StatusForbidden, "PolicyDeny")
	_, err = ask(t, b, b.Token, "POST", "resource-policy", policyBody("package policy\nallow := true"))
	must(t, nil, err)
	if got, err := guest.Get(t.Context(), "res/type/tag"); err != nil || string(got) != secret {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := b.ActivateRego(t.Context(), b.Admin, "default", broker.RegoResource, broker.RegoResourceID, 0); err != nil {
		t.Fatal(err)
	}
	_, err = guest.Get(t.Context(), "res/type/tag")
	wantError(t, err, http.StatusForbidden, "PolicyDeny")
	if rules := decisionOf(t, b, err).Secrets[0].Policies[0].Rules; !strings.Contains(fmt.Sprint(rules), "no active Rego resource policy") {
		t.Errorf("%+v", rules)
	}
	if _, err := b.ActivateRego(t.Context(), b.Admin, "default", broker.RegoResource, broker.RegoResourceID, 1); err != nil {
		t.Fatal(err)
	}
	// The baseline holds, whatever Rego says: without a waiver development evidence gets nothing.
	b.ApplyPolicy(strings.Replace(needsRego, "    - {rule: genuine-hardware, reason: a test}\n", "", 1))
	_, err = guest.Get(t.Context(), "res/type/tag")
	wantError(t, err, http.StatusForbidden, "PolicyDeny")
}

// TestRegoAttestationPolicy has an operator's attestation policy make the token's vector, with reference values over the protocol.
func TestRegoAttestationPolicy(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	guest := client(t, b)
	const source = `package policy
import rego.v1
default executables := 33
executables := 3 if input.sample.svn in query_reference_value("sample/svn")
trust_claims := {"executables": executables, "hardware": 2, "configuration": 2}`
	vector := func() (map[string]any, string) {
		t.Helper()
		guest.ForgetSession()
		token, err := guest.Attest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, claims, err := kbstest.TokenClaims(token)
		if err != nil {
			t.Fatal(err)
		}
		mod := claims["submods"].(map[string]any)["cpu0"].(map[string]any)
		return mod["ear.trustworthiness-vector"].(map[string]any), mod["ear.appraisal-policy-id"].(string)
	}
	if v, id := vector(); v["executables"] != 33.0 || id != "vouchsafe-claims-v2" {
		t.Fatalf("without a policy: %v by %s", v, id)
	}
	_, err := ask(t, b, b.Token, "POST", "attestation-policy", attestationBody("default_cpu", source))
	must(t, nil, err)
	if v, id := vector(); v["executables"] != 33.0 || !strings.HasPrefix(id, "default_cpu sha256:") {
		t.Errorf("without reference values: %v by %s", v, id)
	}
	payload := base64.StdEncoding.EncodeToString([]byte(`{"sample/svn":["1","2"],"minimum":3}`))
	_, err = ask(t, b, b.Token, "POST", "reference-value", `{"version":"0.1.0","type":"sample","payload":"`+payload+`"}`)
	must(t, nil, err)
	for id, want := range map[string]string{"sample/svn": `["1","2"]`, "minimum": "3", "absent": "null"} {
		if got, err := ask(t, b, b.Token, "GET", "reference-value/"+id, ""); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", id, got, err)
		}
	}
	// Affirmed by the policy, but for the hardware: development evidence is contraindicated by what was verified, whatever a policy says.
	if v, _ := vector(); v["executables"] != 3.0 || v["configuration"] != 2.0 || v["hardware"] != 97.0 || v["runtime-opaque"] != 0.0 {
		t.Errorf("with reference values: %v", v)
	}
	for _, bad := range []string{`{"hardwear": 2}`, `{"hardware": "2"}`, `{}`, `1`} {
		_, err := ask(t, b, b.Token, "POST", "attestation-policy", attestationBody("default_cpu", "package policy\ntrust_claims := "+bad))
		must(t, nil, err)
		guest.ForgetSession()
		_, err = guest.Attest(t.Context())
		wantError(t, err, http.StatusUnauthorized, "AttestationError")
	}
}

// TestRegoMessages tries what is malformed, and who may not.
func TestRegoMessages(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	good := policyBody("package policy\nallow := true")
	for _, token := range []string{"", "x", "a.b.c", b.CreateToken(access.Author), b.CreateToken(access.Approver), b.CreateToken(access.Custodian), b.CreateToken(access.Operator)} {
		for path, body := range map[string]string{
			"resource-policy": good, "attestation-policy": attestationBody("default_cpu", "package policy\ntrust_claims := {\"hardware\": 2}"),
			"reference-value": `{"version":"0.1.0","type":"sample","payload":"eyJ4IjoxfQ=="}`,
		} {
			if _, err := ask(t, b, token, "POST", path, body); !strings.HasSuffix(nameOf(err), "AdminAuthAccess") {
				t.Errorf("%s by %.12q: %v", path, token, err)
			}
		}
	}
	if _, err := ask(t, b, "", "GET", "resource-policy", ""); nameOf(err) != "401 AdminAuthAccess" {
		t.Errorf("list by nobody: %v", err)
	}
	if _, err := ask(t, b, "", "GET", "reference-value/x", ""); nameOf(err) != "401 AdminAuthAccess" {
		t.Errorf("read by nobody: %v", err)
	}
	for _, path := range []string{"reference-value", "reference-value/", "resource-policy/", "attestation-policy/x"} {
		if _, err := ask(t, b, b.Token, "GET", path, ""); nameOf(err) != "404 PluginNotFound" && nameOf(err) != "400 InvalidRequestPath" {
			t.Errorf("GET %s: %v", path, err)
		}
	}
	_, err := ask(t, b, b.Token, "POST", "resource-policy", policyBody("package policy\n\nallow if http.send({})"))
	if e := wantError(t, err, http.StatusBadRequest, "SerdeError"); !strings.Contains(e.Detail, "resource-policy:3:10: http.send") {
		t.Errorf("detail %q", e.Detail)
	}
	for path, bodies := range map[string][]string{
		"resource-policy":    {``, `{}`, `[]`, `{"policy":""}`, `{"policy":"===="}`, `{"policy":"` + base64.StdEncoding.EncodeToString([]byte("package policy\nallow := true#")) + `"}`, policyBody("x"), policyBody("package other\nallow := true")},
		"attestation-policy": {`{}`, policyBody("package policy\ntrust_claims := {}"), attestationBody("", "package policy\ntrust_claims := {}"), attestationBody("../x", "package policy\ntrust_claims := {}"), attestationBody("default_cpu", "package policy\nallow := true"), strings.Replace(attestationBody("default_cpu", "package policy\ntrust_claims := {}"), "rego", "cel", 1)},
		"reference-value":    {`{}`, `{"version":"0.2.0","type":"sample","payload":"e30="}`, `{"version":"0.1.0","type":"in-toto","payload":"e30="}`, `{"version":"0.1.0","type":"sample","payload":"***"}`, `{"version":"0.1.0","type":"sample","payload":"W10="}`, `{"version":"0.1.0","type":"sample","payload":"bnVsbA=="}`},
	} {
		for _, body := range bodies {
			if _, err := ask(t, b, b.Token, "POST", path, body); nameOf(err) != "400 SerdeError" {
				t.Errorf("%s %s: %v", path, body, err)
			}
		}
	}
	_, err = ask(t, b, b.Token, "POST", "resource-policy", strings.Repeat(" ", 300<<10)+good)
	wantError(t, err, http.StatusRequestEntityTooLarge, "SerdeError")
}

// TestAdminKeys has an administrator sign tokens himself.
func TestAdminKeys(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, _ := ed25519.GenerateKey(rand.Reader)
	b := start(t, kbs.Config{AdminKeys: []kbs.AdminKey{{Name: "ops", Key: public, Roles: access.SetOf(access.Author, access.Approver), Audience: "kbs"}}}, brokertest.Config{})
	now := time.Now()
	sign := func(key any, algorithm jose.SignatureAlgorithm, change func(map[string]any)) string {
		t.Helper()
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		claims := map[string]any{"iat": now.Unix(), "exp": now.Add(2 * time.Hour).Unix(), "aud": []string{"kbs"}}
		if change != nil {
			change(claims)
		}
		token, err := jwt.Signed(signer).Claims(claims).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good := policyBody("package policy\nallow := true")
	if _, err := ask(t, b, sign(private, jose.EdDSA, nil), "POST", "resource-policy", good); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, b, b.Token, "GET", "resource-policy", ""); err != nil {
		t.Errorf("the broker's own token: %v", err)
	}
	// Its roles are those configured: it sets no resource.
	admin := kbstest.Admin{URL: b.URL, HTTP: b.HTTP, Header: http.Header{"Authorization": {"Bearer " + sign(private, jose.EdDSA, func(c map[string]any) { c["role"] = "custodian" })}}}
	wantError(t, admin.SetResource(t.Context(), "res/type/tag", nil), http.StatusForbidden, "AdminAuthAccess")
	body, _ := json.Marshal(map[string]any{"aud": "kbs", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()})
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(body) + "."
	for name, token := range map[string]string{
		"a stranger's": sign(stranger, jose.EdDSA, nil),
		"symmetric":    sign([]byte(public), jose.HS256, nil),
		"unsigned":     unsigned,
		"expired": sign(private, jose.EdDSA, func(c map[string]any) {
			c["iat"], c["exp"] = now.Add(-2*time.Hour).Unix(), now.Add(-time.Second).Unix()
		}),
		"for ever":  sign(private, jose.EdDSA, func(c map[string]any) { delete(c, "exp") }),
		"too long":  sign(private, jose.EdDSA, func(c map[string]any) { c["exp"] = now.Add(25 * time.Hour).Unix() }),
		"of when":   sign(private, jose.EdDSA, func(c map[string]any) { delete(c, "iat") }),
		"early":     sign(private, jose.EdDSA, func(c map[string]any) { c["nbf"] = now.Add(time.Hour).Unix() }),
		"elsewhere": sign(private, jose.EdDSA, func(c map[string]any) { c["aud"] = "other" }),
		"nobody's":  sign(private, jose.EdDSA, func(c map[string]any) { delete(c, "aud") }),
	} {
		if _, err := ask(t, b, token, "POST", "resource-policy", good); nameOf(err) != "401 AdminAuthAccess" {
			t.Errorf("%s: %v", name, err)
		}
	}
	bodies, err := intake.NewReader(0)
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string][]kbs.AdminKey{
		"no name": {{Key: public, Roles: access.Administrator()}}, "no roles": {{Name: "a", Key: public}}, "no key": {{Name: "a", Roles: access.Administrator()}},
		"twice": {{Name: "a", Key: public, Roles: access.Administrator()}, {Name: "a", Key: public, Roles: access.Administrator()}},
	} {
		if _, err := kbs.New(kbs.Config{Broker: b.Broker, Intake: bodies, AdminKeys: keys}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
