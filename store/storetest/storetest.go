// Package storetest is the contract of package store as a test suite. A store that passes it can stand under a broker.
package storetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// patience is how long the suite waits for what must happen; a store over a network may need a while.
const patience = 30 * time.Second

// Run holds a store against the contract. open returns an empty one that the test closes, and is called for each test. A
// store that takes smaller values than store.MaxValue says so with a method MaxValue() int.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	tests := []struct {
		name string
		run  func(*testing.T, store.Store)
	}{
		{"create, update, delete", testLifecycle},
		{"versions conflict", testConflicts},
		{"a conflict undoes the whole batch", testBatch},
		{"invalid requests", testInvalid},
		{"values belong to their owners", testOwnership},
		{"empty and largest values", testSizes},
		{"many at once are as each alone", testGetEach},
		{"list order and pages", testList},
		{"list prefix boundaries", testPrefix},
		{"concurrent increments lose nothing", testIncrements},
		{"one creator wins", testCreateOnce},
		{"a conflict does not fail others", testNeighbours},
		{"watch", testWatch},
		{"watch with a slow receiver", testSlowWatch},
		{"watch ends", testWatchEnds},
		{"cancelled context", testCancelled},
		{"close", testClose},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			test.run(t, s)
		})
	}
}

// get returns a record that must be there.
func get(t *testing.T, s store.Store, key string) store.Record {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get %s: %v", key, err)
	}
	return r
}

// apply makes writes that must succeed.
func apply(t *testing.T, s store.Store, writes ...store.Write) {
	t.Helper()
	if err := s.Apply(t.Context(), writes...); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

func expect(t *testing.T, s store.Store, key string, version uint64, value string) {
	t.Helper()
	r := get(t, s, key)
	if r.Key != key || r.Version != version || string(r.Value) != value {
		t.Fatalf("Get %s = %q version %d %q, want version %d %q", key, r.Key, r.Version, r.Value, version, value)
	}
}

func expectNone(t *testing.T, s store.Store, key string) {
	t.Helper()
	if r, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Get %s = version %d, %v, want ErrNotFound", key, r.Version, err)
	}
}

func testLifecycle(t *testing.T, s store.Store) {
	const key = "default/a/record"
	expectNone(t, s, key)
	apply(t, s, store.Write{Key: key, Value: []byte("one")})
	expect(t, s, key, 1, "one")
	apply(t, s, store.Write{Key: key, Version: 1, Value: []byte("two")})
	expect(t, s, key, 2, "two")
	apply(t, s, store.Write{Key: key, Version: 2})
	expectNone(t, s, key)
	apply(t, s, store.Write{Key: key, Value: []byte("again")})
	expect(t, s, key, 1, "again")
	expectNone(t, s, "default/a")
	expectNone(t, s, key+"/below")
	apply(t, s) // nothing to do
}

func testConflicts(t *testing.T, s store.Store) {
	const key, none = "default/record", "default/none"
	apply(t, s, store.Write{Key: key, Value: []byte("1")})
	apply(t, s, store.Write{Key: key, Version: 1, Value: []byte("2")})
	for _, test := range []struct {
		name  string
		write store.Write
		have  uint64
	}{
		{"create what exists", store.Write{Key: key, Value: []byte("x")}, 2},
		{"update an older version", store.Write{Key: key, Version: 1, Value: []byte("x")}, 2},
		{"update a version to come", store.Write{Key: key, Version: 3, Value: []byte("x")}, 2},
		{"update with the largest version", store.Write{Key: key, Version: 1<<64 - 1, Value: []byte("x")}, 2},
		{"delete an older version", store.Write{Key: key, Version: 1}, 2},
		{"update nothing", store.Write{Key: none, Version: 1, Value: []byte("x")}, 0},
		{"delete nothing", store.Write{Key: none, Version: 1}, 0},
	} {
		err := s.Apply(t.Context(), test.write)
		var conflict *store.ConflictError
		if !errors.Is(err, store.ErrConflict) || !errors.As(err, &conflict) {
			t.Fatalf("%s: %v, want a ConflictError", test.name, err)
		}
		if want := (store.ConflictError{Key: test.write.Key, Have: test.have, Want: test.write.Version}); *conflict != want {
			t.Errorf("%s: %+v, want %+v", test.name, *conflict, want)
		}
	}
	expect(t, s, key, 2, "2")
	expectNone(t, s, none)
}

