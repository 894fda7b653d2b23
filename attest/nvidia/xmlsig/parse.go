package xmlsig

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxDocument bounds a document, in bytes. NVIDIA's manifests have 21 KiB.
const MaxDocument = 256 << 10

// Bounds of a document's structure. Manifests nest 6 deep, have 70 elements with at most a dozen attributes, and 4 namespaces.
const (
	maxDepth      = 16
	maxElements   = 4096
	maxAttributes = 128
	maxNamespaces = 32 // in force at a time
)

// ErrSyntax says that a document is not of the XML that is accepted here.
var ErrSyntax = errors.New("xmlsig: not XML of the accepted kind")

// Element is an element of a document, with its name and namespace resolved.
type Element struct {
	Space, Name string      // namespace URI, "" for none, and local name
	Attributes  []Attribute // without namespace declarations, in the order of the document
	Children    []Node

	prefix       string
	declarations []declaration
}

// Attribute is an attribute of an element.
type Attribute struct {
	Space, Name string // namespace URI, "" for an attribute without prefix, and local name
	Value       string

	prefix string
}

// Node is a child of an element: an element, or where that is nil, text.
type Node struct {
	Element *Element
	Text    string
}

// declaration binds a prefix, "" for the default, to a namespace.
type declaration struct{ prefix, uri string }

// Attr returns the value of the attribute of that namespace and name, and whether it is there.
func (e *Element) Attr(space, name string) (string, bool) {
	for i := range e.Attributes {
		if a := &e.Attributes[i]; a.Space == space && a.Name == name {
			return a.Value, true
		}
	}
	return "", false
}

// Elements returns the children that are elements. It is an error when there is text besides white space among them.
func (e *Element) Elements() ([]*Element, error) {
	var out []*Element
	for _, child := range e.Children {
		if child.Element != nil {
			out = append(out, child.Element)
		} else if strings.Trim(child.Text, " \t\n") != "" {
			return nil, fmt.Errorf("%w: text in %s", ErrSyntax, e.Name)
		}
	}
	return out, nil
}

// Content returns the text of an element that has nothing but text.
func (e *Element) Content() (string, error) {
	var text strings.Builder
	for _, child := range e.Children {
		if child.Element != nil {
			return "", fmt.Errorf("%w: an element in %s", ErrSyntax, e.Name)
		}
		text.WriteString(child.Text)
	}
	return text.String(), nil
}

// Parse reads a document, of the XML that the package documentation describes. Errors wrap [ErrSyntax].
func Parse(document []byte) (*Element, error) {
	if len(document) > MaxDocument {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrSyntax, len(document), MaxDocument)
	}
	if !utf8.Valid(document) {
		return nil, fmt.Errorf("%w: it is not UTF-8", ErrSyntax)
	}
	p := &parser{text: string(document)}
	if err := p.characters(); err != nil {
		return nil, err
	}
	if err := p.header(); err != nil {
		return nil, err
	}
	p.skipSpace()
	root, err := p.element(nil, 0)
	if err != nil {
		return nil, err
	}
	p.skipSpace()
	if p.at != len(p.text) {
		return nil, p.errorf("something follows the root element")
	}
	return root, nil
}

type parser struct {
	text     string
	at       int
	elements int
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("%w: at byte %d: %s", ErrSyntax, p.at, fmt.Sprintf(format, args...))
}

// characters refuses characters that XML does not have, and carriage returns, which a parser of XML would have to change.
func (p *parser) characters() error {
	for i, c := range p.text {
		if c < ' ' && c != '\n' && c != '\t' || c == 0xfffe || c == 0xffff {
			p.at = i
			return p.errorf("the character %U", c)
		}
	}
	return nil
}

// header passes an XML declaration, which canonical form leaves out. It can only say what is required anyway.
func (p *parser) header() error {
	if !strings.HasPrefix(p.text, "<?xml ") {
		return nil
	}
	declaration, _, found := strings.Cut(p.text, "?>")
	if !found {
		return p.errorf("the XML declaration does not end")
	}
	said := strings.ReplaceAll(strings.Join(strings.Fields(strings.TrimPrefix(declaration, "<?xml ")), " "), "'", `"`)
	switch strings.ToLower(said) {
	case `version="1.0"`, `version="1.0" encoding="utf-8"`,
		`version="1.0" encoding="utf-8" standalone="yes"`, `version="1.0" encoding="utf-8" standalone="no"`:
	default:
		return p.errorf("an XML declaration of something else than version 1.0 in UTF-8")
	}
	p.at = len(declaration) + len("?>")
	return nil
}

