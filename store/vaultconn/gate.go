package vaultconn

import (
	"context"
	"sync/atomic"
)

// waitFactor is how many requests may wait for each that is under way. A Vault in good health is through with them in a few milliseconds; where more
// come than that, they would only grow old.
const waitFactor = 4

// gate bounds how many requests are under way and how many wait.
type gate struct {
	slots   chan struct{}
	waiting atomic.Int64
	most    int64
}

func newGate(inFlight int) *gate {
	return &gate{slots: make(chan struct{}, inFlight), most: int64(inFlight) * waitFactor}
}

// enter waits for a turn; each that it grants is given back by leave.
func (g *gate) enter(ctx context.Context) error {
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
	}
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > g.most {
		return ErrOverload
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) leave() { <-g.slots }
