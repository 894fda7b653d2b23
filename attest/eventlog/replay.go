package eventlog

import (
	"bytes"
	"crypto"
	"slices"

	"github.com/vouchsafe/vouchsafe/attest"
)

// bootOnly are the PCRs that nothing extends after boot, so that a log that has events of one must give its value.
var bootOnly = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14}

// Replay returns the value that each PCR with events has after them, by the digests of one bank. Its error is an
// *attest.Refusal with CodeEventLog when the log has no such bank.
func (l *Log) Replay(hash crypto.Hash) (map[int][]byte, error) {
	if !slices.ContainsFunc(l.banks, func(b bank) bool { return hashes[b.id] == hash }) {
		return nil, attest.Refuse(attest.CodeEventLog, "the event log has no digests of bank %v", hash)
	}
	values := make(map[int][]byte)
	h := hash.New()
	for i := range l.Events {
		event := &l.Events[i]
		value, started := values[event.PCR]
		if !started {
			value = l.initial(event.PCR, hash)
		}
		h.Reset()
		h.Write(value)
		h.Write(l.Digest(event, hash))
		values[event.PCR] = h.Sum(value[:0])
	}
	return values, nil
}

// initial returns a PCR's value at start: ones for those a dynamic launch resets, zero otherwise, and the locality in PCR 0.
func (l *Log) initial(pcr int, hash crypto.Hash) []byte {
	value := make([]byte, hash.Size())
	if pcr >= 17 && pcr <= 22 {
		for i := range value {
			value[i] = 0xff
		}
	}
	if pcr == 0 {
		value[len(value)-1] = l.locality
	}
	return value
}

// Covered is a log of which some registers replayed to their quoted values: PCRs of a TPM or RTMRs of a trust domain.
type Covered struct {
	PCRs   []int // in ascending order
	RTMRs  []int // in ascending order
	log    *Log
	hash   crypto.Hash
	domain bool             // whether the registers are RTMRs
	guest  bool             // whether the host controls the disks of the machine whose PCRs these are
	unused []int            // PCRs that are quoted as they are at start, and of which there are no events
	events map[int][]*Event // by the log's index of a covered register

	strings map[string]string // known strings, by their digest
	own     map[*Event]bool   // whether an event's digest is of its data, for those that were asked for
}

// Cover replays the log and compares it with quoted values, pcrs[i] being that of PCR i. Its errors are *attest.Refusal with
// CodeEventLog; the package documentation says when.
func (l *Log) Cover(hash crypto.Hash, pcrs [][]byte) (*Covered, error) {
	values, err := l.Replay(hash)
	if err != nil {
		return nil, err
	}
	c := &Covered{log: l, hash: hash, events: make(map[int][]*Event)}
	for pcr := range pcrs {
		value, logged := values[pcr]
		switch {
		case !logged && bytes.Equal(l.initial(pcr, hash), pcrs[pcr]):
			c.unused = append(c.unused, pcr)
		case !logged:
		case bytes.Equal(value, pcrs[pcr]):
			c.PCRs = append(c.PCRs, pcr)
		case slices.Contains(bootOnly, pcr):
			return nil, attest.Refuse(attest.CodeEventLog, "the event log gives PCR %d the value %x; %x is quoted", pcr, value, pcrs[pcr])
		}
	}
	if len(c.PCRs) == 0 {
		return nil, attest.Refuse(attest.CodeEventLog, "the event log covers no quoted PCR, so it proves nothing")
	}
	c.gather(c.PCRs)
	return c, nil
}

// gather keeps the events of covered registers.
func (c *Covered) gather(indexes []int) {
	c.prepare()
	for i := range c.log.Events {
		if event := &c.log.Events[i]; slices.Contains(indexes, event.PCR) {
			c.events[event.PCR] = append(c.events[event.PCR], event)
		}
	}
}

// Events returns the events of a PCR, in order: none when it is not covered. In a trust domain they are those of the register that what a
// PC measures into this PCR goes to, and so events of several PCRs.
func (c *Covered) Events(pcr int) []*Event {
	if c.domain {
		return c.events[rtmrOf(pcr)+1]
	}
	return c.events[pcr]
}

// known reports whether all events of a PCR are, be they none.
func (c *Covered) known(pcr int) bool {
	return slices.Contains(c.PCRs, pcr) || slices.Contains(c.unused, pcr)
}

// Digest returns an event's digest in the quoted bank.
func (c *Covered) Digest(e *Event) []byte { return c.log.Digest(e, c.hash) }

// Measured reports whether data is what an event's digest is of.
func (c *Covered) Measured(e *Event, data []byte) bool { return bytes.Equal(c.sum(data), c.Digest(e)) }

func (c *Covered) sum(data []byte) []byte {
	h := c.hash.New()
	h.Write(data)
	return h.Sum(nil)
}

// verbatim reports whether an event's digest is of its data. It is asked several times of an event, and the data can be long.
func (c *Covered) verbatim(e *Event) bool {
	known, asked := c.own[e]
	if !asked {
		known = c.Measured(e, e.Data)
		c.own[e] = known
	}
	return known
}

// fixed returns the string of a known set that an event's digest is of, "" when it is of none.
func (c *Covered) fixed(e *Event) string { return c.strings[string(c.Digest(e))] }

// prepare hashes the strings that are looked for in many events.
func (c *Covered) prepare() {
	c.own = make(map[*Event]bool)
	c.strings = make(map[string]string)
	for _, set := range [][]string{separators, actions, stubSections} {
		for _, text := range set {
			c.strings[string(c.sum([]byte(text)))] = text
		}
	}
}
