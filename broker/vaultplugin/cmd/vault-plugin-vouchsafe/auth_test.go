package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin/authmethod"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// guest is a workload with a key of its own.
type guest struct {
	key *ecdsa.PrivateKey
	jwk []byte
}

func newGuest(t testing.TB) guest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding
	jwk, err := json.Marshal(map[string]string{
		"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": b64.EncodeToString(point[1:33]), "y": b64.EncodeToString(point[33:]),
	})
	if err != nil {
		t.Fatal(err)
	}
	return guest{key, jwk}
}

// login is a request to log in, with the proof that belongs to it.
type login struct {
	request release.Request
	proof   authmethod.Proof
	key     *ecdsa.PrivateKey // signs the proof
}

// begin asks for a challenge and makes the evidence.
func (g guest) begin(t testing.TB, m *mount, use, role string) *login {
	t.Helper()
	status, body := m.http(t, http.MethodPost, "challenge", map[string]any{"kind": "virtual"})
	var challenge struct{ Data release.Challenge }
	if err := json.Unmarshal(body, &challenge); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s, %v", status, body, err)
	}
	recipient, err := envelope.ParseRecipient(g.jwk, envelope.Options{})
	if err != nil {
		t.Fatal(err)
	}
	request := release.Request{Nonce: challenge.Data.Nonce, Recipient: g.jwk}
	runtime, err := request.RuntimeData(challenge.Data.Hash, recipient)
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := client.Collect(t.Context(), virtualdevice.New(m.device), nil, runtime)
	if err != nil {
		t.Fatal(err)
	}
	request.Evidence = release.Evidence{Kind: "virtual", Data: evidence.Primary}
	digest, err := request.EvidenceDigest()
	if err != nil {
		t.Fatal(err)
	}
	return &login{request, authmethod.Proof{
		Use: use, Audience: m.server.Address + "/v1/" + m.path, Role: role, Nonce: request.Nonce, Evidence: digest,
	}, g.key}
}

