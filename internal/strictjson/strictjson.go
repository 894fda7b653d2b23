// Package strictjson reads JSON of this project's own formats, and nothing else: encoding/json by itself takes a member
// twice (the last one counts), takes a member it does not know, takes "NONCE" for "nonce", replaces what is not UTF-8, and
// a reader that lets any of it pass can be shown one document where another reader of the same bytes sees a different one. Bytes in base64 it
// reads in many spellings.
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
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxDepth bounds nesting. Nothing this project reads nests over 10 deep.
const MaxDepth = 32

// Unmarshal decodes data, one JSON value, into v as [json.Unmarshal] does. Members must be those of v's type, spelled
// exactly so, each once. Below a type that decodes itself, a [json.RawMessage] or an any, only duplicates are looked for.
// When it fails, what is in v means nothing.
func Unmarshal(data []byte, v any) error { return unmarshal(data, v, false) }

// UnmarshalNewer is Unmarshal for a document that a newer version of its format may have written: members that are not known
// are passed over. One that differs from a known member in case only is still an error.
func UnmarshalNewer(data []byte, v any) error { return unmarshal(data, v, true) }

func unmarshal(data []byte, v any, newer bool) error {
	if !utf8.Valid(data) {
		return errNotUTF8
	}
	if err := json.Unmarshal(data, v); err != nil {
		return describe(err)
	}
	w := walker{data: data, newer: newer, known: map[reflect.Type]map[string]reflect.Type{}}
	return w.value(reflect.TypeOf(v), 0)
}

