package reference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxEncoded is the largest encoded set in bytes: MaxValues of typical size with their provenance.
const MaxEncoded = 8 << 20

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
	if err := checkMembers(text); err != nil {
		return Set{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var s Set
	if err := decoder.Decode(&s); err != nil {
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

// members are the names that objects of a set have. Decoding a struct takes names of another case, and the last of two; these are exact and unique.
var members = map[string]bool{
	"name": true, "values": true, "value": true, "state": true, "added_by": true, "added_at": true,
	"not_before": true, "expires": true, "provenance": true, "note": true, "last_matched": true,
}

// maxDepth is how deep a set is nested: the set, the list, a value.
const maxDepth = 3

// checkMembers walks the tokens of one JSON value and refuses repeated and differently spelt members, nesting and trailing data.
func checkMembers(text []byte) error {
	type level struct {
		object bool
		key    bool // the next token is a member's name
		seen   map[string]bool
	}
	var stack []level
	decoder := json.NewDecoder(bytes.NewReader(text))
	for first := true; ; first = false {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(stack) == 0 && !first {
			return errors.New("something follows the set")
		}
		top := len(stack) - 1
		if name, ok := token.(string); ok && top >= 0 && stack[top].object && stack[top].key {
			if !members[name] {
				return fmt.Errorf("there is no member %.64q", name)
			}
			if stack[top].seen[name] {
				return fmt.Errorf("member %q is there twice", name)
			}
			stack[top].seen[name], stack[top].key = true, false
			continue
		}
		delim, isDelim := token.(json.Delim)
		if !isDelim || delim == '{' || delim == '[' {
			if top >= 0 {
				stack[top].key = true
			}
		}
		switch {
		case isDelim && (delim == '{' || delim == '['):
			if len(stack) == maxDepth {
				return errors.New("it is nested too deep")
			}
			l := level{object: delim == '{', key: true}
			if l.object {
				l.seen = make(map[string]bool, len(members))
			}
			stack = append(stack, l)
		case isDelim:
			stack = stack[:top]
		}
	}
}