func testBatch(t *testing.T, s store.Store) {
	apply(t, s, store.Write{Key: "default/a", Value: []byte("a")}, store.Write{Key: "default/b", Value: []byte("b")})
	good := []store.Write{
		{Key: "default/a", Version: 1, Value: []byte("changed")},
		{Key: "default/b", Version: 1},
		{Key: "default/c", Value: []byte("made")},
	}
	bad := store.Write{Key: "default/d", Version: 7, Value: []byte("conflict")}
	for at := range len(good) + 1 {
		if err := s.Apply(t.Context(), slices.Insert(slices.Clone(good), at, bad)...); !errors.Is(err, store.ErrConflict) {
			t.Fatalf("with a conflict at %d: %v", at, err)
		}
		expect(t, s, "default/a", 1, "a")
		expect(t, s, "default/b", 1, "b")
		expectNone(t, s, "default/c")
	}
	apply(t, s, good...)
	expect(t, s, "default/a", 2, "changed")
	expectNone(t, s, "default/b")
	expect(t, s, "default/c", 1, "made")
}

func testInvalid(t *testing.T, s store.Store) {
	ok := store.Write{Key: "default/ok", Value: []byte("x")}
	long := strings.Repeat("s", store.MaxSegment+1)
	for _, key := range []string{"", "one", "a//b", "/a/b", "a/b/", "a/../b", "a/.", "a/b c", "a/\x00", "a/é", "a/" + long} {
		if _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("Get %q: %v, want ErrInvalid", key, err)
		}
		if err := s.Apply(t.Context(), ok, store.Write{Key: key, Value: []byte("x")}); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("Apply %q: %v, want ErrInvalid", key, err)
		}
	}
	for name, writes := range map[string][]store.Write{
		"one key twice":    {ok, {Key: "default/ok", Version: 1, Value: []byte("y")}},
		"delete version 0": {ok, {Key: "default/other"}},
		"value too large":  {ok, {Key: "default/other", Value: make([]byte, maxValue(s)+1)}},
	} {
		if err := s.Apply(t.Context(), writes...); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("Apply, %s: %v, want ErrInvalid", name, err)
		}
	}
	expectNone(t, s, "default/ok")
	if _, err := s.List(t.Context(), "default", "", 1); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("List of a prefix without / at its end: %v, want ErrInvalid", err)
	}
	for _, limit := range []int{0, -1} {
		if _, err := s.List(t.Context(), "default/", "", limit); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("List of %d: %v, want ErrInvalid", limit, err)
		}
	}
	if _, err := s.Watch(t.Context(), "default"); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("Watch of a prefix without / at its end: %v, want ErrInvalid", err)
	}
}

func testOwnership(t *testing.T, s store.Store) {
	const key = "default/record"
	value := []byte("as written")
	apply(t, s, store.Write{Key: key, Value: value})
	copy(value, "SCRIBBLED!")
	first := get(t, s, key)
	if string(first.Value) != "as written" {
		t.Fatalf("the store kept the caller's slice: %q", first.Value)
	}
	copy(first.Value, "SCRIBBLED!")
	_ = append(first.Value, "and more"...)
	expect(t, s, key, 1, "as written")
	// What was read stays as it was when the record changes.
	second := get(t, s, key)
	for version := range uint64(20) {
		apply(t, s, store.Write{Key: key, Version: version + 1, Value: bytes.Repeat([]byte{byte(version)}, 10)})
	}
	if string(second.Value) != "as written" {
		t.Fatalf("a value changed after it was read: %q", second.Value)
	}
}

// maxValue is the largest value that s takes.
func maxValue(s store.Store) int {
	if limited, ok := s.(interface{ MaxValue() int }); ok {
		return limited.MaxValue()
	}
	return store.MaxValue
}

