package brokertest

import (
	"crypto"
	"io"
	"net/http"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
)

func TestStart(t *testing.T) {
	b := Start(t, Config{Handler: func(*broker.Broker) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	}})
	response, err := b.HTTP.Get(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || string(text) != "hello" {
		t.Errorf("the server says %q, %v", text, err)
	}
	caller, err := b.Authenticate(t.Context(), b.CreateToken(access.Auditor), "")
	if err != nil || caller.Roles != access.SetOf(access.Auditor) {
		t.Errorf("%+v, %v", caller, err)
	}

	b.PutSecret("a/b", []byte("value"))
	b.ApplyPolicy(AllowVirtual("a/*"))
	key, err := envelope.GenerateKey(envelope.X25519)
	if err != nil {
		t.Fatal(err)
	}
	scope := broker.Scope{Protocol: broker.ProtocolNative, Namespace: "default", Kind: attest.Virtual, Hash: crypto.SHA384}
	challenge, err := b.Challenge(t.Context(), scope)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := attest.RuntimeData{Hash: crypto.SHA384, Nonce: challenge.Nonce, Recipient: key.Recipient().Canonical()}.Primary()
	if err != nil {
		t.Fatal(err)
	}
	release, _, err := b.AttestAndRelease(t.Context(), broker.AttestRequest{
		Scope: scope, Nonce: challenge.Nonce, Recipient: key.Recipient(),
		Evidence: attest.Evidence{Kind: attest.Virtual, Primary: b.Evidence(digest)},
	}, []broker.Want{{Secret: "a/b"}})
	if err != nil {
		t.Fatal(err)
	}
	r := release.Results[0]
	value, err := key.Open(r.Envelope, envelope.Context{
		Secret: "a/b", Version: r.Version, PolicyDigest: r.Policy, Nonce: challenge.Nonce, Decision: release.Decision,
	})
	if err != nil || string(value) != "value" {
		t.Errorf("released %q, %v", value, err)
	}
}
