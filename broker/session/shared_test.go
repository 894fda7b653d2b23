package session

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func TestStored(t *testing.T) {
	steps, at := sharedSteps(t), newWall(start)
	var s [2]*Stored
	for i := range s {
		var err error
		if s[i], err = NewStored(steps.Open(), "sys/session", at.now, nil); err != nil {
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