// send sends the request for a role, without a token, and returns what Vault answers.
func (l *login) send(t testing.TB, m *mount, path, role string) (int, *api.Secret, string) {
	t.Helper()
	proof, err := l.proof.Sign(l.key)
	if err != nil {
		t.Fatal(err)
	}
	status, body := m.http(t, http.MethodPost, path, map[string]any{
		"role": role, "nonce": l.request.Nonce, "recipient": l.request.Recipient, "evidence": l.request.Evidence, "proof": proof,
	})
	secret, err := api.ParseSecret(strings.NewReader(string(body)))
	if err != nil {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	return status, secret, string(body)
}

// newRole makes a role that virtual TEEs get, and a policy of Vault's for its tokens.
func newRole(t testing.TB, m *mount, name string, more map[string]any) {
	t.Helper()
	if err := m.client.Sys().PutPolicyWithContext(t.Context(), "payments", `path "secret/data/payments" { capabilities = ["read"] }`); err != nil {
		t.Fatal(err)
	}
	m.write(t, "policy-apply", samplePolicy("logins-"+name, "auth/"+name, `claims.kind == "virtual"`))
	role := map[string]any{"token_policies": "payments", "token_ttl": "10m"}
	for k, v := range more {
		role[k] = v
	}
	m.write(t, "role/"+name, role)
}

// TestLoginFromElsewhere: a role's addresses are held against who logs in, and not only against who uses the token.
func TestLoginFromElsewhere(t *testing.T) {
	m := newAuthMount(t, vaulttest.Shared(t))
	newRole(t, m, "far", map[string]any{"token_bound_cidrs": "192.0.2.0/24"})
	newRole(t, m, "near", map[string]any{"token_bound_cidrs": "192.0.2.0/24,127.0.0.0/8"})
	g := newGuest(t)
	if status, _, body := g.begin(t, m, authmethod.UseLogin, "near").send(t, m, "login", "near"); status != http.StatusOK {
		t.Errorf("near: %d %s", status, body)
	}
	if status, secret, body := g.begin(t, m, authmethod.UseLogin, "far").send(t, m, "login", "far"); status != http.StatusForbidden || secret.Auth != nil {
		t.Errorf("far: %d %s", status, body)
	}
	if status, _, body := g.begin(t, m, authmethod.UseReattest, "far").send(t, m, "reattest", "far"); status != http.StatusForbidden {
		t.Errorf("reattest: %d %s", status, body)
	}
}

func TestLogin(t *testing.T) {
	m := newAuthMount(t, vaulttest.Shared(t))
	newRole(t, m, "payments", nil)
	g := newGuest(t)
	l := g.begin(t, m, authmethod.UseLogin, "payments")
	status, secret, body := l.send(t, m, "login", "payments")
	if status != http.StatusOK || secret.Auth == nil {
		t.Fatalf("%d %s", status, body)
	}
	auth := secret.Auth
	if !slices.Contains(auth.TokenPolicies, "payments") || auth.LeaseDuration != 600 || auth.Metadata["role"] != "payments" || !auth.Renewable {
		t.Errorf("%+v", auth)
	}
	user := m.server.Client(t)
	user.SetToken(auth.ClientToken)
	if _, err := user.Auth().Token().LookupSelfWithContext(t.Context()); err != nil {
		t.Error(err)
	}
	decision, _ := m.read(t, "explain/"+auth.Metadata["decision"])["decision"].(map[string]any)
	if decision["outcome"] != "released" {
		t.Errorf("%v", decision)
	}
	// The same request again is worth nothing.
	if status, _, body := l.send(t, m, "login", "payments"); status != http.StatusForbidden || !strings.Contains(body, "nonce_invalid") {
		t.Errorf("again: %d %s", status, body)
	}
	// A lease of Vault's: who revokes it ends the token.
	if err := m.client.Auth().Token().RevokeAccessorWithContext(t.Context(), auth.Accessor); err != nil {
		t.Fatal(err)
	}
	if _, err := user.Auth().Token().LookupSelfWithContext(t.Context()); err == nil {
		t.Error("a token lives on that was revoked")
	}
}

// TestTheLeaseEndsTheToken: a role may say three hours, and the release policy's lease of one counts.
func TestTheLeaseEndsTheToken(t *testing.T) {
	m := newAuthMount(t, vaulttest.Shared(t))
	newRole(t, m, "long", map[string]any{"token_ttl": "3h"})
	newRole(t, m, "periodic", map[string]any{"token_ttl": "0", "token_period": "3h"})
	for _, role := range []string{"long", "periodic"} {
		g := newGuest(t)
		status, secret, body := g.begin(t, m, authmethod.UseLogin, role).send(t, m, "login", role)
		if status != http.StatusOK || secret.Auth.LeaseDuration > 3600 || secret.Auth.LeaseDuration < 3500 {
			t.Fatalf("%s: %d %s", role, status, body)
		}
		user := m.server.Client(t)
		user.SetToken(secret.Auth.ClientToken)
		renewed, err := user.Auth().Token().RenewSelfWithContext(t.Context(), 100*3600)
		if err != nil || renewed.Auth.LeaseDuration > 3601 {
			t.Errorf("%s: %+v, %v", role, renewed, err)
		}
	}
}

func TestRelayedLoginIsWorthless(t *testing.T) {
	m := newAuthMount(t, vaulttest.Shared(t))
	newRole(t, m, "payments", nil)
	newRole(t, m, "other", nil)
	g, thief := newGuest(t), newGuest(t)
	for name, test := range map[string]func(*login) (role string){
		"evidence with a proof by another key": func(l *login) string { l.key = thief.key; return "payments" },
		"evidence and key of two guests":       func(l *login) string { l.request.Recipient, l.key = thief.jwk, thief.key; return "payments" },
		"a login elsewhere":                    func(l *login) string { l.proof.Audience = "https://elsewhere/v1/auth/vouchsafe"; return "payments" },
		"a proof for another role":             func(*login) string { return "other" },
		"a proof for another nonce": func(l *login) string {
			l.proof.Nonce = base64.StdEncoding.EncodeToString(make([]byte, 32))
			return "payments"
		},
		"a proof for other evidence": func(l *login) string { l.proof.Evidence = "sha256:00"; return "payments" },
		"a proof for something else": func(l *login) string { l.proof.Use = authmethod.UseReattest; return "payments" },
	} {
		l := g.begin(t, m, authmethod.UseLogin, "payments")
		good := *l
		role := test(l)
		if status, secret, body := l.send(t, m, "login", role); status != http.StatusForbidden || secret.Auth != nil {
			t.Errorf("%s: %d %s", name, status, body)
		}
		if name == "evidence and key of two guests" {
			continue // only the evidence shows that, for which the nonce is spent
		}
		if status, _, body := good.send(t, m, "login", "payments"); status != http.StatusOK {
			t.Errorf("%s: it spent the guest's nonce: %d %s", name, status, body)
		}
	}
}

func TestLoginIsDeniedByPolicy(t *testing.T) {
	m := newAuthMount(t, vaulttest.Shared(t))
	g := newGuest(t)
	m.write(t, "policy-apply", samplePolicy("logins", "auth/*", `claims.kind == "tpm"`))
	m.write(t, "role/payments", map[string]any{"token_policies": "payments"})
	for role, want := range map[string]string{"payments": `"denied"`, "unknown": `"denied"`} {
		status, _, body := g.begin(t, m, authmethod.UseLogin, role).send(t, m, "login", role)
		if status != http.StatusForbidden || !strings.Contains(body, want) || !strings.Contains(body, `"decision":"`) {
			t.Errorf("%s: %d %s", role, status, body)
		}
	}
	// Allowed by policy, and there is no such role: no more is said.
	m.write(t, "policy-apply", samplePolicy("logins", "auth/*", `claims.kind == "virtual"`))
	status, _, body := g.begin(t, m, authmethod.UseLogin, "unknown").send(t, m, "login", "unknown")
	if status != http.StatusForbidden || !strings.Contains(body, `"denied"`) {
		t.Errorf("%d %s", status, body)
	}
	if _, err := m.client.Logical().DeleteWithContext(t.Context(), m.path+"/role/payments"); err != nil {
		t.Fatal(err)
	}
	if status, _, body := g.begin(t, m, authmethod.UseLogin, "payments").send(t, m, "login", "payments"); status != http.StatusForbidden {
		t.Errorf("a role that was deleted: %d %s", status, body)
	}
}

func TestRenewalReattests(t *testing.T) {
	m := newAuthMount(t, vaulttest.Shared(t))
	newRole(t, m, "payments", map[string]any{"max_evidence_age": "3s"})
	g := newGuest(t)
	status, secret, body := g.begin(t, m, authmethod.UseLogin, "payments").send(t, m, "login", "payments")
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	user := m.server.Client(t)
	user.SetToken(secret.Auth.ClientToken)
	renew := func() error {
		_, err := user.Auth().Token().RenewSelfWithContext(t.Context(), 0)
		return err
	}
	if err := renew(); err != nil {
		t.Fatalf("with the evidence of the login: %v", err)
	}
	time.Sleep(3500 * time.Millisecond)
	if err := renew(); err == nil || !strings.Contains(err.Error(), "reattest") {
		t.Fatalf("with old evidence: %v", err)
	}
	// By another key it is no reattestation of this token.
	if status, _, body := newGuest(t).begin(t, m, authmethod.UseReattest, "payments").send(t, m, "reattest", "payments"); status != http.StatusForbidden {
		t.Errorf("another key: %d %s", status, body)
	}
	if err := renew(); err == nil {
		t.Fatal("another machine's evidence renewed the token")
	}
	if status, _, body := g.begin(t, m, authmethod.UseReattest, "payments").send(t, m, "reattest", "payments"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	renewed, err := user.Auth().Token().RenewSelfWithContext(t.Context(), 100*3600)
	if err != nil {
		t.Fatalf("after a reattest: %v", err)
	}
	if d := renewed.Auth.LeaseDuration; d > 601 || d < 590 {
		t.Errorf("who renews may choose %d s, of a token of 600", d)
	}
	// A policy that was retired gives nothing more.
	m.write(t, "policy-retire/logins-payments", nil)
	if status, _, body := g.begin(t, m, authmethod.UseReattest, "payments").send(t, m, "reattest", "payments"); status != http.StatusForbidden {
		t.Errorf("with the policy retired: %d %s", status, body)
	}
	// Nor does a lease that was revoked, until the key is attested again.
	m.write(t, "policy-activate/logins-payments", map[string]any{"version": 1})
	reattested, answer, _ := g.begin(t, m, authmethod.UseReattest, "payments").send(t, m, "reattest", "payments")
	if reattested != http.StatusOK {
		t.Fatal(reattested)
	}
	m.write(t, "lease-revoke/"+answer.Data["decision"].(string)+".0", nil)
	if err := renew(); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("with the lease revoked: %v", err)
	}
	// Nor does a role whose policies were changed.
	if status, _, body := g.begin(t, m, authmethod.UseReattest, "payments").send(t, m, "reattest", "payments"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	m.write(t, "role/payments", map[string]any{"token_policies": "other"})
	if err := renew(); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("with the role's policies changed: %v", err)
	}
}
