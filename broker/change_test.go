package broker_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// TestChangesHoldForWhatStartsAfterThem switches a policy and a reference value on and off beside many releases. A release that begins after a
// change was acknowledged, and ends before the next one begins, must be judged by it.
func TestChangesHoldForWhatStartsAfterThem(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{})
	b.PutSecret("a/b", []byte(plaintext))
	b.ApplyPolicy(document("p", "a/*", `claims.measurement in reference("images")`))
	attested := newGuest(t, b.Broker, b.Device).attest()
	measurement := fmt.Sprintf("%096d", 0)
	switchTo := map[string]func(on bool) error{
		"reference": func(on bool) error {
			if on {
				_, err := b.PutReferences(t.Context(), b.Admin, ns, "images", []reference.Value{{Value: measurement}})
				return err
			}
			_, err := b.RetireReferences(t.Context(), b.Admin, ns, "images", []string{measurement})
			return err
		},
		"policy": func(on bool) error {
			version := uint64(0)
			if on {
				version = 1
			}
			_, err := b.ActivatePolicy(t.Context(), b.Admin, ns, "p", version)
			return err
		},
	}
	if err := switchTo["reference"](true); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"policy", "reference"} {
		t.Run(what, func(t *testing.T) {
			// The state's count is odd while it changes; of an even one, every second is "on".
			var state atomic.Int64
			var checked, stop atomic.Int64
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for stop.Load() == 0 {
						before := state.Load()
						r, err := b.Release(t.Context(), attested, []broker.Want{{Secret: "a/b"}})
						if codeOf(err) == broker.CodeOverloaded {
							continue // so many denials
						}
						if err != nil {
							t.Error(err)
							return
						}
						if before%2 != 0 || state.Load() != before {
							continue
						}
						checked.Add(1)
						if on := before%4 == 0; on != (r.Results[0].Outcome == broker.OutcomeReleased) {
							t.Errorf("state %d: %s", before, r.Results[0].Outcome)
							return
						}
					}
				})
			}
			for i := range 40 {
				state.Add(1)
				if err := switchTo[what](i%2 == 1); err != nil {
					t.Error(err)
				}
				state.Add(1)
				for seen := checked.Load(); checked.Load() < seen+2 && !t.Failed(); {
					if r, err := b.Release(t.Context(), attested, []broker.Want{{Secret: "a/b"}}); err == nil &&
						(r.Results[0].Outcome == broker.OutcomeReleased) != (i%2 == 1) {
						t.Errorf("change %d is not seen by the one who made it", i)
					}
					checked.Add(1)
				}
			}
			stop.Store(1)
			wg.Wait()
		})
	}
}

// TestDamagedRulesDenyEverything damages each record that rules are made of: no broker starts with them, and a running one that
// reads them again releases nothing.
func TestDamagedRulesDenyEverything(t *testing.T) {
	policyRecord, source, values := store.Key(ns, "policy", "strict"), store.Key(ns, "policy-version", "strict", "1"), store.Key(ns, "reference", "images")
	cut := func(v []byte) []byte { return v[:len(v)-2] }
	empty := func([]byte) []byte { return []byte{} }
	exchange := func(old, with string) func([]byte) []byte {
		return func(v []byte) []byte { return bytes.ReplaceAll(v, []byte(old), []byte(with)) }
	}
	for name, test := range map[string]struct {
		key    string
		damage func([]byte) []byte
	}{
		"policy cut":             {policyRecord, cut},
		"policy empty":           {policyRecord, empty},
		"policy renamed":         {policyRecord, exchange("strict", "laxest")},
		"policy of nothing":      {policyRecord, func([]byte) []byte { return []byte("{}") }},
		"policy null":            {policyRecord, func([]byte) []byte { return []byte("null") }},
		"policy without version": {policyRecord, exchange(`"active":1`, `"active":7`)},
		"source cut":             {source, cut},
		"source empty":           {source, empty},
		"source longer":          {source, func(v []byte) []byte { return append(v, "\n#"...) }},
		"source of other rules":  {source, exchange("images", "others")},
		"reference values cut":   {values, cut},
		"reference values empty": {values, empty},
		"reference of another":   {values, exchange("images", "others")},
	} {
		t.Run(name, func(t *testing.T) {
			b, g := started(t, brokertest.Config{})
			if _, err := b.PutReferences(t.Context(), b.Admin, ns, "images", []reference.Value{{Value: "00"}}); err != nil {
				t.Fatal(err)
			}
			b.ApplyPolicy(document("strict", "a/*", `claims.measurement in reference("images")`))
			record, err := b.Data.Store.Get(t.Context(), test.key)
			if err != nil {
				t.Fatal(err)
			}
			damaged := test.damage(record.Value)
			if err := b.Data.Store.Apply(t.Context(), store.Write{Key: test.key, Version: record.Version, Value: damaged}); err != nil {
				t.Fatal(err)
			}
			if _, err := broker.New(t.Context(), configOf(t, b)); err == nil {
				t.Error("a broker starts with it")
			}
			// Rules in memory are what was recorded; a change elsewhere has them read again.
			if test.key == source {
				return // which was compiled, and has its digest
			}
			b.ApplyPolicy(brokertest.AllowVirtual("other/*"))
			if r, err := g.fetch("a/b"); r != nil || codeOf(err) != broker.CodeUnavailable {
				t.Errorf("%+v, %v", r, err)
			}
			if err := b.Ready(t.Context()); err == nil {
				t.Error("it says that it is ready")
			}
		})
	}
}

