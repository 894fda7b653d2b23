package seal_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// keyIDs returns the ids of the data keys in the header, and how many encryptions the last has set aside.
func keyIDs(t *testing.T, inner store.Store) (ids []int, reserved uint64) {
	t.Helper()
	var h struct {
		Keys []struct {
			ID       int
			Reserved uint64
		}
	}
	if err := json.Unmarshal(get(t, inner, seal.HeaderKey).Value, &h); err != nil {
		t.Fatal(err)
	}
	for _, k := range h.Keys {
		ids, reserved = append(ids, k.ID), k.Reserved
	}
	return ids, reserved
}

func expectIDs(t *testing.T, inner store.Store, want ...int) {
	t.Helper()
	if ids, _ := keyIDs(t, inner); fmt.Sprint(ids) != fmt.Sprint(want) {
		t.Fatalf("data keys %v, want %v", ids, want)
	}
}

// usedKey returns the id in a sealed value.
func usedKey(t *testing.T, inner store.Store, key string) byte {
	t.Helper()
	return get(t, inner, key).Value[4]
}

func TestRotateAndRewrap(t *testing.T) {
	key := keyFile(t)
	s, inner := sealed(t, key, seal.Config{Exclusive: true})
	const records = 300
	var writes []store.Write
	for i := range records {
		writes = append(writes, store.Write{Key: recordKey(i), Value: []byte(recordKey(i))})
	}
	if err := s.Apply(t.Context(), writes...); err != nil {
		t.Fatal(err)
	}
	if result, err := s.Rewrap(t.Context(), nil); err != nil || result != (seal.RewrapResult{}) {
		t.Fatalf("nothing to rewrap: %+v, %v", result, err)
	}
	if err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectIDs(t, inner, 1, 2)
	put(t, s, "default/new", 0, "new")
	if usedKey(t, inner, recordKey(0)) != 1 || usedKey(t, inner, "default/new") != 2 {
		t.Fatal("the old key is in use, or the new one is not")
	}

	// Stop in the middle, and go on with a store that was opened again.
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Rewrap(ctx, func(seal.RewrapResult) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped: %v", err)
	}
	expectIDs(t, inner, 1, 2)
	again := open(t, inner, key, seal.Config{Exclusive: true})
	result, err := again.Rewrap(t.Context(), nil)
	if err != nil || result.Records != records+1 || result.Dropped != 1 || result.Kept != 0 || result.Rewrapped == 0 || result.Rewrapped >= records {
		t.Fatalf("gone on: %+v, %v", result, err)
	}
	expectIDs(t, inner, 2)
	for i := range records {
		if r := get(t, again, recordKey(i)); string(r.Value) != recordKey(i) || r.Version != 2 {
			t.Fatalf("%s: version %d, %q", r.Key, r.Version, r.Value)
		}
	}
	// A data key's id is not used again.
	if err := again.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectIDs(t, inner, 2, 3)
}

// TestRewrapKeepsKeys holds that no key is dropped that something may need.
func TestRewrapKeepsKeys(t *testing.T) {
	s, inner := sealed(t, keyFile(t), seal.Config{Exclusive: true})
	put(t, s, "default/a", 0, "a")
	put(t, s, "default/b", 0, "b")
	good := get(t, inner, "default/a").Value
	bad := append([]byte(nil), good...)
	bad[20] ^= 1
	recreate(t, inner, "default/a", bad)
	if err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	result, err := s.Rewrap(t.Context(), nil)
	if err != nil || result.Damaged != 1 || result.Rewrapped != 1 || result.Dropped != 0 || result.Kept != 1 {
		t.Fatalf("%+v, %v", result, err)
	}
	recreate(t, inner, "default/a", good) // repaired from a backup
	result, err = s.Rewrap(t.Context(), nil)
	if err != nil || result.Damaged != 0 || result.Rewrapped != 1 || result.Dropped != 1 || string(get(t, s, "default/a").Value) != "a" {
		t.Fatalf("%+v, %v", result, err)
	}
}