func (p *parser) skipSpace() {
	for p.at < len(p.text) && isSpace(p.text[p.at]) {
		p.at++
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' }

func (p *parser) take(token string) bool {
	if strings.HasPrefix(p.text[p.at:], token) {
		p.at += len(token)
		return true
	}
	return false
}

// element reads an element whose start tag begins here. scope are the declarations of those around it, the innermost last.
func (p *parser) element(scope []declaration, depth int) (*Element, error) {
	if depth == maxDepth {
		return nil, p.errorf("more than %d elements in each other", maxDepth)
	}
	if p.elements++; p.elements > maxElements {
		return nil, p.errorf("more than %d elements", maxElements)
	}
	if !p.take("<") {
		return nil, p.errorf("no element")
	}
	e := new(Element)
	var err error
	if e.prefix, e.Name, err = p.name(); err != nil {
		return nil, err
	}
	closed, err := p.attributes(e)
	if err != nil {
		return nil, err
	}
	scope = append(scope[:len(scope):len(scope)], e.declarations...)
	if len(scope) > maxNamespaces {
		return nil, p.errorf("more than %d namespaces", maxNamespaces)
	}
	if err := p.resolve(e, scope); err != nil || closed {
		return e, err
	}
	for {
		if text, err := p.characterData(); err != nil {
			return nil, err
		} else if text != "" {
			e.Children = append(e.Children, Node{Text: text})
		}
		if p.take("</") {
			return e, p.endTag(e)
		}
		child, err := p.element(scope, depth+1)
		if err != nil {
			return nil, err
		}
		e.Children = append(e.Children, Node{Element: child})
	}
}

func (p *parser) endTag(e *Element) error {
	prefix, name, err := p.name()
	if err != nil {
		return err
	}
	p.skipSpace()
	if prefix != e.prefix || name != e.Name || !p.take(">") {
		return p.errorf("no end tag of %s", e.Name)
	}
	return nil
}

// name reads a name with or without a prefix: letters, digits, dots, hyphens and underscores of ASCII.
func (p *parser) name() (prefix, local string, err error) {
	one := func() string {
		start := p.at
		for p.at < len(p.text) {
			c := p.text[p.at]
			letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_'
			if !letter && (p.at == start || (c < '0' || c > '9') && c != '-' && c != '.') {
				break
			}
			p.at++
		}
		return p.text[start:p.at]
	}
	if local = one(); local == "" {
		return "", "", p.errorf("no name")
	}
	if p.take(":") {
		if prefix, local = local, one(); local == "" {
			return "", "", p.errorf("no name after a prefix")
		}
	}
	return prefix, local, nil
}

// attributes reads what follows the name in a start tag, and reports whether the tag also ends the element.
func (p *parser) attributes(e *Element) (closed bool, err error) {
	for {
		before := p.at
		p.skipSpace()
		if p.take(">") {
			return false, nil
		}
		if p.take("/>") {
			return true, nil
		}
		if p.at == before {
			return false, p.errorf("no white space before an attribute")
		}
		if len(e.Attributes)+len(e.declarations) == maxAttributes {
			return false, p.errorf("more than %d attributes", maxAttributes)
		}
		prefix, name, err := p.name()
		if err != nil {
			return false, err
		}
		if !p.take("=") {
			return false, p.errorf("an attribute without a value")
		}
		value, err := p.value()
		if err != nil {
			return false, err
		}
		switch {
		case prefix == "" && name == "xmlns":
			err = p.declare(e, "", value)
		case prefix == "xmlns":
			err = p.declare(e, name, value)
		default:
			e.Attributes = append(e.Attributes, Attribute{Name: name, Value: value, prefix: prefix})
		}
		if err != nil {
			return false, err
		}
	}
}

func (p *parser) declare(e *Element, prefix, uri string) error {
	if uri == "" || prefix == "xml" || prefix == "xmlns" {
		return p.errorf("the declaration of the prefix %q", prefix)
	}
	for _, other := range e.declarations {
		if other.prefix == prefix {
			return p.errorf("the prefix %q is declared twice", prefix)
		}
	}
	e.declarations = append(e.declarations, declaration{prefix, uri})
	return nil
}

// resolve finds the namespaces of an element's name and attributes, and refuses an attribute that is there twice.
func (p *parser) resolve(e *Element, scope []declaration) error {
	find := func(prefix string) (string, error) {
		for i := len(scope) - 1; i >= 0; i-- {
			if scope[i].prefix == prefix {
				return scope[i].uri, nil
			}
		}
		if prefix == "" {
			return "", nil
		}
		return "", p.errorf("the prefix %q is not declared", prefix)
	}
	var err error
	if e.Space, err = find(e.prefix); err != nil {
		return err
	}
	for i := range e.Attributes {
		a := &e.Attributes[i]
		if a.prefix != "" { // the default namespace is not for attributes
			if a.Space, err = find(a.prefix); err != nil {
				return err
			}
		}
		for _, other := range e.Attributes[:i] {
			if other.Space == a.Space && other.Name == a.Name {
				return p.errorf("the attribute %s is there twice", a.Name)
			}
		}
	}
	return nil
}

// value reads the value of an attribute. White space but blanks, which a parser would have to change, is refused.
func (p *parser) value() (string, error) {
	quote := byte('"')
	if p.at < len(p.text) && p.text[p.at] == '\'' {
		quote = '\''
	}
	if !p.take(string(quote)) {
		return "", p.errorf("a value without quotes")
	}
	end := strings.IndexByte(p.text[p.at:], quote)
	if end < 0 {
		return "", p.errorf("a value does not end")
	}
	raw := p.text[p.at : p.at+end]
	if strings.ContainsAny(raw, "<\n\t") {
		return "", p.errorf("a value with a line break, tab or <")
	}
	value, err := p.unescape(raw)
	p.at += end + 1
	return value, err
}

// characterData reads text up to the next tag.
func (p *parser) characterData() (string, error) {
	end := strings.IndexByte(p.text[p.at:], '<')
	if end < 0 {
		return "", p.errorf("an element does not end")
	}
	raw := p.text[p.at : p.at+end]
	if strings.Contains(raw, "]]>") {
		return "", p.errorf("]]> in text")
	}
	text, err := p.unescape(raw)
	p.at += end
	return text, err
}

// unescape replaces the five entities that XML predefines. There are no others.
func (p *parser) unescape(raw string) (string, error) {
	if !strings.Contains(raw, "&") {
		return raw, nil
	}
	var out strings.Builder
	for {
		before, after, found := strings.Cut(raw, "&")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, rest, _ := strings.Cut(after, ";")
		c, known := map[string]string{"amp": "&", "lt": "<", "gt": ">", "quot": `"`, "apos": "'"}[name]
		if !known {
			return "", p.errorf("a reference that is not one of the five predefined")
		}
		out.WriteString(c)
		raw = rest
	}
}
