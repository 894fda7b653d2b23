package vault_test

import (
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/broker/source/vault"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

const ns = store.DefaultNamespace

// world is a broker whose secrets lie in a real Vault.
type world struct {
	*brokertest.Broker
	tb     testing.TB
	server *vaulttest.Server
	root   *api.Client
	key    *envelope.PrivateKey
}

// newWorld is a broker that asks a Vault server by a connection: that of the root token, or conn.
func newWorld(tb testing.TB, s *vaulttest.Server, conn *vaultconn.Conn, now func() time.Time) *world {
	tb.Helper()
	if conn == nil {
		conn = s.Conn(tb)
	}
	key, err := envelope.GenerateKey(envelope.P256)
	check(tb, err)
	w := &world{tb: tb, server: s, root: s.Client(tb), key: key}
	w.Broker = brokertest.Start(tb, brokertest.Config{Sources: vault.Sources(conn, nil), Now: now})
	w.ApplyPolicy(brokertest.AllowVirtual("a/*"))
	return w
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// vault writes to Vault as its administrator does.
func (w *world) vault(path string, data map[string]any) *api.Secret {
	w.tb.Helper()
	secret, err := w.root.Logical().WriteWithContext(w.tb.Context(), path, data)
	check(w.tb, err)
	return secret
}

// put adds a version that lies in Vault, current at once.
func (w *world) put(name, kind string, parameters map[string]any) error {
	text, err := json.Marshal(parameters)
	check(w.tb, err)
	_, err = w.Broker.Broker.PutSecret(w.tb.Context(), w.Admin, ns, broker.PutSecret{
		Name: name, Source: &source.Document{Kind: kind, Parameters: text}, Activate: true,
	})
	return err
}

// fetch releases a secret to a virtual device that presents init-data.
func (w *world) fetch(name string) (*broker.Release, error) {
	w.tb.Helper()
	scope := broker.Scope{Protocol: broker.ProtocolNative, Namespace: ns, Kind: attest.Virtual, Hash: crypto.SHA384}
	challenge, err := w.Challenge(w.tb.Context(), scope)
	check(w.tb, err)
	digest, err := attest.RuntimeData{Hash: scope.Hash, Nonce: challenge.Nonce, Recipient: w.key.Recipient().Canonical()}.Primary()
	check(w.tb, err)
	evidence, err := w.Device.Evidence(rand.Reader, digest)
	check(w.tb, err)
	r, _, err := w.AttestAndRelease(w.tb.Context(), broker.AttestRequest{
		Scope: scope, Nonce: challenge.Nonce, Recipient: w.key.Recipient(), Remote: "192.0.2.7",
		Evidence: attest.Evidence{Kind: scope.Kind, Primary: evidence},
	}, []broker.Want{{Secret: name}})
	return r, err
}

// open returns the value that was released.
func (w *world) open(r *broker.Release, err error) []byte {
	w.tb.Helper()
	check(w.tb, err)
	result := r.Results[0]
	if result.Outcome != broker.OutcomeReleased {
		w.tb.Fatalf("%s: %s", result.Secret, result.Outcome)
	}
	value, err := w.key.Open(result.Envelope, envelope.Context{
		Secret: result.Secret, Version: result.Version, PolicyDigest: result.Policy, Nonce: r.Nonce, Decision: r.Decision,
	})
	check(w.tb, err)
	return value
}

// decision returns the record of a release, or of its failure.
func (w *world) decision(r *broker.Release, err error) broker.Decision {
	w.tb.Helper()
	id := ""
	var failed *broker.Error
	switch {
	case errors.As(err, &failed):
		id = failed.Decision
	case err != nil:
		w.tb.Fatal(err)
	default:
		id = r.Decision
	}
	e, err := w.Explain(w.tb.Context(), w.Admin, ns, id)
	check(w.tb, err)
	return e.Decision
}

// as returns a connection with a token that has one policy.
func (w *world) as(policy string) *vaultconn.Conn {
	w.tb.Helper()
	check(w.tb, w.root.Sys().PutPolicyWithContext(w.tb.Context(), policyName(w.tb), policy))
	secret, err := w.root.Auth().Token().CreateWithContext(w.tb.Context(), &api.TokenCreateRequest{Policies: []string{policyName(w.tb)}, TTL: "1h"})
	check(w.tb, err)
	conn, err := vaultconn.Open(w.tb.Context(), vaultconn.Config{
		Address: w.server.Address, Development: true, Auth: vaultconn.Auth{Method: "token", Token: secret.Auth.ClientToken},
	})
	check(w.tb, err)
	w.tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// policyName is a name of a policy that no other test has.
func policyName(tb testing.TB) string {
	return "test-" + strings.NewReplacer("/", "-", "_", "-", "'", "-").Replace(tb.Name())
}

func with(base map[string]any, more ...any) map[string]any {
	all := maps.Clone(base)
	for i := 0; i < len(more); i += 2 {
		all[more[i].(string)] = more[i+1]
	}
	return all
}

// raw sends a body as it is.
func (w *world) raw(path, body string) {
	w.tb.Helper()
	request, err := http.NewRequestWithContext(w.tb.Context(), http.MethodPost, w.server.Address+"/v1/"+path, stringsReader(body))
	check(w.tb, err)
	request.Header.Set("X-Vault-Token", w.server.RootToken)
	answer, err := http.DefaultClient.Do(request)
	check(w.tb, err)
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		w.tb.Fatalf("%s: %s", path, answer.Status)
	}
}
