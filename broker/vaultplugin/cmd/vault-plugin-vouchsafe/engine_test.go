package main

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/tpm/tpmtest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/client/tpmdevice"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

func TestReleaseWithTheClientOfAServer(t *testing.T) {
	m := newMount(t, vaulttest.Shared(t))
	m.fill(t)
	secrets, err := m.fetch(t, virtualdevice.New(m.device), "demo/app/password")
	if err != nil {
		t.Fatal(err)
	}
	if s := secrets[0]; string(s.Value) != "correct horse" || s.ContentType != "text/plain" || s.Version != 1 || s.Decision == "" {
		t.Errorf("%+v with %d bytes", s, len(s.Value))
	}
	leases, err := m.client.Logical().ListWithContext(t.Context(), m.path+"/leases")
	if err != nil || leases == nil || len(leases.Data["keys"].([]any)) != 1 {
		t.Errorf("leases: %+v, %v", leases, err)
	}
	m.write(t, "lease-revoke/"+secrets[0].Lease.ID, nil)
	if _, err := m.client.Logical().WriteWithContext(t.Context(), m.path+"/lease-revoke/"+strings.Repeat("0", 36)+".0", nil); err == nil {
		t.Error("a lease was revoked that there is not")
	}
	log := string(m.get(t, "log/checkpoint"))
	if !strings.HasPrefix(log, strings.TrimPrefix(m.server.Address, "http://")+"/v1/"+m.path+"\n") {
		t.Errorf("the log's checkpoint is %q", log)
	}
}

// TestReleaseInVaultsForm is the exchange in plain HTTP, by the paths that Vault's users know.
func TestReleaseInVaultsForm(t *testing.T) {
	m := newMount(t, vaulttest.Shared(t))
	m.fill(t)
	status, body := m.http(t, http.MethodPost, "challenge", map[string]any{"kind": "virtual"})
	var challenge struct{ Data release.Challenge }
	if err := json.Unmarshal(body, &challenge); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s, %v", status, body, err)
	}
	key, err := envelope.GenerateKey(envelope.XWing)
	if err != nil {
		t.Fatal(err)
	}
	request := &release.Request{Nonce: challenge.Data.Nonce, Recipient: key.PublicJWK(), Secrets: []release.Want{{Name: "demo/app/password"}}}
	runtime, err := request.RuntimeData(challenge.Data.Hash, key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := client.Collect(t.Context(), virtualdevice.New(m.device), nil, runtime)
	if err != nil {
		t.Fatal(err)
	}
	request.Evidence = release.Evidence{Kind: "virtual", Data: evidence.Primary}
	status, body = m.http(t, http.MethodPost, "release", request)
	var signed struct{ Data json.RawMessage }
	if err := json.Unmarshal(body, &signed); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s, %v", status, body, err)
	}
	keys, err := release.ParseKeys(m.get(t, "jwks"))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := keys.Open(signed.Data)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := release.DecodeReply(payload)
	if err != nil {
		t.Fatal(err)
	}
	value, err := key.Open(reply.Results[0].Envelope, reply.Context(&reply.Results[0]))
	if err != nil || string(value) != "correct horse" {
		t.Errorf("%q, %v", value, err)
	}
	// The nonce is spent.
	status, body = m.http(t, http.MethodPost, "release", request)
	if status != http.StatusForbidden || !strings.Contains(string(body), `"nonce_invalid"`) {
		t.Errorf("again: %d %s", status, body)
	}
}