// Object splits data, one JSON object, into its members, still encoded; they share data's memory. A name twice is an error;
// values are not looked into.
func Object(data []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(data) {
		return nil, errNotUTF8
	}
	if !json.Valid(data) {
		return nil, errors.New("not valid JSON")
	}
	w := walker{data: data}
	if w.next() != '{' {
		return nil, errors.New("not a JSON object")
	}
	members := make(map[string]json.RawMessage, 8)
	err := w.members(func(name string) error {
		if _, twice := members[name]; twice {
			return w.errorf("member %s is there twice", quote(name))
		}
		w.next()
		start := w.at
		w.skip()
		members[name] = json.RawMessage(data[start:w.at:w.at])
		return nil
	})
	return members, err
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

var errNotUTF8 = errors.New("JSON that is not UTF-8")

// describe says what encoding/json found wrong without the value it found it in, nor the names of Go's types.
func describe(err error) error {
	var kind *json.UnmarshalTypeError
	var when *time.ParseError
	switch {
	case errors.As(err, &kind):
		found, _, _ := strings.Cut(kind.Value, " ") // "number 1.5"
		return fmt.Errorf("cannot unmarshal a JSON %s into member %s", found, quote(kind.Field))
	case errors.As(err, &when):
		return errors.New("a time that is not of RFC 3339")
	default:
		return err
	}
}

// walker goes through JSON that is known to be valid, without decoding it.
type walker struct {
	data  []byte
	at    int
	newer bool                                     // whether unknown members are passed over
	path  []string                                 // names of the members that led here, for errors
	known map[reflect.Type]map[string]reflect.Type // the members of struct types met so far
}

// next passes over white space and returns the byte after it, without passing over that.
func (w *walker) next() byte {
	for {
		switch c := w.data[w.at]; c {
		case ' ', '\t', '\r', '\n':
			w.at++
		default:
			return c
		}
	}
}

// text passes over a string and returns what is between its quotes, as it is written.
func (w *walker) text() []byte {
	start := w.at + 1
	end := start
	for {
		end += bytes.IndexByte(w.data[end:], '"')
		escapes := 0
		for w.data[end-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			break
		}
		end++
	}
	w.at = end + 1
	return w.data[start:end]
}

// skip passes over a value, whatever is in it.
func (w *walker) skip() {
	depth := 0
	for {
		switch w.next() {
		case '{', '[':
			depth++
			w.at++
		case '}', ']':
			depth--
			w.at++
		case ',', ':':
			w.at++
		case '"':
			w.text()
		default:
			w.scalar()
		}
		if depth == 0 {
			return
		}
	}
}

// scalar passes over a number, true, false or null.
func (w *walker) scalar() {
	for ; w.at < len(w.data); w.at++ {
		switch w.data[w.at] {
		case ',', ']', '}', ' ', '\t', '\r', '\n':
			return
		}
	}
}

// members passes over an object. It calls member with each name when the walker is before the value, which member passes over.
func (w *walker) members(member func(name string) error) error {
	w.at++ // {
	for {
		switch w.next() {
		case '}':
			w.at++
			return nil
		case ',':
			w.at++
			continue
		}
		raw := w.text()
		name := string(raw)
		if bytes.IndexByte(raw, '\\') >= 0 {
			if err := json.Unmarshal(w.data[w.at-len(raw)-2:w.at], &name); err != nil {
				return err
			}
		}
		w.next()
		w.at++ // :
		if err := member(name); err != nil {
			return err
		}
	}
}

func (w *walker) value(into reflect.Type, depth int) error {
	if depth > MaxDepth {
		return w.errorf("nested over %d deep", MaxDepth)
	}
	switch w.next() {
	case '{':
		return w.object(shape(into), depth)
	case '[':
		return w.array(shape(into), depth)
	case '"':
		if text := w.text(); shape(into) == byteSlice && !oneSpelling(text) {
			return w.errorf("not standard base64 as an encoder writes it")
		}
	default:
		w.scalar()
	}
	return nil
}

var byteSlice = reflect.TypeFor[[]byte]()

// oneSpelling refuses base64, as it is written in JSON, that decodes but that no encoder writes: with line breaks, or with bits set that no byte
// takes. What does not decode is left to encoding/json.
func oneSpelling(text []byte) bool {
	if bytes.IndexByte(text, '\\') >= 0 {
		// Some encoders write a slash so. Every other escape is of a character that base64 has not, or has without one.
		text = bytes.ReplaceAll(text, []byte(`\/`), []byte(`/`))
		if bytes.IndexByte(text, '\\') >= 0 {
			return false
		}
	}
	if len(text)%4 != 0 {
		return false
	}
	_, err := base64.StdEncoding.Strict().DecodeString(string(text[max(0, len(text)-4):]))
	return err == nil
}

func (w *walker) array(into reflect.Type, depth int) error {
	var element reflect.Type
	if into != nil && (into.Kind() == reflect.Slice || into.Kind() == reflect.Array) {
		element = into.Elem()
	}
	w.at++ // [
	for {
		switch w.next() {
		case ']':
			w.at++
			return nil
		case ',':
			w.at++
		default:
			if err := w.value(element, depth+1); err != nil {
				return err
			}
		}
	}
}

func (w *walker) object(into reflect.Type, depth int) error {
	var known map[string]reflect.Type
	if into != nil && into.Kind() == reflect.Struct {
		if known = w.known[into]; known == nil {
			known = fields(into)
			w.known[into] = known
		}
	}
	seen := make(map[string]struct{}, 8)
	return w.members(func(name string) error {
		if _, twice := seen[name]; twice {
			return w.errorf("member %s is there twice", quote(name))
		}
		seen[name] = struct{}{}
		var element reflect.Type
		switch {
		case known != nil:
			field, ok := known[name]
			if !ok && (!w.newer || anyFold(known, name)) {
				return w.errorf("member %s is not known here", quote(name))
			}
			element = field
		case into != nil && into.Kind() == reflect.Map:
			element = into.Elem()
		}
		w.path = append(w.path, name)
		if err := w.value(element, depth+1); err != nil {
			return err
		}
		w.path = w.path[:len(w.path)-1]
		return nil
	})
}

func (w *walker) errorf(format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if len(w.path) == 0 {
		return errors.New(what)
	}
	return fmt.Errorf("in %s: %s", quote(strings.Join(w.path, ".")), what)
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

// quote bounds a name that came from outside, so that an error stays a line.
func quote(name string) string {
	const most = 64
	if len(name) > most {
		return fmt.Sprintf("%q…", strings.ToValidUTF8(name[:most], ""))
	}
	return fmt.Sprintf("%q", name)
}
