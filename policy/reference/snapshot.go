package reference

import (
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/policy"
)

// Snapshot is all sets of one namespace at one moment, compiled for lookups. It is immutable and safe for concurrent use.
type Snapshot struct {
	sets map[string]map[string]counted
}

// window is when an active value counts.
type window struct{ from, until time.Time }

// counted is an active value.
type counted struct {
	window
	origin *policy.Origin
}

func (w window) holds(at time.Time) bool {
	return !at.Before(w.from) && (w.until.IsZero() || at.Before(w.until))
}

// NewSnapshot compiles sets. Two of one name, or one that [Set.Check] refuses, are an error.
func NewSnapshot(sets []Set) (*Snapshot, error) {
	s := &Snapshot{sets: make(map[string]map[string]counted, len(sets))}
	for _, set := range sets {
		if err := set.Check(); err != nil {
			return nil, err
		}
		if _, twice := s.sets[set.Name]; twice {
			return nil, fmt.Errorf("%w: %s is there twice", ErrInvalid, set.Name)
		}
		s.sets[set.Name] = compile(set)
	}
	return s, nil
}

// With returns a snapshot in which set stands for the one of its name, or is added. The others are shared, so the cost is that of the
// number of sets and the size of this one.
func (s *Snapshot) With(set Set) (*Snapshot, error) {
	if err := set.Check(); err != nil {
		return nil, err
	}
	next := &Snapshot{sets: make(map[string]map[string]counted, len(s.sets)+1)}
	for name, values := range s.sets {
		next.sets[name] = values
	}
	next.sets[set.Name] = compile(set)
	return next, nil
}

func compile(set Set) map[string]counted {
	values := make(map[string]counted, len(set.Values))
	for _, v := range set.Values {
		if v.State == Active {
			values[v.Value] = counted{window{v.NotBefore, v.Expires}, v.Origin}
		}
	}
	return values
}

// Names returns the names of the sets, in no order.
func (s *Snapshot) Names() []string {
	out := make([]string, 0, len(s.sets))
	for name := range s.sets {
		out = append(out, name)
	}
	return out
}

// Lookup implements [policy.References]. A set of which no value is active is as good as none: an author alone can make one by staging a
// value, and a rule that a value is not in it, which an unknown set refuses, must not begin to pass by that.
func (s *Snapshot) Lookup(name string, at time.Time) (policy.Values, bool) {
	values := s.sets[name]
	if len(values) == 0 {
		return nil, false
	}
	return current{values, at}, true
}

// current is one set at one time.
type current struct {
	values map[string]counted
	at     time.Time
}

// Contains implements policy.Values. The value is a claim, so it is compared as it is.
func (c current) Contains(value string) bool {
	w, ok := c.values[value]
	return ok && w.holds(c.at)
}

// Origin implements policy.Origins.
func (c current) Origin(value string) *policy.Origin { return c.values[value].origin }
