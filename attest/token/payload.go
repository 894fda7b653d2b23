package token

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/vouchsafe/vouchsafe/attest"
)

// object reads the members of a JSON object of a token. A member that is null counts as absent. One that is there with another type than was
// asked for makes the whole reading fail, so that what a token says in an unforeseen way is never taken for something it does not say. All
// objects of one token share one failure, which is asked for at the end.
type object struct {
	in      *tree
	at      int32 // its node; nowhere for one that is not there
	failure *error
}

// nowhere is the node of an object that is not there.
const nowhere = -1

// parseObject reads the outermost object. A member that is there twice, in it or in anything in it, is an error.
func parseObject(text string) (object, error) {
	t, err := parse(text)
	if err != nil {
		return object{}, err
	}
	return object{in: t, failure: &t.failure}, nil
}

func (o object) fail(name, want string) {
	if *o.failure == nil {
		*o.failure = attest.Refuse(attest.CodeMalformed, "member %.80q of the token is not %s", o.in.path(o.at)+name, want)
	}
}

// err returns the first failure of any reading.
func (o object) err() error { return *o.failure }

// count returns how many members there are.
func (o object) count() int {
	if o.at == nowhere {
		return 0
	}
	return int(o.in.nodes[o.at].count)
}

// all returns the names of the members and their values as they are written, in the order of the text.
func (o object) all() iter.Seq2[string, string] {
	return func(yield func(name, raw string) bool) {
		if o.at == nowhere {
			return
		}
		for at := o.in.nodes[o.at].first; at != 0; {
			n := &o.in.nodes[at]
			if !yield(n.name, o.in.text[n.start:n.end]) {
				return
			}
			at = n.next
		}
	}
}

// names returns the names of the members, sorted.
func (o object) names() []string {
	out := make([]string, 0, o.count())
	for name := range o.all() {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// find returns the node of a member, 0 when there is none.
func (o object) find(name string) int32 {
	if o.at == nowhere {
		return 0
	}
	// To look at what is behind the object, members or not, is quicker than to go from one member to the next.
	want, behind := rough(name), o.at+1
	for {
		next := bytes.IndexByte(o.in.hashes[behind:], want)
		if next < 0 {
			return 0
		}
		at := behind + int32(next)
		if n := &o.in.nodes[at]; n.parent == o.at && n.name == name {
			return at
		}
		behind = at + 1
	}
}

// raw returns the text of a member that is not null.
func (o object) raw(name string) (raw string, ok bool) {
	at := o.find(name)
	if at == 0 {
		return "", false
	}
	n := &o.in.nodes[at]
	raw = o.in.text[n.start:n.end]
	return raw, raw != "null"
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
	return o.unquote(name, raw)
}

// unquote returns the string that a member is written as.
func (o object) unquote(name, raw string) string {
	if raw[0] != '"' {
		o.fail(name, "a string")
		return ""
	}
	s, err := unescape(raw)
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
	switch raw {
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
	n, err := strconv.ParseInt(raw, 10, 64)
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
	n, err := strconv.Atoi(raw)
	if err != nil || n < -1<<15 || n > 1<<15 {
		o.fail(name, "a small whole number")
		return 0, false
	}
	return n, true
}

// inner returns an object. One that is not there has no members.
func (o object) inner(name string) object {
	at := o.find(name)
	if at != 0 {
		switch o.in.text[o.in.nodes[at].start] {
		case '{':
			return object{o.in, at, o.failure}
		case 'n': // null
		default:
			o.fail(name, "an object")
		}
	}
	return object{o.in, nowhere, o.failure}
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
	for p := (parser{text: raw, at: 1}); ; {
		switch p.next() {
		case ']':
			return out
		case ',':
			p.at++
			continue
		case '"':
			if text, err := p.string(); err == nil && len(text) <= maxText && len(out) < maxList {
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
	if in.count() == 0 {
		return nil
	}
	if in.count() > maxList {
		o.fail(name, fmt.Sprintf("an object of at most %d members", maxList))
		return nil
	}
	out := make(map[string]string, in.count())
	for key := range in.all() {
		out[key] = in.text(key)
	}
	return out
}

// strings returns the members that are strings, nil when none is.
func (o object) strings() map[string]string {
	var out map[string]string
	for name, raw := range o.all() {
		if raw[0] == '"' && len(out) < maxList {
			if out == nil {
				out = map[string]string{}
			}
			out[name] = o.unquote(name, raw)
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
	var all characters
	for i := range len(s) {
		all |= classes[s[i]]
	}
	if len(s)%2 != 0 || !slices.Contains(sizes, len(s)/2) || all&noHex != 0 {
		o.fail(name, "hex of as many bytes as it has")
		return ""
	}
	if all&upperHex == 0 {
		return s
	}
	lower := make([]byte, len(s))
	for i := range lower {
		lower[i] = s[i] | ' ' // which digits have
	}
	return string(lower)
}

// characters says what characters there are in a text that should be hex.
type characters uint8

const (
	upperHex characters = 1 << iota
	noHex
)

var classes = func() (table [256]characters) {
	for c := range table {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f':
		case c >= 'A' && c <= 'F':
			table[c] = upperHex
		default:
			table[c] = noHex
		}
	}
	return table
}()
