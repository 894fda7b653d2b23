package broker_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

// two starts two brokers on one store, with the secret a/b that any virtual device may have, and a guest of each.
func two(t *testing.T) (b [2]*brokertest.Broker, g [2]*guest) {
	t.Helper()
	steps := brokertest.Steps(t, t.TempDir())
	b[0], g[0] = started(t, brokertest.Config{Shared: steps.Shared()})
	b[1] = brokertest.Start(t, brokertest.Config{Beside: b[0]})
	g[1] = newGuest(t, b[1].Broker, b[1].Device)
	g[1].key = g[0].key
	return b, g
}

// TestInvariant5ANonceIsGoodOnceAmongSeveral spends nonces of one broker at both, one after the other and at the same time.
func TestInvariant5ANonceIsGoodOnceAmongSeveral(t *testing.T) {
	_, g := two(t)
	want := []broker.Want{{Secret: "a/b"}}
	nonce := g[0].nonce()
	r, _, err := g[1].b.AttestAndRelease(t.Context(), g[1].request(nonce), want)
	if err != nil {
		t.Fatalf("a nonce of the other broker: %v", err)
	}
	g[1].open(r, 0)
	for i := range g {
		_, _, err := g[i].b.AttestAndRelease(t.Context(), g[i].request(nonce), want)
		wantCode(t, err, broker.CodeNonce)
	}
	for range 20 {
		nonce := g[0].nonce()
		var (
			mu   sync.Mutex
			wins int
			wg   sync.WaitGroup
		)
		for i := range 8 {
			wg.Go(func() {
				if _, _, err := g[i%2].b.AttestAndRelease(t.Context(), g[i%2].request(nonce), want); err == nil {
					mu.Lock()
					wins++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if wins != 1 {
			t.Fatalf("a nonce was good %d times", wins)
		}
	}
}

// TestChangesAtAnotherBroker has each change of one broker hold at the other: on this store, which shows everything at once, for whatever starts after it.
func TestChangesAtAnotherBroker(t *testing.T) {
	b, g := two(t)
	admin := b[1].Admin
	g[0].mustFetch("a/b") // so that the rules are compiled
	if _, err := b[1].ActivatePolicy(t.Context(), admin, ns, "allow-virtual", 0); err != nil {
		t.Fatal(err)
	}
	if outcome, _ := g[0].outcome("a/b"); outcome != broker.OutcomeDenied {
		t.Errorf("a policy that another broker retired: %s", outcome)
	}
	if _, err := b[1].Broker.ApplyPolicy(t.Context(), admin, ns, "p", []byte(`apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: by-reference}
spec:
  secrets: ["a/*"]
  require:
    - {name: listed, that: claims.kind in reference("kinds")}
`), false); err != nil {
		t.Fatal(err)
	}
	if outcome, _ := g[0].outcome("a/b"); outcome != broker.OutcomeDenied {
		t.Errorf("without reference values: %s", outcome)
	}
	if _, err := b[1].PutReferences(t.Context(), admin, ns, "kinds", []reference.Value{{Value: "virtual"}}); err != nil {
		t.Fatal(err)
	}
	g[0].mustFetch("a/b")
	b[1].PutSecret("a/b", []byte("changed"))
	if value := g[0].mustFetch("a/b"); string(value) != "changed" {
		t.Errorf("%q", value)
	}
	// Tokens.
	token := b[0].CreateToken(access.Auditor)
	who, err := b[1].Authenticate(t.Context(), token, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := b[1].RevokeToken(t.Context(), admin, who.Token); err != nil {
		t.Fatal(err)
	}
	_, err = b[0].Authenticate(t.Context(), token, "")
	wantCode(t, err, broker.CodeUnauthenticated)
	// Signing keys: what one signed with a new key, the other takes as soon as it has it.
	if _, err := b[1].RotateKey(t.Context(), admin, keys.Token); err != nil {
		t.Fatal(err)
	}
	if err := b[0].Keys().Reload(t.Context()); err != nil || b[0].Keys().KeyID(keys.Token) != b[1].Keys().KeyID(keys.Token) {
		t.Errorf("%v", err)
	}
}

// TestExplainAnothersDecision has each broker explain decisions of the other, whose entries are in another log.
func TestExplainAnothersDecision(t *testing.T) {
	b, g := two(t)
	if b[0].OwnSlot() == b[1].OwnSlot() {
		t.Fatal("two brokers with one log")
	}
	for i := range g {
		for range 3 { // the other one's log has grown since it was read
			r, err := g[i].fetch("a/b")
			if err != nil {
				t.Fatal(err)
			}
			for j := range b {
				e, err := b[j].Explain(t.Context(), b[j].Admin, ns, r.Decision)
				if err != nil || e.Log != b[i].OwnSlot() || e.Decision.Outcome != broker.OutcomeReleased {
					t.Errorf("the decision of %d, explained by %d: %+v, %v", i, j, e, err)
				}
			}
		}
	}
	for i := range b {
		if released := countOf(entriesOf(t, b[i]), broker.EventRelease); released != 6 {
			t.Errorf("broker %d finds %d releases in the logs", i, released)
		}
	}
}

// TestChangeThatNeverEnded leaves the mark of a change of the rules that never ended: the rules are read again all the time, and right.
func TestChangeThatNeverEnded(t *testing.T) {
	b, g := two(t)
	key := store.Key(ns, "rules-revision")
	r, err := b[1].Data.Store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	pending := fmt.Appendf(nil, `{"pending":{"x":%q}}`, time.Now().UTC().Format(time.RFC3339))
	if err := b[1].Data.Store.Apply(t.Context(), store.Write{Key: key, Version: r.Version, Value: pending}); err != nil {
		t.Fatal(err)
	}
	g[0].mustFetch("a/b")
	if _, err := b[1].ActivatePolicy(t.Context(), b[1].Admin, ns, "allow-virtual", 0); err != nil {
		t.Fatal(err)
	}
	if outcome, _ := g[0].outcome("a/b"); outcome != broker.OutcomeDenied {
		t.Errorf("%s", outcome)
	}
}
