package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxNesting bounds how deep a document is nested. The format itself needs seven levels, claims in tests a few more.
const maxNesting = 24

// reader reads one YAML document strictly, collecting problems with their places.
type reader struct {
	problems
	source   []byte
	kind     string                  // of the document; "" for a policy
	most     int                     // bytes of the document; MaxSource when 0
	misspelt map[*yaml.Node][]string // members that a mapping seems to have under a wrong name
}

// document parses the source into its root node. Anchors, aliases, tags, further documents and characters that do not show are refused: each
// would let a document mean something else than what a reviewer reads.
func (r *reader) document() *yaml.Node {
	if most := cmp.Or(r.most, MaxSource); len(r.source) > most {
		r.add(Problem{Message: fmt.Sprintf("the document has %d bytes", len(r.source)), Expected: fmt.Sprintf("at most %d", most)})
		return nil
	}
	if !utf8.Valid(r.source) {
		r.add(Problem{Message: "the document is not UTF-8"})
		return nil
	}
	if at := hidden(r.source); at >= 0 {
		before := r.source[:at]
		r.add(Problem{
			Line: 1 + bytes.Count(before, []byte("\n")), Column: 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]),
			Message:  fmt.Sprintf("there is a character that a screen does not show: %U", firstRune(r.source[at:])),
			Expected: "lines that end in a line feed, and text in its own direction",
		})
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(r.source))
	var root, next yaml.Node
	if err := decoder.Decode(&root); err != nil {
		r.syntax(err)
		return nil
	}
	if err := decoder.Decode(&next); err == nil {
		r.add(Problem{Line: next.Line, Column: next.Column, Message: "there is a second document", Expected: "one document"})
		return nil
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
		return nil
	}
	if len(root.Content) != 1 || !r.plain(root.Content[0], 0) {
		return nil
	}
	return root.Content[0]
}

// hidden returns where a character is that makes the document another one for its parser than for its reviewer, or -1: those that YAML takes
// for the end of a line, and so of a comment, and screens do not, and those that turn the direction of text (Unicode TR36, section 2.1.2).
func hidden(source []byte) int {
	for at, c := range string(source) {
		switch {
		case c == '\u0085' || c == '\u2028' || c == '\u2029' || unicode.Is(unicode.Bidi_Control, c):
			return at
		case c == '\r' && !bytes.HasPrefix(source[at+1:], []byte("\n")):
			return at
		}
	}
	return -1
}

func firstRune(text []byte) rune {
	c, _ := utf8.DecodeRune(text)
	return c
}

// syntax reports an error of the YAML library, whose only form of position is the beginning of its text.
func (r *reader) syntax(err error) {
	if errors.Is(err, io.EOF) {
		r.add(Problem{Message: "the document is empty", Expected: "a document of kind " + r.kindOf()})
		return
	}
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 0
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, message, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				line, text = n, message
			}
		}
	}
	p := Problem{Line: line, Message: "this is not YAML: " + text}
	// The commonest cause by far: "that: !claims.debug" begins a YAML tag.
	if i := bytes.Index(r.source, []byte("that: !")); i >= 0 {
		p.Line, p.Expected = 1+bytes.Count(r.source[:i], []byte("\n")), "quotes around an expression that begins with !"
	}
	if p.Line > 0 {
		p.Column = 1
	}
	r.add(p)
}

func (r *reader) plain(n *yaml.Node, depth int) bool {
	switch {
	case depth > maxNesting:
		r.at(n, "", Problem{Message: "the document is nested too deep", Expected: fmt.Sprintf("at most %d levels", maxNesting)})
		return false
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.at(n, "", Problem{Message: "anchors and aliases are not read", Expected: "the value itself"})
		return false
	case n.Style&yaml.TaggedStyle != 0:
		r.at(n, "", Problem{Message: "tags are not read", Expected: "a plain value; put quotes around an expression that begins with !"})
		return false
	}
	ok := true
	for _, child := range n.Content {
		ok = r.plain(child, depth+1) && ok
	}
	return ok
}

// at adds a problem at a node.
func (r *reader) at(n *yaml.Node, path string, p Problem) {
	p.Line, p.Column, p.Path = n.Line, n.Column, path
	r.add(p)
}

// describe names what a node is, for "expected a list, found …".
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "members"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!str":
		return "text"
	case "!!bool":
		return "a truth value"
	}
	return "a number or date"
}

func (r *reader) wrongType(n *yaml.Node, path, expected string) {
	r.at(n, path, Problem{Message: "found " + describe(n), Expected: expected})
}

// join extends the path of a member.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// pair is one member of a mapping.
type pair struct{ key, value *yaml.Node }

// pairs returns the members of a mapping in the order written; keys are text and each is there once.
func (r *reader) pairs(n *yaml.Node, path string) []pair {
	if n.Kind != yaml.MappingNode {
		r.wrongType(n, path, "members")
		return nil
	}
	var out []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			r.wrongType(key, path, "the name of a member")
			continue
		}
		if slices.ContainsFunc(out, func(p pair) bool { return p.key.Value == key.Value }) {
			r.at(key, join(path, key.Value), Problem{Message: fmt.Sprintf("member %q is there twice", seenText(key.Value))})
			continue
		}
		out = append(out, pair{key, value})
	}
	return out
}

