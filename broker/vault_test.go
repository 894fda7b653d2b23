package broker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// ownVault starts a broker whose store is in a Vault of its own, which the test may end.
func ownVault(t *testing.T) (*vaulttest.Server, *brokertest.Broker, *guest) {
	t.Helper()
	server := vaulttest.Start(t, vaulttest.WithRaft("")) // not in files, which Vault does not write so that a kill leaves them whole
	b, g := started(t, brokertest.Config{Shared: data.Vault(data.InVault{
		Conn: server.Conn(t), Address: server.Address, Mount: server.Mount(t, "kv", map[string]string{"version": "2"}), Staleness: data.DefaultStaleness,
	})})
	return server, b, g
}

// recovers waits until a release succeeds again.
func recovers(t *testing.T, b *brokertest.Broker, g *guest) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		r, err := g.fetch("a/b")
		if err == nil {
			g.open(r, 0)
			break
		}
		wantCode(t, err, broker.CodeUnavailable)
		if time.Now().After(deadline) {
			t.Fatalf("it does not go on: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := b.Ready(t.Context()); err != nil {
		t.Errorf("not ready after it went on: %v", err)
	}
}

// TestVaultSealed seals Vault under a broker: nothing is released and it says that it is not ready, until Vault is unsealed, and then all goes on.
func TestVaultSealed(t *testing.T) {
	server, b, g := ownVault(t)
	g.mustFetch("a/b")
	server.Seal(t)
	r, err := g.fetch("a/b")
	if e := wantCode(t, err, broker.CodeUnavailable); r != nil || e.RetryAfter <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
	time.Sleep(data.DefaultStaleness) // what was read lately is known still
	if err := b.Ready(t.Context()); err == nil {
		t.Error("ready with a sealed Vault")
	}
	server.Unseal(t)
	recovers(t, b, g)
	entriesOf(t, b)
}

// TestVaultKilled kills Vault during 64 concurrent releases and starts it again. What was released is recorded, once; the log verifies; and it goes on.
func TestVaultKilled(t *testing.T) {
	server, b, g := ownVault(t)
	attested := g.attest()
	var (
		mu       sync.Mutex
		released = map[string]bool{}
		failed   int
		wg       sync.WaitGroup
	)
	ctx, stop := context.WithCancel(t.Context())
	for range 64 {
		wg.Go(func() {
			for ctx.Err() == nil {
				r, err := b.Release(t.Context(), attested, []broker.Want{{Secret: "a/b"}})
				mu.Lock()
				switch {
				case err == nil:
					released[r.Decision] = true
				case r == nil && (codeOf(err) == broker.CodeUnavailable || codeOf(err) == broker.CodeOverloaded):
					failed++
				default:
					t.Errorf("%+v, %v", r, err)
				}
				mu.Unlock()
				if err != nil {
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	server.Kill(t)
	time.Sleep(500 * time.Millisecond)
	server.Restart(t)
	time.Sleep(time.Second)
	stop()
	wg.Wait()
	recovers(t, b, g)
	if len(released) < 10 || failed < 10 {
		t.Fatalf("%d released and %d failed: the test does not test", len(released), failed)
	}
	recorded := map[string]int{}
	for _, e := range entriesOf(t, b) {
		if e.Type == broker.EventRelease && e.Outcome == broker.OutcomeReleased {
			recorded[e.Decision]++
		}
	}
	for id := range released {
		if recorded[id] != 1 {
			t.Errorf("release %s is in the log %d times", id, recorded[id])
		}
	}
	// What is in the log beyond that was answered by a failure.
	if extra := len(recorded) - len(released) - 1; extra < 0 || extra > failed {
		t.Errorf("%d released, %d failed, %d recorded", len(released), failed, len(recorded))
	}
	t.Logf("%d released, %d failed, %d recorded", len(released), failed, len(recorded))
}
