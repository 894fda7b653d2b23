package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
)

// TestOneWinner has eight clients over two connections write the same version of a record, again and again.
func TestOneWinner(t *testing.T) {
	const rounds, clients = 20, 8
	server := vaulttest.Shared(t)
	c := Config{Conn: server.Conn(t), Mount: mount(t, server)}
	stores := []*Store{open(t, c)}
	stores = append(stores, again(t, stores[0], server, Config{}))
	for round := range rounds {
		winners := make(chan string, clients)
		var wait sync.WaitGroup
		for client := range clients {
			wait.Go(func() {
				name := fmt.Sprintf("%d in round %d", client, round)
				err := stores[client%2].Apply(t.Context(), store.Write{Key: "default/a", Version: uint64(round), Value: []byte(name)})
				if err == nil {
					winners <- name
				} else if !errors.Is(err, store.ErrConflict) {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if len(winners) != 1 {
			t.Fatalf("round %d has %d winners", round, len(winners))
		}
		name := <-winners
		for _, s := range stores {
			expect(t, s, "default/a", uint64(round)+1, name)
		}
	}
}

// TestDeleteAndCreate has clients create and delete one record, each as fast as it can. A record that was created is there until its creator deletes it.
func TestDeleteAndCreate(t *testing.T) {
	const clients = 6
	server := vaulttest.Shared(t)
	first := open(t, Config{Conn: server.Conn(t), Mount: mount(t, server)})
	stores := []*Store{first, again(t, first, server, Config{})}
	end := time.Now().Add(2 * time.Second)
	var wait sync.WaitGroup
	created := make([]int, clients)
	for client := range clients {
		s := stores[client%2]
		wait.Go(func() {
			value := fmt.Sprint(client)
			for time.Now().Before(end) {
				err := s.Apply(t.Context(), store.Write{Key: "default/a", Value: []byte(value)})
				if errors.Is(err, store.ErrConflict) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				created[client]++
				if r, err := s.Get(t.Context(), "default/a"); err != nil || r.Version != 1 || string(r.Value) != value {
					t.Errorf("what %s created is %q at version %d, %v", value, r.Value, r.Version, err)
					return
				}
				if err := s.Apply(t.Context(), store.Write{Key: "default/a", Version: 1}); err != nil {
					t.Errorf("what %s created cannot be deleted: %v", value, err)
					return
				}
			}
		})
	}
	wait.Wait()
	t.Logf("created %v times", created)
}

// left is a store in which the record default/a at version 1 was deleted by somebody who then stopped: its tombstone is there.
func left(t *testing.T) (s *Store, o *observer, hand raw) {
	t.Helper()
	s, o, server := watched(t, Config{})
	apply(t, s, store.Write{Key: "default/a", Value: []byte("old")})
	o.once("DELETE metadata", before)
	apply(t, s, store.Write{Key: "default/a", Version: 1})
	o.on(nil)
	hand = byHand(t, server, s)
	if !hand.there("default/a") {
		t.Fatal("the name is gone")
	}
	return s, o, hand
}

func TestTombstoneIsNothing(t *testing.T) {
	s, _, _ := left(t)
	if _, err := s.Get(t.Context(), "default/a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if entries, err := s.List(t.Context(), "", "", 10); err != nil || len(entries) != 0 {
		t.Errorf("List: %v, %v", entries, err)
	}
	var conflict *store.ConflictError
	err := s.Apply(t.Context(), store.Write{Key: "default/a", Version: 1, Value: []byte("x")})
	if !errors.As(err, &conflict) || conflict.Have != 0 {
		t.Errorf("an update: %v", err)
	}
	if err := s.Apply(t.Context(), store.Write{Key: "default/a", Version: 1}); !errors.As(err, &conflict) || conflict.Have != 0 {
		t.Errorf("a second deletion: %v", err)
	}
	apply(t, s, store.Write{Key: "default/b", Value: []byte("x")}, store.Write{Key: "default/c", Value: []byte("x")})
	if entries, err := s.List(t.Context(), "", "", 1); err != nil || len(entries) != 1 || entries[0].Key != "default/b" {
		t.Errorf("a page that begins with a tombstone: %v, %v", entries, err)
	}
}

// TestCreateOverYoungTombstone holds that nobody touches a tombstone whose maker may still remove the name.
func TestCreateOverYoungTombstone(t *testing.T) {
	s, o, hand := left(t)
	o.reset()
	if err := s.Apply(t.Context(), store.Write{Key: "default/a", Value: []byte("new")}); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrConflict) {
		t.Fatalf("a create over a young tombstone: %v", err)
	}
	if kinds, _ := o.counted(); kinds["DELETE metadata"] != 0 || kinds["POST data"] != 1 {
		t.Errorf("it made requests %v", kinds)
	}
	// When the deleter has done its work in time the create succeeds.
	time.AfterFunc(300*time.Millisecond, func() { hand.do(http.MethodDelete, "metadata", "default/a", nil) })
	apply(t, s, store.Write{Key: "default/a", Value: []byte("new")})
	expect(t, s, "default/a", 1, "new")
}

func TestCreateOverOldTombstone(t *testing.T) {
	s, o, _ := left(t)
	s.settled = 300 * time.Millisecond
	time.Sleep(s.settled)
	o.reset()
	apply(t, s, store.Write{Key: "default/a", Value: []byte("new")})
	expect(t, s, "default/a", 1, "new")
	o.want(t, "a create over an old tombstone", map[string]int{"POST data": 3, "GET subkeys": 1, "DELETE metadata": 1, "GET data": 1})
}

// TestClockAhead holds that the age of a tombstone is Vault's to say.
func TestClockAhead(t *testing.T) {
	s, _, hand := left(t)
	s.now = func() time.Time { return time.Now().Add(time.Hour) }
	if err := s.Apply(t.Context(), store.Write{Key: "default/a", Value: []byte("new")}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("a create with a clock that is ahead: %v", err)
	}
	if !hand.there("default/a") {
		t.Error("the tombstone is gone")
	}
}

// TestManyTakeOver has eight clients create over one old tombstone. That it is old, and one that another makes of it is young, is to hold on a busy machine too:
// a second is longer than a client takes.
func TestManyTakeOver(t *testing.T) {
	t.Parallel()
	for round := range 5 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			s, _, _ := left(t)
			other := again(t, s, vaulttest.Shared(t), Config{})
			s.settled, other.settled = time.Second, time.Second
			time.Sleep(s.settled)
			winners := make(chan string, 8)
			var wait sync.WaitGroup
			for i := range cap(winners) {
				wait.Go(func() {
					name := fmt.Sprint(i)
					err := []*Store{s, other}[i%2].Apply(t.Context(), store.Write{Key: "default/a", Value: []byte(name)})
					if err == nil {
						winners <- name
					} else if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrUnavailable) {
						t.Error(err)
					}
				})
			}
			wait.Wait()
			if len(winners) != 1 {
				t.Fatalf("%d winners", len(winners))
			}
			expect(t, other, "default/a", 1, <-winners)
		})
	}
}

