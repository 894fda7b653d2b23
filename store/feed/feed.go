// Package feed tells those who watch a store of what was written to it in this process. It is what Watch of package store asks for, for stores that one
// process has: a receiver that is slow loses events, and gets an empty one instead, which means that it must read again.
package feed

import (
	"context"
	"strings"
	"sync"

	"github.com/vouchsafe/vouchsafe/store"
)

// maxWatchers bounds the receivers of one store; a broker has a handful.
const maxWatchers = 1024

// Feed sends events to those who watch. The zero value is ready. It is safe for concurrent use.
type Feed struct {
	mu     sync.Mutex
	all    map[*watcher]struct{}
	closed bool
}

// watcher is one who watches.
type watcher struct {
	Receiver
	prefix string
}

// Watch returns a channel of the events below a prefix, which is closed when ctx ends or the feed is closed.
func (f *Feed) Watch(ctx context.Context, prefix string) (<-chan store.Event, error) {
	one := &watcher{NewReceiver(), prefix}
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
	return one.Events(), nil
}

func (f *Feed) remove(one *watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.all[one]; ok {
		delete(f.all, one)
		one.Close()
	}
}

// Publish sends events, in their order, without waiting for anyone.
func (f *Feed) Publish(events []store.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for one := range f.all {
		for _, e := range events {
			if strings.HasPrefix(e.Key, one.prefix) {
				one.Send(e)
			}
		}
	}
}

// ReadAgain tells every receiver that something may have changed.
func (f *Feed) ReadAgain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for one := range f.all {
		one.Send(store.Event{})
	}
}

// Close closes every channel, and Watch returns store.ErrClosed from then on.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for one := range f.all {
		one.Close()
	}
	f.all = nil
}
