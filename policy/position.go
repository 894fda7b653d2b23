package policy

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// scalar is a YAML scalar with its place.
type scalar struct {
	value        string
	line, column int // 1-based
	style        yaml.Style
}

func scalarOf(n *yaml.Node) scalar { return scalar{n.Value, n.Line, n.Column, n.Style} }

// locate returns the line and column in the document of the character at offset in the scalar's value. It walks value and source side by side:
// characters agree but for quotes, escapes, and runs of white space, which YAML folds.
func (s scalar) locate(source []byte, offset int) (line, column int) {
	w := &walker{text: string(source), line: 1, column: 1}
	for w.line < s.line && w.next() {
	}
	for w.line == s.line && w.column < s.column && w.next() {
	}
	switch {
	case s.style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		for header := w.line; w.line == header && w.next(); {
		}
		w.space()
	case s.style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		w.next()
	}
	value := []rune(s.value)
	offset = min(offset, len(value))
	for i := 0; i < offset; {
		if unicode.IsSpace(value[i]) && !(s.style&yaml.DoubleQuotedStyle != 0 && w.peek() == '\\') {
			for i < offset && unicode.IsSpace(value[i]) {
				i++
			}
			w.space()
			continue
		}
		w.character(s.style)
		i++
	}
	if s.style&yaml.DoubleQuotedStyle != 0 {
		w.continuation()
	}
	return w.line, w.column
}

// walker goes through a document, keeping the line and column.
type walker struct {
	text         string
	line, column int
}

func (w *walker) peek() rune {
	r, _ := utf8.DecodeRuneInString(w.text)
	return r
}

func (w *walker) next() bool {
	if w.text == "" {
		return false
	}
	r, n := utf8.DecodeRuneInString(w.text)
	w.text = w.text[n:]
	switch {
	case r == '\n', r == '\r' && !strings.HasPrefix(w.text, "\n"):
		w.line, w.column = w.line+1, 1
	case r != '\r':
		w.column++
	}
	return true
}

func (w *walker) space() {
	for w.text != "" && unicode.IsSpace(w.peek()) {
		w.next()
	}
}

// continuation skips an escaped line break.
func (w *walker) continuation() {
	for strings.HasPrefix(w.text, "\\\n") || strings.HasPrefix(w.text, "\\\r") {
		w.next()
		w.space()
	}
}

// character skips what stands for one character of the value.
func (w *walker) character(style yaml.Style) {
	switch {
	case style&yaml.SingleQuotedStyle != 0 && strings.HasPrefix(w.text, "''"):
		w.next()
	case style&yaml.DoubleQuotedStyle != 0:
		w.continuation()
		if w.peek() != '\\' {
			break
		}
		w.next()
		digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[w.peek()]
		for range digits {
			w.next()
		}
	}
	w.next()
}
