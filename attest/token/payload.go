package token

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// object reads the members of a JSON object of a token. A member that is null counts as absent. One that is there with another type than was
// asked for makes the whole reading fail, so that what a token says in an unforeseen way is never taken for something it does not say. All
// objects of one token share one failure, which is asked for at the end.
type object struct {
	members map[string]json.RawMessage
	path    string // with a dot at its end, for errors
	failure *error
}

// parseObject reads the outermost object. A member that is there twice is an error.
func parseObject(text []byte) (object, error) {
	members, err := strictjson.Object(text)
	if err != nil {
		return object{}, err
	}
	return object{members: members, failure: new(error)}, nil
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
	s, err := strictjson.String(raw)
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
	in := object{path: o.path + name + ".", failure: o.failure}
	raw, ok := o.raw(name)
	if !ok {
		return in
	}
	members, err := strictjson.Object(raw)
	if err != nil {
		o.fail(name, "an object with each member once")
		return in
	}
	in.members = members
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
	var all []*string
	if err := json.Unmarshal(raw, &all); err != nil || len(all) > maxList {
		o.fail(name, fmt.Sprintf("a string or a list of at most %d", maxList))
		return nil
	}
	out := make([]string, 0, len(all))
	for _, s := range all {
		if s == nil || len(*s) > maxText {
			o.fail(name, fmt.Sprintf("a list of strings of at most %d bytes", maxText))
			return nil
		}
		out = append(out, *s)
	}
	return out
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