// TestLateDeleter holds that who was held up after the tombstone does not remove the name any more.
func TestLateDeleter(t *testing.T) {
	s, o, server := watched(t, Config{})
	apply(t, s, store.Write{Key: "default/a", Value: []byte("old")})
	late := false
	s.now = func() time.Time {
		if late {
			return time.Now().Add(dropWithin + time.Second)
		}
		return time.Now()
	}
	o.on(func(r *http.Request) fault { late = late || kind(r) == "POST data"; return none })
	o.reset()
	apply(t, s, store.Write{Key: "default/a", Version: 1})
	o.want(t, "a deletion that was held up", map[string]int{"POST data": 1})
	if !byHand(t, server, s).there("default/a") {
		t.Error("the name was removed late")
	}
}

func TestSweepTombstones(t *testing.T) {
	s, _, hand := left(t)
	if r, err := s.Sweep(t.Context()); err != nil || r != (SweepResult{}) || !hand.there("default/a") {
		t.Fatalf("a sweep took a young tombstone: %+v, %v", r, err)
	}
	s.settled = 100 * time.Millisecond
	time.Sleep(s.settled)
	apply(t, s, store.Write{Key: "default/b", Value: []byte("stays")})
	if r, err := s.Sweep(t.Context()); err != nil || r.Tombstones != 1 || hand.there("default/a") {
		t.Fatalf("a sweep: %+v, %v", r, err)
	}
	expect(t, s, "default/b", 1, "stays")
	apply(t, s, store.Write{Key: "default/a", Value: []byte("new")})
}

