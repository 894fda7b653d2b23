// Package strictjson reads JSON of this project's own formats, and nothing else: encoding/json by itself takes a member
// twice (the last one counts), takes a member it does not know, takes "NONCE" for "nonce", replaces what is not UTF-8, and
// a reader that lets any of it pass can be shown one document where another reader of the same bytes sees a different one.
//
// All of that is an error here, as are bytes after the value and nesting over [MaxDepth]. Errors name the member and its
// place, never its value. The size of the input is for the caller to bound, before.
//
// Formats of other people's, which say that unknown members are ignored, are read with [Object], and answers of a server that
// may be newer than its client with [UnmarshalNewer].
package strictjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"
)

// MaxDepth bounds nesting. Nothing this project reads nests over 10 deep.
const MaxDepth = 32

// Unmarshal decodes data, one JSON value, into v as [json.Unmarshal] does. Members must be those of v's type, spelled
// exactly so, each once. Below a type that decodes itself, a [json.RawMessage] or an any, only duplicates are looked for.
func Unmarshal(data []byte, v any) error {
	if err := check(data, reflect.TypeOf(v), false); err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// UnmarshalNewer is Unmarshal for a document that a newer version of its format may have written: members that are not known
// are passed over. One that differs from a known member in case only is still an error.
func UnmarshalNewer(data []byte, v any) error {
	if err := check(data, reflect.TypeOf(v), true); err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// Object splits data, one JSON object, into its members, still encoded. A name twice is an error; values are not looked into.
func Object(data []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("JSON that is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	members := make(map[string]json.RawMessage, 8)
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, syntax(err)
		}
		if _, twice := members[name.(string)]; twice {
			return nil, fmt.Errorf("member %s is there twice", quote(name.(string)))
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, syntax(err)
		}
		members[name.(string)] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, syntax(err)
	}
	return members, atEnd(dec)
}

// String decodes a member that must be a JSON string.
func String(value json.RawMessage) (string, error) {
	if len(value) == 0 || value[0] != '"' {
		return "", errors.New("not a string")
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return "", errors.New("not a string")
	}
	return s, nil
}

func check(data []byte, into reflect.Type, newer bool) error {
	if !utf8.Valid(data) {
		return errors.New("JSON that is not UTF-8")
	}
	c := checker{dec: json.NewDecoder(bytes.NewReader(data)), newer: newer}
	c.dec.UseNumber()
	if err := c.value(into, 0); err != nil {
		return err
	}
	return atEnd(c.dec)
}

type checker struct {
	dec   *json.Decoder
	newer bool     // whether unknown members are passed over
	path  []string // names of the members that led here, for errors
}

func (c *checker) value(into reflect.Type, depth int) error {
	if depth > MaxDepth {
		return c.errorf("nested over %d deep", MaxDepth)
	}
	token, err := c.dec.Token()
	if err != nil {
		return syntax(err)
	}
	into = shape(into)
	switch token {
	case json.Delim('{'):
		return c.object(into, depth)
	case json.Delim('['):
		var element reflect.Type
		if into != nil && (into.Kind() == reflect.Slice || into.Kind() == reflect.Array) {
			element = into.Elem()
		}
		for c.dec.More() {
			if err := c.value(element, depth+1); err != nil {
				return err
			}
		}
		_, err := c.dec.Token()
		return syntax(err)
	default:
		return nil
	}
}

func (c *checker) object(into reflect.Type, depth int) error {
	var known map[string]reflect.Type
	if into != nil && into.Kind() == reflect.Struct {
		known = fields(into)
	}
	seen := map[string]bool{}
	for c.dec.More() {
		token, err := c.dec.Token()
		if err != nil {
			return syntax(err)
		}
		name := token.(string)
		if seen[name] {
			return c.errorf("member %s is there twice", quote(name))
		}
		seen[name] = true
		var element reflect.Type
		switch {
		case known != nil:
			field, ok := known[name]
			if !ok && !(c.newer && !anyFold(known, name)) {
				return c.errorf("member %s is not known here", quote(name))
			}
			element = field
		case into != nil && into.Kind() == reflect.Map:
			element = into.Elem()
		}
		c.path = append(c.path, name)
		if err := c.value(element, depth+1); err != nil {
			return err
		}
		c.path = c.path[:len(c.path)-1]
	}
	_, err := c.dec.Token()
	return syntax(err)
}

func (c *checker) errorf(format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if len(c.path) == 0 {
		return errors.New(what)
	}
	return fmt.Errorf("in %s: %s", quote(strings.Join(c.path, ".")), what)
}

var (
	jsonDecoder = reflect.TypeFor[json.Unmarshaler]()
	textDecoder = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// shape returns the type that JSON of type t is checked against, nil where it decodes itself or may be anything.
func shape(t reflect.Type) reflect.Type {
	for t != nil {
		if reflect.PointerTo(t).Implements(jsonDecoder) || reflect.PointerTo(t).Implements(textDecoder) ||
			t.Kind() == reflect.Interface {
			return nil
		}
		if t.Kind() != reflect.Pointer {
			break
		}
		t = t.Elem()
	}
	return t
}

// fields maps the member names of a struct to their types. Fields of an embedded struct without a name count as its own.
func fields(t reflect.Type) map[string]reflect.Type {
	known := make(map[string]reflect.Type, t.NumField())
	for _, field := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case !field.IsExported(), field.Anonymous && name == "", field.Tag.Get("json") == "-":
		case name == "":
			known[field.Name] = field.Type
		default:
			known[name] = field.Type
		}
	}
	return known
}

// anyFold reports whether encoding/json would take name for one of the known members.
func anyFold(known map[string]reflect.Type, name string) bool {
	for member := range known {
		if strings.EqualFold(member, name) {
			return true
		}
	}
	return false
}

func atEnd(dec *json.Decoder) error {
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}

// syntax keeps what encoding/json found wrong, but says where the text ended early in words of its own.
func syntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("JSON that ends too early")
	}
	return err
}

// quote bounds a name that came from outside, so that an error stays a line.
func quote(name string) string {
	const most = 64
	if len(name) > most {
		return fmt.Sprintf("%q…", strings.ToValidUTF8(name[:most], ""))
	}
	return fmt.Sprintf("%q", name)
}
