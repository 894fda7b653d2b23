package vaultconn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

const (
	// loginGap is the pause after two logins in quick succession: a token that is always gone at once must not make a broker log in without end.
	loginGap = time.Second
	// blindGap is that for a token that may not look itself up, with which a right that is missing looks like a token that is gone.
	blindGap = 30 * time.Second
	// checkEvery is the least time between two questions whether the token is gone.
	checkEvery = 250 * time.Millisecond
	// filesEvery is how often a token file and a client certificate are looked at: a few calls of stat.
	filesEvery = 5 * time.Second
	// loginTimeout bounds one login, which for a wrapped secret id is four requests.
	loginTimeout = 20 * time.Second
)

// session holds the token: it has one goroutine that renews it in time, and logs in when that is due or when a request finds the token gone. At most one
// login is under way, and those who need its token wait for it.
type session struct {
	conn    *Conn
	spread  func() float64
	current atomic.Pointer[token]

	mu        sync.Mutex
	attempt   *attempt  // the login that is under way
	pauseTo   time.Time // no login before
	lastLogin time.Time // that succeeded
	failures  int       // logins that failed in a row
	lastError error     // of the last login, nil after one that succeeded
	logins    uint64
	renewals  uint64
	failed    uint64
	check     *check // the question under way
	checked   time.Time
	checkedOf uint64 // the generation of the token that was asked about

	renewFailures int // in a row; of the keeper alone

	certs   *watched // the client certificate and its key
	files   *watched // those, and the files that logging in reads
	every   time.Duration
	wake    chan struct{}
	running sync.WaitGroup
}

// attempt is a login. err may be read when done is closed.
type attempt struct {
	done chan struct{}
	err  error
}

// check is the question whether a token is gone.
type check struct {
	done chan struct{}
	gone bool
}

func newSession(c *Conn) *session {
	return &session{conn: c, spread: rand.Float64, every: filesEvery, wake: make(chan struct{}, 1)}
}

// start logs in and begins to keep the token.
func (s *session) start(ctx context.Context) error {
	a := &s.conn.config.Auth
	s.certs = watch(a.Cert, a.Key)
	s.files = watch(a.Cert, a.Key, a.TokenFile, a.SecretIDFile, a.JWTFile)
	if _, err := s.renewed(ctx, 0); err != nil {
		return unavailable(ctx, err)
	}
	s.running.Add(1)
	go s.keep()
	return nil
}

// stop ends everything and returns the last token. The Conn's context has ended before.
func (s *session) stop() *token {
	s.mu.Lock() // what is begun under the lock from now on sees that the context has ended
	s.mu.Unlock()
	s.running.Wait()
	return s.current.Load()
}

func (s *session) now() time.Time { return s.conn.config.Now() }

// get returns a token that has not ended, if need be after a login.
func (s *session) get(ctx context.Context) (*token, error) {
	t := s.current.Load()
	if t != nil && !t.ended(s.now()) {
		return t, nil
	}
	var generation uint64
	if t != nil {
		generation = t.generation
	}
	return s.renewed(ctx, generation)
}

