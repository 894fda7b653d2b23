package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/feed"
)

// maxWatchers bounds the receivers of one store, each of which costs requests.
const maxWatchers = 64

// maxWatched bounds how many records one receiver can watch. Where there are more it is told to read again each time.
const maxWatched = 10_000

// change is a version that a record got at a time of Vault's; version 0 is a deletion.
type change struct {
	key     string
	version uint64
	at      time.Time
}

// watchers sends events to those who watch. The zero value is ready.
type watchers struct {
	mu     sync.Mutex
	all    map[*watcher]struct{}
	closed bool
}

// watcher is one receiver.
type watcher struct {
	feed.Receiver
	prefix string

	ready   bool                // what was there when it began is known
	known   map[string]change   // what the receiver has been told, or need not be; deletions until the next poll
	touched map[string]struct{} // what this store has written since the poll under way began
}

// Watch implements store.Store. What this store writes is told at once, what others write when it is next looked for. That costs a request for each folder and
// each record, so it is for prefixes with few.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan store.Event, error) {
	if err := store.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	w := &watcher{Receiver: feed.NewReceiver(), prefix: prefix, known: make(map[string]change)}
	if err := s.watch.add(w); err != nil {
		return nil, err
	}
	if err := s.poll(ctx, w); err != nil {
		s.watch.remove(w)
		return nil, fmt.Errorf("watch %q: %w", prefix, err)
	}
	go s.follow(ctx, w)
	return w.Events(), nil
}

// follow looks for changes until the context or the store ends. Where Vault cannot be asked the next time counts.
func (s *Store) follow(ctx context.Context, w *watcher) {
	defer s.watch.remove(w)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	// The receiver does not wait for a poll under way to end.
	defer context.AfterFunc(ctx, func() { s.watch.remove(w) })()
	timer := time.NewTimer(s.config.PollEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		switch err := s.enter(ctx); {
		case err == nil:
			_ = s.poll(ctx, w)
			s.leave()
		case !errors.Is(err, store.ErrLost):
			return
		}
		timer.Reset(s.config.PollEvery)
	}
}

// poll reads what is there and tells the receiver what is not as it was.
func (s *Store) poll(ctx context.Context, w *watcher) error {
	s.watch.mu.Lock()
	w.touched = make(map[string]struct{})
	known := len(w.known)
	s.watch.mu.Unlock()

	began := s.now()
	keys, err := s.keys(ctx, w.prefix, "", maxWatched+1)
	if err != nil {
		return err
	}
	if len(keys) > maxWatched {
		s.watch.tooMany(w)
		return nil
	}
	found, err := s.statAll(ctx, keys)
	if err != nil {
		return err
	}
	changes := make([]change, 0, len(keys))
	for i, at := range found {
		if version := at.live(); version != 0 {
			changes = append(changes, change{keys[i], version, at.created})
		}
	}
	if len(changes) == 0 && known > 0 {
		if err := s.present(ctx, began); err != nil { // that all are gone is told of a store that is there
			return err
		}
	}
	s.watch.compare(w, changes)
	return nil
}

func (ws *watchers) add(w *watcher) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return store.ErrClosed
	}
	if len(ws.all) >= maxWatchers {
		return fmt.Errorf("%w: %d receivers watch already", store.ErrUnavailable, maxWatchers)
	}
	if ws.all == nil {
		ws.all = make(map[*watcher]struct{})
	}
	ws.all[w] = struct{}{}
	return nil
}

func (ws *watchers) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if _, ok := ws.all[w]; ok {
		delete(ws.all, w)
		w.Close()
	}
}

func (ws *watchers) close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.closed = true
	for w := range ws.all {
		w.Close()
	}
	ws.all = nil
}

// publish tells what this store has written. A poll may have been first, or another write of this store that came later.
func (ws *watchers) publish(c change) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		if !strings.HasPrefix(c.key, w.prefix) {
			continue
		}
		before, known := w.known[c.key]
		if known && (before == c || before.at.After(c.at)) || !known && c.version == 0 && w.ready {
			continue
		}
		w.known[c.key] = c
		w.touched[c.key] = struct{}{}
		if w.ready {
			w.Send(store.Event{Key: c.key, Version: c.version})
		}
	}
}

// compare tells one receiver how what a poll found differs from what it knows.
func (ws *watchers) compare(w *watcher, found []change) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if _, ok := ws.all[w]; !ok {
		return
	}
	there := make(map[string]struct{}, len(found))
	var changes []change
	for _, c := range found {
		there[c.key] = struct{}{}
		if _, newer := w.touched[c.key]; !newer && w.known[c.key] != c {
			changes = append(changes, c)
		}
	}
	for key, before := range w.known {
		if _, ok := there[key]; ok {
			continue
		}
		if _, newer := w.touched[key]; newer {
			continue
		}
		delete(w.known, key)
		if before.version != 0 && w.ready {
			changes = append(changes, change{key: key})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.key, b.key) })
	for _, c := range changes {
		if c.version != 0 {
			w.known[c.key] = c
		}
		if w.ready {
			w.Send(store.Event{Key: c.key, Version: c.version})
		}
	}
	w.ready = true
}

// tooMany tells a receiver to read again, since there is more than can be compared.
func (ws *watchers) tooMany(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if _, ok := ws.all[w]; !ok {
		return
	}
	clear(w.known)
	if w.ready {
		w.Send(store.Event{})
	}
	w.ready = true
}