// TestWriterStopsAfterParts kills a writer when the parts are there and the record is not.
func TestWriterStopsAfterParts(t *testing.T) {
	s, o, server := watched(t, Config{})
	old, large := []byte("old"), bytes.Repeat([]byte("l"), 3*PartSize)
	apply(t, s, store.Write{Key: "default/a", Value: old}, store.Write{Key: "default/kept", Value: large})
	hand := byHand(t, server, s)
	o.once("POST data", before)
	if err := s.Apply(t.Context(), store.Write{Key: "default/a", Version: 1, Value: large}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	o.on(nil)
	expect(t, s, "default/a", 1, "old")
	parts := func(key string) int {
		names, err := s.list(t.Context(), partsName+"/"+key+"/")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	if n := parts("default/a"); n != 3 {
		t.Fatalf("%d parts were left", n)
	}
	if r, err := s.Sweep(t.Context()); err != nil || r.Parts != 0 {
		t.Fatalf("a sweep took young parts: %+v, %v", r, err)
	}
	s.orphaned = -time.Second // Vault tells the time in whole seconds
	if r, err := s.Sweep(t.Context()); err != nil || r.Parts != 3 || parts("default/a") != 0 || parts("default/kept") != 3 {
		t.Fatalf("a sweep: %+v, %v", r, err)
	}
	expect(t, s, "default/kept", 1, string(large))
	hand.do(http.MethodDelete, "metadata", "default/kept", nil)
	if r, err := s.Sweep(t.Context()); err != nil || r.Parts != 3 || parts("default/kept") != 0 {
		t.Fatalf("a sweep after a record was removed by hand: %+v, %v", r, err)
	}
}

// TestDoubt breaks the connection when Vault has made a write: nobody knows, and a second try is a conflict, never a second write.
func TestDoubt(t *testing.T) {
	s, o, _ := watched(t, Config{})
	o.once("POST data", after)
	create := store.Write{Key: "default/a", Value: []byte("1")}
	if err := s.Apply(t.Context(), create); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrConflict) {
		t.Fatalf("a create in doubt: %v", err)
	}
	var conflict *store.ConflictError
	if err := s.Apply(t.Context(), create); !errors.As(err, &conflict) || conflict.Have != 1 {
		t.Fatalf("the second try: %v", err)
	}
	expect(t, s, "default/a", 1, "1")
	update := store.Write{Key: "default/a", Version: 1, Value: []byte("2")}
	o.once("POST data", after)
	if err := s.Apply(t.Context(), update); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("an update in doubt: %v", err)
	}
	if err := s.Apply(t.Context(), update); !errors.As(err, &conflict) || conflict.Have != 2 {
		t.Fatalf("the second try: %v", err)
	}
	o.once("POST data", after)
	remove := store.Write{Key: "default/a", Version: 2}
	if err := s.Apply(t.Context(), remove); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("a deletion in doubt: %v", err)
	}
	if err := s.Apply(t.Context(), remove); !errors.As(err, &conflict) || conflict.Have != 0 {
		t.Fatalf("the second try: %v", err)
	}
	o.once("POST data", before)
	if err := s.Apply(t.Context(), store.Write{Key: "default/b", Value: []byte("1")}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("a create that did not happen: %v", err)
	}
	apply(t, s, store.Write{Key: "default/b", Value: []byte("1")})
	expect(t, s, "default/b", 1, "1")
}

// TestPartial has a conflict come up between the check of several writes and the writes.
func TestPartial(t *testing.T) {
	s, o, server := watched(t, Config{})
	other := again(t, s, server, Config{})
	done := false
	o.on(func(r *http.Request) fault {
		if kind(r) == "POST data" && !done {
			done = true
			if err := other.Apply(context.WithoutCancel(t.Context()), store.Write{Key: "default/b", Value: []byte("another's")}); err != nil {
				t.Error(err)
			}
		}
		return none
	})
	err := s.Apply(t.Context(), store.Write{Key: "default/a", Value: []byte("x")}, store.Write{Key: "default/b", Value: []byte("x")}, store.Write{Key: "default/c", Value: []byte("x")})
	var partial *PartialError
	if !errors.As(err, &partial) || partial.Done != 1 || !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrConflict) || !errors.Is(partial.Err, store.ErrConflict) {
		t.Fatalf("%v", err)
	}
	expect(t, s, "default/a", 1, "x")
	expect(t, s, "default/b", 1, "another's")
	if _, err := s.Get(t.Context(), "default/c"); !errors.Is(err, store.ErrNotFound) {
		t.Error("what comes after the conflict was written")
	}
}

// TestReplacedWhileRead has a large value replaced after its record was read and before its parts are.
func TestReplacedWhileRead(t *testing.T) {
	s, o, server := watched(t, Config{})
	other := again(t, s, server, Config{})
	first, second := bytes.Repeat([]byte("1"), 2*PartSize), bytes.Repeat([]byte("2"), 2*PartSize)
	apply(t, other, store.Write{Key: "default/a", Value: first})
	var once sync.Once
	o.on(func(r *http.Request) fault {
		if kind(r) == "GET data part" {
			once.Do(func() {
				if err := other.Apply(context.WithoutCancel(t.Context()), store.Write{Key: "default/a", Version: 1, Value: second}); err != nil {
					t.Error(err)
				}
			})
		}
		return none
	})
	if r := get(t, s, "default/a"); r.Version != 2 || !bytes.Equal(r.Value, second) {
		t.Errorf("version %d came back", r.Version)
	}
}

