package token

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// object reads the members of a JSON object of a token. A member that is null counts as absent. One that is there with another type than was
// asked for makes the whole reading fail, so that what a token says in an unforeseen way is never taken for something it does not say. All
// objects of one token share one failure, which is asked for at the end.
type object struct {
	members  map[string]json.RawMessage
	children map[string]object // those of the members that are objects
	path     string            // with a dot at its end, for errors
	failure  *error
}

// parseObject reads the outermost object. A member that is there twice, in it or in anything in it, is an error.
func parseObject(text []byte) (object, error) {
	o, err := split(text)
	o.failure = new(error)
	return o, err
}

func (o object) fail(name, want string) {
	if *o.failure == nil {
		*o.failure = attest.Refuse(attest.CodeMalformed, "member %.80q of the token is not %s", o.path+name, want)
	}
}

// err returns the first failure of any reading.
func (o object) err() error { return *o.failure }

func (o object) raw(name string) (json.RawMessage, bool) {
	raw, ok := o.members[name]
	return raw, ok && string(raw) != "null"
}

func (o object) has(name string) bool {
	_, ok := o.raw(name)
	return ok
}

// text returns a string, "" when there is none.
func (o object) text(name string) string {
	raw, ok := o.raw(name)
	if !ok {
		return ""
	}
	if raw[0] != '"' {
		o.fail(name, "a string")
		return ""
	}
	s, err := decodeText(raw, raw[1:len(raw)-1])
	if err != nil {
		o.fail(name, "a string")
	}
	return s
}

// flag returns a boolean, nil when there is none.
func (o object) flag(name string) *bool {
	raw, ok := o.raw(name)
	if !ok {
		return nil
	}
	switch string(raw) {
	case "true":
		return attest.Ptr(true)
	case "false":
		return attest.Ptr(false)
	}
	o.fail(name, "true or false")
	return nil
}

// maxNumber bounds numbers: seconds since 1970 until the year 36812, and what JSON holds exactly.
const maxNumber = 1 << 40

// number returns an integer between 0 and maxNumber.
func (o object) number(name string) (n int64, ok bool) {
	raw, ok := o.raw(name)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 0 || n > maxNumber {
		o.fail(name, "a whole number in range")
		return 0, false
	}
	return n, true
}

// signed returns a small integer of either sign.
func (o object) signed(name string) (n int, ok bool) {
	raw, ok := o.raw(name)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(string(raw))
	if err != nil || n < -1<<15 || n > 1<<15 {
		o.fail(name, "a small whole number")
		return 0, false
	}
	return n, true
}

// inner returns an object. One that is not there has no members.
func (o object) inner(name string) object {
	in, ok := o.children[name]
	if !ok && o.has(name) {
		o.fail(name, "an object")
	}
	in.path, in.failure = o.path+name+".", o.failure
	return in
}

// Limits of lists and maps that claims are made of.
const (
	maxList = 256
	maxText = 16 << 10 // bytes of one string in a list: a certificate, or an argument of a container
)

// list returns an array of strings; a string alone counts as a list of one.
func (o object) list(name string) []string {
	raw, ok := o.raw(name)
	if !ok {
		return nil
	}
	if raw[0] == '"' {
		return []string{o.text(name)}
	}
	if raw[0] != '[' {
		o.fail(name, "a string or a list of strings")
		return nil
	}
	out := []string{}
	for s := (splitter{text: raw, at: 1}); ; {
		switch s.next() {
		case ']':
			return out
		case ',':
			s.at++
			continue
		case '"':
			if text, err := s.string(); err == nil && len(text) <= maxText && len(out) < maxList {
				out = append(out, text)
				continue
			}
		}
		o.fail(name, fmt.Sprintf("a list of at most %d strings of at most %d bytes", maxList, maxText))
		return nil
	}
}

// texts returns an object whose members are all strings.
func (o object) texts(name string) map[string]string {
	in := o.inner(name)
	if len(in.members) == 0 {
		return nil
	}
	if len(in.members) > maxList {
		o.fail(name, fmt.Sprintf("an object of at most %d members", maxList))
		return nil
	}
	out := make(map[string]string, len(in.members))
	for key := range in.members {
		out[key] = in.text(key)
	}
	return out
}

// strings returns the members that are strings, nil when none is.
func (o object) strings() map[string]string {
	var out map[string]string
	for name, raw := range o.members {
		if raw[0] == '"' && len(out) < maxList {
			if out == nil {
				out = map[string]string{}
			}
			out[name] = o.text(name)
		}
	}
	return out
}

// hex returns bytes that are written in hex, in lower case. Sizes are the lengths in bytes that it may have.
func (o object) hex(name string, sizes ...int) string {
	s := o.text(name)
	if s == "" {
		return ""
	}
	lower := strings.ToLower(s)
	fits := false
	for _, size := range sizes {
		fits = fits || len(lower) == 2*size
	}
	if !fits || strings.Trim(lower, "0123456789abcdef") != "" {
		o.fail(name, fmt.Sprintf("hex of %v bytes", sizes))
		return ""
	}
	return lower
}