// TestRewrapBesideWriters rewraps while records are updated, created and deleted, again and again.
func TestRewrapBesideWriters(t *testing.T) {
	s, inner := sealed(t, keyFile(t), seal.Config{Exclusive: true})
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	counts := [4]int{}
	for worker := range counts {
		key := fmt.Sprintf("default/counter/%d", worker)
		put(t, s, key, 0, "0")
		wait.Go(func() {
			for ctx.Err() == nil {
				r, err := s.Get(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				fleeting := store.Write{Key: fmt.Sprintf("%s/%d", key, counts[worker]), Value: r.Value}
				err = s.Apply(t.Context(), store.Write{Key: key, Version: r.Version, Value: fmt.Appendf(nil, "%d", counts[worker]+1)}, fleeting)
				if errors.Is(err, store.ErrConflict) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				counts[worker]++
				// Rewrap may have made it version 2.
				for version := range uint64(3) {
					if err = s.Apply(t.Context(), store.Write{Key: fleeting.Key, Version: version + 1}); err == nil {
						break
					}
				}
				if err != nil && !errors.Is(err, store.ErrConflict) {
					t.Error(err)
				}
			}
		})
	}
	for range 8 {
		if err := s.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if result, err := s.Rewrap(t.Context(), nil); err != nil || result.Damaged != 0 || result.Kept != 0 {
			t.Errorf("%+v, %v", result, err)
		}
	}
	stop()
	wait.Wait()
	for worker, n := range counts {
		if r := get(t, s, fmt.Sprintf("default/counter/%d", worker)); string(r.Value) != fmt.Sprint(n) || n == 0 {
			t.Errorf("worker %d counted %d, the record says %s", worker, n, r.Value)
		}
	}
	if result, err := s.Check(t.Context(), seal.CheckConfig{}); err != nil || result.Damaged != 0 {
		t.Errorf("%+v, %v", result, err)
	}
	expectIDs(t, inner, 9)
}

// TestTwoProcesses has two sealed stores over one inner store, as replicas are.
func TestTwoProcesses(t *testing.T) {
	key, now := keyFile(t), newClock()
	config := seal.Config{Now: now.Now}
	one, inner := sealed(t, key, config)
	two := open(t, inner, key, config)
	put(t, one, "default/a", 0, "a")
	put(t, two, "default/b", 0, "b") // both have set encryptions aside
	if _, reserved := keyIDs(t, inner); reserved != 2<<16 {
		t.Errorf("%d encryptions are set aside", reserved)
	}
	if err := one.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, one, "default/c", 0, "c")
	if r := get(t, two, "default/c"); string(r.Value) != "c" {
		t.Fatalf("a value under a key that the other process added: %q", r.Value)
	}
	// The other process, which has not written since, may be about to write with the old key: it is kept.
	result, err := one.Rewrap(t.Context(), nil)
	if err != nil || result.Dropped != 0 || result.Kept != 1 {
		t.Fatalf("within Grace: %+v, %v", result, err)
	}
	now.Advance(seal.RefreshEvery)
	put(t, two, "default/d", 0, "d")
	if used := usedKey(t, inner, "default/d"); used != 2 {
		t.Errorf("after RefreshEvery the other process still writes with key %d", used)
	}
	now.Advance(seal.Grace)
	if result, err = one.Rewrap(t.Context(), nil); err != nil || result.Dropped != 1 || result.Kept != 0 {
		t.Fatalf("after Grace: %+v, %v", result, err)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		if r := get(t, two, "default/"+name); string(r.Value) != name {
			t.Errorf("%s: %q", name, r.Value)
		}
	}
	// Both rotate at once: neither is lost.
	var wait sync.WaitGroup
	for _, s := range []*seal.Store{one, two} {
		wait.Go(func() {
			if err := s.Rotate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	expectIDs(t, inner, 2, 3, 4)
}

func TestReseal(t *testing.T) {
	old, next := keyFile(t), keyFile(t)
	s, inner := sealed(t, old, seal.Config{Exclusive: true})
	put(t, s, "default/a", 0, "a")
	if err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, s, "default/b", 0, "b")
	if err := s.Reseal(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	put(t, s, "default/c", 0, "c")
	if err := s.Rotate(t.Context()); err != nil { // with the new root key
		t.Fatal(err)
	}
	if _, err := seal.Open(t.Context(), inner, old, seal.Config{}); !errors.Is(err, seal.ErrWrongSeal) {
		t.Errorf("the old seal: %v", err)
	}
	again := open(t, inner, next, seal.Config{Exclusive: true})
	for _, name := range []string{"a", "b", "c"} {
		if r := get(t, again, "default/"+name); string(r.Value) != name {
			t.Errorf("%s: %q", name, r.Value)
		}
	}
	if err := again.Reseal(t.Context(), forgetful{next}); err == nil {
		t.Error("resealed with a seal that does not give the key back")
	}
	open(t, inner, next, seal.Config{})
}

// forgetful is a seal that gives back another key than it wrapped.
type forgetful struct{ seal.Seal }

func (forgetful) Unwrap(context.Context, []byte, []byte) ([]byte, error) {
	return make([]byte, seal.KeySize), nil
}

// TestLargeBatch holds that encryptions are set aside before they are made, also for an Apply that is larger than a
// share.
func TestLargeBatch(t *testing.T) {
	s, inner := sealed(t, keyFile(t), seal.Config{Exclusive: true})
	const batch = 1<<16 + 1
	writes := make([]store.Write, batch)
	for i := range writes {
		writes[i] = store.Write{Key: fmt.Sprintf("default/%06d", i), Value: []byte{}}
	}
	if err := s.Apply(t.Context(), writes...); err != nil {
		t.Fatal(err)
	}
	if _, reserved := keyIDs(t, inner); reserved != batch {
		t.Fatalf("%d encryptions are set aside for %d writes", reserved, batch)
	}
	put(t, s, "default/one/more", 0, "x")
	if _, reserved := keyIDs(t, inner); reserved != batch+1<<16 {
		t.Fatalf("%d encryptions are set aside", reserved)
	}
}

func TestTooManyKeys(t *testing.T) {
	s, inner := sealed(t, keyFile(t), seal.Config{Exclusive: true})
	put(t, s, "default/a", 0, "a")
	var err error
	rotations := 0
	for ; err == nil && rotations < 1000; rotations++ {
		err = s.Rotate(t.Context())
	}
	if !errors.Is(err, seal.ErrTooManyKeys) {
		t.Fatalf("after %d rotations: %v", rotations, err)
	}
	put(t, s, "default/a", 1, "b")
	if result, err := s.Rewrap(t.Context(), nil); err != nil || result.Kept != 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	if err := s.Rotate(t.Context()); err != nil {
		t.Error(err)
	}
	if ids, _ := keyIDs(t, inner); len(ids) != 2 {
		t.Errorf("data keys %v", ids)
	}
}

func TestPassphraseStore(t *testing.T) {
	cheap := seal.PassphraseConfig{Time: seal.MinTime, MemoryKiB: seal.MinMemoryKiB, Threads: 1}
	phrase := func(text string) *seal.Passphrase {
		p, err := seal.NewPassphrase([]byte(text), cheap)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	inner := openBolt(t, filepath.Join(t.TempDir(), "store"))
	if err := seal.Init(t.Context(), inner, phrase("correct horse battery"), seal.Config{}); err != nil {
		t.Fatal(err)
	}
	s := open(t, inner, phrase("correct horse battery"), seal.Config{})
	put(t, s, "default/a", 0, "a")
	if _, err := seal.Open(t.Context(), inner, phrase("correct horse batterz"), seal.Config{}); !errors.Is(err, seal.ErrWrongSeal) {
		t.Errorf("another passphrase: %v", err)
	}
	file := keyFile(t)
	if _, err := seal.Open(t.Context(), inner, file, seal.Config{}); !errors.Is(err, seal.ErrWrongSeal) {
		t.Errorf("another kind of seal: %v", err)
	}
	if err := s.Reseal(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if r := get(t, open(t, inner, file, seal.Config{}), "default/a"); string(r.Value) != "a" {
		t.Errorf("resealed: %q", r.Value)
	}
}

// versioned is a seal whose key has versions, as key services have: what it wraps says which made it.
type versioned struct {
	keys   []*seal.KeyFile
	asked  int
	oldest int
}

func (v *versioned) Kind() string  { return "versioned" }
func (v *versioned) KeyID() string { return "k" }

func (v *versioned) Wrap(ctx context.Context, key, bind []byte) ([]byte, error) {
	last := len(v.keys) - 1
	wrapped, err := v.keys[last].Wrap(ctx, key, bind)
	return append([]byte{byte(last)}, wrapped...), err
}

func (v *versioned) Unwrap(ctx context.Context, wrapped, bind []byte) ([]byte, error) {
	v.asked++
	if int(wrapped[0]) < v.oldest {
		return nil, seal.ErrWrongSeal
	}
	return v.keys[wrapped[0]].Unwrap(ctx, wrapped[1:], bind)
}

func (v *versioned) Outdated(_ context.Context, wrapped []byte) (bool, error) {
	return int(wrapped[0]) < len(v.keys)-1, nil
}

func TestRenewSeal(t *testing.T) {
	v := &versioned{keys: []*seal.KeyFile{keyFile(t)}}
	s, inner := sealed(t, v, seal.Config{Exclusive: true})
	put(t, s, "default/a", 0, "secret")
	now := newClock()
	other := open(t, inner, v, seal.Config{Now: now.Now})
	renew := func(want bool) {
		t.Helper()
		if got, err := s.RenewSeal(t.Context()); err != nil || got != want {
			t.Fatalf("renewed %v, %v", got, err)
		}
	}
	renew(false)
	v.keys = append(v.keys, keyFile(t))
	renew(true)
	renew(false)
	v.oldest = 1
	if got := get(t, open(t, inner, v, seal.Config{}), "default/a"); string(got.Value) != "secret" {
		t.Errorf("got %q", got.Value)
	}
	// A process that has the store open takes the renewed header without asking the seal.
	asked := v.asked
	now.Advance(seal.RefreshEvery)
	put(t, other, "default/b", 0, "other")
	if err := other.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v.asked != asked {
		t.Errorf("the seal was asked %d times", v.asked-asked)
	}
	if got := get(t, s, "default/b"); string(got.Value) != "other" {
		t.Errorf("got %q", got.Value)
	}

	plain, _ := sealed(t, keyFile(t), seal.Config{})
	if renewed, err := plain.RenewSeal(t.Context()); renewed || err != nil {
		t.Errorf("a key file has no versions: %v, %v", renewed, err)
	}
	if err := plain.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := plain.RenewSeal(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestHeaderPutBack: who may write the inner store cannot have a process that runs write with a data key that was replaced, nor go by another store's header.
func TestHeaderPutBack(t *testing.T) {
	header := func(inner store.Store) []byte {
		r, err := inner.Get(t.Context(), seal.HeaderKey)
		if err != nil {
			t.Fatal(err)
		}
		return r.Value
	}
	for name, change := range map[string]func(t *testing.T, s *seal.Store, now *clock){
		"rotated":        func(t *testing.T, s *seal.Store, _ *clock) { must(t, s.Rotate(t.Context())) },
		"set aside more": func(t *testing.T, s *seal.Store, _ *clock) { put(t, s, "default/more", 0, "x") },
		"dropped": func(t *testing.T, s *seal.Store, now *clock) {
			must(t, s.Rotate(t.Context()))
			now.Advance(seal.Grace)
			result, err := s.Rewrap(t.Context(), nil)
			if err != nil || result.Dropped != 1 {
				t.Fatalf("%+v, %v", result, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			key, now := keyFile(t), newClock()
			s, inner := sealed(t, key, seal.Config{Now: now.Now})
			before := header(inner)
			change(t, s, now)
			now.Advance(seal.RefreshEvery)
			overwrite(t, inner, seal.HeaderKey, before)
			err := s.Apply(t.Context(), store.Write{Key: "default/x", Value: []byte("x")})
			if !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("a header that was put back: %v", err)
			}
			if err := s.Rotate(t.Context()); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("a header that was put back was changed: %v", err)
			}
		})
	}
	t.Run("another store's", func(t *testing.T) {
		key, now := keyFile(t), newClock()
		s, inner := sealed(t, key, seal.Config{Now: now.Now})
		_, other := sealed(t, key, seal.Config{Now: now.Now})
		now.Advance(seal.RefreshEvery)
		overwrite(t, inner, seal.HeaderKey, header(other))
		if err := s.Apply(t.Context(), store.Write{Key: "default/x", Value: []byte("x")}); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("another store's header: %v", err)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
