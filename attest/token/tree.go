package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vouchsafe/vouchsafe/attest/internal/jsonscan"
)

// maxDepth bounds nesting. Tokens nest about eight deep.
const maxDepth = 32

// tree is a JSON object taken apart in one pass, which is all that ever reads the text: tokens are a few kilobytes, and to read them for validity,
// for duplicates and for each level anew would cost as much as their signature. It has the members of the object and of every object that is a
// member; what is in arrays is held to the same rules and read when it is asked for. Texts of members are parts of the one text.
type tree struct {
	text    string
	nodes   []node // the object itself first, and each object's members behind it
	hashes  []byte // of the nodes' names, by rough
	failure error  // the first of any reading
}

// node is a member: its value in the text and, where that is an object, its members. Zero stands for no node.
type node struct {
	name        string
	start, end  int32
	first, next int32 // its own first member, and the next of the object that it is in
	parent      int32
	count       int32 // of its own members
}

var (
	errJSON = errors.New("not valid JSON")
	errDeep = fmt.Errorf("nested over %d deep", maxDepth)
)

// parse takes text apart. A member that is there twice in any object is an error, also in one that nobody asks for.
func parse(text string) (*tree, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("JSON that is not UTF-8")
	}
	p := parser{text: text}
	room := 1 + min(strings.Count(p.text, ":"), 128) // of most tokens, for all there will be
	p.nodes, p.hashes = make([]node, 1, room), make([]byte, 1, room)
	if p.next() != '{' {
		return nil, errors.New("not a JSON object")
	}
	if err := p.object(0, 0); err != nil {
		return nil, err
	}
	p.nodes[0].end = int32(p.at)
	if p.next() != 0 || p.at != len(p.text) {
		return nil, errJSON
	}
	return &tree{text: p.text, nodes: p.nodes, hashes: p.hashes}, nil
}

// parser reads JSON (RFC 8259).
type parser struct {
	text   string
	at     int
	nodes  []node
	hashes []byte
}

// next passes over white space and returns the byte after it, without passing over that; 0 at the end.
func (p *parser) next() byte {
	for ; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// add adds a node and returns where it is.
func (p *parser) add(n node, hash byte) int32 {
	p.nodes, p.hashes = append(p.nodes, n), append(p.hashes, hash)
	return int32(len(p.nodes) - 1)
}

// drop drops a node and what was added after it.
func (p *parser) drop(at int32) { p.nodes, p.hashes = p.nodes[:at], p.hashes[:at] }

// object reads an object from its brace on, and adds its members to the node of.
func (p *parser) object(of int32, depth int) error {
	if depth > maxDepth {
		return errDeep
	}
	p.at++ // {
	if p.next() == '}' {
		p.at++
		return nil
	}
	var seen names
	for last := int32(0); ; {
		if p.next() != '"' {
			return errJSON
		}
		name, err := p.string()
		if err != nil {
			return err
		}
		hash := rough(name)
		if seen.add(p.nodes, of, name, hash) {
			return fmt.Errorf("member %.80q is there twice", name)
		}
		if p.next() != ':' {
			return errJSON
		}
		p.at++
		p.next()
		this := p.add(node{name: name, start: int32(p.at), parent: of}, hash)
		p.nodes[of].count++
		if last == 0 {
			p.nodes[of].first = this
		} else {
			p.nodes[last].next = this
		}
		last = this
		if err := p.value(this, depth+1); err != nil {
			return err
		}
		p.nodes[this].end = int32(p.at)
		switch p.next() {
		case '}':
			p.at++
			return nil
		case ',':
			p.at++
		default:
			return errJSON
		}
	}
}

// value reads the value that is next, of the node of.
func (p *parser) value(of int32, depth int) error {
	switch c := p.next(); {
	case c == '"':
		_, _, err := p.quoted()
		return err
	case c == '{':
		return p.object(of, depth)
	case c == '[':
		return p.array(depth)
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for _, literal := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(p.text[p.at:], literal) {
			p.at += len(literal)
			return nil
		}
	}
	return errJSON
}

func (p *parser) array(depth int) error {
	if depth > maxDepth {
		return errDeep
	}
	p.at++ // [
	if p.next() == ']' {
		p.at++
		return nil
	}
	for {
		// Nodes of objects in an array are for telling duplicates only.
		element := p.add(node{}, 0)
		err := p.value(element, depth+1)
		p.drop(element)
		if err != nil {
			return err
		}
		switch p.next() {
		case ']':
			p.at++
			return nil
		case ',':
			p.at++
		default:
			return errJSON
		}
	}
}

func (p *parser) number() error {
	if p.text[p.at] == '-' {
		p.at++
	}
	switch {
	case p.skip('0'):
	case p.digits() == 0:
		return errJSON
	}
	if p.skip('.') && p.digits() == 0 {
		return errJSON
	}
	if p.skip('e') || p.skip('E') {
		if !p.skip('+') {
			p.skip('-')
		}
		if p.digits() == 0 {
			return errJSON
		}
	}
	return nil
}

func (p *parser) skip(c byte) bool {
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) digits() (n int) {
	for ; p.at < len(p.text) && p.text[p.at]-'0' <= 9; p.at++ {
		n++
	}
	return n
}

// string reads a string.
func (p *parser) string() (string, error) {
	start := p.at
	raw, escaped, err := p.quoted()
	if err != nil || !escaped {
		return raw, err
	}
	return unescape(p.text[start:p.at])
}

// quoted passes over a string and returns what is between its quotes, as it is written, and whether there are escapes in it.
func (p *parser) quoted() (raw string, escaped bool, err error) {
	text := p.text[p.at+1:]
	for i := 0; ; {
		i += jsonscan.Plain(text[i:])
		switch {
		case i == len(text) || text[i] < ' ':
			return "", false, errJSON
		case text[i] == '"':
			p.at += i + 2
			return text[:i], escaped, nil
		}
		n := escapeLength(text[i:])
		if n == 0 {
			return "", false, errJSON
		}
		escaped = true
		i += n
	}
}

// escapeLength returns the length of the escape that text begins with, 0 where that is none.
func escapeLength(text string) int {
	if len(text) < 2 {
		return 0
	}
	if text[1] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, text[1]) < 0 {
			return 0
		}
		return 2
	}
	if len(text) < 6 || strings.Trim(text[2:6], "0123456789abcdefABCDEF") != "" {
		return 0
	}
	return 6
}

