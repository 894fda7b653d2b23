package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxDepth bounds nesting. Tokens nest about eight deep.
const maxDepth = 32

// splitter takes JSON that is known to be valid apart, all of it in one pass: tokens are a few kilobytes, and reading each level anew would cost
// more than their signature. A member that is there twice in any object is an error, also in one that nobody asks for.
type splitter struct {
	text []byte
	at   int
}

// split reads an object with all the objects in it.
func split(text []byte) (object, error) {
	if !utf8.Valid(text) {
		return object{}, errors.New("JSON that is not UTF-8")
	}
	if !json.Valid(text) {
		return object{}, errors.New("not valid JSON")
	}
	s := splitter{text: text}
	if s.next() != '{' {
		return object{}, errors.New("not a JSON object")
	}
	return s.object(0)
}

// next passes over white space and returns the byte after it, without passing over that.
func (s *splitter) next() byte {
	for {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return c
		}
	}
}

// object reads an object from its brace on.
func (s *splitter) object(depth int) (object, error) {
	o := object{members: map[string]json.RawMessage{}}
	if depth > maxDepth {
		return o, fmt.Errorf("nested over %d deep", maxDepth)
	}
	s.at++ // {
	for {
		switch s.next() {
		case '}':
			s.at++
			return o, nil
		case ',':
			s.at++
			continue
		}
		name, err := s.string()
		if err != nil {
			return o, err
		}
		if _, twice := o.members[name]; twice {
			return o, fmt.Errorf("member %.80q is there twice", name)
		}
		s.next()
		s.at++ // :
		s.next()
		start := s.at
		child, isObject, err := s.value(depth + 1)
		if err != nil {
			return o, err
		}
		o.members[name] = json.RawMessage(s.text[start:s.at:s.at])
		if isObject {
			if o.children == nil {
				o.children = map[string]object{}
			}
			o.children[name] = child
		}
	}
}

// value passes over a value and returns it where it is an object.
func (s *splitter) value(depth int) (o object, isObject bool, err error) {
	switch s.next() {
	case '{':
		o, err = s.object(depth)
		return o, true, err
	case '[':
		return o, false, s.array(depth)
	case '"':
		s.quoted()
	default:
		s.scalar()
	}
	return o, false, nil
}

func (s *splitter) array(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested over %d deep", maxDepth)
	}
	s.at++ // [
	for {
		switch s.next() {
		case ']':
			s.at++
			return nil
		case ',':
			s.at++
		default:
			if _, _, err := s.value(depth + 1); err != nil {
				return err
			}
		}
	}
}

// scalar passes over a number, true, false or null.
func (s *splitter) scalar() {
	for ; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case ',', ']', '}', ' ', '\t', '\r', '\n':
			return
		}
	}
}

// quoted passes over a string and returns what is between its quotes, as it is written.
func (s *splitter) quoted() []byte {
	start := s.at + 1
	end := start
	for {
		end += bytes.IndexByte(s.text[end:], '"')
		escapes := 0
		for s.text[end-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			break
		}
		end++
	}
	s.at = end + 1
	return s.text[start:end]
}

// string reads a string.
func (s *splitter) string() (string, error) {
	start := s.at
	raw := s.quoted()
	return decodeText(s.text[start:s.at], raw)
}

// decodeText decodes a string: quoted as it is written, and raw what is between the quotes. JSON that is valid has nothing to decode but escapes.
func decodeText(quoted, raw []byte) (string, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw), nil
	}
	var text string
	err := json.Unmarshal(quoted, &text)
	return text, err
}
