package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

// stopped appends ten entries with two writes each in one commit, to a log of 250, with a process that is stopped after a number of writes. It returns
// those that were acknowledged, and whether the process was stopped at all.
func stopped(t *testing.T, steps *storetest.Steps, after int) (kept []acked, shown []byte, whole bool) {
	t.Helper()
	view := steps.Open()
	l := mustOpen(t, testConfig(t, view))
	for i := range 5 {
		mustAppend(t, l, testEntry(i))
	}
	grow(t, l, 245)
	shown = l.Checkpoint()
	release := stall(l)
	view.CrashAfter(after)
	var (
		mu sync.Mutex
		wg sync.WaitGroup
	)
	for i := range 10 {
		wg.Go(func() {
			entry := fmt.Appendf(nil, "change %d", i)
			r, err := l.Append(t.Context(), entry,
				store.Write{Key: fmt.Sprintf("a/%d/1", i), Value: entry}, store.Write{Key: fmt.Sprintf("a/%d/2", i), Value: entry})
			if err != nil && !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("stopped after %d writes: %v", after, err)
			}
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				kept = append(kept, acked{entry, r})
			}
		})
	}
	for l.Pending() < 10 {
		time.Sleep(time.Millisecond)
	}
	release()
	wg.Wait()
	return kept, shown, !view.Crashed()
}

// checkStopped checks what a stopped process left, after another one opened the log: no change without its entry, the first write of a
// change before its second, and everything that was acknowledged.
func checkStopped(t *testing.T, l *Log, s store.Store, kept []acked, shown []byte) {
	t.Helper()
	checkKept(t, l, kept, shown)
	checkCovered(t, l, s)
	for i := range 10 {
		_, first := s.Get(t.Context(), fmt.Sprintf("a/%d/1", i))
		_, second := s.Get(t.Context(), fmt.Sprintf("a/%d/2", i))
		acknowledged := slices.ContainsFunc(kept, func(k acked) bool { return string(k.entry) == fmt.Sprintf("change %d", i) })
		if first != nil && second == nil || acknowledged && second != nil {
			t.Errorf("change %d: %v, %v, acknowledged %v", i, first, second, acknowledged)
		}
	}
}

// TestStoppedAfterEveryWrite stops a process after each write of a commit that fills a bundle and of what the callers write after it, and the process
// that opens the log next after each of its own. The third finds everything in order.
func TestStoppedAfterEveryWrite(t *testing.T) {
	points, adopted := 0, 0
	for after := 0; ; after++ {
		whole := false
		for again := 0; ; again++ {
			file := newBolt(t)
			steps := storetest.NewSteps(file)
			var kept []acked
			var shown []byte
			kept, shown, whole = stopped(t, steps, after)
			points++
			view := steps.Open()
			view.CrashAfter(again)
			if _, err := Open(t.Context(), testConfig(t, view)); err == nil && view.Crashed() || err != nil && !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("stopped after %d and %d writes: %v", after, again, err)
			}
			l := mustOpen(t, testConfig(t, steps.Open()))
			checkStopped(t, l, file, kept, shown)
			if l.Size() > 250 && len(kept) == 0 {
				adopted++
			}
			r := mustAppend(t, l, []byte("and on"))
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = mustOpen(t, testConfig(t, steps.Open()))
			if entry, err := l.Entry(t.Context(), r.Index); err != nil || string(entry) != "and on" {
				t.Fatalf("stopped after %d and %d writes: %q, %v", after, again, entry, err)
			}
			file.Close()
			if !view.Crashed() {
				break
			}
		}
		if whole {
			break
		}
	}
	if adopted == 0 {
		t.Error("no entry was ever found past the head: the test does not test")
	}
	t.Logf("%d points", points)
}

// claimed is a claim that a test ends.
type claimed struct {
	mu   sync.Mutex
	lost bool
}

func (c *claimed) end() { c.mu.Lock(); c.lost = true; c.mu.Unlock() }

// Check always succeeds: its clock stands still.
func (c *claimed) Check() error { return nil }

func (c *claimed) Renew(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost {
		return fmt.Errorf("%w: the claim is another's", store.ErrUnavailable)
	}
	return nil
}

