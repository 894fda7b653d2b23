package audit

import (
	"fmt"
	"slices"
	"sync"

	"github.com/vouchsafe/vouchsafe/store"
	"golang.org/x/mod/sumdb/tlog"
)

// maxPendingBytes bounds the memory of appends that wait, with MaxPending: 32 MiB is 512 of the longest entries.
const maxPendingBytes = 32 << 20

// request is one append.
type request struct {
	build func(index uint64) ([]byte, []store.Write, error) // nil: entry, leaf and writes are given
	size  int                                               // bytes, as far as known without build
	done  chan outcome                                      // takes one

	// The attempt under way.
	index  int64
	entry  []byte
	leaf   tlog.Hash
	writes []store.Write
}

// outcome is how an append ended.
type outcome struct {
	state *state // the log with the entry, when it was recorded
	index int64
	err   error
	panic any // what the caller's function panicked with, to go on in the caller's goroutine
}

func (r *request) finish(o outcome) { r.done <- o }

// queue holds the appends that wait.
type queue struct {
	mu      sync.Mutex
	idle    *sync.Cond // no committer runs
	waiting []*request
	bytes   int
	running bool // a committer runs
	closed  bool
}

// add puts a request into the queue, and reports whether the caller must start a committer.
func (q *queue) add(r *request, most int) (start bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return false, ErrClosed
	case len(q.waiting) >= most:
		return false, fmt.Errorf("%w: %d appends wait", ErrOverloaded, len(q.waiting))
	case len(q.waiting) > 0 && q.bytes+r.size > maxPendingBytes:
		return false, fmt.Errorf("%w: appends of %d bytes wait", ErrOverloaded, q.bytes)
	}
	q.waiting = append(q.waiting, r)
	q.bytes += r.size
	start = !q.running
	q.running = true
	return start, nil
}

// take removes up to most requests, or ends the committer by returning none.
func (q *queue) take(most int) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.running = false
		q.idle.Broadcast()
		return nil
	}
	n := min(most, len(q.waiting))
	batch := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	for _, r := range batch {
		q.bytes -= r.size
	}
	return batch
}

// forget removes a request whose caller gave up, and reports whether it was still waiting.
func (q *queue) forget(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, r)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.bytes -= r.size
	return true
}

func (q *queue) pending() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// close refuses further requests and waits for the committer to end.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for q.running {
		q.idle.Wait()
	}
}
