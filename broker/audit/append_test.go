package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

func TestAppendRefuses(t *testing.T) {
	l := mustOpen(t, testConfig(t, newBolt(t)))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	write := func(key string, version uint64) store.Write {
		return store.Write{Key: key, Version: version, Value: []byte("x")}
	}
	cases := []struct {
		name   string
		ctx    context.Context
		entry  []byte
		writes []store.Write
		want   error
	}{
		{"empty entry", t.Context(), nil, nil, ErrEntrySize},
		{"long entry", t.Context(), make([]byte, MaxEntry+1), nil, ErrEntrySize},
		{"context ended", cancelled, []byte("e"), nil, context.Canceled},
		{"bad key", t.Context(), []byte("e"), []store.Write{write("one", 0)}, store.ErrInvalid},
		{"key twice", t.Context(), []byte("e"), []store.Write{write("a/b", 0), write("a/b", 0)}, store.ErrInvalid},
		{"the log's head", t.Context(), []byte("e"), []store.Write{write("sys/audit/head", 1)}, store.ErrInvalid},
		{"under the log's prefix", t.Context(), []byte("e"), []store.Write{write("sys/audit/new", 0)}, store.ErrInvalid},
		{"the prefix itself", t.Context(), []byte("e"), []store.Write{write("sys/audit", 0)}, store.ErrInvalid},
		{"conflict", t.Context(), []byte("e"), []store.Write{write("a/fine", 0), write("a/none", 7)}, store.ErrConflict},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := l.Append(c.ctx, c.entry, c.writes...); !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if l.Size() != 0 {
				t.Fatal("it was recorded")
			}
		})
	}
	if _, err := l.config.Store.Get(t.Context(), "a/fine"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("a write of an append that failed is there: %v", err)
	}
	r := mustAppend(t, l, make([]byte, MaxEntry), write("sys/audit2", 0))
	if r.Index != 0 {
		t.Fatalf("index %d", r.Index)
	}
	l.Close()
	if _, err := l.Append(t.Context(), []byte("e")); !errors.Is(err, ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
}