// TestPausedProcess pauses a process before each write of its commit, lets another take the log over and append, or only open it, and lets the
// first go on, whose clock stood still: its appends fail and change nothing, and the log is in order.
func TestPausedProcess(t *testing.T) {
	for at := 0; at < 3; at++ { // entries, tile, head
		for _, appends := range []int{0, 1, 3} {
			file := newBolt(t)
			steps := storetest.NewSteps(file)
			view := steps.Open()
			claim := &claimed{}
			config := testConfig(t, view)
			config.Claim = claim
			first := mustOpen(t, config)
			grow(t, first, 255)
			gate, reached := make(chan struct{}), make(chan struct{})
			n := 0
			view.Before(func(store.Write) {
				if n++; n == at+1 {
					close(reached)
					<-gate
				}
			})
			ended := make(chan error, 1)
			go func() {
				_, err := first.Append(t.Context(), []byte("paused"), store.Write{Key: "a/paused", Value: []byte("paused")})
				ended <- err
			}()
			<-reached
			claim.end()
			second := mustOpen(t, testConfig(t, steps.Open()))
			for i := range appends {
				mustAppend(t, second, fmt.Appendf(nil, "second %d", i))
			}
			view.Before(nil)
			close(gate)
			if err := <-ended; !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("paused before write %d: %v", at, err)
			}
			if _, err := first.Append(t.Context(), []byte("later"), store.Write{Key: "a/later", Value: []byte("later")}); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("after it was paused before write %d: %v", at, err)
			}
			mustAppend(t, second, []byte("the second goes on"))
			if left, err := file.List(t.Context(), "a/", "", 10); err != nil || len(left) != 0 {
				t.Errorf("paused before write %d: changed %v, %v", at, left, err)
			}
			if _, err := auditLog(t, second, first.Checkpoint()); err != nil {
				t.Errorf("paused before write %d: %v", at, err)
			}
			checkCovered(t, mustOpen(t, testConfig(t, steps.Open())), file)
			file.Close()
		}
	}
}

// TestTwoWritersStepwise has two processes append to one log in a store that is not atomic, both of which believe that it is theirs: they are in each
// other's way, and neither forks it, loses what was acknowledged, or records anything twice that was acknowledged once.
func TestTwoWritersStepwise(t *testing.T) {
	file := newBolt(t)
	steps := storetest.NewSteps(file)
	logs := []*Log{mustOpen(t, testConfig(t, steps.Open())), mustOpen(t, testConfig(t, steps.Open()))}
	kept := contend(t, logs, func(key string, entry []byte) []store.Write { return []store.Write{{Key: key, Value: entry}} })
	if len(kept) < 50 {
		t.Fatalf("%d recorded", len(kept))
	}
	l := mustOpen(t, testConfig(t, steps.Open()))
	checkKept(t, l, kept, logs[0].Checkpoint())
	checkCovered(t, l, file)
	seen := map[string]int{}
	for e, err := range l.Entries(t.Context(), 0, l.Size()) {
		if err != nil {
			t.Fatal(err)
		}
		seen[string(e.Data)]++
	}
	for _, k := range kept {
		if n := seen[string(k.entry)]; n != 1 {
			t.Errorf("%q is in the log %d times", k.entry, n)
		}
	}
	t.Logf("%d recorded", len(kept))
}

// TestConflictAfterTheEntry has a change conflict in a store where the entry comes first: the entry stays, and the caller is told which it is.
func TestConflictAfterTheEntry(t *testing.T) {
	file := newBolt(t)
	l := mustOpen(t, testConfig(t, storetest.NewSteps(file).Open()))
	mustAppend(t, l, []byte("one"), store.Write{Key: "a/b", Value: []byte("one")})
	_, err := l.Append(t.Context(), []byte("two"), store.Write{Key: "a/b", Value: []byte("two")})
	var unmade *UnmadeError
	if !errors.Is(err, store.ErrConflict) || !errors.As(err, &unmade) || unmade.Index != 1 {
		t.Fatalf("%v", err)
	}
	if entry, err := l.Entry(t.Context(), 1); err != nil || string(entry) != "two" {
		t.Errorf("%q, %v", entry, err)
	}
	if r, err := file.Get(t.Context(), "a/b"); err != nil || string(r.Value) != "one" {
		t.Errorf("%q, %v", r.Value, err)
	}
}

