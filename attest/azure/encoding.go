package azure

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// The encodings of bytes in the layouts. Each has one spelling, or two where clients may differ in padding, so that no two texts pass for
// different evidence and a byte that was changed on the way is noticed.

var (
	errString  = errors.New("not a string without escapes")
	errHex     = errors.New("not lower-case hex")
	errBase64  = errors.New("not base64url as an encoder writes it")
	errNumbers = errors.New("not an array of numbers from 0 to 255")
	errPEM     = errors.New("not one PEM certificate as an encoder writes it")
	errSize    = errors.New("longer than it can be")
)

// decoder decodes a member to at most limit bytes.
type decoder func(value json.RawMessage, limit int) ([]byte, error)

// plainString returns a JSON string that is known to be well-formed and is written without escapes, which no encoding of bytes here needs.
func plainString(value json.RawMessage) (string, error) {
	if len(value) < 2 || value[0] != '"' || bytes.IndexByte(value, '\\') >= 0 {
		return "", errString
	}
	return string(value[1 : len(value)-1]), nil
}

// lowerHex decodes a string of lower-case hex.
func lowerHex(value json.RawMessage, limit int) ([]byte, error) {
	text, err := plainString(value)
	if err != nil {
		return nil, err
	}
	if len(text) > hex.EncodedLen(limit) {
		return nil, errSize
	}
	if strings.ContainsAny(text, "ABCDEF") {
		return nil, errHex
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		return nil, errHex
	}
	return b, nil
}

// base64URL decodes a string of base64url, with its padding or without.
func base64URL(value json.RawMessage, limit int) ([]byte, error) {
	text, err := plainString(value)
	if err != nil {
		return nil, err
	}
	return decodeBase64URL(text, limit)
}

func decodeBase64URL(text string, limit int) ([]byte, error) {
	if len(text) > base64.URLEncoding.EncodedLen(limit) {
		return nil, errSize
	}
	encoding := base64.RawURLEncoding
	if len(text)%4 == 0 { // padding makes it so, and without any the two encodings are the same
		encoding = base64.URLEncoding
	}
	b, err := encoding.Strict().DecodeString(text)
	if err != nil || encoding.EncodedLen(len(b)) != len(text) { // the decoder passes over line breaks
		return nil, errBase64
	}
	return b, nil
}

// numbers decodes an array of plain integers from 0 to 255, without leading zeros.
func numbers(value json.RawMessage, limit int) ([]byte, error) {
	rest, is := bytes.CutPrefix(value, []byte("["))
	if !is {
		return nil, errNumbers
	}
	rest = skipSpace(rest)
	out := make([]byte, 0, min(limit, len(rest)/2+1))
	if bytes.Equal(rest, []byte("]")) {
		return out, nil
	}
	for {
		digits := 0
		number := 0
		for digits < len(rest) && digits < 3 && rest[digits]-'0' <= 9 {
			number = number*10 + int(rest[digits]-'0')
			digits++
		}
		if digits == 0 || number > 0xff || digits > 1 && rest[0] == '0' {
			return nil, errNumbers
		}
		if len(out) == limit {
			return nil, errSize
		}
		out = append(out, byte(number))
		rest = skipSpace(rest[digits:])
		switch {
		case len(rest) == 1 && rest[0] == ']':
			return out, nil
		case len(rest) > 0 && rest[0] == ',':
			rest = skipSpace(rest[1:])
		default:
			return nil, errNumbers
		}
	}
}

// skipSpace returns b without white space before it.
func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	return b
}

// pemCertificate decodes a string that is one certificate in PEM.
func pemCertificate(value json.RawMessage, limit int) ([]byte, error) {
	text, err := strictjson.String(value)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, nil
	}
	if len(text) > 2*limit { // base64 and its line breaks take less
		return nil, errSize
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
		return nil, errPEM
	}
	// The decoder takes text around the block, and the block in many spellings.
	if again := pem.EncodeToMemory(block); text != string(again) && text != string(bytes.TrimSuffix(again, []byte("\n"))) {
		return nil, errPEM
	}
	if len(block.Bytes) > limit {
		return nil, errSize
	}
	return block.Bytes, nil
}

// maxList bounds the text of a list, in bytes: 24 PCR values as numbers, each on a line of its own and indented deeply.
const maxList = 64 << 10

// list splits a JSON array that is known to be well-formed.
func list(value json.RawMessage) ([]json.RawMessage, error) {
	if len(value) > maxList {
		return nil, errSize
	}
	if len(value) < 2 || value[0] != '[' {
		return nil, errors.New("not an array")
	}
	inner := value[1 : len(value)-1]
	if len(skipSpace(inner)) == 0 {
		return nil, nil
	}
	var elements []json.RawMessage
	depth, start := 0, 0
	for i := 0; i < len(inner); i++ {
		switch inner[i] {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '"':
			for i++; inner[i] != '"'; i++ {
				if inner[i] == '\\' {
					i++
				}
			}
		case ',':
			if depth == 0 {
				elements = append(elements, bytes.TrimSpace(inner[start:i]))
				start = i + 1
			}
		}
	}
	return append(elements, bytes.TrimSpace(inner[start:])), nil
}
