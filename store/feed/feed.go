// Package feed tells those who watch a store of what was written to it in this process. It is what Watch of package store asks for, for stores that one
// process has: a receiver that is slow loses events, and gets an empty one instead, which means that it must read again.
package feed

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

// Feed sends events to those who watch. The zero value is ready. It is safe for concurrent use.
type Feed struct {
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

// Watch returns a channel of the events below a prefix, which is closed when ctx ends or the feed is closed.
func (f *Feed) Watch(ctx context.Context, prefix string) (<-chan store.Event, error) {
	one := &watcher{prefix: prefix, events: make(chan store.Event, watchBuffer+1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, store.ErrClosed
	}
	if len(f.all) >= maxWatchers {
		return nil, store.ErrUnavailable
	}
	if f.all == nil {
		f.all = make(map[*watcher]struct{})
	}
	f.all[one] = struct{}{}
	context.AfterFunc(ctx, func() { f.remove(one) })
	return one.events, nil
}

func (f *Feed) remove(one *watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.all[one]; ok {
		delete(f.all, one)
		close(one.events)
	}
}

// Publish sends events, in their order, without waiting for anyone.
func (f *Feed) Publish(events []store.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for one := range f.all {
		for _, e := range events {
			if strings.HasPrefix(e.Key, one.prefix) {
				one.send(e)
			}
		}
	}
}

// ReadAgain tells every receiver that something may have changed.
func (f *Feed) ReadAgain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for one := range f.all {
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

// Close closes every channel, and Watch returns store.ErrClosed from then on.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for one := range f.all {
		close(one.events)
	}
	f.all = nil
}