func TestWatchSeesOthers(t *testing.T) {
	server := vaulttest.Shared(t)
	s := open(t, Config{Conn: server.Conn(t), Mount: mount(t, server), PollEvery: 20 * time.Millisecond})
	other := again(t, s, server, Config{})
	apply(t, other, store.Write{Key: "default/before", Value: []byte("x")})
	events, err := s.Watch(t.Context(), "default/")
	if err != nil {
		t.Fatal(err)
	}
	next := func(want store.Event) {
		t.Helper()
		select {
		case e := <-events:
			if e != want {
				t.Fatalf("event %+v, want %+v", e, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no event, want %+v", want)
		}
	}
	apply(t, other, store.Write{Key: "default/a", Value: []byte("x")})
	next(store.Event{Key: "default/a", Version: 1})
	apply(t, s, store.Write{Key: "default/a", Version: 1, Value: []byte("y")})
	next(store.Event{Key: "default/a", Version: 2})
	apply(t, other, store.Write{Key: "default/before", Version: 1, Value: []byte("y")})
	next(store.Event{Key: "default/before", Version: 2})
	apply(t, other, store.Write{Key: "default/before", Version: 2})
	next(store.Event{Key: "default/before"})
	// A record that is another one at the same version.
	apply(t, other, store.Write{Key: "default/b", Value: []byte("1")})
	next(store.Event{Key: "default/b", Version: 1})
	time.Sleep(50 * time.Millisecond)
	apply(t, other, store.Write{Key: "default/b", Version: 1})
	apply(t, other, store.Write{Key: "default/b", Value: []byte("2")})
	e := <-events
	if e.Version == 0 { // a poll was in between
		e = <-events
	}
	if e != (store.Event{Key: "default/b", Version: 1}) {
		t.Fatalf("event %+v", e)
	}
	select {
	case e := <-events:
		t.Fatalf("event %+v, of which there should be none", e)
	case <-time.After(100 * time.Millisecond):
	}
}

// TestStaleness holds the bound: what another has deleted or replaced is served no longer, nor is anything when Vault does not answer.
func TestStaleness(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	pass := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	const bound = time.Second
	s, o, server := watched(t, Config{Staleness: bound, Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	other := again(t, s, server, Config{})
	for i, destroy := range []string{"deleted", "replaced"} {
		key := fmt.Sprintf("default/%d", i)
		apply(t, other, store.Write{Key: key, Value: []byte("secret")})
		expect(t, s, key, 1, "secret")
		if destroy == "deleted" {
			apply(t, other, store.Write{Key: key, Version: 1})
		} else {
			apply(t, other, store.Write{Key: key, Version: 1, Value: []byte("retired")})
		}
		pass(bound)
		expect(t, s, key, 1, "secret") // the bound includes its end
		pass(time.Nanosecond)
		r, err := s.Get(t.Context(), key)
		if destroy == "deleted" && !errors.Is(err, store.ErrNotFound) || destroy == "replaced" && (err != nil || string(r.Value) != "retired") {
			t.Errorf("what was %s is served after the bound: version %d, %v", destroy, r.Version, err)
		}
	}
	// Its own writes are seen at once, whatever is remembered.
	expect(t, s, "default/1", 2, "retired")
	apply(t, s, store.Write{Key: "default/1", Version: 2})
	if _, err := s.Get(t.Context(), "default/1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what this store deleted: %v", err)
	}
	// That nothing is there is not remembered at all.
	apply(t, other, store.Write{Key: "default/1", Value: []byte("again")})
	expect(t, s, "default/1", 1, "again")

	o.on(func(*http.Request) fault { return before })
	expect(t, s, "default/1", 1, "again")
	pass(bound + time.Nanosecond)
	if _, err := s.Get(t.Context(), "default/1"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without Vault, after the bound: %v", err)
	}
	o.on(nil)
	expect(t, s, "default/1", 1, "again")

	// A write in doubt leaves nothing to be remembered.
	o.once("POST data", after)
	if err := s.Apply(t.Context(), store.Write{Key: "default/1", Version: 1, Value: []byte("in doubt")}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	expect(t, s, "default/1", 2, "in doubt")
	if !strings.HasPrefix(s.Path(), s.config.Mount) {
		t.Error(s.Path())
	}
}
