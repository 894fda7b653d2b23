package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vouchsafe/vouchsafe/store"
)

// Steps is a store that several processes share and that is not atomic, made of a real one that is: an Apply through a [View] of it makes one write
// after the other, each durable, and a View can be stopped after any of them, as a process is that is killed. It stands for Vault's storage in tests
// that have to try every moment.
type Steps struct{ inner store.Store }

// NewSteps returns a Steps over a real store, which stays the caller's to close.
func NewSteps(inner store.Store) *Steps { return &Steps{inner} }

// Open returns what one process has of the store.
func (s *Steps) Open() *View { return &View{inner: s.inner, left: -1, closed: make(chan struct{})} }

// View is one process's store. It is safe for concurrent use.
type View struct {
	inner  store.Store
	closed chan struct{}

	mu     sync.Mutex
	left   int // writes until it stops; negative: it does not
	made   int
	before func(store.Write)
	ended  bool
}

var _ store.Store = (*View)(nil)

// ErrCrashed is what every call of a View returns that was stopped. It wraps store.ErrUnavailable.
var ErrCrashed = fmt.Errorf("%w: a test stopped this process", store.ErrUnavailable)

// CrashAfter stops the View when it has made n more writes: the next one, and every read from then on, fails. A negative n has it go on for ever.
func (v *View) CrashAfter(n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.left = n
}

// Crashed reports whether a write was refused because the View was stopped.
func (v *View) Crashed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ended
}

// Writes returns how many writes were made.
func (v *View) Writes() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.made
}

// Before has f called before each write, without a lock: it may wait, as a process does that is paused. Nil ends that.
func (v *View) Before(f func(store.Write)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.before = f
}

// step makes one write.
func (v *View) step(ctx context.Context, w store.Write) error {
	v.mu.Lock()
	before := v.before
	v.mu.Unlock()
	if before != nil {
		before(w)
	}
	v.mu.Lock()
	if v.left == 0 {
		v.ended = true
	}
	if v.ended {
		v.mu.Unlock()
		return ErrCrashed
	}
	if v.left > 0 {
		v.left--
	}
	v.made++
	v.mu.Unlock()
	return v.inner.Apply(ctx, w)
}

// alive returns why the View cannot be used, if it cannot.
func (v *View) alive() error {
	select {
	case <-v.closed:
		return store.ErrClosed
	default:
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended {
		return ErrCrashed
	}
	return nil
}

// Atomic is false.
func (v *View) Atomic() bool { return false }

// Apply implements store.Store.
func (v *View) Apply(ctx context.Context, writes ...store.Write) error {
	if err := v.alive(); err != nil {
		return err
	}
	if err := store.CheckWrites(writes); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, w := range writes { // what conflicts already conflicts before anything is written
		have, err := v.inner.Get(ctx, w.Key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if have.Version != w.Version {
			return &store.ConflictError{Key: w.Key, Have: have.Version, Want: w.Version}
		}
	}
	for i, w := range writes {
		err := v.step(ctx, w)
		if i > 0 && errors.Is(err, store.ErrConflict) { // a conflict would say that nothing was written
			return fmt.Errorf("%w: %d writes were made, and then: %v", store.ErrUnavailable, i, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Get implements store.Store.
func (v *View) Get(ctx context.Context, key string) (store.Record, error) {
	if err := v.alive(); err != nil {
		return store.Record{}, err
	}
	return v.inner.Get(ctx, key)
}

// List implements store.Store.
func (v *View) List(ctx context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	if err := v.alive(); err != nil {
		return nil, err
	}
	return v.inner.List(ctx, prefix, after, limit)
}

// Watch implements store.Store. The channel ends with the View.
func (v *View) Watch(ctx context.Context, prefix string) (<-chan store.Event, error) {
	if err := v.alive(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	events, err := v.inner.Watch(ctx, prefix)
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		defer cancel()
		select {
		case <-v.closed:
		case <-ctx.Done():
		}
	}()
	return events, nil
}

// Close implements store.Store. It leaves what is below open.
func (v *View) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.closed:
	default:
		close(v.closed)
	}
	return nil
}
