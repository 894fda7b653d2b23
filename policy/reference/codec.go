package reference

import (
	"encoding/json"
	"fmt"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// MaxEncoded is the largest encoded set in bytes, as much as a record of the store holds: MaxValues with a note, or some two thousand that were imported with their origin.
const MaxEncoded = 2 << 20

// Encode returns the set as JSON, or what is wrong with it.
func Encode(s Set) ([]byte, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if s.Values == nil {
		s.Values = []Value{}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(text) > MaxEncoded {
		return nil, fmt.Errorf("%w: %s has %d bytes, more than %d", ErrTooMany, s.Name, len(text), MaxEncoded)
	}
	return text, nil
}

// Decode reads a set, strictly: see the package documentation.
func Decode(text []byte) (Set, error) {
	if len(text) > MaxEncoded {
		return Set{}, fmt.Errorf("%w: it has %d bytes, more than %d", ErrTooMany, len(text), MaxEncoded)
	}
	var s Set
	if err := strictjson.Unmarshal(text, &s); err != nil {
		return Set{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if s.Values == nil {
		return Set{}, fmt.Errorf("%w: it has no values", ErrInvalid)
	}
	for i := range s.Values {
		v := &s.Values[i]
		v.AddedAt, v.NotBefore, v.Expires, v.LastMatched = v.AddedAt.UTC(), v.NotBefore.UTC(), v.Expires.UTC(), v.LastMatched.UTC()
	}
	if err := s.Check(); err != nil {
		return Set{}, err
	}
	return s, nil
}