func testSizes(t *testing.T, s store.Store) {
	apply(t, s, store.Write{Key: "default/empty", Value: []byte{}})
	if r := get(t, s, "default/empty"); r.Version != 1 || r.Value == nil || len(r.Value) != 0 {
		t.Fatalf("empty value: version %d, %v", r.Version, r.Value)
	}
	apply(t, s, store.Write{Key: "default/empty", Version: 1, Value: []byte{}})
	if r := get(t, s, "default/empty"); r.Version != 2 {
		t.Fatalf("empty value: version %d, want 2", r.Version)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), maxValue(s)/16+1)[:maxValue(s)]
	segment := strings.Repeat("s", store.MaxSegment)
	for _, key := range []string{
		"default/large",
		"default/" + segment,
		strings.Join([]string{segment, segment, segment, segment}, "/"), // of 1023 bytes
		"1/2/3/4/5/6/7/8/9/10/11/12",
		`!"#$%&'()*+,-.:;<=>?@[\]^_` + "`/{|}~",
	} {
		apply(t, s, store.Write{Key: key, Value: large})
		if r := get(t, s, key); r.Version != 1 || !bytes.Equal(r.Value, large) {
			t.Fatalf("%.40s: %d bytes at version %d came back", key, len(r.Value), r.Version)
		}
	}
}

func testIncrements(t *testing.T, s store.Store) {
	const workers, each, key = 8, 25, "default/counter"
	apply(t, s, store.Write{Key: key, Value: make([]byte, 8)})
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for range each {
				if err := increment(t.Context(), s, key); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	r := get(t, s, key)
	if n := binary.BigEndian.Uint64(r.Value); n != workers*each || r.Version != n+1 {
		t.Fatalf("counted %d at version %d, want %d at %d", n, r.Version, workers*each, workers*each+1)
	}
}

// increment adds one to a counter, starting over as often as another was first.
func increment(ctx context.Context, s store.Store, key string) error {
	for {
		r, err := s.Get(ctx, key)
		if err != nil {
			return err
		}
		next := binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(r.Value)+1)
		err = s.Apply(ctx, store.Write{Key: key, Version: r.Version, Value: next})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func testCreateOnce(t *testing.T, s store.Store) {
	const rounds, workers = 20, 8
	for round := range rounds {
		key := fmt.Sprintf("default/nonce/%d", round)
		var mu sync.Mutex
		winners := []string{}
		var wait sync.WaitGroup
		for worker := range workers {
			wait.Go(func() {
				name := fmt.Sprint(worker)
				err := s.Apply(t.Context(), store.Write{Key: key, Value: []byte(name)})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					winners = append(winners, name)
				} else if !errors.Is(err, store.ErrConflict) {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if len(winners) != 1 {
			t.Fatalf("round %d: %d creators succeeded", round, len(winners))
		}
		expect(t, s, key, 1, winners[0])
	}
}

func testNeighbours(t *testing.T, s store.Store) {
	const workers, each = 8, 20
	apply(t, s, store.Write{Key: "default/taken", Value: []byte("taken")})
	var wait sync.WaitGroup
	for worker := range workers {
		wait.Go(func() {
			for i := range each {
				if err := s.Apply(t.Context(), store.Write{Key: fmt.Sprintf("default/%d/%d", worker, i), Value: []byte("x")}); err != nil {
					t.Errorf("a good write beside conflicts: %v", err)
				}
			}
		})
		wait.Go(func() {
			for i := range each {
				err := s.Apply(t.Context(), store.Write{Key: fmt.Sprintf("default/lost/%d-%d", worker, i), Value: []byte("x")},
					store.Write{Key: "default/taken", Value: []byte("stolen")})
				if !errors.Is(err, store.ErrConflict) {
					t.Errorf("a conflict beside good writes: %v", err)
				}
			}
		})
	}
	wait.Wait()
	expect(t, s, "default/taken", 1, "taken")
	for worker := range workers {
		entries, err := s.List(t.Context(), fmt.Sprintf("default/%d/", worker), "", each+1)
		if err != nil || len(entries) != each {
			t.Errorf("worker %d has %d records, %v", worker, len(entries), err)
		}
	}
	if lost, err := s.List(t.Context(), "default/lost/", "", 1); err != nil || len(lost) != 0 {
		t.Errorf("writes of a conflicting batch are there: %v, %v", lost, err)
	}
}