func TestRefusalIsExplained(t *testing.T) {
	m := newMount(t, vaulttest.Shared(t))
	m.fill(t)
	// Evidence of another root.
	other := &mount{server: m.server, path: m.path, client: m.client, plain: m.plain}
	other.newTEE(t)
	_, err := m.fetch(t, virtualdevice.New(other.device), "demo/app/password")
	var refused *client.Refused
	if !errors.As(err, &refused) || refused.Code != release.CodeEvidence || refused.Decision == "" {
		t.Fatalf("evidence of another root: %v", err)
	}
	decision, _ := m.read(t, "explain/"+refused.Decision)["decision"].(map[string]any)
	if decision["outcome"] != "refused" || decision["refusal"] == nil {
		t.Errorf("%v", decision)
	}
	// A guest that may be debugged.
	debug, err := m.device.With(func(c *virtual.Config) { c.Debug = true })
	if err != nil {
		t.Fatal(err)
	}
	if _, err = m.fetch(t, virtualdevice.New(debug), "demo/app/password"); !errors.As(err, &refused) || refused.Code != release.CodeDenied {
		t.Fatalf("a guest that may be debugged: %v", err)
	}
	text, err := json.Marshal(m.read(t, "explain/"+refused.Decision))
	if err != nil || !strings.Contains(string(text), "no-debug") {
		t.Errorf("%s, %v", text, err)
	}
	decisions, err := m.client.Logical().ListWithContext(t.Context(), m.path+"/decisions")
	if err != nil || len(decisions.Data["keys"].([]any)) != 2 {
		t.Errorf("decisions: %+v, %v", decisions, err)
	}
}

func TestErrorsAreVaults(t *testing.T) {
	m := newMount(t, vaulttest.Shared(t))
	status, body := m.http(t, http.MethodPost, "challenge", map[string]any{"kind": "nitro"})
	var answer struct {
		Errors []string
		Data   release.Error
	}
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusBadRequest || len(answer.Errors) != 1 || answer.Data.Code != "invalid_request" {
		t.Errorf("%d %s, %v", status, body, err)
	}
	if status, body := m.http(t, http.MethodPost, "challenge", map[string]any{"kind": "virtual", "knid": "x"}); status != http.StatusBadRequest || !strings.Contains(string(body), "knid") {
		t.Errorf("a member that is not known: %d %s", status, body)
	}
	_, err := m.client.Logical().WriteWithContext(t.Context(), m.path+"/policy-apply", map[string]any{"source": "kind: Nothing"})
	var failed *api.ResponseError
	if !errors.As(err, &failed) || failed.StatusCode != http.StatusBadRequest || len(failed.Errors) != 1 {
		t.Errorf("%v", err)
	}
	for _, path := range []string{"config", "secrets/demo/app/password", "explain/x", "policies/demo"} {
		if status, _ := m.http(t, http.MethodGet, path, nil); status != http.StatusForbidden {
			t.Errorf("%s without a token: %d", path, status)
		}
	}
}

func TestAMountIsForOnePurpose(t *testing.T) {
	s := vaulttest.Shared(t)
	m := newMount(t, s)
	if _, err := m.client.Logical().WriteWithContext(t.Context(), m.path+"/config", map[string]any{"purpose": "production"}); err == nil {
		t.Error("a development mount became one for production")
	}
	p := &mount{server: s, path: s.Mount(t, "vouchsafe", nil), client: m.client, plain: m.plain}
	p.newTEE(t)
	issuer := "https://vault.example/v1/" + p.path
	for name, config := range map[string]map[string]any{
		"virtual evidence":   {"issuer": issuer, "kinds": "snp,virtual", "development_root": p.rootPEM(t)},
		"a development root": {"issuer": issuer, "kinds": "snp", "development_root": p.rootPEM(t)},
		"plain http":         {"issuer": "http://vault.example/v1/" + p.path, "kinds": "snp"},
		"an unknown kind":    {"issuer": issuer, "kinds": "snp,tpx"},
		"no kinds":           {"issuer": issuer},
		"an unknown setting": {"issuer": issuer, "kinds": "snp", "limit": 1},
	} {
		if _, err := p.client.Logical().WriteWithContext(t.Context(), p.path+"/config", config); err == nil {
			t.Errorf("a production mount took %s", name)
		}
	}
	p.write(t, "config", map[string]any{"issuer": issuer, "kinds": "snp"})
	for name, config := range map[string]map[string]any{
		"development": {"purpose": "development"}, "virtual evidence": {"kinds": "snp,virtual"}, "another log": {"log_origin": "elsewhere"},
	} {
		if _, err := p.client.Logical().WriteWithContext(t.Context(), p.path+"/config", config); err == nil {
			t.Errorf("a production mount took %s later", name)
		}
	}
	p.write(t, "config", map[string]any{"max_secrets": 3})
	if c := p.read(t, "config"); c["purpose"] != "production" || c["max_secrets"] != json.Number("3") || c["issuer"] != issuer {
		t.Errorf("%v", c)
	}
}

