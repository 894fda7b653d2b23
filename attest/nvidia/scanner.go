package nvidia

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// Evidence is almost nothing but a few long strings. encoding/json and a check for duplicates look at each byte of them four times,
// which together takes a third of the time of a signature check; this scanner finds their ends. What it does not know it leaves to
// encoding/json.

var errJSON = errors.New("not JSON of the known form")

// maxSkip bounds the value of a member that is not known, in bytes: what is passed over is still read as JSON.
const maxSkip = 64 << 10

type scanner struct {
	data []byte
	at   int
}

// scanEvidence reads evidence into at most most devices, and reports whether there were more. Members that are not known are passed
// over; one that is there twice, or is a known one in other letters, is an error.
func scanEvidence(data []byte, most int) (devices []wireDevice, more bool, err error) {
	if !utf8.Valid(data) {
		return nil, false, errJSON
	}
	s := &scanner{data: data}
	err = s.object(func(name string) (bool, error) {
		if name != "device_evidence_list" {
			return strings.EqualFold(name, "device_evidence_list"), s.skip()
		}
		return false, s.list(func() error {
			if more = len(devices) == most; more {
				return errMore
			}
			var d wireDevice
			if err := s.device(&d); err != nil {
				return err
			}
			devices = append(devices, d)
			return nil
		})
	})
	if err == nil && s.next() != 0 {
		err = errJSON
	}
	return devices, more, err
}

var errMore = errors.New("more devices than are read")

func (s *scanner) device(d *wireDevice) error {
	return s.object(func(name string) (bool, error) {
		known := map[string]*string{"arch": &d.Architecture, "uuid": &d.UUID, "evidence": &d.Evidence, "certificate": &d.Certificate}
		if into := known[name]; into != nil {
			var err error
			*into, err = s.text()
			return false, err
		}
		return known[strings.ToLower(name)] != nil, s.skip()
	})
}

// next passes white space and returns the byte after it, 0 at the end.
func (s *scanner) next() byte {
	for ; s.at < len(s.data); s.at++ {
		switch c := s.data[s.at]; c {
		case ' ', '\t', '\n', '\r':
		case 0:
			return 1 // never part of JSON
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.next() != c {
		return false
	}
	s.at++
	return true
}

// list calls element where each element of a list begins.
func (s *scanner) list(element func() error) error {
	if !s.take('[') {
		return errJSON
	}
	if s.take(']') {
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if s.take(']') {
			return nil
		}
		if !s.take(',') {
			return errJSON
		}
	}
}

// maxMembers bounds the members of an object. There are 4 of a device.
const maxMembers = 64

// object calls member where the value of each member begins. It reports whether the name is one that must not be there.
func (s *scanner) object(member func(name string) (forbidden bool, err error)) error {
	if !s.take('{') {
		return errJSON
	}
	if s.take('}') {
		return nil
	}
	var names []string
	for {
		name, err := s.text()
		if err != nil {
			return err
		}
		for _, other := range names {
			if other == name {
				return errors.New("a member is there twice")
			}
		}
		if names = append(names, name); len(names) > maxMembers || !s.take(':') {
			return errJSON
		}
		forbidden, err := member(name)
		if err != nil {
			return err
		}
		if forbidden {
			return errors.New("a known member is written in other letters")
		}
		if s.take('}') {
			return nil
		}
		if !s.take(',') {
			return errJSON
		}
	}
}

// text reads a string.
func (s *scanner) text() (string, error) {
	if !s.take('"') {
		return "", errJSON
	}
	for end := s.at; ; end++ {
		i := bytes.IndexByte(s.data[end:], '"')
		if i < 0 {
			return "", errJSON
		}
		end += i
		raw := s.data[s.at:end]
		slashes := len(raw) - len(bytes.TrimRight(raw, `\`))
		if slashes%2 == 1 {
			continue // the quote is escaped
		}
		start := s.at
		s.at = end + 1
		if bytes.IndexByte(raw, '\\') < 0 && !bytes.ContainsFunc(raw[:min(len(raw), maxPlain)], isControl) {
			if len(raw) <= maxPlain || plain(raw) {
				return string(raw), nil
			}
		}
		var text string
		if err := json.Unmarshal(s.data[start-1:end+1], &text); err != nil {
			return "", errJSON
		}
		return text, nil
	}
}

// maxPlain is up to where strings are looked through rune by rune.
const maxPlain = 128

func isControl(c rune) bool { return c < ' ' }

// plain reports whether text has no control character, in eight bytes at a time as the compiler sees fit.
func plain(text []byte) bool {
	var low byte
	for _, c := range text {
		low |= (c - ' ') &^ c & 0x80 // set where c < ' '
	}
	return low == 0
}

// skip passes over a value of any kind, and leaves it to others whether it is one and has no member twice.
func (s *scanner) skip() error {
	s.next()
	decoder := json.NewDecoder(bytes.NewReader(s.data[s.at:min(len(s.data), s.at+maxSkip)]))
	var value json.RawMessage
	if err := decoder.Decode(&value); err != nil {
		return errJSON
	}
	var ignored any
	if err := strictjson.UnmarshalNewer(value, &ignored); err != nil {
		return err
	}
	s.at += int(decoder.InputOffset())
	return nil
}
