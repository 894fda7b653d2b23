package nitro

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/cose"
	"github.com/vouchsafe/vouchsafe/attest/internal/jsonscan"
)

// MaxEvidence bounds evidence, in bytes: a payload of 16 KiB, which is AWS's limit, with what is around it, in base64.
const MaxEvidence = 24 << 10

// Limits of a document; the package documentation says where from.
const (
	maxPayload     = 16 << 10
	maxModuleID    = 256
	maxRegisters   = 32
	maxCertificate = 1024
	maxBundle      = 8
	maxUserData    = 1024
)

// registerSize is that of a register in bytes, by the only hash that documents name.
const registerSize = 48

// Document is what an attestation document says. Only its form is known to be right, until it is verified.
type Document struct {
	ModuleID    string
	Timestamp   int64                      // milliseconds since 1970
	PCRs        map[int][registerSize]byte // by index, 0 to 31
	Certificate []byte                     // DER
	CABundle    [][]byte                   // DER, the root first
	PublicKey   []byte                     // nil when there is none, as are those below
	UserData    []byte
	Nonce       []byte

	message *cose.Sign1
}

// unwrap returns the document in JSON, {"document": base64}.
func unwrap(data []byte) (document []byte, err error) {
	s := jsonscan.New(data)
	var have bool
	s.Object(func(name []byte) {
		if string(name) != "document" {
			s.Fail("member %.80q, which is not known,", name)
			return
		}
		s.Once(&have, name)
		document = s.Base64(base64.StdEncoding, MaxEvidence)
	})
	s.End()
	return document, s.Err()
}

// Parse reads a document, raw or in JSON. JSON is recognised by its first character that is not white space being "{":
// no CBOR array begins so. It refuses with CodeTooLarge, CodeMalformed, and with CodeAlgorithm a document that is not
// signed with ES384.
func Parse(data []byte) (*Document, error) {
	if len(data) > MaxEvidence {
		return nil, attest.Refuse(attest.CodeTooLarge, "evidence of %d bytes: at most %d are read", len(data), MaxEvidence)
	}
	if text := bytes.TrimLeft(data, " \t\r\n"); len(text) > 0 && text[0] == '{' {
		var err error
		if data, err = unwrap(data); err != nil {
			return nil, err
		}
	}
	message, err := cose.Parse(data)
	if err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "the document is %w", err)
	}
	if message.Algorithm != cose.ES384 {
		return nil, attest.Refuse(attest.CodeAlgorithm, "the document is signed with %v, not ES384", message.Algorithm)
	}
	if len(message.Payload) > maxPayload {
		return nil, attest.Refuse(attest.CodeTooLarge, "a payload of %d bytes: at most %d are read", len(message.Payload), maxPayload)
	}
	d := &Document{message: message}
	if err := d.parsePayload(message.Payload); err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "the document's payload: %w", err)
	}
	return d, nil
}

func (d *Document) parsePayload(payload []byte) error {
	members, err := cose.TextMap(payload)
	if err != nil {
		return err
	}
	for _, name := range []string{"module_id", "timestamp", "digest", "pcrs", "certificate", "cabundle"} {
		if _, ok := members[name]; !ok {
			return fmt.Errorf("%s is missing", name)
		}
	}
	for name, raw := range members {
		if err := d.member(name, raw); err != nil {
			return fmt.Errorf("%.32q is %w", name, err)
		}
	}
	return nil
}

// member takes one member of the payload in. Its errors go on after "is".
func (d *Document) member(name string, raw cbor.RawMessage) (err error) {
	switch name {
	case "module_id":
		if d.ModuleID, err = cose.Text(raw); err == nil && (d.ModuleID == "" || len(d.ModuleID) > maxModuleID) {
			err = fmt.Errorf("of %d bytes, not 1 to %d", len(d.ModuleID), maxModuleID)
		}
	case "timestamp":
		if d.Timestamp, err = cose.Uint(raw); err == nil && d.Timestamp == 0 {
			err = errors.New("zero")
		}
	case "digest":
		var digest string
		if digest, err = cose.Text(raw); err == nil && digest != "SHA384" {
			err = fmt.Errorf("%.32q, not SHA384", digest)
		}
	case "pcrs":
		err = d.registers(raw)
	case "certificate":
		d.Certificate, err = sized(raw, 1, maxCertificate)
	case "cabundle":
		var list []cbor.RawMessage
		if list, err = cose.Array(raw, maxBundle); err == nil && len(list) == 0 {
			err = errors.New("empty")
		}
		for i := 0; i < len(list) && err == nil; i++ {
			var der []byte
			der, err = sized(list[i], 1, maxCertificate)
			d.CABundle = append(d.CABundle, der)
		}
	case "public_key":
		d.PublicKey, err = optional(raw, 1)
	case "user_data":
		d.UserData, err = optional(raw, 0)
	case "nonce":
		d.Nonce, err = optional(raw, 0)
	default:
		err = errors.New("not a member of a document")
	}
	return err
}

func (d *Document) registers(raw cbor.RawMessage) error {
	list, err := cose.IntMap(raw)
	if err != nil {
		return err
	}
	if len(list) == 0 || len(list) > maxRegisters {
		return fmt.Errorf("of %d registers, not 1 to %d", len(list), maxRegisters)
	}
	d.PCRs = make(map[int][registerSize]byte, len(list))
	for index, raw := range list {
		if index < 0 || index >= maxRegisters {
			return fmt.Errorf("with the register %d, not 0 to %d", index, maxRegisters-1)
		}
		value, err := sized(raw, registerSize, registerSize)
		if err != nil {
			return fmt.Errorf("with the register %d %w", index, err)
		}
		d.PCRs[int(index)] = [registerSize]byte(value)
	}
	return nil
}

// sized reads a string of least to most bytes.
func sized(raw cbor.RawMessage, least, most int) ([]byte, error) {
	b, err := cose.Bytes(raw)
	if err == nil && (len(b) < least || len(b) > most) {
		err = fmt.Errorf("of %d bytes, not %d to %d", len(b), least, most)
	}
	return b, err
}

// optional reads a string of at least least bytes, or null.
func optional(raw cbor.RawMessage, least int) ([]byte, error) {
	if cose.IsNull(raw) {
		return nil, nil
	}
	return sized(raw, least, maxUserData)
}