// TestDataKeyRotationBesideEverything replaces the data key and encrypts every record again, twice, while secrets are released and written.
// That changes the version of every record, the log's head among them, below those who remember it.
func TestDataKeyRotationBesideEverything(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	attested := g.attest()
	var released, written atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				r, err := b.Release(t.Context(), attested, []broker.Want{{Secret: "a/b"}})
				if err != nil {
					t.Error(err)
					return
				}
				g.open(r, 0)
				released.Add(1)
				// A write may be told that someone else was faster, which is true.
				name := fmt.Sprintf("w/%d/%d", worker, i%3)
				_, err = b.Broker.PutSecret(t.Context(), b.Admin, ns, broker.PutSecret{Name: name, Value: []byte(name), Activate: true})
				if codeOf(err) == broker.CodeConflict {
					continue
				}
				if codeOf(err) == broker.CodeUnavailable && !b.Data.Store.Atomic() {
					continue // which turned up when a part of it was made
				}
				if err != nil && codeOf(err) != broker.CodeInvalid { // too many versions
					t.Error(err)
					return
				}
				written.Add(1)
			}
		})
	}
	for released.Load() == 0 || written.Load() == 0 {
		if t.Failed() {
			break
		}
		time.Sleep(time.Millisecond) // until there is something to rotate beside
	}
	for range 2 {
		if err := b.RecordDataKeyRotation(t.Context(), b.Admin); err != nil {
			t.Error(err)
		}
		if err := b.Data.Store.Rotate(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := b.Data.Store.Rewrap(t.Context(), func(seal.RewrapResult) {}); err != nil {
			t.Error(err)
		}
	}
	if _, err := b.RotateKey(t.Context(), b.Admin, keys.Reply); err != nil {
		t.Error(err)
	}
	stop.Store(true)
	wg.Wait()
	result, err := b.Data.Store.Rewrap(t.Context(), nil)
	// Brokers that share a store keep old data keys until none of them can write with one.
	if err != nil || result.Damaged != 0 || (result.Kept != 0) == b.Data.Store.Atomic() {
		t.Errorf("%+v, %v", result, err)
	}
	leases, _, err := b.Leases(t.Context(), b.Admin, ns, "a/b", "", 0)
	if err != nil || len(leases) != min(int(released.Load()), broker.MaxPage) {
		t.Errorf("%d leases of %d releases, %v", len(leases), released.Load(), err)
	}
	known, origin := logOf(t, b)
	report, err := audit.Audit(t.Context(), b.Data.Log.ReadPath, audit.AuditConfig{Verifiers: known, Origin: origin})
	if err != nil {
		t.Errorf("%+v, %v", report, err)
	}
	// What was written with old keys can be destroyed with new ones.
	if _, err := b.DestroyAll(t.Context(), b.Admin, ns, "a/b"); err != nil {
		t.Error(err)
	}
	if outcome, _ := g.outcome("a/b"); outcome != broker.OutcomeNotFound {
		t.Errorf("destroyed: %s", outcome)
	}
}
