package readback

import (
	"encoding/binary"
	"math/bits"
	"reflect"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	// maxDepth bounds nesting here; the library takes over below. No record nests over 10 deep.
	maxDepth = 32
	// maxDigits is how many digits every 64-bit number can have.
	maxDigits = 18
)

// scan goes through JSON once. Its methods report whether what they look for was there; at means nothing when it was not.
type scan struct {
	data []byte
	at   int
}

// peek returns the next byte, or 0 at the end.
func (s *scan) peek() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

// take passes over one byte if it is c.
func (s *scan) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// word passes over text if it comes next.
func (s *scan) word(text string) bool {
	end := s.at + len(text)
	if end > len(s.data) || string(s.data[s.at:end]) != text {
		return false
	}
	s.at = end
	return true
}

// value reads a value into v, which is zero.
func (s *scan) value(as *shape, v reflect.Value, depth int) bool {
	switch {
	case depth > maxDepth:
		return false
	case as.kind == passed:
		return s.pass(depth)
	case as.kind == library || s.peek() == 'n': // null is for the library, which knows what it means to each type
		return s.library(v, depth)
	}
	switch as.kind {
	case boolean:
		is := s.peek() == 't'
		v.SetBool(is)
		return is && s.word("true") || !is && s.word("false")
	case integer:
		return s.integer(v, depth)
	case text:
		return s.text(v, depth)
	case moment:
		return s.moment(v, depth)
	case pointer:
		to := reflect.New(as.elem.goes)
		v.Set(to)
		return s.value(as.elem, to.Elem(), depth+1)
	case list:
		return s.list(as, v, depth)
	}
	return s.object(as, v, depth)
}

// library has the library read the next value.
func (s *scan) library(v reflect.Value, depth int) bool {
	start := s.at
	return s.pass(depth) && json.Unmarshal(s.data[start:s.at], v.Addr().Interface()) == nil
}

func (s *scan) integer(v reflect.Value, depth int) bool {
	start := s.at
	negative := s.take('-')
	first, n := s.at, int64(0)
	for ; s.at < len(s.data) && s.data[s.at]-'0' <= 9; s.at++ {
		if s.at-first == maxDigits {
			s.at = start
			return s.library(v, depth)
		}
		n = n*10 + int64(s.data[s.at]-'0')
	}
	if s.at == first || s.data[first] == '0' && (s.at > first+1 || negative) { // nothing, a zero in front, or less than nothing
		return false
	}
	if negative {
		n = -n
	}
	if v.OverflowInt(n) {
		return false
	}
	v.SetInt(n)
	return true // what follows a digit and is neither a comma nor an end is refused by who called
}

func (s *scan) text(v reflect.Value, depth int) bool {
	start := s.at
	if !s.take('"') {
		return false
	}
	n := plain(s.data[s.at:])
	content := s.data[s.at : s.at+n]
	s.at += n
	if s.take('"') {
		v.SetString(string(content))
		return true
	}
	s.at = start
	return s.library(v, depth)
}

// moment reads a time in UTC. It leaves others to the library, and whatever [time.Time.UnmarshalText] is lax about.
func (s *scan) moment(v reflect.Value, depth int) bool {
	const shortest = "2006-01-02T15:04:05Z"
	start := s.at
	if s.take('"') {
		n := plain(s.data[s.at:])
		content := s.data[s.at : s.at+n]
		s.at += n
		to, ok := v.Addr().Interface().(*time.Time)
		if ok && n >= len(shortest) && content[len("2006-01-02T15")] == ':' && strings.IndexByte(".Z", content[len(shortest)-1]) >= 0 &&
			content[n-1] == 'Z' && s.take('"') && to.UnmarshalText(content) == nil {
			return true
		}
		v.SetZero()
	}
	s.at = start
	return s.library(v, depth)
}

func (s *scan) list(as *shape, v reflect.Value, depth int) bool {
	if !s.take('[') {
		return false
	}
	if s.take(']') {
		v.Set(reflect.MakeSlice(as.goes, 0, 0))
		return true
	}
	for n := 0; ; n++ {
		v.Grow(1)
		v.SetLen(n + 1)
		v.Index(n).SetZero()
		if !s.value(as.elem, v.Index(n), depth+1) {
			return false
		}
		if !s.take(',') {
			return s.take(']')
		}
	}
}

// object reads an object whose members come in the order of the struct's fields: so each is there once at most, and none is unknown.
func (s *scan) object(as *shape, v reflect.Value, depth int) bool {
	if !s.take('{') {
		return false
	}
	if s.take('}') {
		return true
	}
	for i := range as.members {
		m := &as.members[i]
		if !s.word(m.name) {
			continue
		}
		if !s.value(m.shape, v.Field(m.index), depth+1) {
			return false
		}
		if !s.take(',') {
			return s.take('}')
		}
	}
	return false
}

// pass passes over any value, of which it looks at the form alone.
func (s *scan) pass(depth int) bool {
	if depth > maxDepth {
		return false
	}
	switch c := s.peek(); c {
	case '{':
		s.at++
		if s.take('}') {
			return true
		}
		for {
			if !s.passText() || !s.take(':') || !s.pass(depth+1) {
				return false
			}
			if !s.take(',') {
				return s.take('}')
			}
		}
	case '[':
		s.at++
		if s.take(']') {
			return true
		}
		for {
			if !s.pass(depth + 1) {
				return false
			}
			if !s.take(',') {
				return s.take(']')
			}
		}
	case '"':
		return s.passText()
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		return s.passNumber()
	}
}

func (s *scan) passText() bool {
	if !s.take('"') {
		return false
	}
	for {
		s.at += plain(s.data[s.at:])
		switch c := s.peek(); {
		case c == '"':
			s.at++
			return true
		case c == '\\' && s.at+1 < len(s.data):
			s.at += 2
		case c >= 0x80:
			s.at++
		default: // a control character, or the end
			return false
		}
	}
}

// passNumber passes over a number (RFC 8259, section 6).
func (s *scan) passNumber() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

// digits passes over digits, one at least.
func (s *scan) digits() bool {
	first := s.at
	for s.at < len(s.data) && s.data[s.at]-'0' <= 9 {
		s.at++
	}
	return s.at > first
}

// plain returns how many bytes of text come first that stand for themselves within a JSON string: printable ASCII but for quotes and backslashes. It looks at
// eight at once: in each byte of found the highest bit is set where that byte of word is none of these, and right up to the first that is.
func plain(text []byte) int {
	const (
		ones = 0x0101010101010101
		high = 0x80 * ones
	)
	n := 0
	for ; len(text)-n >= 8; n += 8 {
		word := binary.LittleEndian.Uint64(text[n:])
		quote, backslash := word^'"'*ones, word^'\\'*ones
		found := (word | (word-' '*ones)&^word | (quote-ones)&^quote | (backslash-ones)&^backslash) & high
		if found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for ; n < len(text); n++ {
		if c := text[n]; c < ' ' || c >= 0x80 || c == '"' || c == '\\' {
			break
		}
	}
	return n
}