// members returns a mapping's members by name; those that are not known are reported.
func (r *reader) members(n *yaml.Node, path string, known ...string) map[string]*yaml.Node {
	out := map[string]*yaml.Node{}
	for _, p := range r.pairs(n, path) {
		if !slices.Contains(known, p.key.Value) {
			meant := nearest(p.key.Value, known)
			if r.misspelt == nil {
				r.misspelt = map[*yaml.Node][]string{}
			}
			r.misspelt[n] = append(r.misspelt[n], meant)
			r.at(p.key, path, Problem{
				Message:  fmt.Sprintf("there is no member %q here", seenText(p.key.Value)),
				Expected: "one of " + strings.Join(known, ", "),
				Nearest:  meant,
			})
			continue
		}
		out[p.key.Value] = p.value
	}
	return out
}

// missing reports a member that has to be there, unless it seems to be, misspelt: that was reported. holder is the mapping without it.
func (r *reader) missing(holder *yaml.Node, path, name, expected string) {
	if slices.Contains(r.misspelt[holder], name) {
		return
	}
	r.at(holder, path, Problem{Message: fmt.Sprintf("member %q is missing", name), Expected: expected})
}

// items returns the elements of a list of at most the given number.
func (r *reader) items(n *yaml.Node, path string, most int) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		r.wrongType(n, path, "a list")
		return nil
	}
	if len(n.Content) > most {
		r.at(n, path, Problem{Message: fmt.Sprintf("the list has %d elements", len(n.Content)), Expected: fmt.Sprintf("at most %d", most)})
		return nil
	}
	return n.Content
}

// text returns a scalar that YAML reads as text, of 1 to most bytes.
func (r *reader) text(n *yaml.Node, path string, most int) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str":
		expected := "text"
		if n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null" {
			expected = fmt.Sprintf("text: put quotes around %s", seenText(n.Value))
		}
		r.wrongType(n, path, expected)
		return "", false
	case strings.TrimSpace(n.Value) == "":
		r.at(n, path, Problem{Message: "the text is empty"})
		return "", false
	case len(n.Value) > most:
		r.at(n, path, Problem{Message: fmt.Sprintf("the text has %d bytes", len(n.Value)), Expected: fmt.Sprintf("at most %d", most)})
		return "", false
	}
	return n.Value, true
}

// name returns a scalar that CheckName accepts.
func (r *reader) name(n *yaml.Node, path string) (string, bool) {
	text, ok := r.text(n, path, MaxText)
	if ok && CheckName(text) != nil {
		r.at(n, path, Problem{Message: fmt.Sprintf("%q is not a name", seenText(text)), Expected: nameGrammar})
		return "", false
	}
	return text, ok
}

// duration returns a duration of more than nothing and at most MaxTerm.
func (r *reader) duration(n *yaml.Node, path string) (time.Duration, bool) {
	const expected = "a duration such as 60s, 5m or 12h"
	if n.Kind != yaml.ScalarNode {
		r.wrongType(n, path, expected)
		return 0, false
	}
	d, err := time.ParseDuration(n.Value)
	switch {
	case err != nil:
		r.at(n, path, Problem{Message: fmt.Sprintf("%q is not a duration", seenText(n.Value)), Expected: expected})
	case d <= 0 || d > MaxTerm:
		r.at(n, path, Problem{Message: fmt.Sprintf("%v is out of range", d), Expected: fmt.Sprintf("more than 0, at most %v", MaxTerm)})
	default:
		return d, true
	}
	return 0, false
}

// oneOf returns a scalar that is one of the given words.
func (r *reader) oneOf(n *yaml.Node, path string, words ...string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		r.wrongType(n, path, "one of "+strings.Join(words, ", "))
		return "", false
	}
	if !slices.Contains(words, n.Value) {
		r.at(n, path, Problem{
			Message: fmt.Sprintf("found %q", seenText(n.Value)), Expected: strings.Join(words, " or "), Nearest: nearest(n.Value, words),
		})
		return "", false
	}
	return n.Value, true
}

// json returns a value as encoding/json would decode it into an any.
func (r *reader) json(n *yaml.Node, path string) (any, bool) {
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for _, p := range r.pairs(n, path) {
			v, ok := r.json(p.value, join(path, p.key.Value))
			if !ok {
				return nil, false
			}
			out[p.key.Value] = v
		}
		return out, true
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for i, element := range n.Content {
			v, ok := r.json(element, fmt.Sprintf("%s[%d]", path, i))
			if !ok {
				return nil, false
			}
			out = append(out, v)
		}
		return out, true
	}
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		return n.Value, true
	case "!!bool":
		return n.Value == "true" || n.Value == "True" || n.Value == "TRUE", true
	case "!!int":
		if v, err := strconv.ParseInt(n.Value, 0, 64); err == nil {
			return v, true
		}
	}
	r.wrongType(n, path, "text, true, false or a whole number")
	return nil, false
}
