package azure

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"

	"github.com/vouchsafe/vouchsafe/attest/internal/hextext"
	"github.com/vouchsafe/vouchsafe/attest/internal/jsonscan"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// The encodings of bytes in text. Each has one spelling, or two where clients may differ in padding, so that no two texts pass for different
// evidence and a byte that was changed on the way is noticed. Numbers are read by package jsonscan, as strictly.

var (
	errString = errors.New("not a string without escapes")
	errHex    = errors.New("not lower-case hex")
	errBase64 = errors.New("not base64url as an encoder writes it")
	errPEM    = errors.New("not one PEM certificate as an encoder writes it")
	errSize   = errors.New("longer than it can be")
)

// space is memory that parts of evidence are decoded into: many are a few bytes, and to allocate each by itself takes as long as to decode it.
type space []byte

// spaceSize is what the evidence of a machine takes when it is decoded, in bytes, with room for a chain that is longer than usual. What does not
// fit is allocated.
const spaceSize = 12 << 10

// take returns n bytes.
func (s *space) take(n int) []byte {
	if n > len(*s) {
		return make([]byte, n)
	}
	part := (*s)[:n:n]
	*s = (*s)[n:]
	return part
}

// decodeHex decodes lower-case hex of at most limit bytes.
func (s *space) decodeHex(text []byte, limit int) ([]byte, error) {
	if len(text) > hex.EncodedLen(limit) {
		return nil, errSize
	}
	b := s.take(len(text) / 2)
	if !hextext.DecodeLower(b, text) {
		return nil, errHex
	}
	return b, nil
}

// decodeBase64URL decodes base64url of at most limit bytes, with its padding or without.
func (s *space) decodeBase64URL(text []byte, limit int) ([]byte, error) {
	if len(text) > base64.URLEncoding.EncodedLen(limit) {
		return nil, errSize
	}
	encoding := base64.RawURLEncoding
	if len(text)%4 == 0 { // padding makes it so, and without any the two encodings are the same
		encoding = base64.URLEncoding
	}
	b, err := jsonscan.DecodeBase64Into(s.take(encoding.DecodedLen(len(text))), encoding, text)
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}

// base64URL decodes a JSON value that is a string, known to be well-formed, of base64url.
func (s *space) base64URL(value []byte, limit int) ([]byte, error) {
	if len(value) < 2 || value[0] != '"' {
		return nil, errString
	}
	return s.decodeBase64URL(value[1:len(value)-1], limit)
}

// pemCertificate decodes a JSON value that is a string, in any spelling, which is one certificate in PEM.
func pemCertificate(value []byte, limit int) ([]byte, error) {
	text, err := strictjson.String(value)
	if err != nil {
		return nil, err
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
