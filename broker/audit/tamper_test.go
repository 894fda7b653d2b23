package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/store"
)

// overlay is a store some of whose records were changed by somebody else; nil means removed.
type overlay struct {
	store.Store
	changed map[string][]byte
}

func (o *overlay) Get(ctx context.Context, key string) (store.Record, error) {
	value, ok := o.changed[key]
	switch {
	case ok && value == nil:
		return store.Record{}, fmt.Errorf("%w: %s", store.ErrNotFound, key)
	case ok:
		return store.Record{Key: key, Version: 1, Value: bytes.Clone(value)}, nil
	}
	return o.Store.Get(ctx, key)
}

// logRecords returns all records of the log in s.
func logRecords(t *testing.T, s store.Store) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	entries, err := s.List(t.Context(), DefaultPrefix+"/", "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		record, err := s.Get(t.Context(), e.Key)
		if err != nil {
			t.Fatal(err)
		}
		all[e.Key] = record.Value
	}
	return all
}

// detected opens and audits a log read-only, and returns the error of either.
func detected(t *testing.T, s store.Store, old []byte) error {
	t.Helper()
	l, err := Open(t.Context(), testConfigReadOnly(t, s))
	if err != nil {
		return err
	}
	_, err = auditLog(t, l, old)
	return err
}

