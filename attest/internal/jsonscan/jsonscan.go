// Package jsonscan reads evidence that is written in JSON (RFC 8259) in one pass and without building anything on the way: nearly all of it is one
// array of small integers, or a few long strings of hex or base64, and it is read before anything is known of who sent it.
//
// It is stricter than encoding/json, which fills a fixed array from a shorter or longer one without a word, takes the last of two members with
// one name, and base64 and hex in many spellings: evidence needs each of these refused. Names and strings have no escapes, since no client writes
// one there, and two spellings of one name must not pass for two members.
//
// Values that a caller does not read must be passed over with [Scanner.Skip].
package jsonscan

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/hextext"
)

// Scanner reads one text. A method that fails leaves it failed, and every later one does nothing, so callers look at [Scanner.Err] at the end of
// a structure rather than after each value.
type Scanner struct {
	TooLong attest.Code // of arrays and strings of bytes that are over their limit; CodeMalformed when empty

	data []byte
	pos  int
	err  error
}

// New returns a Scanner of a text, which is not copied. One that is not UTF-8 fails at once.
func New(data []byte) *Scanner {
	s := &Scanner{data: data}
	if !utf8.Valid(data) {
		s.Fail("text that is not UTF-8 is expected nowhere; it is somewhere")
	}
	return s
}

// Err returns the first failure, an *attest.Refusal with CodeMalformed or TooLong, or nil.
func (s *Scanner) Err() error { return s.err }

// maxSkipDepth bounds nesting in values that are passed over. No client nests deeper than three.
const maxSkipDepth = 16

// Fail makes the scanner fail, if it has not yet, with a message that the place is added to.
func (s *Scanner) Fail(format string, args ...any) {
	if s.err == nil {
		args = append(args, s.pos)
		s.err = attest.Refuse(attest.CodeMalformed, format+" at byte %d of the evidence", args...)
	}
}

func (s *Scanner) tooLong(what string, limit int) {
	code := s.TooLong
	if code == "" {
		code = attest.CodeMalformed
	}
	s.Refuse(attest.Refuse(code, "%s of over %d bytes at byte %d of the evidence", what, limit, s.pos))
}

// Refuse makes the scanner fail with an error of the caller's, if it has not failed yet.
func (s *Scanner) Refuse(err error) {
	if s.err == nil {
		s.err = err
	}
}