// renewed returns a token of a later generation, if need be after a login.
func (s *session) renewed(ctx context.Context, generation uint64) (*token, error) {
	s.mu.Lock()
	if t := s.current.Load(); t != nil && t.generation > generation {
		s.mu.Unlock()
		return t, nil
	}
	a := s.begin()
	if a == nil {
		err := s.lastError
		s.mu.Unlock()
		if err == nil {
			err = fmt.Errorf("%w: the token that Vault gave is gone again already", store.ErrUnavailable)
		}
		return nil, err
	}
	s.mu.Unlock()
	select {
	case <-a.done:
		if a.err != nil {
			return nil, a.err
		}
		return s.current.Load(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin returns the login that is under way, or a new one; nil where none may begin yet. The lock is held.
func (s *session) begin() *attempt {
	if s.attempt != nil {
		return s.attempt
	}
	if s.now().Before(s.pauseTo) || s.conn.ctx.Err() != nil {
		return nil
	}
	a := &attempt{done: make(chan struct{})}
	s.attempt = a
	s.running.Go(func() {
		ctx, cancel := context.WithTimeout(s.conn.ctx, loginTimeout)
		defer cancel()
		t, err := s.conn.login(ctx)
		a.err = s.finish(ctx, t, err)
		close(a.done)
		s.nudge()
	})
	return a
}

// finish takes the result of a login.
func (s *session) finish(ctx context.Context, t *token, err error) error {
	logger := s.conn.config.Logger
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempt = nil
	if err != nil {
		if !errors.Is(err, store.ErrUnavailable) {
			err = fmt.Errorf("%w: %w", ErrLogin, err)
		}
		s.failures++
		s.failed++
		wait := pause(s.failures, s.spread())
		s.pauseTo, s.lastError = s.now().Add(wait), err
		if s.conn.ctx.Err() == nil {
			logger.ErrorContext(ctx, "login to Vault failed", "method", s.conn.config.Auth.Method, "cause", err, "again_in", wait)
		}
		return err
	}
	s.failures, s.lastError = 0, nil
	s.logins++
	now := s.now()
	if now.Sub(s.lastLogin) < 2*loginGap {
		s.pauseTo = now.Add(loginGap)
	}
	s.lastLogin = now
	t.generation = s.logins
	s.current.Store(t)
	logger.InfoContext(ctx, "logged in to Vault", "method", s.conn.config.Auth.Method, "policies", t.policies, "lease", t.full, "renewable", t.renewable)
	return nil
}

// nudge has the keeper look again.
func (s *session) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// replaced is called with a token with which a request was refused. It returns another that may be tried instead, nil where the token is good, and an error
// where it is gone and there is no other.
func (s *session) replaced(ctx context.Context, t *token) (*token, error) {
	if now := s.current.Load(); now != nil && now.generation > t.generation {
		return now, nil
	}
	if !t.looks && s.now().Sub(t.since) < blindGap || !s.isGone(ctx, t) {
		return nil, nil
	}
	return s.renewed(ctx, t.generation)
}

// isGone asks Vault whether a token is gone. Those who want to know at the same time share the answer, and for a short time after it so does the next.
func (s *session) isGone(ctx context.Context, t *token) bool {
	s.mu.Lock()
	ask := s.check
	if ask == nil {
		if since := s.now().Sub(s.checked); s.checkedOf == t.generation && since >= 0 && since < checkEvery || s.conn.ctx.Err() != nil {
			s.mu.Unlock()
			return false
		}
		ask = &check{done: make(chan struct{})}
		s.check = ask
		s.running.Go(func() {
			ctx, cancel := context.WithTimeout(s.conn.ctx, s.conn.config.Timeout)
			defer cancel()
			ask.gone = s.conn.gone(ctx, t)
			s.mu.Lock()
			s.check, s.checked, s.checkedOf = nil, s.now(), t.generation
			if ask.gone && t.looks {
				s.lost(t)
			}
			s.mu.Unlock()
			close(ask.done)
		})
	}
	s.mu.Unlock()
	select {
	case <-ask.done:
		return ask.gone
	case <-ctx.Done():
		return false
	}
}

// lost has a token that is gone count as ended, so that the keeper gets another even when nobody asks for one. The lock is held.
func (s *session) lost(t *token) {
	if now := s.current.Load(); now.generation == t.generation {
		ended := *now
		ended.expires, ended.tend, ended.renewable = s.now(), s.now(), false
		s.current.Store(&ended)
		s.nudge()
	}
}

// keep renews the token, or logs in, whenever that is due.
func (s *session) keep() {
	defer s.running.Done()
	for {
		timer := time.NewTimer(s.wait())
		select {
		case <-s.conn.ctx.Done():
			timer.Stop()
			return
		case <-s.wake:
			timer.Stop()
		case <-timer.C:
		}
		if s.files.changed() {
			s.adopt()
		}
		if s.wait() <= 0 {
			s.tend()
		}
	}
}

// wait is how long neither the token nor the files need anything. While a login is under way the keeper is woken at its end.
func (s *session) wait() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, now := s.current.Load(), s.now()
	switch {
	case s.attempt != nil, t.tend.IsZero():
		return s.every
	case t.renewable && !t.ended(now):
		return min(s.every, t.tend.Sub(now))
	default:
		return min(s.every, max(t.tend.Sub(now), s.pauseTo.Sub(now)))
	}
}

// tend renews the token, or logs in where that brings nothing any more.
func (s *session) tend() {
	t := s.current.Load()
	if !t.renewable || t.ended(s.now()) {
		s.mu.Lock()
		s.begin()
		s.mu.Unlock()
		return
	}
	ctx, cancel := context.WithTimeout(s.conn.ctx, s.conn.config.Timeout)
	defer cancel()
	next, err := s.conn.renew(ctx, t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.Load() != t { // a login was quicker
		return
	}
	logger := s.conn.config.Logger
	switch {
	case s.conn.ctx.Err() != nil:
	case err == nil:
		s.renewals, s.renewFailures = s.renewals+1, 0
		s.current.Store(next)
		if !next.renewable {
			logger.InfoContext(ctx, "renewing the Vault token brings no more time: logging in anew", "expires", next.expires)
			s.begin()
		}
	case errors.Is(err, store.ErrUnavailable):
		s.renewFailures++
		wait := pause(s.renewFailures, s.spread())
		logger.WarnContext(ctx, "the Vault token could not be renewed", "cause", err, "expires", t.expires, "again_in", wait)
		later := *t
		later.tend = s.now().Add(wait)
		s.current.Store(&later)
	default:
		logger.WarnContext(ctx, "Vault does not renew the token: logging in anew", "cause", err)
		later := *t
		later.renewable, later.tend = false, s.now()
		s.current.Store(&later)
		s.begin()
	}
}

// adopt uses files that changed: a new client certificate for connections to come, and a new token. What else logging in reads is read again at the
// next login, which comes at once where the last one failed.
func (s *session) adopt() {
	logger, method := s.conn.config.Logger, s.conn.config.Auth.Method
	renewed := s.certs.changed()
	if renewed {
		if err := s.conn.transport.renew(); err != nil {
			logger.Error("the new client certificate cannot be used; the old one stays", "cause", err)
			return
		}
		logger.Info("client certificate of the connection to Vault renewed")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.attempt != nil: // it may have read what was there before
		s.files.again()
	case method == MethodToken && s.conn.config.Auth.TokenFile != "", method == MethodCert && renewed, s.lastError != nil:
		s.pauseTo = s.now()
		s.begin()
	}
}
