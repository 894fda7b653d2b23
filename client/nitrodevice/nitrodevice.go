// Package nitrodevice collects evidence in an AWS Nitro enclave: it asks the Nitro Secure Module, /dev/nsm, for an
// attestation document with the digest as its user data, and nothing else in it.
//
// The module takes requests and gives answers in CBOR (aws-nitro-enclaves-nsm-api): {"Attestation": {"user_data":
// bytes, "nonce": null, "public_key": null}} is answered with {"Attestation": {"document": bytes}}, or {"Error": name}.
// Linux passes both on with one ioctl (include/uapi/linux/nsm.h).
//
// Nothing is verified here but that the answer is a document about this digest: it is the broker that must not believe
// the guest.
package nitrodevice

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/vouchsafe/vouchsafe/attest"
)

// maxDigest bounds a digest, in bytes: the largest that a broker asks for. The module would take 512.
const maxDigest = 64

// Module is the Nitro Secure Module. It is safe for concurrent use.
type Module interface {
	// Exchange returns the module's answer to a request, both in CBOR.
	Exchange(ctx context.Context, request []byte) ([]byte, error)
}

// Config says how to ask. The zero Config asks the kernel.
type Config struct {
	// Module is what is asked; the kernel's device when nil.
	Module Module
}

// Device collects evidence. It is safe for concurrent use.
type Device struct{ module Module }

// New returns a Device, or an error that says what the machine lacks.
func New(c Config) (*Device, error) {
	if c.Module == nil {
		module, err := openModule()
		if err != nil {
			return nil, fmt.Errorf("nitrodevice: no Nitro Secure Module: it needs an AWS Nitro enclave with the driver nsm: %w", err)
		}
		c.Module = module
	}
	return &Device{c.Module}, nil
}

// Kind returns [attest.Nitro].
func (d *Device) Kind() attest.Kind { return attest.Nitro }

type attestation struct {
	UserData  []byte `cbor:"user_data"`
	Nonce     []byte `cbor:"nonce"`
	PublicKey []byte `cbor:"public_key"`
}

// Evidence returns an attestation document whose user data are digest, of at most 64 bytes.
func (d *Device) Evidence(ctx context.Context, digest []byte) ([]byte, error) {
	if len(digest) == 0 || len(digest) > maxDigest {
		return nil, fmt.Errorf("nitrodevice: a digest of %d bytes, not 1 to %d", len(digest), maxDigest)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	request, err := cbor.Marshal(map[string]attestation{"Attestation": {UserData: digest}})
	if err != nil {
		return nil, fmt.Errorf("nitrodevice: %w", err)
	}
	raw, err := d.module.Exchange(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("nitrodevice: asking for a document: %w", err)
	}
	var answer struct {
		Attestation *struct {
			Document []byte `cbor:"document"`
		} `cbor:"Attestation"`
		Error string `cbor:"Error"`
	}
	if err := cbor.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("nitrodevice: the module's answer: %w", err)
	}
	if answer.Error != "" || answer.Attestation == nil {
		return nil, fmt.Errorf("nitrodevice: the module gave no document: %.40q", answer.Error)
	}
	document := answer.Attestation.Document
	data, err := userData(document)
	if err != nil {
		return nil, fmt.Errorf("nitrodevice: the module's document: %w", err)
	}
	if !bytes.Equal(data, digest) {
		return nil, errors.New("nitrodevice: the document is about other data than it was asked for")
	}
	return document, nil
}

// userData returns what a document says its user data are. Its signature is the broker's to verify.
func userData(document []byte) ([]byte, error) {
	var message []cbor.RawMessage
	if err := cbor.Unmarshal(bytes.TrimPrefix(document, []byte{0xd2}), &message); err != nil {
		return nil, err
	}
	if len(message) != 4 {
		return nil, fmt.Errorf("an array of %d, not a signed message", len(message))
	}
	var payload []byte
	if err := cbor.Unmarshal(message[2], &payload); err != nil {
		return nil, err
	}
	var members struct {
		UserData []byte `cbor:"user_data"`
	}
	err := cbor.Unmarshal(payload, &members)
	return members.UserData, err
}
