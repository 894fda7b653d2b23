package broker_test

import (
	"bytes"
	"crypto"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
)

// TestInvariant5ANonceIsGoodOnce presents the same good evidence from 64 goroutines.
func TestInvariant5ANonceIsGoodOnce(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	request := g.request(g.nonce())
	var good atomic.Int32
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for range 64 {
		wg.Go(func() {
			<-gate
			switch _, _, err := b.AttestAndRelease(t.Context(), request, []broker.Want{{Secret: "a/b"}}); {
			case err == nil:
				good.Add(1)
			case codeOf(err) != broker.CodeNonce:
				t.Error(err)
			}
		})
	}
	close(gate)
	wg.Wait()
	if good.Load() != 1 {
		t.Errorf("one nonce was good %d times", good.Load())
	}
	if leases, _, err := b.Leases(t.Context(), b.Admin, ns, "", "", 0); err != nil || len(leases) != 1 {
		t.Errorf("%d leases, %v", len(leases), err)
	}
}

// TestInvariant5ANonceIsForOneThing takes nonces to where they were not issued for. Each is spent or not, but never good.
func TestInvariant5ANonceIsForOneThing(t *testing.T) {
	b, g := started(t, brokertest.Config{Verifiers: func(*data.Data) []attest.Verifier { return []attest.Verifier{sample.New()} }})
	for name, change := range map[string]func(*broker.AttestRequest){
		"another protocol":  func(r *broker.AttestRequest) { r.Scope.Protocol = broker.ProtocolKBS },
		"another namespace": func(r *broker.AttestRequest) { r.Scope.Namespace = "other" },
		"another kind":      func(r *broker.AttestRequest) { r.Scope.Kind, r.Evidence.Kind = attest.Sample, attest.Sample },
		"another hash":      func(r *broker.AttestRequest) { r.Scope.Hash = crypto.SHA512 },
		"another session":   func(r *broker.AttestRequest) { r.Scope.Session = "0123456789abcdef0123456789abcdef" },
		"evidence of another kind than the challenge": func(r *broker.AttestRequest) { r.Evidence.Kind = attest.Sample },
		"a kind that nobody knows":                    func(r *broker.AttestRequest) { r.Scope.Kind, r.Evidence.Kind = "none", "none" },
		"a nonce from elsewhere":                      func(r *broker.AttestRequest) { r.Nonce = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
		"a device's kind": func(r *broker.AttestRequest) {
			r.Scope.Kind, r.Evidence.Kind = attest.SampleDevice, attest.SampleDevice
		},
	} {
		request := g.request(g.nonce())
		change(&request)
		if a, err := b.Attest(t.Context(), request); a != nil || codeOf(err) != broker.CodeNonce {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
	size := b.Data.Log.Size()
	if _, err := b.Attest(t.Context(), broker.AttestRequest{Scope: g.scope, Nonce: g.nonce(), Evidence: attest.Evidence{Kind: attest.Virtual}}); codeOf(err) != broker.CodeInvalid {
		t.Errorf("without a key: %v", err)
	}
	if b.Data.Log.Size() != size {
		t.Error("strangers fill the log with what is not evidence")
	}
}

func TestInvariant5ANonceExpiresAndDoesNotOutliveTheBroker(t *testing.T) {
	clock := newClock()
	b, g := started(t, brokertest.Config{Now: clock.now, Limits: broker.Limits{ChallengeLifetime: time.Minute, SessionLifetime: 2 * time.Minute}})
	old := g.request(g.nonce())
	attested := g.attest()
	clock.add(time.Minute + 2*time.Second)
	_, err := b.Attest(t.Context(), old)
	wantCode(t, err, broker.CodeNonce)
	if r, err := b.Release(t.Context(), attested, []broker.Want{{Secret: "a/b"}}); err != nil || r.Results[0].Outcome == "" {
		t.Fatal(err)
	}
	clock.add(time.Minute)
	_, err = b.Release(t.Context(), attested, []broker.Want{{Secret: "a/b"}})
	wantCode(t, err, broker.CodeSession)
	_, err = b.Release(t.Context(), nil, []broker.Want{{Secret: "a/b"}})
	wantCode(t, err, broker.CodeSession)

	before := g.request(g.nonce())
	c := configOf(t, b)
	c.Now = clock.now
	again, err := broker.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	// What was spent is remembered by the broker that has its store to itself, and in the store by those that share it.
	first, second := again, b.Broker
	if b.Data.Bolt != nil {
		first, second = second, first
	}
	_, err = second.Attest(t.Context(), before)
	if b.Data.Bolt != nil {
		wantCode(t, err, broker.CodeNonce)
	}
	if _, there := first.Attest(t.Context(), before); (there == nil) == (err == nil) {
		t.Errorf("good %v and %v", err, there)
	}
}

// TestInvariant5EvidenceCoversNonceAndKey relays and mixes good evidence.
func TestInvariant5EvidenceCoversNonceAndKey(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	mallory := newGuest(t, b.Broker, b.Device)
	for name, change := range map[string]func(*broker.AttestRequest){
		"relayed with another recipient key": func(r *broker.AttestRequest) { r.Recipient = mallory.key.Recipient() },
		"stale":                              func(r *broker.AttestRequest) { r.Nonce = g.nonce() },
		"additional evidence slipped in":     func(r *broker.AttestRequest) { r.Additional = "{}" },
	} {
		request := g.request(g.nonce())
		change(&request)
		_, err := b.Attest(t.Context(), request)
		e := wantCode(t, err, broker.CodeEvidence)
		if d := explain(t, b, e.Decision); d.Refusal == nil || d.Refusal.Code != attest.CodeBinding {
			t.Errorf("%s: %+v", name, d.Refusal)
		}
		// The nonce is spent by a failure too.
		good := g.request(request.Nonce)
		if _, err := b.Attest(t.Context(), good); codeOf(err) != broker.CodeNonce {
			t.Errorf("%s: the nonce is good after it: %v", name, err)
		}
	}
}

// TestInvariant5RepliesCoverWhatTheyAreFor opens envelopes as what they are not.
func TestInvariant5RepliesCoverWhatTheyAreFor(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	b.PutSecret("a/c", []byte(plaintext))
	for _, keyType := range []envelope.KeyType{envelope.XWing, envelope.X25519} {
		var err error
		if g.key, err = envelope.GenerateKey(keyType); err != nil {
			t.Fatal(err)
		}
		r, err := g.fetch("a/b", "a/c")
		if err != nil {
			t.Fatal(err)
		}
		if value := g.open(r, 0); !bytes.Equal(value, []byte(plaintext)) {
			t.Fatalf("%q", value)
		}
		first := r.Results[0]
		good := envelope.Context{Secret: "a/b", Version: 1, PolicyDigest: first.Policy, Nonce: r.Nonce, Decision: r.Decision}
		for name, change := range map[string]func(*envelope.Context){
			"secret":   func(c *envelope.Context) { c.Secret = "a/c" },
			"version":  func(c *envelope.Context) { c.Version = 2 },
			"policy":   func(c *envelope.Context) { c.PolicyDigest = "sha256:00" },
			"nonce":    func(c *envelope.Context) { c.Nonce = g.nonce() },
			"decision": func(c *envelope.Context) { c.Decision = "other" },
		} {
			c := good
			change(&c)
			if _, err := g.key.Open(first.Envelope, c); err == nil {
				t.Errorf("%v: opens with another %s", keyType, name)
			}
		}
		if _, err := newGuest(t, b.Broker, b.Device).key.Open(first.Envelope, good); err == nil {
			t.Errorf("%v: opens with another key", keyType)
		}
	}
}

// TestBearerTokens holds tokens to their broker, time and purpose.
func TestBearerTokens(t *testing.T) {
	clock := newClock()
	b, g := started(t, brokertest.Config{Now: clock.now})
	attested := g.attest()
	token, err := b.Broker.Token(t.Context(), attested)
	if err != nil {
		t.Fatal(err)
	}
	back, err := b.Bearer(token, "192.0.2.9", envelope.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if back.Namespace() != ns || back.Nonce() != attested.Nonce() || back.Evidence() != attested.Evidence() || back.Decision() != attested.Decision() ||
		back.Recipient().Thumbprint() != attested.Recipient().Thumbprint() || back.Expires().After(attested.Expires()) {
		t.Errorf("%+v", back)
	}
	r, err := b.Release(t.Context(), back, []broker.Want{{Secret: "a/b"}})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g.open(r, 0), []byte(plaintext)) || explain(t, b, r.Decision).Remote != "192.0.2.9" {
		t.Error("the token is not who was attested")
	}

	other, _ := started(t, brokertest.Config{})
	middle := len(token) / 2
	for name, text := range map[string]string{
		"empty": "", "not a token": "a.b.c", "truncated": token[:len(token)-2], "flipped": token[:middle] + flip(token[middle]) + token[middle+1:],
		"twice": token + "." + token, "without a signature": token[:bytes.LastIndexByte([]byte(token), '.')+1],
	} {
		if _, err := b.Bearer(text, "", envelope.Options{}); codeOf(err) != broker.CodeSession {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := other.Bearer(token, "", envelope.Options{}); codeOf(err) != broker.CodeSession {
		t.Errorf("another broker's: %v", err)
	}
	clock.add(broker.DefaultSessionLifetime)
	if _, err := b.Bearer(token, "", envelope.Options{}); codeOf(err) != broker.CodeSession {
		t.Errorf("expired: %v", err)
	}
	if _, err := b.Release(t.Context(), back, []broker.Want{{Secret: "a/b"}}); codeOf(err) != broker.CodeSession {
		t.Errorf("expired since it was shown: %v", err)
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now().UTC().Truncate(time.Second)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// TestInvariant5InitDataIsReadAfterTheNonceIsSpent brings a document that cannot be read: with a nonce that is no good the answer is about the
// nonce, so the document, which can be made to cost as much as a signature, was not looked at; with a good one it is about the document.
func TestInvariant5InitDataIsReadAfterTheNonceIsSpent(t *testing.T) {
	_, g := started(t, brokertest.Config{})
	g.init = []byte("= not TOML")
	req := g.request(g.nonce())
	_, err := g.b.Attest(t.Context(), req)
	wantCode(t, err, broker.CodeInvalid)
	_, err = g.b.Attest(t.Context(), req)
	wantCode(t, err, broker.CodeNonce)
}