func TestAppendFunc(t *testing.T) {
	l := mustOpen(t, testConfig(t, newBolt(t)))
	mustAppend(t, l, []byte("first"))
	mine := errors.New("mine")
	_, err := l.AppendFunc(t.Context(), func(uint64) ([]byte, []store.Write, error) { return nil, nil, mine })
	if !errors.Is(err, mine) {
		t.Fatalf("error of the function: %v", err)
	}
	func() {
		defer func() {
			if p := recover(); p != "mine too" {
				t.Fatalf("panic of the function: %v", p)
			}
		}()
		l.AppendFunc(t.Context(), func(uint64) ([]byte, []store.Write, error) { panic("mine too") })
	}()
	for _, bad := range [][]byte{nil, make([]byte, MaxEntry+1)} {
		_, err := l.AppendFunc(t.Context(), func(uint64) ([]byte, []store.Write, error) { return bad, nil, nil })
		if !errors.Is(err, ErrEntrySize) {
			t.Fatalf("entry of %d bytes: %v", len(bad), err)
		}
	}
	r, err := l.AppendFunc(t.Context(), func(index uint64) ([]byte, []store.Write, error) {
		return fmt.Appendf(nil, "at %d", index), []store.Write{{Key: "a/b", Value: []byte("v")}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	verifyReceipt(t, []byte("at 1"), r)
	if record, err := l.config.Store.Get(t.Context(), "a/b"); err != nil || string(record.Value) != "v" {
		t.Fatalf("%v", err)
	}
}

// TestLongEntries fills a bundle with the longest entries, which takes several records, and reads it back after opening again.
func TestLongEntries(t *testing.T) {
	config := testConfig(t, newBolt(t))
	config.MaxBatch = 64
	l := mustOpen(t, config)
	long := func(i uint64) []byte { return bytes.Repeat([]byte{byte(i)}, MaxEntry-int(i%3)) }
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() {
			_, err := l.AppendFunc(t.Context(), func(index uint64) ([]byte, []store.Write, error) { return long(index), nil, nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	l.Close()
	l = mustOpen(t, config)
	n := uint64(0)
	for entry, err := range l.Entries(t.Context(), 0, l.Size()) {
		if err != nil {
			t.Fatal(err)
		}
		if entry.Index != n || !bytes.Equal(entry.Data, long(n)) {
			t.Fatalf("entry %d is another", n)
		}
		n++
	}
	if n != 300 {
		t.Fatalf("%d entries", n)
	}
	if _, err := auditLog(t, l, nil); err != nil {
		t.Fatal(err)
	}
}

// TestConcurrent has 64 callers append with writes of their own. Every receipt verifies, no index comes twice, and all writes are there.
func TestConcurrent(t *testing.T) {
	const callers, each = 64, 20
	s := newBolt(t)
	l := mustOpen(t, testConfig(t, s))
	var mu sync.Mutex
	seen := make(map[uint64]bool)
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for i := range each {
				entry := fmt.Appendf(nil, "caller %d entry %d", caller, i)
				key := fmt.Sprintf("a/%d/%d", caller, i)
				r, err := l.Append(t.Context(), entry, store.Write{Key: key, Value: entry})
				if err != nil {
					t.Error(err)
					return
				}
				verifyReceipt(t, entry, r)
				if got, err := l.Entry(t.Context(), r.Index); err != nil || !bytes.Equal(got, entry) {
					t.Errorf("entry %d: %q, %v", r.Index, got, err)
				}
				if record, err := s.Get(t.Context(), key); err != nil || !bytes.Equal(record.Value, entry) {
					t.Errorf("%s: %v", key, err)
				}
				mu.Lock()
				if seen[r.Index] {
					t.Errorf("index %d twice", r.Index)
				}
				seen[r.Index] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if l.Size() != callers*each {
		t.Fatalf("%d entries", l.Size())
	}
	if version := l.current.Load().version; version >= callers*each {
		t.Errorf("%d commits for %d entries: nothing was grouped", version, callers*each)
	}
	if _, err := auditLog(t, l, nil); err != nil {
		t.Fatal(err)
	}
}

// TestConflictIsolation mixes appends that must conflict with others in the same commits.
func TestConflictIsolation(t *testing.T) {
	s := newBolt(t)
	l := mustOpen(t, testConfig(t, s))
	mustAppend(t, l, []byte("make"), store.Write{Key: "a/shared", Value: []byte("0")})
	const callers = 40
	results := make([]error, callers)
	release := stall(l)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			entry := fmt.Appendf(nil, "caller %d", i)
			write := store.Write{Key: fmt.Sprintf("a/%d", i), Value: entry} // its own: always right
			switch i % 4 {
			case 1:
				write = store.Write{Key: "a/shared", Version: 1, Value: entry} // ten want it: one gets it
			case 2:
				write.Version = 9 // never right
			}
			r, err := l.Append(t.Context(), entry, write)
			results[i] = err
			if err == nil {
				verifyReceipt(t, entry, r)
			}
		})
	}
	for l.Pending() < callers {
		time.Sleep(time.Millisecond)
	}
	release()
	wg.Wait()
	shared := 0
	for i, err := range results {
		switch {
		case i%4 == 1 && err == nil:
			shared++
		case i%4 == 1 || i%4 == 2:
			var conflict *store.ConflictError
			if !errors.As(err, &conflict) {
				t.Errorf("caller %d: %v", i, err)
			}
		case err != nil:
			t.Errorf("caller %d: %v", i, err)
		}
	}
	if shared != 1 {
		t.Errorf("%d callers replaced version 1 of one record", shared)
	}
	if want := uint64(1 + callers/2 + 1); l.Size() != want {
		t.Errorf("%d entries, want %d", l.Size(), want)
	}
	for i := 2; i < callers; i += 4 {
		for entry, err := range l.Entries(t.Context(), 0, l.Size()) {
			if err != nil || string(entry.Data) == fmt.Sprintf("caller %d", i) {
				t.Fatalf("the entry of a caller whose writes conflicted is recorded, or %v", err)
			}
		}
	}
	if _, err := auditLog(t, l, nil); err != nil {
		t.Fatal(err)
	}
}

// stall blocks the committer in a caller's function until release is called.
func stall(l *Log) (release func()) {
	gate, entered := make(chan struct{}), make(chan struct{})
	ended := make(chan struct{})
	stop := errors.New("only to stall")
	go func() {
		defer close(ended)
		l.AppendFunc(context.Background(), func(uint64) ([]byte, []store.Write, error) {
			close(entered)
			<-gate
			return nil, nil, stop
		})
	}()
	<-entered
	return func() { close(gate); <-ended }
}

func TestOverload(t *testing.T) {
	config := testConfig(t, newBolt(t))
	config.MaxPending = 3
	l := mustOpen(t, config)
	release := stall(l)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			if _, err := l.Append(t.Context(), testEntry(i)); err != nil {
				t.Error(err)
			}
		})
	}
	for l.Pending() < 3 {
		time.Sleep(time.Millisecond)
	}
	if _, err := l.Append(t.Context(), []byte("one more")); !errors.Is(err, ErrOverloaded) {
		t.Errorf("over the limit: %v", err)
	}
	release()
	wg.Wait()
	if l.Size() != 3 {
		t.Errorf("%d entries", l.Size())
	}
}

func TestOverloadByBytes(t *testing.T) {
	l := mustOpen(t, testConfig(t, newBolt(t)))
	release := stall(l)
	value := make([]byte, store.MaxValue)
	overloaded := make(chan error, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range maxPendingBytes/store.MaxValue + 1 {
		wg.Go(func() {
			_, err := l.Append(ctx, []byte("e"), store.Write{Key: fmt.Sprintf("a/%d", i), Value: value})
			if errors.Is(err, ErrOverloaded) {
				overloaded <- err
				cancel()
			}
		})
	}
	<-overloaded
	wg.Wait()
	cancel()
	release()
}

// TestWithdrawn ends the context of an append that waits: it must not be recorded. One whose commit began is recorded all the same.
func TestWithdrawn(t *testing.T) {
	l := mustOpen(t, testConfig(t, newBolt(t)))
	release := stall(l)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := l.Append(ctx, []byte("withdrawn"))
		failed <- err
	}()
	for l.Pending() < 1 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("withdrawn: %v", err)
	}
	release()

	ctx, cancel = context.WithCancel(t.Context())
	_, err := l.AppendFunc(ctx, func(uint64) ([]byte, []store.Write, error) {
		cancel()
		time.Sleep(20 * time.Millisecond)
		return []byte("recorded"), nil, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended under way: %v", err)
	}
	l.Close()
	if l.Size() != 1 {
		t.Errorf("%d entries", l.Size())
	}
}

func TestTail(t *testing.T) {
	l := mustOpen(t, testConfig(t, newBolt(t)))
	grow(t, l, 5)
	ctx, cancel := context.WithCancel(t.Context())
	next := make(chan Entry)
	go func() {
		defer close(next)
		for entry, err := range l.Tail(ctx, 3) {
			if err != nil {
				t.Error(err)
			}
			next <- entry
		}
	}()
	for want := uint64(3); want < 300; want++ {
		if want >= 5 {
			mustAppend(t, l, testEntry(int(want)))
		}
		if entry := <-next; entry.Index != want || !bytes.Equal(entry.Data, testEntry(int(want))) {
			t.Fatalf("entry %d: %q", entry.Index, entry.Data)
		}
	}
	cancel()
	if _, open := <-next; open {
		t.Fatal("more entries than there are")
	}
}
