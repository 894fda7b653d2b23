package session

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

func sharedSteps(t *testing.T) *storetest.Steps {
	t.Helper()
	file, err := bolt.Open(bolt.Config{Path: filepath.Join(t.TempDir(), "store"), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return storetest.NewSteps(file)
}

// TestSharedKeys has two brokers go through the days of a key: each accepts what the other issues at any time, also one that has not looked for a
// while, and what was issued with a key that was replaced is good for as long as it lives.
func TestSharedKeys(t *testing.T) {
	steps, at := sharedSteps(t), newWall(start)
	var (
		keys   [2]*SharedKeys
		nonces [2]*Nonces
	)
	for i := range keys {
		var err error
		if keys[i], err = OpenKeys(t.Context(), steps.Open(), nil, at.now); err != nil {
			t.Fatal(err)
		}
		spent, err := StoreSpent(steps.Open(), "sys/spent", 0)
		if err != nil {
			t.Fatal(err)
		}
		if nonces[i], err = NewNonces(NoncesConfig{Keys: keys[i], Now: at.now, Spent: spent}); err != nil {
			t.Fatal(err)
		}
	}
	used := map[string]bool{}
	for range 3 * 24 * 60 / 3 { // three days, in steps of three minutes
		at.add(3 * time.Minute)
		if err := keys[0].Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		used[string(keys[0].issuing())] = true
		for i := range nonces { // the second looks one step later
			nonce, _ := issue(t, nonces[i], testScope)
			if err := nonces[1-i].Spend(t.Context(), nonce, testScope); err != nil {
				t.Fatalf("at %v, of broker %d: %v", at.now(), i, err)
			}
			if err := nonces[i].Spend(t.Context(), nonce, testScope); !errors.Is(err, ErrSpent) {
				t.Fatalf("spent again: %v", err)
			}
		}
		if err := keys[1].Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(keys[0].accepted()); n > 2 {
			t.Fatalf("%d keys are accepted", n)
		}
	}
	if len(used) < 3 || len(used) > 4 {
		t.Errorf("%d keys in three days", len(used))
	}
	if _, err := NewNonces(NoncesConfig{Keys: keys[0], Key: testKey, Spent: NewMemorySpent(0)}); err == nil {
		t.Error("two kinds of keys: accepted")
	}
}

// TestSharedKeysDoNotBeginAnew takes the record of the keys away: brokers that had them say so, and make no others.
func TestSharedKeysDoNotBeginAnew(t *testing.T) {
	steps, at := sharedSteps(t), newWall(start)
	keys, err := OpenKeys(t.Context(), steps.Open(), nil, at.now)
	if err != nil {
		t.Fatal(err)
	}
	before, s := string(keys.issuing()), steps.Open()
	if err := s.Apply(t.Context(), store.Write{Key: sharedKeysKey, Version: 1}); err != nil {
		t.Fatal(err)
	}
	if err := keys.Refresh(t.Context()); !errors.Is(err, store.ErrLost) {
		t.Errorf("its keys are gone: %v", err)
	}
	if _, err := s.Get(t.Context(), sharedKeysKey); !errors.Is(err, store.ErrNotFound) || string(keys.issuing()) != before {
		t.Errorf("others are in their place: %v", err)
	}
}

// counted counts reads.
type counted struct {
	store.Store
	gets *atomic.Int64
}

func (c counted) Get(ctx context.Context, key string) (store.Record, error) {
	c.gets.Add(1)
	return c.Store.Get(ctx, key)
}

// clocked is a store with a clock.
type clocked struct {
	store.Store
	at *wall
}

func (c clocked) Clock() (time.Time, bool) { return c.at.now(), true }

// TestNoClockRevivesANonce has brokers whose clocks are wrong share a store with others: neither does one that is ahead remove what is good for the others, nor
// one that is behind take for good what was removed.
func TestNoClockRevivesANonce(t *testing.T) {
	steps, at := sharedSteps(t), newWall(start)
	s := clocked{steps.Open(), at}
	keys, err := OpenKeys(t.Context(), s, nil, at.now)
	if err != nil {
		t.Fatal(err)
	}
	// broker is one that has just been started, and remembers nothing.
	broker := func(ahead time.Duration) (*Nonces, *SharedSpent) {
		spent := shared(t, s, 0)
		n, err := NewNonces(NoncesConfig{Keys: keys, Now: func() time.Time { return at.now().Add(ahead) }, Spent: spent})
		if err != nil {
			t.Fatal(err)
		}
		return n, spent
	}
	right, _ := broker(0)
	nonce, _ := issue(t, right, testScope)
	if err := right.Spend(t.Context(), nonce, testScope); err != nil {
		t.Fatal(err)
	}
	for _, ahead := range []time.Duration{time.Minute, 10 * time.Minute, 24 * time.Hour} {
		_, spent := broker(ahead)
		if n, err := spent.Prune(t.Context(), at.now().Add(ahead)); n != 0 || err != nil {
			t.Errorf("a broker %v ahead removed %d, %v", ahead, n, err)
		}
		for _, behind := range []time.Duration{0, -time.Minute, -time.Hour} {
			n, _ := broker(behind)
			if err := n.Spend(t.Context(), nonce, testScope); !errors.Is(err, ErrSpent) && !errors.Is(err, ErrExpired) {
				t.Errorf("again, at a broker %v behind: %v", -behind, err)
			}
		}
	}
	// It has expired, and is removed as soon as it may be.
	at.add(DefaultLifetime + pruneAfter + 2*time.Second)
	_, spent := broker(0)
	if n, err := spent.Prune(t.Context(), at.now()); n != 1 || err != nil {
		t.Fatalf("removed %d, %v", n, err)
	}
	behind, _ := broker(-DefaultLifetime - pruneAfter)
	if err := behind.Spend(t.Context(), nonce, testScope); !errors.Is(err, ErrExpired) {
		t.Errorf("what was removed, at a broker whose clock is behind: %v", err)
	}
	// A broker that is behind, but not by more than is allowed, is served.
	late, _ := broker(-store.MaxSkew)
	nonce, _ = issue(t, late, testScope)
	if err := late.Spend(t.Context(), nonce, testScope); err != nil {
		t.Errorf("a minute behind: %v", err)
	}
}

func TestStored(t *testing.T) {
	steps, at := sharedSteps(t), newWall(start)
	var (
		s     [2]*Stored
		asked counted
	)
	for i := range s {
		keys, err := OpenKeys(t.Context(), steps.Open(), nil, at.now)
		if err != nil {
			t.Fatal(err)
		}
		asked = counted{steps.Open(), new(atomic.Int64)}
		if s[i], err = NewStored(asked, keys, "sys/session", at.now, nil); err != nil {
			t.Fatal(err)
		}
	}
	const lifetime = 5 * time.Minute
	id, err := s[0].New(t.Context(), []byte("value"), at.now().Add(lifetime))
	if err != nil || !ValidID(id) {
		t.Fatalf("%q, %v", id, err)
	}
	get := func(id string) bool {
		value, ok, err := s[1].Get(t.Context(), id, lifetime)
		if err != nil || ok && string(value) != "value" {
			t.Fatalf("%q, %v", value, err)
		}
		return ok
	}
	if !get(id) {
		t.Error("it is not there at the other broker")
	}
	other := "0" + id[1:]
	if id[31] != '0' {
		other = id[:31] + "0"
	}
	for _, bad := range []string{"", "x", other, strings.Repeat("f", IDSize), strings.Repeat("0", IDSize), strings.ToUpper(id[:31]) + "A"} {
		if bad != id && get(bad) {
			t.Errorf("%q is a session", bad)
		}
	}
	if n := asked.gets.Load(); n != 1 {
		t.Errorf("%d reads of the store for one session", n)
	}
	// Made up with an expiry that could be, or of an id that was: the store is not asked.
	raw, _ := hex.DecodeString(id)
	for bit := range 8 * len(raw) {
		raw[bit/8] ^= 1 << (bit % 8)
		if get(hex.EncodeToString(raw)) {
			t.Errorf("with bit %d another it is a session", bit)
		}
		raw[bit/8] ^= 1 << (bit % 8)
	}
	for range 10_000 {
		_, _ = rand.Read(raw[idExpiry:])
		get(hex.EncodeToString(raw))
	}
	if n := asked.gets.Load(); n != 1 {
		t.Errorf("%d reads of the store for ids that were made up", n-1)
	}
	entries, err := steps.Open().List(t.Context(), "sys/session/", "", 10)
	if err != nil || len(entries) != 1 || strings.Contains(entries[0].Key, id) {
		t.Errorf("%v, %v", entries, err)
	}
	at.add(lifetime)
	if get(id) {
		t.Error("it outlives its expiry")
	}
	at.add(pruneAfter + time.Second)
	if n, err := s[1].pruner.prune(t.Context(), at.now()); err != nil || n != 1 {
		t.Errorf("removed %d, %v", n, err)
	}
}
