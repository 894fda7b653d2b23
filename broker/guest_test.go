package broker_test

import (
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/logs"
	"github.com/vouchsafe/vouchsafe/internal/faultstore"
	"github.com/vouchsafe/vouchsafe/store"
	"golang.org/x/mod/sumdb/note"
)

const ns = store.DefaultNamespace

// plaintext is the value that must never be seen where it should not be.
const plaintext = "correct horse battery staple 4f1c"

// guest is a workload. Set the fields before the first request.
type guest struct {
	tb     testing.TB
	b      *broker.Broker
	key    *envelope.PrivateKey
	device *virtual.Device
	scope  broker.Scope
	init   []byte
}

func newGuest(tb testing.TB, b *broker.Broker, device *virtual.Device) *guest {
	tb.Helper()
	key, err := envelope.GenerateKey(envelope.P256)
	if err != nil {
		tb.Fatal(err)
	}
	return &guest{tb: tb, b: b, key: key, device: device, scope: broker.Scope{
		Protocol: broker.ProtocolNative, Namespace: ns, Kind: attest.Virtual, Hash: crypto.SHA384,
	}}
}

// started is a broker with the secret a/b, which any virtual device may have, and a good guest of it.
func started(tb testing.TB, c brokertest.Config) (*brokertest.Broker, *guest) {
	tb.Helper()
	b := brokertest.Start(tb, c)
	b.PutSecret("a/b", []byte(plaintext))
	b.ApplyPolicy(brokertest.AllowVirtual("a/*"))
	return b, newGuest(tb, b.Broker, b.Device)
}

func (g *guest) nonce() string {
	g.tb.Helper()
	challenge, err := g.b.Challenge(g.tb.Context(), g.scope)
	if err != nil {
		g.tb.Fatal(err)
	}
	return challenge.Nonce
}

// request makes good evidence over a nonce and the guest's key.
func (g *guest) request(nonce string) broker.AttestRequest {
	g.tb.Helper()
	digest, err := attest.RuntimeData{Hash: g.scope.Hash, Nonce: nonce, Recipient: g.key.Recipient().Canonical()}.Primary()
	if err != nil {
		g.tb.Fatal(err)
	}
	evidence, err := g.device.Evidence(rand.Reader, digest)
	if err != nil {
		g.tb.Fatal(err)
	}
	return broker.AttestRequest{
		Scope: g.scope, Nonce: nonce, Recipient: g.key.Recipient(), Remote: "192.0.2.7",
		Evidence: attest.Evidence{Kind: g.scope.Kind, Primary: evidence}, InitData: g.init,
	}
}

// fetch asks for the current versions of secrets, in one request.
func (g *guest) fetch(names ...string) (*broker.Release, error) {
	g.tb.Helper()
	want := make([]broker.Want, len(names))
	for i, name := range names {
		want[i].Secret = name
	}
	r, _, err := g.b.AttestAndRelease(g.tb.Context(), g.request(g.nonce()), want)
	return r, err
}

func (g *guest) attest() *broker.Attested {
	g.tb.Helper()
	a, err := g.b.Attest(g.tb.Context(), g.request(g.nonce()))
	if err != nil {
		g.tb.Fatal(err)
	}
	return a
}

// open decrypts a result.
func (g *guest) open(r *broker.Release, i int) []byte {
	g.tb.Helper()
	result := r.Results[i]
	if result.Outcome != broker.OutcomeReleased {
		g.tb.Fatalf("%s was not released: %s", result.Secret, result.Outcome)
	}
	value, err := g.key.Open(result.Envelope, envelope.Context{
		Secret: result.Secret, Version: result.Version, PolicyDigest: result.Policy, Nonce: r.Nonce, Decision: r.Decision,
	})
	if err != nil {
		g.tb.Fatal(err)
	}
	return value
}

// mustFetch fetches one secret and returns its value.
func (g *guest) mustFetch(name string) []byte {
	g.tb.Helper()
	r, err := g.fetch(name)
	if err != nil {
		g.tb.Fatal(err)
	}
	return g.open(r, 0)
}

// outcome fetches one secret and returns what became of it.
func (g *guest) outcome(name string) (broker.Outcome, string) {
	g.tb.Helper()
	r, err := g.fetch(name)
	if err != nil {
		g.tb.Fatal(err)
	}
	return r.Results[0].Outcome, r.Decision
}

func codeOf(err error) broker.Code {
	var e *broker.Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.Code
}

// wantCode fails the test unless err has the code. It returns the error.
func wantCode(tb testing.TB, err error, code broker.Code) *broker.Error {
	tb.Helper()
	var e *broker.Error
	if !errors.As(err, &e) || e.Code != code {
		tb.Fatalf("got %v, want %s", err, code)
	}
	return e
}

func explain(tb testing.TB, b *brokertest.Broker, id string) broker.Decision {
	tb.Helper()
	e, err := b.Explain(tb.Context(), b.Admin, ns, id)
	if err != nil {
		tb.Fatal(err)
	}
	return e.Decision
}

// events returns every entry of the log.
func events(tb testing.TB, b *brokertest.Broker) []broker.Event {
	tb.Helper()
	var out []broker.Event
	for i := range b.Data.Log.Size() {
		line, err := b.Data.Log.Entry(tb.Context(), i)
		if err != nil {
			tb.Fatal(err)
		}
		var e broker.Event
		if err := json.Unmarshal(line, &e); err != nil {
			tb.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// logOf returns what verifies the log that a broker appends to, and its name.
func logOf(tb testing.TB, b *brokertest.Broker) (note.Verifiers, string) {
	tb.Helper()
	key, err := b.Data.Keys.LogOf(b.OwnSlot())
	if err != nil {
		tb.Fatal(err)
	}
	return note.VerifierList(key.Verifier), key.Origin
}

// faulty starts a second broker over the data of b, on a store that fails on demand.
func faulty(tb testing.TB, b *brokertest.Broker, limits broker.Limits) (*broker.Broker, *faultstore.Store, *audit.Log) {
	tb.Helper()
	if err := b.Data.Log.Close(); err != nil {
		tb.Fatal(err)
	}
	s := faultstore.New(b.Data.Store)
	key, err := b.Data.Keys.LogOf(b.OwnSlot())
	if err != nil {
		tb.Fatal(err)
	}
	log, err := audit.Open(tb.Context(), audit.Config{
		Store: s, Prefix: logs.Prefix(b.OwnSlot()), Origin: key.Origin, Signer: key.Signer, Verifiers: note.VerifierList(key.Verifier),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = log.Close() })
	c := configOf(tb, b)
	c.Store, c.Logs, c.Limits = s, logs.At(b.OwnSlot(), log), limits
	second, err := broker.New(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}
	return second, s, log
}

// configOf returns what another broker over the same data is made of.
func configOf(tb testing.TB, b *brokertest.Broker) broker.Config {
	tb.Helper()
	verifier, err := virtual.NewVerifier(b.Root.Certificate())
	if err != nil {
		tb.Fatal(err)
	}
	return broker.Config{
		Purpose: store.Development, Store: b.Data.Store, Logs: b.Data.Logs, Keys: b.Data.Keys, Tokens: b.Data.Tokens, Shared: b.Sharing(),
		Verifiers: []attest.Verifier{verifier}, Issuer: brokertest.Issuer, Logger: b.Logger(), Now: time.Now,
	}
}