// leftover makes a sealed log of 255 entries whose last process was stopped between the entries of a commit, two records of them, and its head.
func leftover(t *testing.T) (file store.Store, key seal.Seal, left []string) {
	t.Helper()
	file = newBolt(t)
	key, err := seal.CreateKeyFile(filepath.Join(t.TempDir(), "key"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := seal.Init(t.Context(), file, key, seal.Config{}); err != nil {
		t.Fatal(err)
	}
	steps := storetest.NewSteps(file)
	view := steps.Open()
	l := mustOpen(t, testConfig(t, openSealed(t, view, key)))
	grow(t, l, 255)
	release := stall(l)
	view.Before(func(w store.Write) {
		if strings.Contains(w.Key, "/entries/") {
			left = append(left, w.Key)
		} else {
			view.CrashAfter(0)
		}
	})
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			if _, err := l.Append(t.Context(), fmt.Appendf(nil, "left %d", i)); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%v", err)
			}
		})
	}
	for l.Pending() < 3 {
		time.Sleep(time.Millisecond)
	}
	release()
	wg.Wait()
	if len(left) != 2 {
		t.Fatalf("left %v", left)
	}
	return file, key, left
}

func openSealed(t *testing.T, s store.Store, key seal.Seal) store.Store {
	t.Helper()
	sealed, err := seal.Open(t.Context(), s, key, seal.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// TestTamperingPastTheHead changes, removes, exchanges and brings records of entries that the head does not cover yet, as somebody may who can write
// to the store and has not its seal. He can take away the last of them, whose changes nobody was told of and which did not happen; anything else is
// found, or has no effect.
func TestTamperingPastTheHead(t *testing.T) {
	file, key, left := leftover(t)
	records := map[string][]byte{}
	for k := range logRecords(t, file) {
		r, err := file.Get(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		records[k] = r.Value
	}
	// open opens the log over the store with some values changed, whose writes nobody keeps.
	open := func(changed map[string][]byte) (uint64, error) {
		l, err := Open(t.Context(), testConfig(t, openSealed(t, storetest.NewSteps(&scratch{Store: file, changed: changed}).Open(), key)))
		if err != nil {
			return 0, err
		}
		_, err = auditLog(t, l, nil)
		return l.Size(), err
	}
	for name, test := range map[string]struct {
		changed map[string][]byte
		size    uint64 // 0: damage is found
	}{
		"nothing":           {nil, 258},
		"the last removed":  {map[string][]byte{left[1]: nil}, 256},
		"both removed":      {map[string][]byte{left[0]: nil, left[1]: nil}, 255},
		"exchanged":         {map[string][]byte{left[0]: records[left[1]], left[1]: records[left[0]]}, 0},
		"an older one":      {map[string][]byte{left[1]: records["sys/audit/entries/000000000000/00"]}, 0},
		"not sealed":        {map[string][]byte{left[1]: appendEntry(nil, []byte("forged"))}, 0},
		"one more":          {map[string][]byte{"sys/audit/entries/000000000001/02": records[left[1]]}, 0},
		"the first removed": {map[string][]byte{left[0]: nil}, 255}, // nothing leads to the second
		"empty":             {map[string][]byte{left[1]: {}}, 0},
	} {
		size, err := open(test.changed)
		if test.size == 0 && !errors.Is(err, ErrDamaged) || test.size != 0 && (err != nil || size != test.size) {
			t.Errorf("%s: %d entries, %v", name, size, err)
		}
	}
	for i := range records[left[1]] {
		changed := bytes.Clone(records[left[1]])
		changed[i] ^= 1 << (i % 8)
		if _, err := open(map[string][]byte{left[1]: changed}); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
}

// scratch is a store with some records changed (removed where nil), whose writes are kept in memory.
type scratch struct {
	store.Store
	changed map[string][]byte
	mu      sync.Mutex
	written map[string]store.Record
}

func (s *scratch) Get(ctx context.Context, key string) (store.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.written[key]; ok {
		return r, nil
	}
	value, ok := s.changed[key]
	r, err := s.Store.Get(ctx, key)
	switch {
	case !ok:
		return r, err
	case value == nil:
		return store.Record{}, fmt.Errorf("%w: %s", store.ErrNotFound, key)
	}
	return store.Record{Key: key, Version: max(r.Version, 1), Value: bytes.Clone(value)}, nil
}

func (s *scratch) Apply(_ context.Context, writes ...store.Write) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.written == nil {
		s.written = map[string]store.Record{}
	}
	for _, w := range writes {
		s.written[w.Key] = store.Record{Key: w.Key, Version: w.Version + 1, Value: w.Value}
	}
	return nil
}
