package vaultconn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// Observer is told of each request that was made of Vault, those of logging in and renewing included.
type Observer interface {
	// VaultRequest is called from several goroutines. The class is read, list, write or delete, or of the connection's own requests login, renew or check; the result is
	// ok, not_found, conflict, forbidden, overload, cancelled, unavailable or rejected.
	VaultRequest(class, result string, took time.Duration)
}

// The classes of requests, which metrics have as labels.
const (
	classRead   = "read"
	classList   = "list"
	classWrite  = "write"
	classDelete = "delete"
	classLogin  = "login"
	classRenew  = "renew"
	classCheck  = "check" // of the token, by itself
)

func classOf(method string) string {
	switch method {
	case http.MethodGet:
		return classRead
	case methodList:
		return classList
	case http.MethodDelete:
		return classDelete
	default:
		return classWrite
	}
}

func resultOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrNotFound):
		return "not_found"
	case errors.Is(err, ErrCAS):
		return "conflict"
	case errors.Is(err, ErrForbidden):
		return "forbidden"
	case errors.Is(err, ErrOverload):
		return "overload"
	case errors.Is(err, context.Canceled), errors.Is(err, store.ErrClosed):
		return "cancelled"
	case errors.Is(err, store.ErrUnavailable):
		return "unavailable"
	default:
		return "rejected"
	}
}

// Observe has an observer told of requests from now on, in the place of another.
func (c *Conn) Observe(o Observer) { c.observer.Store(&o) }

func (c *Conn) observe(class string, err error, took time.Duration) {
	if o := c.observer.Load(); o != nil {
		(*o).VaultRequest(class, resultOf(err), took)
	}
}

// Status is how a Conn is. It holds no credentials.
type Status struct {
	Address, Namespace, Method string

	Up        bool      // the last request was answered by a Vault that serves
	LoggedIn  bool      // there is a token that has not ended
	Expires   time.Time // of the token; zero for one that does not end, or none
	Renewable bool
	Policies  []string // of the token

	Logins, Renewals, FailedLogins uint64
	InFlight, Waiting              int
	LoginError                     error // of the last login; nil after one that succeeded
}

// Status returns how the Conn is, without asking Vault.
func (c *Conn) Status() Status {
	s := Status{
		Address: c.config.Address, Namespace: c.config.Namespace, Method: c.config.Auth.Method,
		Up: c.up.Load(), InFlight: len(c.gate.slots), Waiting: int(c.gate.waiting.Load()),
	}
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	s.Logins, s.Renewals, s.FailedLogins, s.LoginError = c.session.logins, c.session.renewals, c.session.failed, c.session.lastError
	if t := c.session.current.Load(); t != nil && !c.closed.Load() {
		s.LoggedIn, s.Expires, s.Renewable, s.Policies = !t.ended(c.config.Now()), t.expires, t.renewable, t.policies
	}
	return s
}

// readyEvery is how long an answer of Ready counts: probes come from strangers too, and must not become requests to Vault.
const readyEvery = time.Second

// readiness is the last answer of Ready. Who has put something into turn may look at it.
type readiness struct {
	turn chan struct{}
	at   time.Time
	err  error
}

// Ready returns nil where Vault serves: unsealed, with an active node that can be reached, and a token that is good. It asks at most once in a
// second. Its error wraps store.ErrUnavailable.
func (c *Conn) Ready(ctx context.Context) error {
	select {
	case c.ready.turn <- struct{}{}:
		defer func() { <-c.ready.turn }()
	case <-ctx.Done():
		return unavailable(ctx, ctx.Err())
	}
	now := c.config.Now()
	if since := now.Sub(c.ready.at); !c.ready.at.IsZero() && since >= 0 && since < readyEvery {
		return c.ready.err
	}
	err := c.probe(ctx)
	if ctx.Err() == nil {
		c.ready.at, c.ready.err = now, err
	}
	return err
}

func (c *Conn) probe(ctx context.Context) error {
	if c.closed.Load() {
		return fmt.Errorf("vaultconn: %w", store.ErrClosed)
	}
	t, err := c.session.get(ctx)
	if err != nil {
		return unavailable(ctx, err)
	}
	// A token that looks itself up goes the way of every request: through a standby to the active node, and to the storage.
	_, err = c.lookup(ctx, t.value)
	if !errors.Is(err, ErrForbidden) {
		return err
	}
	fresh, gone := c.session.replaced(ctx, t)
	switch {
	case gone != nil:
		return unavailable(ctx, gone)
	case fresh != nil && fresh.looks:
		return nil
	case fresh == nil && t.looks:
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	_, err = c.Health(ctx)
	return err
}
