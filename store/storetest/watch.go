package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

func watch(t *testing.T, ctx context.Context, s store.Store, prefix string) <-chan store.Event {
	t.Helper()
	events, err := s.Watch(ctx, prefix)
	if err != nil {
		t.Fatalf("Watch %q: %v", prefix, err)
	}
	return events
}

// next returns the next event, which must come.
func next(t *testing.T, events <-chan store.Event) store.Event {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the channel is closed")
		}
		return e
	case <-time.After(patience):
		t.Fatal("no event")
		panic("unreachable")
	}
}

// ends waits for the channel to be closed, letting what is in it go by.
func ends(t *testing.T, events <-chan store.Event) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		case <-deadline:
			t.Fatal("the channel is not closed")
		}
	}
}

func testWatch(t *testing.T, s store.Store) {
	apply(t, s, store.Write{Key: "a/b/before", Value: []byte("x")})
	below, all := watch(t, t.Context(), s, "a/b/"), watch(t, t.Context(), s, "")
	apply(t, s, store.Write{Key: "a/b/c", Value: []byte("x")})
	apply(t, s, store.Write{Key: "a/bc", Value: []byte("x")})
	apply(t, s, store.Write{Key: "a/b/c", Version: 1, Value: []byte("y")})
	if err := s.Apply(t.Context(), store.Write{Key: "a/b/c", Version: 9, Value: []byte("x")}); err == nil {
		t.Fatal("a conflict succeeded")
	}
	apply(t, s, store.Write{Key: "a/b/c", Version: 2}, store.Write{Key: "a/b/d", Value: []byte("x")})
	for _, want := range []store.Event{{Key: "a/b/c", Version: 1}, {Key: "a/b/c", Version: 2}, {Key: "a/b/c"}, {Key: "a/b/d", Version: 1}} {
		if e := next(t, below); e != want {
			t.Fatalf("event %+v, want %+v", e, want)
		}
	}
	for _, want := range []store.Event{{Key: "a/b/c", Version: 1}, {Key: "a/bc", Version: 1}} {
		if e := next(t, all); e != want {
			t.Fatalf("event %+v, want %+v", e, want)
		}
	}
}

func testSlowWatch(t *testing.T, s store.Store) {
	events := watch(t, t.Context(), s, "a/")
	// More changes than any store holds back, until the store can only say "read again". A store that makes each durable by itself takes long over
	// them, and holds back less.
	const each = 100
	batches := 100
	if !s.Atomic() {
		batches = 12
	}
	for batch := range batches {
		writes := make([]store.Write, each)
		for i := range writes {
			writes[i] = store.Write{Key: fmt.Sprintf("a/%04d", i), Version: uint64(batch), Value: []byte("x")}
		}
		apply(t, s, writes...) // must not wait for the receiver
	}
	lost := false
	for n := 0; !lost; n++ {
		if n > batches*each {
			t.Fatal("events were neither kept nor said to be lost")
		}
		e := next(t, events)
		lost = e.Key == "" || e == store.Event{Key: fmt.Sprintf("a/%04d", each-1), Version: uint64(batches)}
	}
	// What changes after the receiver has caught up is told again.
	apply(t, s, store.Write{Key: "a/marker", Value: []byte("x")})
	for e := next(t, events); e != (store.Event{Key: "a/marker", Version: 1}); e = next(t, events) {
	}
}

func testWatchEnds(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	ended, stays, unread := watch(t, ctx, s, "a/"), watch(t, t.Context(), s, "a/"), watch(t, ctx, s, "")
	apply(t, s, store.Write{Key: "a/1", Value: []byte("x")})
	cancel()
	ends(t, ended)
	ends(t, unread)
	apply(t, s, store.Write{Key: "a/2", Value: []byte("x")})
	for _, key := range []string{"a/1", "a/2"} {
		if e := next(t, stays); e.Key != key {
			t.Fatalf("event %+v, want %s", e, key)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ends(t, stays)
}

func testCancelled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, getErr := s.Get(ctx, "default/a")
	_, listErr := s.List(ctx, "default/", "", 1)
	_, watchErr := s.Watch(ctx, "default/")
	for name, err := range map[string]error{
		"Get": getErr, "List": listErr, "Watch": watchErr,
		"Apply": s.Apply(ctx, store.Write{Key: "default/a", Value: []byte("x")}),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: %v", name, err)
		}
	}
	expectNone(t, s, "default/a")
}

func testClose(t *testing.T, s store.Store) {
	apply(t, s, store.Write{Key: "default/a", Value: []byte("x")})
	// Writers that are under way either succeed or learn that the store is closed; none hangs.
	results := make(chan error, 16)
	for i := range cap(results) {
		go func() {
			for n := 0; ; n++ {
				if err := s.Apply(t.Context(), store.Write{Key: fmt.Sprintf("default/%d/%d", i, n), Value: []byte("x")}); err != nil {
					results <- err
					return
				}
			}
		}()
	}
	time.Sleep(20 * time.Millisecond)
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	for range cap(results) {
		select {
		case err := <-results:
			if !errors.Is(err, store.ErrClosed) {
				t.Errorf("Apply around Close: %v", err)
			}
		case <-time.After(patience):
			t.Fatal("an Apply hangs after Close")
		}
	}
	_, getErr := s.Get(t.Context(), "default/a")
	_, listErr := s.List(t.Context(), "default/", "", 1)
	_, watchErr := s.Watch(t.Context(), "default/")
	for name, err := range map[string]error{
		"Get": getErr, "List": listErr, "Watch": watchErr,
		"Apply": s.Apply(t.Context(), store.Write{Key: "default/b", Value: []byte("x")}),
	} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}
