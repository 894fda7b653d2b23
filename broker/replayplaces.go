package broker

import (
	"context"
	"runtime"
	"sync"

	"github.com/vouchsafe/vouchsafe/store"
)

const (
	// maxReplays is how many replays run at once, in all namespaces: what each keeps in memory is bounded, and not small.
	maxReplays = 4
	// remoteReaders is how many chunks are read at once from a store each read of which waits for a network.
	remoteReaders = 16
)

// replayPlaces lets replays run: one in a namespace, so that no tenant keeps another out, and maxReplays in all. Together they have the workers that one alone has, so that
// requests go on to come first.
type replayPlaces struct {
	workers chan struct{} // one place for each chunk of decisions that is judged at once

	mu      sync.Mutex
	running map[string]struct{} // by namespace
}

func newReplayPlaces(s store.Store) *replayPlaces {
	// Half of the processors are for requests. A store that others share is waited for, and not computed.
	workers := max(1, runtime.GOMAXPROCS(0)/2)
	if !s.Atomic() {
		workers = max(workers, remoteReaders)
	}
	return &replayPlaces{workers: make(chan struct{}, workers), running: map[string]struct{}{}}
}

// enter takes the place of a namespace, and returns what gives it back.
func (p *replayPlaces) enter(namespace string) (leave func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.running[namespace]; ok {
		return nil, &Error{Code: CodeOverloaded, Message: "another replay is running in the namespace: try again when it has ended", RetryAfter: retryUnavailable}
	}
	if len(p.running) >= maxReplays {
		return nil, &Error{Code: CodeOverloaded, Message: "as many replays are running as the broker runs at once: try again later", RetryAfter: retryUnavailable}
	}
	p.running[namespace] = struct{}{}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.running, namespace)
	}, nil
}

// work does one chunk of a replay's work when it is its turn.
func (p *replayPlaces) work(ctx context.Context, do func() error) error {
	select {
	case p.workers <- struct{}{}:
		defer func() { <-p.workers }()
		return do()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
