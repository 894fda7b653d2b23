package feed

import "github.com/vouchsafe/vouchsafe/store"

// watchBuffer is how many events wait for a slow receiver before it is told to read again: more than a busy transaction
// makes.
const watchBuffer = 1024

// Receiver is the channel of one who watches. It never keeps the sender waiting: a receiver that is slow loses events, and gets an empty one instead. Send and
// Close are called with one lock held, which is the sender's.
type Receiver struct {
	events chan store.Event // with one place more than watchBuffer, which only the empty event takes
	lost   bool             // the empty event is the last in the channel, or was taken since
}

// NewReceiver returns a Receiver that has got nothing.
func NewReceiver() Receiver { return Receiver{events: make(chan store.Event, watchBuffer+1)} }

// Events is what the receiver reads.
func (r *Receiver) Events() <-chan store.Event { return r.events }

// Send adds an event. Nobody else sends meanwhile: what len says can only have become less.
func (r *Receiver) Send(e store.Event) {
	if r.lost && len(r.events) > 0 {
		return // the receiver has yet to take the empty event, and will read after it
	}
	r.lost = false
	if len(r.events) == watchBuffer {
		e = store.Event{}
	}
	r.lost = e.Key == ""
	r.events <- e
}

// Close ends the channel; nothing is sent afterwards.
func (r *Receiver) Close() { close(r.events) }