// TestTampering changes the log's records in the store, one at a time, in every byte of those that are short and in many of
// the long ones (in all with VOUCHSAFE_MUTATIONS set), removes, empties, truncates and exchanges them.
func TestTampering(t *testing.T) {
	s := newBolt(t)
	config := testConfig(t, s)
	l := mustOpen(t, config)
	grow(t, l, 520)
	mustAppend(t, l, testEntry(520))
	l.Close()
	all := logRecords(t, s)
	if err := detected(t, s, nil); err != nil {
		t.Fatal(err)
	}
	try := func(what string, changed map[string][]byte) {
		t.Helper()
		err := detected(t, &overlay{s, changed}, nil)
		if !errors.Is(err, ErrDamaged) || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	step := 61
	if os.Getenv("VOUCHSAFE_MUTATIONS") != "" {
		step = 1
	}
	for key, value := range all {
		stride := 1
		if len(value) > 1024 {
			stride = step
		}
		for i := 0; i < len(value); i += stride {
			changed := bytes.Clone(value)
			changed[i] ^= 1 << (i % 8)
			try(fmt.Sprintf("%s byte %d", key, i), map[string][]byte{key: changed})
		}
		try(key+" removed", map[string][]byte{key: nil})
		try(key+" empty", map[string][]byte{key: {}})
		try(key+" shorter", map[string][]byte{key: value[:len(value)-1]})
		try(key+" longer", map[string][]byte{key: append(bytes.Clone(value), 0)})
		for other, with := range all {
			if other != key {
				try(key+" exchanged with "+other, map[string][]byte{key: with, other: value})
			}
		}
	}
	kinds := make(map[string]bool)
	for key := range all {
		kinds[strings.Split(key, "/")[2]] = true
	}
	if len(kinds) != 3 {
		t.Fatalf("records of %d kinds", len(kinds))
	}
}

// TestRollback puts the log back to an earlier state: its head only, its head and everything in it, and the head under a running log.
func TestRollback(t *testing.T) {
	for _, size := range []int{1, 100, 255, 256, 300} {
		s := newBolt(t)
		l := mustOpen(t, testConfig(t, s))
		grow(t, l, size)
		early := logRecords(t, s)
		head := early[l.records.head()]
		grow(t, l, 300)
		newest := l.Checkpoint()
		all := logRecords(t, s)

		if err := detected(t, &overlay{s, map[string][]byte{l.records.head(): head}}, nil); !errors.Is(err, ErrDamaged) {
			t.Errorf("size %d: head put back: %v", size, err)
		}

		whole := make(map[string][]byte)
		for key := range all {
			whole[key] = early[key] // nil, removed, where there was none
		}
		for key, value := range early {
			whole[key] = value
		}
		if err := detected(t, &overlay{s, whole}, nil); err != nil {
			t.Fatalf("size %d: an earlier state as a whole is a sound log by itself, but: %v", size, err)
		}
		if err := detected(t, &overlay{s, whole}, newest); !errors.Is(err, ErrRolledBack) {
			t.Errorf("size %d: everything put back, newer checkpoint kept: %v", size, err)
		}

		record, err := s.Get(t.Context(), l.records.head())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Apply(t.Context(), store.Write{Key: record.Key, Version: record.Version, Value: head}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := l.Append(t.Context(), []byte("next")); !errors.Is(err, ErrDamaged) {
				t.Errorf("size %d: append after the head was put back: %v", size, err)
			}
		}
		for key := range all {
			record, err := s.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if whole[key] == nil {
				err = s.Apply(t.Context(), store.Write{Key: key, Version: record.Version})
			} else if key != l.records.head() {
				err = s.Apply(t.Context(), store.Write{Key: key, Version: record.Version, Value: whole[key]})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.Append(t.Context(), []byte("next")); !errors.Is(err, ErrRolledBack) || !errors.Is(err, ErrDamaged) {
			t.Errorf("size %d: append after everything was put back: %v", size, err)
		}
		if l.Size() != uint64(size+300) {
			t.Errorf("the running log shows %d entries", l.Size())
		}
	}
}

// TestFork has two logs of one key go apart.
func TestFork(t *testing.T) {
	s := newBolt(t)
	config := testConfig(t, s)
	l := mustOpen(t, config)
	grow(t, l, 400)
	common := l.Checkpoint()
	copied := logRecords(t, s)
	mustAppend(t, l, []byte("what happened"))
	grow(t, l, 200)
	kept := l.Checkpoint()

	// The other begins with a copy of the records.
	s2 := newBolt(t)
	for key, value := range copied {
		if err := s2.Apply(t.Context(), store.Write{Key: key, Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	config.Store = s2
	l2 := mustOpen(t, config)
	mustAppend(t, l2, []byte("what did not"))
	grow(t, l2, 300)

	if _, err := auditLog(t, l2, common); err != nil {
		t.Errorf("from before the fork: %v", err)
	}
	if _, err := auditLog(t, l2, kept); !errors.Is(err, ErrForked) {
		t.Errorf("from after the fork: %v", err)
	}
	older, err := VerifyCheckpoint(config.Verifiers, testOrigin, kept)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := l2.Consistency(t.Context(), older.Size, l2.Size())
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifyConsistency(older, l2.Head(), proof); !errors.Is(err, ErrProof) {
		t.Errorf("consistency: %v", err)
	}

	// The store of the first log becomes that of the second while it runs.
	records, now := logRecords(t, s2), logRecords(t, s)
	for _, key := range slices.Collect(keysOf(records, now)) {
		record, err := s.Get(t.Context(), key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		if records[key] == nil && record.Version == 0 {
			continue
		}
		if err := s.Apply(t.Context(), store.Write{Key: key, Version: record.Version, Value: records[key]}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Append(t.Context(), []byte("next")); !errors.Is(err, ErrForked) {
		t.Errorf("append to a store that was exchanged: %v", err)
	}
}

func keysOf(maps ...map[string][]byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		seen := make(map[string]bool)
		for _, m := range maps {
			for key := range m {
				if !seen[key] && !yield(key) {
					return
				}
				seen[key] = true
			}
		}
	}
}

// TestReadsCheckTheStore changes records under a running log: what it serves is never the changed content.
func TestReadsCheckTheStore(t *testing.T) {
	s := newBolt(t)
	l := mustOpen(t, testConfig(t, s))
	grow(t, l, 600)
	l.Close()
	o := &overlay{Store: s, changed: map[string][]byte{}}
	l = mustOpen(t, testConfigReadOnly(t, o))
	change := func(kind string) {
		for key, value := range logRecords(t, s) {
			if strings.Contains(key, kind) {
				changed := bytes.Clone(value)
				changed[len(changed)-1] ^= 1
				o.changed[key] = changed
			}
		}
	}
	change("/entries/")
	if _, err := l.Entry(t.Context(), 300); !errors.Is(err, ErrDamaged) {
		t.Errorf("entry: %v", err)
	}
	if _, err := l.ReadPath(t.Context(), "tile/entries/000"); !errors.Is(err, ErrDamaged) {
		t.Errorf("bundle: %v", err)
	}
	if _, err := l.ReadPath(t.Context(), "tile/entries/002.p/88"); err != nil {
		t.Errorf("what is in memory is not what was changed: %v", err)
	}

	l = mustOpen(t, testConfigReadOnly(t, s))
	o = &overlay{Store: s, changed: map[string][]byte{}}
	l.records.store = o
	change("/tile/")
	if _, err := l.Prove(t.Context(), 0, 600); !errors.Is(err, ErrDamaged) {
		t.Errorf("proof: %v", err)
	}
	for _, path := range []string{"tile/0/000", "tile/entries/001"} {
		if _, err := l.ReadPath(t.Context(), path); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
