package vaultconn

import (
	"time"
)

// token is what a login gave. It does not change: a renewal makes another of the same generation.
type token struct {
	value      string
	generation uint64    // counts logins
	since      time.Time // of the login
	expires    time.Time
	full       time.Duration // the lease that the login gave; 0 for a token that does not end
	tend       time.Time     // when to renew it or log in anew; zero for never
	renewable  bool          // a renewal may bring something
	ours       bool          // got by logging in, so Close revokes it
	looks      bool          // it may look itself up
	policies   []string
}

// ended reports whether the token is past its lease.
func (t *token) ended(now time.Time) bool { return !t.expires.IsZero() && !now.Before(t.expires) }

// leased returns the token with a lease that began at a time. spread is 0 to 1, at random.
func (t *token) leased(began time.Time, lease time.Duration, spread float64) *token {
	next := *t
	if next.since.IsZero() {
		next.since = began
	}
	if lease <= 0 {
		next.expires, next.tend = time.Time{}, time.Time{}
		return &next
	}
	next.expires = began.Add(lease)
	next.tend = began.Add(time.Duration(float64(lease) * (tendFrom + tendSpread*spread)))
	return &next
}

// tendFrom and tendSpread are the part of a lease after which it is renewed: 0.6 to 0.7. What is left is enough for several attempts.
const (
	tendFrom   = 0.6
	tendSpread = 0.1
)

// capped reports whether a renewal that brought this lease shows that the token's maximum TTL is near.
func (t *token) capped(lease time.Duration) bool { return lease > 0 && lease < t.full/2 }

// The pauses after failures.
const (
	firstPause = 500 * time.Millisecond
	lastPause  = 30 * time.Second
)

// pause is how long to wait after so many failures in a row, 1 or more. spread is 0 to 1, at random: the pause is between half and all of its length.
func pause(failures int, spread float64) time.Duration {
	p := lastPause
	if failures < 8 {
		p = min(lastPause, firstPause<<(failures-1))
	}
	return time.Duration(float64(p) * (0.5 + 0.5*spread))
}
