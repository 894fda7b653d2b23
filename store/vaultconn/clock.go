package vaultconn

import (
	"sync"
	"time"
)

// clockKept is for how long one answer counts for Vault's time before later ones that say less: as long as an answer may take, by which it is late.
const clockKept = MaxTimeout

// clock is Vault's time, by the header Date of its answers. An answer that was long under way tells of a time that has passed, so the furthest counts. The zero
// value is ready.
type clock struct {
	mu   sync.Mutex
	date time.Time // zero: none is known
	at   time.Time // when that was told, with a monotonic reading
}

// told takes the date of an answer that came at a time.
func (c *clock) told(date, at time.Time) {
	if date.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := at.Sub(c.at)
	if c.date.IsZero() || passed > clockKept || date.After(c.date.Add(passed)) {
		c.date, c.at = date, at
	}
}

// now returns Vault's time at a time here.
func (c *clock) now(at time.Time) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.date.Add(at.Sub(c.at)), !c.date.IsZero()
}

// Clock returns what time it is by Vault's clock, as the answers so far tell: never ahead of it, and no more than a second behind when one has just come. It is false
// before the first answer.
func (c *Conn) Clock() (time.Time, bool) { return c.clock.now(time.Now()) }
