// Package jcs writes canonical JSON as RFC 8785 (JSON Canonicalization Scheme) defines it, for the values that this
// project hashes and signs: objects, arrays, strings, booleans, null and integers up to 2^53 in magnitude. It refuses
// fractions, for which two implementations are likeliest to disagree and of which nothing here has need.
package jcs

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Raw is text that is canonical JSON already and is written as it is.
type Raw []byte

// maxInteger is the largest magnitude a JSON number holds exactly in every implementation (RFC 8785, section 3.2.2.3).
const maxInteger = 1 << 53

// maxDepth bounds nesting, so that hostile values cannot exhaust the stack. Nothing hashed here nests over 8 deep.
const maxDepth = 64

// Marshal returns the canonical form of v, built from map[string]any, map[string]string, []any, []string, string, bool,
// nil, int, int64, uint64, json.Number holding an integer, and [Raw]. Any other type is an error, and so is a string that is not UTF-8.
func Marshal(v any) ([]byte, error) { return appendValue(nil, v, 0) }

func appendValue(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, errors.New("jcs: nested too deeply")
	}
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case string:
		return appendString(b, v)
	case Raw:
		return append(b, v...), nil
	case int:
		return appendInt(b, int64(v))
	case int64:
		return appendInt(b, v)
	case uint64:
		if v > maxInteger {
			return nil, fmt.Errorf("jcs: %d is over 2^53", v)
		}
		return appendInt(b, int64(v))
	case json.Number:
		n, err := strconv.ParseInt(string(v), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("jcs: %q is not an integer", string(v))
		}
		return appendInt(b, n)
	case []string:
		return appendArray(b, len(v), depth, func(i int) any { return v[i] })
	case []any:
		return appendArray(b, len(v), depth, func(i int) any { return v[i] })
	case map[string]string:
		return appendObject(b, v, depth)
	case map[string]any:
		return appendObject(b, v, depth)
	default:
		return nil, fmt.Errorf("jcs: cannot write a %T", v)
	}
}

func appendInt(b []byte, n int64) ([]byte, error) {
	if n > maxInteger || n < -maxInteger {
		return nil, fmt.Errorf("jcs: %d is over 2^53 in magnitude", n)
	}
	return strconv.AppendInt(b, n, 10), nil
}

func appendArray(b []byte, n, depth int, at func(int) any) (_ []byte, err error) {
	b = append(b, '[')
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendValue(b, at(i), depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendObject[V any](b []byte, m map[string]V, depth int) (_ []byte, err error) {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.SortFunc(names, compareUTF16)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendString(b, name); err != nil {
			return nil, err
		}
		b = append(b, ':')
		if b, err = appendValue(b, m[name], depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// compareUTF16 orders member names by their UTF-16 code units (RFC 8785, section 3.2.3), which differs from the
// order of their UTF-8 bytes only where a surrogate pair meets U+E000 to U+FFFF.
func compareUTF16(a, b string) int {
	if isASCII(a) && isASCII(b) { // whose order is the same in both, as it is of nearly all names
		return strings.Compare(a, b)
	}
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// appendString writes s with the escapes of RFC 8785, section 3.2.2.2: the two-character forms where JSON has them, \u00xx in
// lower case for other control characters, everything else as it is.
func appendString(b []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, errors.New("jcs: a string is not valid UTF-8")
	}
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\f':
			b = append(b, `\f`...)
		case c == '\r':
			b = append(b, `\r`...)
		default:
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&15])
		}
	}
	return append(b, '"'), nil
}
