package session

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

func newSessions(t testing.TB, limit int, now func() time.Time) *Sessions[string] {
	t.Helper()
	s, err := NewSessions[string](limit, now, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSessionLife(t *testing.T) {
	clock := newWall(start)
	s := newSessions(t, 10, clock.now)
	id, err := s.New("workload", start.Add(time.Minute))
	if err != nil || !ValidID(id) {
		t.Fatalf("%q, %v", id, err)
	}
	if v, ok := s.Get(id); !ok || v != "workload" {
		t.Errorf("%q, %v", v, ok)
	}
	clock.add(time.Minute - 1)
	if _, ok := s.Get(id); !ok {
		t.Error("gone before its expiry")
	}
	clock.add(1)
	if _, ok := s.Get(id); ok {
		t.Error("live at its expiry")
	}
	clock.set(start)
	if _, ok := s.Get(id); ok {
		t.Error("live again after the clock was set back")
	}
	id, _ = s.New("a", clock.now().Add(2*time.Minute))
	s.Delete(id)
	s.Delete(id)
	s.Delete("nonsense")
	if _, ok := s.Get(id); ok || s.Len() != 0 {
		t.Errorf("deleted, and %d are left", s.Len())
	}
}

func TestSessionPutReplaces(t *testing.T) {
	clock := newWall(start)
	s := newSessions(t, 1, clock.now)
	id := strings.Repeat("0f", 16)
	for i, until := range []time.Duration{time.Hour, time.Minute, 2 * time.Minute} {
		if err := s.Put(id, fmt.Sprint(i), start.Add(until)); err != nil {
			t.Fatal(err)
		}
	}
	if v, ok := s.Get(id); !ok || v != "2" || s.Len() != 1 {
		t.Errorf("%q, %v, %d", v, ok, s.Len())
	}
	clock.add(2 * time.Minute)
	if _, ok := s.Get(id); ok {
		t.Error("the first expiry still counts")
	}
}

func TestSessionsNeverDropALiveOne(t *testing.T) {
	clock := newWall(start)
	s := newSessions(t, 100, clock.now)
	ids := make([]string, 100)
	for i := range ids {
		ids[i], _ = s.New(fmt.Sprint(i), start.Add(time.Duration(i+1)*time.Minute))
	}
	if _, err := s.New("one more", start.Add(time.Hour)); !errors.Is(err, ErrFull) {
		t.Errorf("one more than it holds: %v", err)
	}
	for i, id := range ids {
		if v, ok := s.Get(id); !ok || v != fmt.Sprint(i) {
			t.Fatalf("session %d is gone", i)
		}
	}
	clock.add(time.Minute)
	if _, err := s.New("in the place of the first", start.Add(time.Hour)); err != nil {
		t.Errorf("after an expiry: %v", err)
	}
	if _, ok := s.Get(ids[0]); ok {
		t.Error("the first is live")
	}
	clock.add(24 * time.Hour)
	for range 40 {
		if _, err := s.New("new", clock.now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if s.Len() != 40 {
		t.Errorf("%d are held, not the 40 live ones", s.Len())
	}
}

func TestSessionIDs(t *testing.T) {
	s := newSessions(t, 10, nil)
	for _, id := range []string{"", "short", strings.Repeat("A", 32), strings.Repeat("g", 32), strings.Repeat("0", 31), strings.Repeat("0", 33), strings.Repeat("0", 31) + "\n"} {
		if err := s.Put(id, "", time.Now().Add(time.Hour)); !errors.Is(err, ErrID) {
			t.Errorf("%q: %v", id, err)
		}
		if _, ok := s.Get(id); ok {
			t.Errorf("%q is live", id)
		}
	}
	id, _ := s.New("value", time.Now().Add(time.Hour))
	if dump := fmt.Sprintf("%+v", s); strings.Contains(dump, id) {
		t.Error("the ids can be read from a dump")
	}
	broken, err := NewSessions[string](1, nil, bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	if id, err := broken.New("", time.Now().Add(time.Hour)); err == nil {
		t.Errorf("id %q without randomness", id)
	}
	for _, limit := range []int{0, -1} {
		if _, err := NewSessions[string](limit, nil, nil); err == nil {
			t.Errorf("limit %d accepted", limit)
		}
	}
}

// TestSessionsAgainstAModel does many random operations on Sessions and on a plain map.
func TestSessionsAgainstAModel(t *testing.T) {
	type entry struct {
		value   string
		expires time.Time
	}
	clock := newWall(start)
	s := newSessions(t, 50, clock.now)
	model := map[string]entry{}
	random := rand.New(rand.NewPCG(3, 4))
	ids := make([]string, 120)
	for i := range ids {
		ids[i], _ = NewID(nil)
	}
	for step := range 50_000 {
		id, now := ids[random.IntN(len(ids))], clock.now()
		live := 0
		for _, e := range model {
			if now.Before(e.expires) {
				live++
			}
		}
		switch random.IntN(5) {
		case 0:
			clock.add(time.Duration(random.IntN(1000)) * time.Millisecond)
		case 1:
			s.Delete(id)
			delete(model, id)
		case 2, 3:
			e := entry{fmt.Sprint(step), now.Add(time.Duration(random.IntN(30_000)) * time.Millisecond)}
			err := s.Put(id, e.value, e.expires)
			old, known := model[id]
			if err == nil {
				model[id] = e
			} else if known && now.Before(old.expires) || live < 50-sweep {
				t.Fatalf("step %d: %v with %d live", step, err, live)
			}
		default:
			value, ok := s.Get(id)
			e, known := model[id]
			if want := known && now.Before(e.expires); ok != want || ok && value != e.value {
				t.Fatalf("step %d: %q, %v; want %q, %v", step, value, ok, e.value, want)
			}
		}
		if s.Len() > 50 {
			t.Fatalf("step %d: %d are held", step, s.Len())
		}
	}
}

func TestSessionsConcurrently(t *testing.T) {
	s := newSessions(t, 64, nil)
	var wait sync.WaitGroup
	for worker := range 16 {
		wait.Go(func() {
			for i := range 200 {
				value := fmt.Sprint(worker, i)
				id, err := s.New(value, time.Now().Add(time.Minute))
				if errors.Is(err, ErrFull) {
					continue
				}
				if got, ok := s.Get(id); !ok || got != value {
					t.Errorf("%q, %v; want %q", got, ok, value)
				}
				s.Delete(id)
			}
		})
	}
	wait.Wait()
	if s.Len() != 0 {
		t.Errorf("%d are left", s.Len())
	}
}

func BenchmarkSessionsGet(b *testing.B) {
	s := newSessions(b, 100_000, nil)
	var id string
	for range 100_000 {
		id, _ = s.New("", time.Now().Add(time.Hour))
	}
	for b.Loop() {
		s.Get(id)
	}
}
