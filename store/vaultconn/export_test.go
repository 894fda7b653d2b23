package vaultconn

import "time"

// The bounds that tests reach.
const (
	MaxAnswer      = maxAnswer
	MaxErrorAnswer = maxErrorAnswer
	WaitFactor     = waitFactor
)

// LookAtFiles has a Conn look at its files so often.
func (c *Conn) LookAtFiles(every time.Duration) {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.session.every = every
}
