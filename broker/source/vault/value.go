package vault

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// MaxValue is the largest value in bytes, as of a stored secret.
const MaxValue = 1 << 20

// encodingBase64 is the encoding of binary values: standard, padded, without white space.
const encodingBase64 = "base64"

// part says which part of an object is the value.
type part struct {
	Field    string `json:"field,omitempty"`
	Encoding string `json:"encoding,omitempty"`
}

func (p part) check() error {
	switch {
	case len(p.Field) > maxSegment || !utf8.ValidString(p.Field):
		return fmt.Errorf("field is over %d bytes or not UTF-8", maxSegment)
	case p.Encoding != "" && p.Encoding != encodingBase64:
		return fmt.Errorf("encoding %.32q is not %s, which is the only one", p.Encoding, encodingBase64)
	case p.Encoding != "" && p.Field == "":
		return errors.New("encoding is of a field: name the field")
	}
	return nil
}

// of returns a copy of the value in an object. asked says what was asked for, for messages, which hold no part of a value.
func (p part) of(object json.RawMessage, asked string) ([]byte, error) {
	bad := func(format string, args ...any) ([]byte, error) {
		return nil, &source.Failure{Err: source.ErrValue, Detail: asked + ": " + fmt.Sprintf(format, args...)}
	}
	if p.Field == "" {
		if len(object) > MaxValue {
			return bad("the object has %d bytes, over %d", len(object), MaxValue)
		}
		return bytes.Clone(object), nil
	}
	members, err := strictjson.Object(object)
	if err != nil {
		return bad("what was answered is no object of members")
	}
	raw, there := members[p.Field]
	if !there {
		return nil, &source.Failure{Err: source.ErrNotFound, Detail: fmt.Sprintf("%s: it has no field %q", asked, p.Field)}
	}
	if len(raw) == 0 || string(raw) == "null" {
		return bad("field %q is null", p.Field)
	}
	var value []byte
	switch {
	case raw[0] == '"':
		if value, err = unquote(raw); err != nil {
			return bad("field %q: %v", p.Field, err)
		}
	case p.Encoding != "":
		return bad("field %q is no text, which base64 is", p.Field)
	default:
		value = bytes.Clone(raw)
	}
	if p.Encoding == encodingBase64 {
		text := value
		defer clear(text)
		if value, err = decode(text); err != nil {
			return bad("field %q is not base64", p.Field)
		}
	}
	if len(value) > MaxValue {
		clear(value)
		return bad("field %q has %d bytes, over %d", p.Field, len(value), MaxValue)
	}
	return value, nil
}

// decode decodes base64 strictly: the decoder of the standard library passes over line ends.
func decode(text []byte) ([]byte, error) {
	if bytes.ContainsAny(text, "\r\n") {
		return nil, errors.New("it has line ends")
	}
	value := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(value, text)
	if err != nil {
		clear(value)
		return nil, err
	}
	return value[:n], nil
}

// unquote decodes a JSON string into bytes of its own, which can be cleared as a Go string cannot. What json.Unmarshal would replace, half of a pair
// of surrogates and what is not UTF-8, is an error: the value would be another.
func unquote(raw []byte) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return nil, errors.New("it is no text")
	}
	raw = raw[1 : len(raw)-1]
	if !utf8.Valid(raw) {
		return nil, errors.New("it is not UTF-8")
	}
	out := make([]byte, 0, len(raw))
	fail := func(why string) ([]byte, error) {
		clear(out)
		return nil, errors.New(why)
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		if i++; i == len(raw) {
			return fail("it ends in an escape")
		}
		if at := strings.IndexByte(`"\/bfnrt`, raw[i]); at >= 0 {
			out = append(out, "\"\\/\b\f\n\r\t"[at])
			continue
		}
		r, ok := hex4(raw[i:])
		if !ok {
			return fail("it has an escape that is not JSON's")
		}
		i += 4
		if utf16.IsSurrogate(r) {
			low, ok := rune(0), false
			if i+2 < len(raw) && raw[i+1] == '\\' {
				low, ok = hex4(raw[i+2:])
			}
			if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
				return fail("it has half a pair of surrogates")
			}
			i += 6
		}
		out = utf8.AppendRune(out, r)
	}
	return out, nil
}

// hex4 reads uXXXX.
func hex4(raw []byte) (rune, bool) {
	if len(raw) < 5 || raw[0] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range raw[1:5] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