// Peek returns the next character that is not white space, 0 at the end or after a failure.
func (s *Scanner) Peek() byte {
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

// Accept consumes c if it is next.
func (s *Scanner) Accept(c byte) bool {
	if s.Peek() != c || s.err != nil {
		return false
	}
	s.pos++
	return true
}

// Expect consumes c, and fails if it is not next.
func (s *Scanner) Expect(c byte) {
	if !s.Accept(c) {
		s.Fail("%q expected", c)
	}
}

// End checks that nothing but white space is left.
func (s *Scanner) End() {
	if s.Peek() != 0 || s.pos != len(s.data) {
		s.Fail("more data")
	}
}

// Object calls member for each member of the object that is next, positioned at its value. The name is as it is written: names with
// escapes are refused, since no client writes one and two spellings of one name must not pass for two members. It is part of the
// evidence and must not be kept.
func (s *Scanner) Object(member func(name []byte)) {
	s.Expect('{')
	if s.Accept('}') {
		return
	}
	for s.err == nil {
		name := s.String()
		s.Expect(':')
		if s.err != nil {
			return
		}
		member(name)
		if s.Accept('}') {
			return
		}
		s.Expect(',')
	}
}

// Members reads an object, calling value with the index of each member that is known. One that is null counts as absent, and others are passed
// over. One that is there twice is an error, and so is one that differs from a known one in case only: other readers would take it for that.
func (s *Scanner) Members(known []string, value func(i int)) {
	var seen uint64
	s.Object(func(name []byte) {
		for i := range known {
			if string(name) != known[i] {
				if strings.EqualFold(string(name), known[i]) {
					s.Fail("a member in another case than %s", known[i])
				}
				continue
			}
			if seen&(1<<i) != 0 {
				s.Fail("member %s twice", name)
			}
			seen |= 1 << i
			if !s.Null() {
				value(i)
			}
			return
		}
		s.Skip()
	})
}

// Array calls element for each element of the array that is next, positioned at it.
func (s *Scanner) Array(element func()) {
	s.Expect('[')
	if s.Accept(']') {
		return
	}
	for s.err == nil {
		element()
		if s.Accept(']') {
			return
		}
		s.Expect(',')
	}
}

// String reads a string without escapes. What it returns is part of the text and must not be kept.
func (s *Scanner) String() []byte {
	s.Expect('"')
	if s.err != nil {
		return nil
	}
	start := s.pos
	s.pos += Plain(s.data[start:])
	switch {
	case s.pos == len(s.data):
		s.Fail("unterminated string")
		return nil
	case s.data[s.pos] != '"':
		s.Fail("a name or type with %q", s.data[s.pos])
		return nil
	}
	s.pos++
	return s.data[start : s.pos-1]
}

// Null consumes null if it is next.
func (s *Scanner) Null() bool {
	if s.Peek() != 'n' {
		return false
	}
	s.literal("null")
	return s.err == nil
}

func (s *Scanner) literal(text string) {
	if len(s.data)-s.pos < len(text) || string(s.data[s.pos:s.pos+len(text)]) != text {
		s.Fail("%s expected", text)
		return
	}
	s.pos += len(text)
}

// Uint reads an integer from 0 to limit, written without sign, fraction, exponent or leading zeros.
func (s *Scanner) Uint(limit uint64) uint64 {
	c := s.Peek()
	if c < '0' || c > '9' {
		s.Fail("a number expected")
		return 0
	}
	var n uint64
	start := s.pos
	for ; s.pos < len(s.data) && s.data[s.pos]-'0' <= 9; s.pos++ {
		digit := uint64(s.data[s.pos] - '0')
		if n > (limit-digit)/10 { // limits have more than one digit
			s.Fail("a number over %d", limit)
			return 0
		}
		n = n*10 + digit
	}
	if s.pos-start > 1 && s.data[start] == '0' {
		s.Fail("a number with a leading zero")
	}
	if s.pos < len(s.data) && (s.data[s.pos] == '.' || s.data[s.pos] == 'e' || s.data[s.pos] == 'E') {
		s.Fail("a number that is not a plain integer")
	}
	return n
}

// Fill reads an array of exactly len(dst) bytes as integers.
func (s *Scanner) Fill(dst []byte) {
	if n := s.octets(dst); s.err == nil && n != len(dst) {
		s.Fail("an array of %d bytes, not %d,", n, len(dst))
	}
}

// Bytes reads an array of up to limit bytes as integers.
func (s *Scanner) Bytes(limit int) []byte {
	buffer := make([]byte, limit)
	n := s.octets(buffer)
	return buffer[:n:n]
}

// octets reads an array of integers from 0 to 255 into dst and returns how many there were. More than len(dst) are refused. Nearly all of the
// evidence is read here, three digits and a comma at a time.
func (s *Scanner) octets(dst []byte) (n int) {
	s.Expect('[')
	if s.Accept(']') {
		return 0
	}
	n = s.plainOctets(dst)
	for s.err == nil {
		value := s.octet()
		if n == len(dst) {
			s.tooLong("an array", len(dst))
			return n
		}
		dst[n] = value
		n++
		if s.pos < len(s.data) && s.data[s.pos] == ',' { // without white space before it, as clients write
			s.pos++
			continue
		}
		if s.Accept(']') {
			return n
		}
		s.Expect(',')
	}
	return n
}

// Raw passes over any value and returns its text, which is part of the whole and must not be kept.
func (s *Scanner) Raw() []byte {
	s.Peek()
	start := s.pos
	s.Skip()
	if s.err != nil {
		return nil
	}
	return s.data[start:s.pos]
}

// Bool reads true or false.
func (s *Scanner) Bool() bool {
	if s.Peek() == 't' {
		s.literal("true")
		return s.err == nil
	}
	if s.Peek() == 'f' {
		s.literal("false")
	} else {
		s.Fail("true or false expected")
	}
	return false
}

// Skip passes over any value.
func (s *Scanner) Skip() { s.skip(0) }

func (s *Scanner) skip(depth int) {
	if depth > maxSkipDepth {
		s.Fail("values nested over %d deep", maxSkipDepth)
		return
	}
	switch c := s.Peek(); {
	case c == '{':
		s.Object(func([]byte) { s.skip(depth + 1) })
	case c == '[':
		var passed [64]byte
		s.Array(func() {
			for s.plainOctets(passed[:]) > 0 { // most of what is passed over; a comma follows each, and so another value
			}
			s.skip(depth + 1)
		})
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
		s.Fail("a value expected")
	}
}

func (s *Scanner) skipString() {
	s.pos++
	for s.err == nil {
		s.pos += Plain(s.data[s.pos:])
		if s.pos == len(s.data) {
			break
		}
		c := s.data[s.pos]
		s.pos++
		switch c {
		case '"':
			return
		case '\\':
			s.skipEscape()
		default:
			s.Fail("a control character in a string")
		}
	}
	s.Fail("unterminated string")
}

func (s *Scanner) skipEscape() {
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
				s.Fail("a malformed escape")
				return
			}
			s.pos++
		}
	default:
		s.Fail("a malformed escape")
	}
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *Scanner) skipNumber() {
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
			s.Fail("a malformed number")
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

// Once fails when a member was there before, and otherwise notes that it is.
func (s *Scanner) Once(seen *bool, name []byte) {
	if *seen {
		s.Fail("member %s twice", name)
	}
	*seen = true
}

// AppendHex reads a string of hex, in either case, that is of at most limit bytes, and appends these to dst.
func (s *Scanner) AppendHex(dst []byte, limit int) []byte {
	text := s.Text()
	switch {
	case s.err != nil:
		return dst
	case len(text)%2 != 0:
		s.Fail("hex of half a byte")
		return dst
	case len(text)/2 > limit:
		s.tooLong("hex", limit)
		return dst
	}
	dst = slices.Grow(dst, len(text)/2)[:len(dst)+len(text)/2]
	if !hextext.Decode(dst[len(dst)-len(text)/2:], text) {
		s.Fail("a string that is not hex")
	}
	return dst
}

// Text reads a string up to the next quote, whatever is in it: for callers that refuse every escape and control character themselves. What it
// returns is part of the text and must not be kept.
func (s *Scanner) Text() []byte {
	s.Expect('"')
	if s.err != nil {
		return nil
	}
	end := bytes.IndexByte(s.data[s.pos:], '"')
	if end < 0 {
		s.Fail("unterminated string")
		return nil
	}
	text := s.data[s.pos:][:end]
	s.pos += end + 1
	return text
}

// Base64 reads a string of base64 in the encoding given, as its encoder writes it, that is of at most limit bytes. A slash may be escaped, as some
// writers of JSON do.
func (s *Scanner) Base64(encoding *base64.Encoding, limit int) []byte {
	text := s.Text()
	if bytes.IndexByte(text, '\\') >= 0 {
		text = bytes.ReplaceAll(text, []byte(`\/`), []byte(`/`)) // no other escape is of a character that base64 has
	}
	switch {
	case s.err != nil:
		return nil
	case len(text) > encoding.EncodedLen(limit):
		s.tooLong("base64", limit)
		return nil
	}
	out, err := DecodeBase64(encoding, text)
	if err != nil {
		s.Fail("a string that is not base64 as an encoder writes it")
	}
	return out
}
