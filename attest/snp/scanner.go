package snp

import (
	"unicode/utf8"

	"github.com/vouchsafe/vouchsafe/attest"
)

// scanner reads JSON (RFC 8259) that is mostly arrays of small integers, without building anything on the way. encoding/json
// fills a fixed array from a shorter or longer one without a word and takes the last of two members with one name; evidence needs both refused.
//
// A method that fails leaves the scanner failed, and every later one does nothing, so callers check err at the end of a
// structure rather than after each value.
type scanner struct {
	data []byte
	pos  int
	err  error
}

// maxSkipDepth bounds nesting in values that are passed over. No client nests deeper than three.
const maxSkipDepth = 16

func (s *scanner) fail(format string, args ...any) {
	if s.err == nil {
		args = append(args, s.pos)
		s.err = attest.Refuse(attest.CodeMalformed, format+" at byte %d of the evidence", args...)
	}
}

// peek returns the next character that is not white space, 0 at the end or after a failure.
func (s *scanner) peek() byte {
	if s.err != nil {
		return 0
	}
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// accept consumes c if it is next.
func (s *scanner) accept(c byte) bool {
	if s.peek() != c || s.err != nil {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) expect(c byte) {
	if !s.accept(c) {
		s.fail("%q expected", c)
	}
}

// end checks that nothing but white space is left.
func (s *scanner) end() {
	if s.peek() != 0 || s.pos != len(s.data) {
		s.fail("more data")
	}
}

// object calls member for each member of the object that is next, positioned at its value. The name is as it is written: names with
// escapes are refused, since no client writes one and two spellings of one name must not pass for two members. It is part of the
// evidence and must not be kept.
func (s *scanner) object(member func(name []byte)) {
	s.expect('{')
	if s.accept('}') {
		return
	}
	for s.err == nil {
		name := s.simpleString()
		s.expect(':')
		if s.err != nil {
			return
		}
		member(name)
		if s.accept('}') {
			return
		}
		s.expect(',')
	}
}

// array calls element for each element of the array that is next, positioned at it.
func (s *scanner) array(element func()) {
	s.expect('[')
	if s.accept(']') {
		return
	}
	for s.err == nil {
		element()
		if s.accept(']') {
			return
		}
		s.expect(',')
	}
}

// simpleString reads a string without escapes.
func (s *scanner) simpleString() []byte {
	s.expect('"')
	for start := s.pos; s.err == nil && s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.data[start : s.pos-1]
		case c == '\\' || c < 0x20:
			s.fail("a name or type with %q", c)
		}
	}
	s.fail("unterminated string")
	return nil
}

// null consumes null if it is next.
func (s *scanner) null() bool {
	if s.peek() != 'n' {
		return false
	}
	s.literal("null")
	return s.err == nil
}

func (s *scanner) literal(text string) {
	if len(s.data)-s.pos < len(text) || string(s.data[s.pos:s.pos+len(text)]) != text {
		s.fail("%s expected", text)
		return
	}
	s.pos += len(text)
}

// uint reads an integer from 0 to limit, written without sign, fraction, exponent or leading zeros.
func (s *scanner) uint(limit uint64) uint64 {
	c := s.peek()
	if c < '0' || c > '9' {
		s.fail("a number expected")
		return 0
	}
	var n uint64
	start := s.pos
	for ; s.pos < len(s.data) && s.data[s.pos]-'0' <= 9; s.pos++ {
		digit := uint64(s.data[s.pos] - '0')
		if n > (limit-digit)/10 { // limits have more than one digit
			s.fail("a number over %d", limit)
			return 0
		}
		n = n*10 + digit
	}
	if s.pos-start > 1 && s.data[start] == '0' {
		s.fail("a number with a leading zero")
	}
	if s.pos < len(s.data) && (s.data[s.pos] == '.' || s.data[s.pos] == 'e' || s.data[s.pos] == 'E') {
		s.fail("a number that is not a plain integer")
	}
	return n
}

// fill reads an array of exactly len(dst) bytes as integers.
func (s *scanner) fill(dst []byte) {
	if n := s.octets(dst); s.err == nil && n != len(dst) {
		s.fail("an array of %d bytes, not %d,", n, len(dst))
	}
}

// bytes reads an array of up to limit bytes as integers.
func (s *scanner) bytes(limit int) []byte {
	buffer := make([]byte, limit)
	n := s.octets(buffer)
	return buffer[:n:n]
}

// octets reads an array of integers from 0 to 255 into dst and returns how many there were, at most len(dst). Nearly all of
// the evidence is read here, three digits and a comma at a time.
func (s *scanner) octets(dst []byte) (n int) {
	s.expect('[')
	if s.accept(']') {
		return 0
	}
	for s.err == nil {
		value := s.uint(0xff)
		if n == len(dst) {
			s.fail("an array of over %d bytes", len(dst))
			return n
		}
		dst[n] = byte(value)
		n++
		if s.pos < len(s.data) && s.data[s.pos] == ',' { // without white space before it, as clients write
			s.pos++
			continue
		}
		if s.accept(']') {
			return n
		}
		s.expect(',')
	}
	return n
}

// skip passes over any value.
func (s *scanner) skip(depth int) {
	if depth > maxSkipDepth {
		s.fail("values nested over %d deep", maxSkipDepth)
		return
	}
	switch c := s.peek(); {
	case c == '{':
		s.object(func([]byte) { s.skip(depth + 1) })
	case c == '[':
		s.array(func() { s.skip(depth + 1) })
	case c == '"':
		s.skipString()
	case c == 't':
		s.literal("true")
	case c == 'f':
		s.literal("false")
	case c == 'n':
		s.literal("null")
	case c == '-' || c >= '0' && c <= '9':
		s.skipNumber()
	default:
		s.fail("a value expected")
	}
}

func (s *scanner) skipString() {
	s.pos++
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		s.pos++
		switch {
		case c == '"':
			return
		case c < 0x20:
			s.fail("a control character in a string")
			return
		case c == '\\':
			s.skipEscape()
		}
	}
	s.fail("unterminated string")
}

func (s *scanner) skipEscape() {
	if s.pos >= len(s.data) {
		return
	}
	c := s.data[s.pos]
	s.pos++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
	case 'u':
		for range 4 {
			if s.pos >= len(s.data) || !isHex(s.data[s.pos]) {
				s.fail("a malformed escape")
				return
			}
			s.pos++
		}
	default:
		s.fail("a malformed escape")
	}
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) skipNumber() {
	next := func() byte {
		if s.pos < len(s.data) {
			return s.data[s.pos]
		}
		return 0
	}
	digits := func() {
		start := s.pos
		for next() >= '0' && next() <= '9' {
			s.pos++
		}
		if s.pos == start {
			s.fail("a malformed number")
		}
	}
	if next() == '-' {
		s.pos++
	}
	if next() == '0' {
		s.pos++
	} else {
		digits()
	}
	if next() == '.' {
		s.pos++
		digits()
	}
	if c := next(); c == 'e' || c == 'E' {
		s.pos++
		if c := next(); c == '+' || c == '-' {
			s.pos++
		}
		digits()
	}
}

func newScanner(data []byte) *scanner {
	s := &scanner{data: data}
	if !utf8.Valid(data) {
		s.fail("text that is not UTF-8 is expected nowhere; it is somewhere")
	}
	return s
}