func TestReleaseWithATPM(t *testing.T) {
	m := newMount(t, vaulttest.Shared(t))
	soft := tpmtest.Start(t)
	roots, intermediates := soft.Authority()
	var makers strings.Builder
	for _, cert := range append(append([]*x509.Certificate{}, roots...), intermediates...) {
		if err := pem.Encode(&makers, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}); err != nil {
			t.Fatal(err)
		}
	}
	m.write(t, "config", map[string]any{"tpm_maker_roots": makers.String()})
	device, err := tpmdevice.Open(t.Context(), tpmdevice.Config{Device: soft.Addr(), StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	wanted, err := device.EnrolRequest()
	if err != nil {
		t.Fatal(err)
	}
	begun := m.write(t, "enrolment-begin", map[string]any{"host": "rack-1", "request": wanted})
	var challenge tpm.Challenge
	text, err := json.Marshal(begun.Data["challenge"])
	if err == nil {
		err = json.Unmarshal(text, &challenge)
	}
	if err != nil {
		t.Fatal(err)
	}
	opened, err := device.Activate(&challenge)
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "enrolment-complete", map[string]any{"id": begun.Data["id"], "secret": base64.StdEncoding.EncodeToString(opened)})

	m.write(t, "policy-apply", samplePolicy("hosts", "hosts/*", `claims.kind == "tpm"`))
	m.write(t, "secrets/hosts/disk", map[string]any{"value": "a2V5"})
	secrets, err := m.fetch(t, device, "hosts/disk")
	if err != nil || string(secrets[0].Value) != "key" {
		t.Fatalf("%v, %v", secrets, err)
	}
	enrolled, err := m.client.Logical().ListWithContext(t.Context(), m.path+"/enrolments")
	if err != nil || len(enrolled.Data["keys"].([]any)) != 1 {
		t.Fatalf("%+v, %v", enrolled, err)
	}
	if _, err := m.client.Logical().DeleteWithContext(t.Context(), m.path+"/enrolments/"+enrolled.Data["keys"].([]any)[0].(string)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.fetch(t, device, "hosts/disk"); err == nil {
		t.Error("a host whose enrolment was revoked got the secret")
	}
}

// TestNoPathReturnsAValue reads everything that can be read of a mount with Vault's root token, and finds no value in it.
func TestNoPathReturnsAValue(t *testing.T) {
	m := newMount(t, vaulttest.Shared(t))
	m.fill(t)
	m.write(t, "secret-generate/demo/app/made", map[string]any{"length": 32, "encoding": "hex"})
	if info := m.read(t, "secrets/demo/app/made"); info["current"] != json.Number("1") {
		t.Errorf("%v", info)
	}
	value := base64.StdEncoding.EncodeToString([]byte("correct horse"))
	for _, path := range []string{"secrets/demo/app/password", "config", "policies/demo", "log/tile/entries/000.p/3", "jwks"} {
		r := m.client.NewRequest(http.MethodGet, "/v1/"+m.path+"/"+path)
		answer, err := m.client.RawRequestWithContext(t.Context(), r) //nolint:staticcheck // the whole answer is looked at
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		body := new(strings.Builder)
		if _, err := io.Copy(body, answer.Body); err != nil {
			t.Error(err)
		}
		_ = answer.Body.Close()
		if strings.Contains(body.String(), value) || strings.Contains(body.String(), "correct horse") {
			t.Errorf("%s answers with the value", path)
		}
	}
}
