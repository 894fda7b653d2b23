package cose

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// Limits of [Unmarshal]. Evidence nests six deep at most, has maps of a dozen members and arrays of some dozens, and signing
// certificates written as arrays of numbers, of a few thousand.
const (
	maxDepth    = 8
	maxElements = 32 << 10
	maxPairs    = 128
)

// mode is how all CBOR is decoded: a member twice, indefinite lengths, tags, text that is not UTF-8 and numbers that do
// not fit are errors.
var mode = sync.OnceValues(func() (cbor.DecMode, error) {
	return cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   maxDepth,
		MaxArrayElements:  maxElements,
		MaxMapPairs:       maxPairs,
		UTF8:              cbor.UTF8RejectInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		NaN:               cbor.NaNDecodeForbidden,
		Inf:               cbor.InfDecodeForbidden,
	}.DecMode()
})

// Unmarshal decodes data, which must be one whole item, into v. No tag is taken: where a format has one, the caller
// takes it off.
func Unmarshal(data []byte, v any) error {
	m, err := mode()
	if err != nil {
		return err
	}
	return m.Unmarshal(data, v)
}

// Errors of readers of single items.
var (
	errNoBytes  = errors.New("not a string of bytes")
	errNoText   = errors.New("not text")
	errNoNumber = errors.New("not a number from 0 to 2^63-1")
)

// major returns the major type of an encoded item, 8 for none.
func major(raw cbor.RawMessage) byte {
	if len(raw) == 0 {
		return 8
	}
	return raw[0] >> 5
}

// IsNull reports whether an item is CBOR's null.
func IsNull(raw cbor.RawMessage) bool { return len(raw) == 1 && raw[0] == 0xf6 }

// Bytes decodes a string of bytes. An array of numbers, which cbor would take for one, is an error, as null is.
func Bytes(raw cbor.RawMessage) ([]byte, error) {
	if major(raw) != 2 {
		return nil, errNoBytes
	}
	var b []byte
	if err := Unmarshal(raw, &b); err != nil {
		return nil, err
	}
	return b, nil
}

// Text decodes text.
func Text(raw cbor.RawMessage) (string, error) {
	if major(raw) != 3 {
		return "", errNoText
	}
	var s string
	if err := Unmarshal(raw, &s); err != nil {
		return "", err
	}
	return s, nil
}

// Uint decodes a number that is not negative and fits an int64.
func Uint(raw cbor.RawMessage) (int64, error) {
	if major(raw) != 0 {
		return 0, errNoNumber
	}
	var n uint64
	if err := Unmarshal(raw, &n); err != nil {
		return 0, err
	}
	if n > math.MaxInt64 {
		return 0, errNoNumber
	}
	return int64(n), nil
}

// Array splits an array of at most limit items.
func Array(raw cbor.RawMessage, limit int) ([]cbor.RawMessage, error) {
	if major(raw) != 4 {
		return nil, errors.New("not an array")
	}
	var items []cbor.RawMessage
	if err := Unmarshal(raw, &items); err != nil {
		return nil, err
	}
	if len(items) > limit {
		return nil, fmt.Errorf("an array of %d: at most %d are read", len(items), limit)
	}
	return items, nil
}

// TextMap splits a map whose keys are text.
func TextMap(raw cbor.RawMessage) (map[string]cbor.RawMessage, error) { return split[string](raw) }

// IntMap splits a map whose keys are whole numbers.
func IntMap(raw cbor.RawMessage) (map[int64]cbor.RawMessage, error) { return split[int64](raw) }

func split[K comparable](raw cbor.RawMessage) (map[K]cbor.RawMessage, error) {
	if major(raw) != 5 {
		return nil, errors.New("not a map")
	}
	var m map[K]cbor.RawMessage
	if err := Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	return m, nil
}

// ClaimMap splits a map of claims (RFC 8392, section 3) by the numbers they are registered under. Claims under names
// are passed over, as EAT wants of those that are not known.
func ClaimMap(raw cbor.RawMessage) (map[int64]cbor.RawMessage, error) {
	if major(raw) != 5 {
		return nil, errors.New("not a map")
	}
	var m map[any]cbor.RawMessage
	if err := Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	out := make(map[int64]cbor.RawMessage, len(m))
	for key, value := range m {
		switch key := key.(type) {
		case uint64:
			if key > math.MaxInt64 {
				return nil, errNoNumber
			}
			out[int64(key)] = value
		case int64:
			out[key] = value
		case string:
		default:
			return nil, errors.New("a map with a key that is neither a number nor text")
		}
	}
	return out, nil
}
