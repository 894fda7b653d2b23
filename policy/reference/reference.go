package reference

import "time"

// State says whether a value counts.
type State string

// The states of a value.
const (
	Staged  State = "staged"  // added, does not count yet
	Active  State = "active"  // counts between NotBefore and Expires
	Retired State = "retired" // does not count any more; kept for the record
)

// Set is a named set of reference values: the stored document. Treat it as immutable: [Set.Put] and the others return a changed copy.
type Set struct {
	Name   string  `json:"name"`
	Values []Value `json:"values"` // by Value
}

// Value is one reference value and where it comes from.
type Value struct {
	Value       string    `json:"value"`
	State       State     `json:"state"`
	AddedBy     string    `json:"added_by"`
	AddedAt     time.Time `json:"added_at"`
	NotBefore   time.Time `json:"not_before,omitzero"`   // counts from then on; zero: at once
	Expires     time.Time `json:"expires,omitzero"`      // counts until then, exclusive; zero: for ever
	Provenance  string    `json:"provenance,omitempty"`  // digest or URI of the signed statement it was taken from
	Note        string    `json:"note,omitempty"`        // for people
	LastMatched time.Time `json:"last_matched,omitzero"` // when evidence last matched it
}
