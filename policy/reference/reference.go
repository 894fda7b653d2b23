package reference

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vouchsafe/vouchsafe/policy"
)

// Limits of a set.
const (
	// MaxValues is the largest number of values of one set, retired ones included: some years of daily builds.
	MaxValues = 10_000
	// MaxValue is the largest length of a value in bytes: four times a SHA-512 in hex.
	MaxValue = 512
	// MaxText is the largest length in bytes of who added a value, its provenance and its note.
	MaxText = 1024
)

// State says whether a value counts.
type State string

// The states of a value.
const (
	Staged  State = "staged"  // added, does not count yet
	Active  State = "active"  // counts from NotBefore until Expires
	Retired State = "retired" // does not count any more; kept for the record
)

// Set is a named set of reference values: the stored document. Treat it as immutable: [Set.Put] and the others return a changed copy.
type Set struct {
	Name   string  `json:"name"`   // as policy.CheckName accepts it
	Values []Value `json:"values"` // in the order of Value, each once
}

// Value is one reference value and where it comes from.
type Value struct {
	Value       string    `json:"value"` // normalised, not empty
	State       State     `json:"state"`
	AddedBy     string    `json:"added_by"`
	AddedAt     time.Time `json:"added_at"`
	NotBefore   time.Time `json:"not_before,omitzero"`   // counts from then on; zero: at once
	Expires     time.Time `json:"expires,omitzero"`      // counts until then, exclusive; zero: for ever
	Provenance  string    `json:"provenance,omitempty"`  // digest or URI of the statement it was taken from
	Note        string    `json:"note,omitempty"`        // for people
	LastMatched time.Time `json:"last_matched,omitzero"` // when evidence last matched it, where a set says so; zero: it does not

	// Origin is what the statement said that the value was imported with: nil of a value for which only who added it vouches.
	Origin *policy.Origin `json:"origin,omitempty"`
}

// The errors of this package, wrapped with what was wrong.
var (
	ErrInvalid  = errors.New("invalid reference set") // a name, value or time that cannot be
	ErrTooMany  = errors.New("reference set is full") // more than MaxValues
	ErrNotFound = errors.New("no such reference value")
)

// New returns an empty set.
func New(name string) (Set, error) {
	if err := policy.CheckName(name); err != nil {
		return Set{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return Set{Name: name, Values: []Value{}}, nil
}

// minHex is the fewest digits that are taken for hex: 16 bytes, the shortest identifier of a claim.
const minHex = 32

// Normalise returns a value as sets store it and claims spell it: white space around it removed, and hex of at least 32 digits in lower case.
func Normalise(value string) string {
	value = strings.TrimSpace(value)
	if len(value) < minHex || len(value)%2 != 0 {
		return value
	}
	for i := range len(value) {
		c := value[i]
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return value
		}
	}
	return strings.ToLower(value)
}

// Counts reports whether the value lets evidence pass at the given time.
func (v Value) Counts(at time.Time) bool {
	return v.State == Active && window{v.NotBefore, v.Expires}.holds(at)
}

func (v Value) check() error {
	switch {
	case v.Value == "":
		return errors.New("a value is empty")
	case len(v.Value) > MaxValue:
		return fmt.Errorf("a value has %d bytes, more than %d", len(v.Value), MaxValue)
	case v.Value != Normalise(v.Value) || !printable(v.Value):
		return fmt.Errorf("value %.64q is not normalised, or has characters that do not print", v.Value)
	case v.State != Staged && v.State != Active && v.State != Retired:
		return fmt.Errorf("value %.64q has the state %.16q, which is none of staged, active, retired", v.Value, v.State)
	case v.AddedBy == "" || v.AddedAt.IsZero():
		return fmt.Errorf("value %.64q does not say who added it and when", v.Value)
	case !v.Expires.IsZero() && !v.NotBefore.Before(v.Expires):
		return fmt.Errorf("value %.64q expires before it begins to count", v.Value)
	}
	texts := []string{v.AddedBy, v.Provenance, v.Note}
	if o := v.Origin; o != nil {
		if o.Statement == "" || o.Key == "" {
			return fmt.Errorf("value %.64q has an origin without a statement or a key", v.Value)
		}
		texts = append(texts, o.Statement, o.Key, o.Builder, o.Repository, o.Workflow, o.Ref, o.Commit, o.Image)
	}
	for _, text := range texts {
		if len(text) > MaxText || !utf8.ValidString(text) {
			return fmt.Errorf("a text of value %.64q is not UTF-8 of at most %d bytes", v.Value, MaxText)
		}
	}
	for _, at := range []time.Time{v.AddedAt, v.NotBefore, v.Expires, v.LastMatched} {
		if year := at.Year(); year < 1 || year > 9999 {
			return fmt.Errorf("a time of value %.64q is in the year %d", v.Value, year)
		}
	}
	return nil
}

func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Check reports what is wrong with a set as a whole, or nil.
func (s Set) Check() error {
	if err := policy.CheckName(s.Name); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(s.Values) > MaxValues {
		return fmt.Errorf("%w: %s has %d values, more than %d", ErrTooMany, s.Name, len(s.Values), MaxValues)
	}
	for i, v := range s.Values {
		if err := v.check(); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrInvalid, s.Name, err)
		}
		if i > 0 && s.Values[i-1].Value >= v.Value {
			return fmt.Errorf("%w: %s: value %.64q is there twice or out of order", ErrInvalid, s.Name, v.Value)
		}
	}
	return nil
}

