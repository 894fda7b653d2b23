package nitro

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/vouchsafe/vouchsafe/attest/internal/cose"
)

// verifySignature reads a signature section, checks that the key of its certificate signed the register PCR0 with the
// value pcr0, and returns the certificate. The section is an array of {"signing_certificate": PEM, "signature":
// COSE_Sign1}, of which the hypervisor looks at the first; the payload of the message is {"register_index": 0,
// "register_value": PCR0}. AWS's tools write the certificate, the message and the register as arrays of numbers;
// strings of bytes are taken too.
func verifySignature(section, pcr0 []byte) (*x509.Certificate, error) {
	entries, err := cose.Array(section, maxSections)
	if err != nil {
		return nil, fmt.Errorf("the section: %w", err)
	}
	if len(entries) == 0 {
		return nil, errors.New("the section holds none")
	}
	entry, err := members(entries[0], "signing_certificate", "signature")
	if err != nil {
		return nil, err
	}
	text, err := octets(entry["signing_certificate"])
	if err != nil {
		return nil, fmt.Errorf("its certificate: %w", err)
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("its certificate is not in PEM")
	}
	if other, _ := pem.Decode(rest); other != nil {
		return nil, errors.New("it has more than one certificate, and only one is measured")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("its certificate: %w", err)
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("the key of its certificate is not of ECDSA")
	}
	message, err := octets(entry["signature"])
	if err != nil {
		return nil, fmt.Errorf("its message: %w", err)
	}
	signed, err := cose.Parse(message)
	if err != nil {
		return nil, err
	}
	if err := signed.Verify(key); err != nil {
		return nil, err
	}
	payload, err := members(signed.Payload, "register_index", "register_value")
	if err != nil {
		return nil, fmt.Errorf("what it signs: %w", err)
	}
	index, err := cose.Uint(payload["register_index"])
	if err != nil || index != 0 {
		return nil, errors.New("it is not over PCR0")
	}
	value, err := octets(payload["register_value"])
	if err != nil || !bytes.Equal(value, pcr0) {
		return nil, fmt.Errorf("it is over PCR0 = %x, and the image measures to %x", value, pcr0)
	}
	return cert, nil
}

// members splits a map that has exactly the members named.
func members(raw cbor.RawMessage, names ...string) (map[string]cbor.RawMessage, error) {
	m, err := cose.TextMap(raw)
	if err != nil {
		return nil, err
	}
	if len(m) != len(names) {
		return nil, fmt.Errorf("a map of %d members, not %v", len(m), names)
	}
	for _, name := range names {
		if _, ok := m[name]; !ok {
			return nil, fmt.Errorf("the member %s is missing", name)
		}
	}
	return m, nil
}

// octets reads a string of bytes, or an array of numbers from 0 to 255.
func octets(raw cbor.RawMessage) ([]byte, error) {
	var b []byte
	if cose.IsNull(raw) {
		return nil, errors.New("it is null")
	}
	err := cose.Unmarshal(raw, &b)
	return b, err
}