// unescape decodes a valid string in its quotes. One without escapes has nothing to decode.
func unescape(quoted string) (string, error) {
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	var text string
	err := json.Unmarshal([]byte(quoted), &text)
	return text, err
}

// rough is a hash of a name that is quick rather than good: names that differ mostly differ in it. It has one byte, since bytes are what a
// processor looks through fastest.
func rough(name string) byte {
	hash := uint32(len(name))
	if name != "" {
		hash = (hash*31+uint32(name[len(name)-1]))*31 + uint32(name[len(name)/2])
	}
	return byte(hash * 0x9e3779b1 >> 24)
}

// names tells members that are there twice.
type names struct {
	marks [4]uint64           // a bit for each hash: most names that are new are seen to be by this alone
	all   map[string]struct{} // where there are many
}

// fewNames is how many names are compared one by one.
const fewNames = 64

// add adds a name to those of the node of, and reports whether it is one of them.
func (n *names) add(nodes []node, of int32, name string, hash byte) (twice bool) {
	marks, mark := &n.marks[hash/64], uint64(1)<<(hash%64)
	isNew := *marks&mark == 0
	*marks |= mark
	if count := nodes[of].count; count >= fewNames {
		if n.all == nil {
			n.all = make(map[string]struct{}, 2*count)
			for at := nodes[of].first; at != 0; at = nodes[at].next {
				n.all[nodes[at].name] = struct{}{}
			}
		}
		_, twice = n.all[name]
		n.all[name] = struct{}{}
		return twice
	}
	if isNew {
		return false
	}
	for at := nodes[of].first; at != 0; at = nodes[at].next {
		if nodes[at].name == name {
			return true
		}
	}
	return false
}

// path returns the names that lead to a node, with a dot behind each.
func (t *tree) path(at int32) string {
	var names []string
	for ; at != 0; at = t.nodes[at].parent {
		names = append(names, t.nodes[at].name+".")
	}
	slices.Reverse(names)
	return strings.Join(names, "")
}