// Find returns a value of the set, in any state.
func (s Set) Find(value string) (Value, bool) {
	i, ok := s.search(Normalise(value))
	if !ok {
		return Value{}, false
	}
	return s.Values[i], true
}

func (s Set) search(value string) (int, bool) {
	return slices.BinarySearchFunc(s.Values, value, func(v Value, want string) int { return strings.Compare(v.Value, want) })
}

// Put returns the set with v added, or in the place of the value it equals; the value is normalised, its times are in UTC.
// What is known of when evidence matched it is kept.
func (s Set) Put(v Value) (Set, error) {
	v.Value = Normalise(v.Value)
	for _, at := range []*time.Time{&v.AddedAt, &v.NotBefore, &v.Expires, &v.LastMatched} {
		*at = at.Round(0).UTC()
	}
	if err := v.check(); err != nil {
		return Set{}, fmt.Errorf("%w: %s: %w", ErrInvalid, s.Name, err)
	}
	i, found := s.search(v.Value)
	values := slices.Clone(s.Values)
	if found {
		if v.LastMatched.Before(values[i].LastMatched) {
			v.LastMatched = values[i].LastMatched
		}
		values[i] = v
		return Set{s.Name, values}, nil
	}
	if len(values) >= MaxValues {
		return Set{}, fmt.Errorf("%w: %s has %d values; remove retired ones", ErrTooMany, s.Name, len(values))
	}
	return Set{s.Name, slices.Insert(values, i, v)}, nil
}

// Retire returns the set with a value that no longer counts. Retiring it again changes nothing.
func (s Set) Retire(value string) (Set, error) {
	return s.change(value, func(v *Value) { v.State = Retired })
}

// Activate returns the set with a staged value that counts from now on. Activating it again changes nothing; a retired one is refused, because whoever
// brings it back should say so by putting it.
func (s Set) Activate(value string) (Set, error) {
	if v, ok := s.Find(value); ok && v.State == Retired {
		return Set{}, fmt.Errorf("%w: value %.64q of %s is retired; put it again if it is to count", ErrInvalid, v.Value, s.Name)
	}
	return s.change(value, func(v *Value) { v.State = Active })
}

// Matched returns the set with a value that evidence matched at the given time. An earlier time than the one known changes nothing.
func (s Set) Matched(value string, at time.Time) (Set, error) {
	return s.change(value, func(v *Value) {
		if at.After(v.LastMatched) {
			v.LastMatched = at.Round(0).UTC()
		}
	})
}

// Remove returns the set without a value that was retired before. Removing one that still counts or is staged is refused: retire it first.
func (s Set) Remove(value string) (Set, error) {
	i, ok := s.search(Normalise(value))
	if !ok {
		return Set{}, fmt.Errorf("%w: %.64q in %s", ErrNotFound, value, s.Name)
	}
	if s.Values[i].State != Retired {
		return Set{}, fmt.Errorf("%w: value %.64q of %s is %s; retire it before it is removed", ErrInvalid, value, s.Name, s.Values[i].State)
	}
	return Set{s.Name, slices.Delete(slices.Clone(s.Values), i, i+1)}, nil
}

func (s Set) change(value string, change func(*Value)) (Set, error) {
	i, ok := s.search(Normalise(value))
	if !ok {
		return Set{}, fmt.Errorf("%w: %.64q in %s", ErrNotFound, value, s.Name)
	}
	values := slices.Clone(s.Values)
	change(&values[i])
	return Set{s.Name, values}, nil
}
