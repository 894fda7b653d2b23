package cca

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/cose"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// MaxToken bounds a token, in bytes. Real ones have two to four thousand.
const MaxToken = 16 << 10

// MaxEvidence bounds evidence, in bytes: a token of the largest size, a byte of which takes up to five in JSON.
const MaxEvidence = 6 * MaxToken

// Members of a collection.
const (
	platformLabel = 44234
	realmLabel    = 44241
)

// The tags of collections, encoded, and the content format that entries have with the second.
var (
	tagCollection = []byte{0xd9, 0x01, 0x8f} // 399
	tagWrapper    = []byte{0xd9, 0x03, 0x8b} // 907
)

const formatEAT = 263 // application/eat+cwt

// Token is a token whose form is known to be right, and nothing else.
type Token struct {
	Platform Platform
	Realm    Realm

	platformRaw []byte // the platform's message, as it was
	platform    *cose.Sign1
	realm       *cose.Sign1
}

// Parse reads evidence in either form. JSON is recognised by its first character that is not white space being "{". It
// refuses with CodeTooLarge, CodeMalformed and CodeVersionUnsupported.
func Parse(data []byte) (*Token, error) {
	if len(data) > MaxEvidence {
		return nil, attest.Refuse(attest.CodeTooLarge, "evidence of %d bytes: at most %d are read", len(data), MaxEvidence)
	}
	if text := bytes.TrimLeft(data, " \t\r\n"); len(text) > 0 && text[0] == '{' {
		var err error
		if data, err = tokenOf(data); err != nil {
			return nil, attest.Refuse(attest.CodeMalformed, "the JSON around the token: %w", err)
		}
	}
	if len(data) > MaxToken {
		return nil, attest.Refuse(attest.CodeTooLarge, "a token of %d bytes: at most %d are read", len(data), MaxToken)
	}
	t := new(Token)
	err := t.parse(data)
	var refusal *attest.Refusal
	if err != nil && !errors.As(err, &refusal) {
		return nil, attest.Refuse(attest.CodeMalformed, "the token: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// tokenOf takes the token out of the JSON of a KBS client.
func tokenOf(data []byte) ([]byte, error) {
	members, err := strictjson.Object(data)
	if err != nil {
		return nil, err
	}
	list := members["token"]
	// json would take a string for base64, and null for a zero.
	if len(list) == 0 || list[0] != '[' || bytes.ContainsAny(list, "nul\"") {
		return nil, errors.New("its token is not an array of numbers")
	}
	var token []byte
	if err := json.Unmarshal(list, &token); err != nil {
		return nil, errors.New("its token is not an array of numbers from 0 to 255")
	}
	return token, nil
}

func (t *Token) parse(data []byte) error {
	body, wrapped := bytes.CutPrefix(data, tagWrapper)
	if !wrapped {
		var ok bool
		if body, ok = bytes.CutPrefix(data, tagCollection); !ok {
			return errors.New("neither a CCA token nor a collection of messages: it has not the tag 399 or 907")
		}
	}
	entries, err := cose.IntMap(body)
	if err != nil {
		return fmt.Errorf("the collection is %w", err)
	}
	if len(entries) != 2 {
		return fmt.Errorf("a collection of %d messages, not the platform's and the realm's", len(entries))
	}
	open := func(name string, label int64) ([]byte, *cose.Sign1, error) {
		raw, ok := entries[label]
		if !ok {
			return nil, nil, fmt.Errorf("the collection has no %s token", name)
		}
		if wrapped {
			if raw, err = unwrap(raw); err != nil {
				return nil, nil, fmt.Errorf("the %s token: %w", name, err)
			}
		}
		text, err := cose.Bytes(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("the %s token is %w", name, err)
		}
		message, err := cose.Parse(text)
		if err != nil {
			return nil, nil, fmt.Errorf("the %s token is %w", name, err)
		}
		return text, message, nil
	}
	if t.platformRaw, t.platform, err = open("platform", platformLabel); err != nil {
		return err
	}
	if _, t.realm, err = open("realm", realmLabel); err != nil {
		return err
	}
	if err := t.Platform.parse(t.platform.Payload); err != nil {
		return fmt.Errorf("the platform token: %w", err)
	}
	if err := t.Realm.parse(t.realm.Payload); err != nil {
		return fmt.Errorf("the realm token: %w", err)
	}
	return nil
}

// unwrap takes the message out of an entry of a conceptual message wrapper.
func unwrap(raw cbor.RawMessage) (cbor.RawMessage, error) {
	entry, err := cose.Array(raw, 2)
	if err != nil {
		return nil, err
	}
	if len(entry) != 2 {
		return nil, fmt.Errorf("its entry has %d elements, not 2", len(entry))
	}
	if format, err := cose.Uint(entry[0]); err != nil || format != formatEAT {
		return nil, fmt.Errorf("its content format is not %d", formatEAT)
	}
	return entry[1], nil
}

// verify checks that key signed message.
func verify(message *cose.Sign1, key *ecdsa.PublicKey, name string) error {
	switch err := message.Verify(key); {
	case errors.Is(err, cose.ErrAlgorithm):
		return attest.Refuse(attest.CodeAlgorithm, "the %s token: %w", name, err)
	case err != nil:
		return attest.Refuse(attest.CodeSignature, "the %s token: %w", name, err)
	}
	return nil
}
