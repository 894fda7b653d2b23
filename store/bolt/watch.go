package bolt

import (
	"context"
	"strings"
	"sync"

	"github.com/vouchsafe/vouchsafe/store"
)

// watchBuffer is how many events wait for a slow receiver before it is told to read again: more than a busy transaction
// makes.
const watchBuffer = 1024

// maxWatchers bounds the receivers of one store; a broker has a handful.
const maxWatchers = 1024

// watchers sends events to those who watch. The zero value is ready.
type watchers struct {
	mu     sync.Mutex
	all    map[*watcher]struct{}
	closed bool
}

// watcher is one receiver. Its channel has one place more than watchBuffer, which only the empty event takes.
type watcher struct {
	prefix string
	events chan store.Event
	lost   bool // the empty event is the last in the channel, or was taken since
}

func (w *watchers) add(ctx context.Context, prefix string) (<-chan store.Event, error) {
	one := &watcher{prefix: prefix, events: make(chan store.Event, watchBuffer+1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, store.ErrClosed
	}
	if len(w.all) >= maxWatchers {
		return nil, store.ErrUnavailable
	}
	if w.all == nil {
		w.all = make(map[*watcher]struct{})
	}
	w.all[one] = struct{}{}
	context.AfterFunc(ctx, func() { w.remove(one) })
	return one.events, nil
}

func (w *watchers) remove(one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.all[one]; ok {
		delete(w.all, one)
		close(one.events)
	}
}

func (w *watchers) publish(events []store.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.all {
		for _, e := range events {
			if strings.HasPrefix(e.Key, one.prefix) {
				one.send(e)
			}
		}
	}
}

// readAgain tells every receiver that something may have changed.
func (w *watchers) readAgain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.all {
		one.send(store.Event{})
	}
}

// send is called with the lock held, so that nobody else sends: what len says can only have become less.
func (w *watcher) send(e store.Event) {
	if w.lost && len(w.events) > 0 {
		return // the receiver has yet to take the empty event, and will read after it
	}
	w.lost = false
	if len(w.events) == watchBuffer {
		e = store.Event{}
	}
	w.lost = e.Key == ""
	w.events <- e
}

func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for one := range w.all {
		close(one.events)
	}
	w.all = nil
}
