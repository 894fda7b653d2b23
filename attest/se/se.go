// Package se reads attestation responses of IBM Secure Execution for Linux, and refuses them: the kind se.
//
// # Evidence
//
// [Parse] takes the JSON of KBS clients, all bytes in base64: {"measurement", "additional_data", "user_data", "cuid",
// "encr_measurement_key", "encr_request_nonce", "image_hdr_tags"}. A measurement is an HMAC-SHA-512 of 64 bytes over
// the image's header tags (208 bytes), the identifier of the guest's configuration (16), user data (at most 256), a
// nonce and additional data. Evidence has at most [MaxEvidence] bytes.
//
// # Why nothing is verified
//
// A response is not signed. It is a MAC, under a measurement key that whoever made the attestation request chose, and
// encrypted into the request for the machine's ultravisor. So it proves something to the one who made the request, and
// to nobody else. The broker's challenge is a nonce, and carries no request: the guest would have to make it itself,
// and would then know the key and could compute the measurement of any image without the machine.
//
// The response in its KBS form has the measurement key and the nonce with it, encrypted to an RSA key of the
// verifier's. That changes nothing: everybody who has the public key can encrypt a key of his own choice to it.
//
// To verify a response the broker would have to make an attestation request for each challenge (with host key
// documents, certificates and lists of IBM, and the image's header, from files), keep its keys until the answer, and
// have a client that hands requests on. None of that is there. So what is well formed is refused with
// CodeNotVerifiable, and a message that says so; policies never see claims of this kind. Guests on such machines can be
// given secrets at build time instead, or attested by another verifier whose token the broker trusts (package
// attest/token).
//
// # Codes
//
// CodeTooLarge and CodeMalformed for what is no response; CodeBinding for one whose user data do not begin with the
// expected digest, padded with zeros to 64 bytes; else CodeNotVerifiable.
package se

import (
	"context"
	"errors"
	"fmt"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// MaxEvidence bounds evidence, in bytes: every part of the largest size, in base64.
const MaxEvidence = 64 << 10

// Sizes in bytes, from Linux (arch/s390/include/uapi/asm/uvdevice.h) and IBM's s390-tools (pvattest).
const (
	measurementSize = 64
	cuidSize        = 16
	tagsSize        = 3*64 + 16
	maxUserData     = 256
	maxAdditional   = 32 << 10
	maxEncrypted    = 1024 // RSA of 8192 bits
	reportDataSize  = 64
)

// Response is an attestation response. Nothing vouches for it.
type Response struct {
	Measurement    []byte
	AdditionalData []byte
	UserData       []byte
	CUID           []byte // identifier of the guest's configuration
	HeaderTags     []byte // of the image: digests of pages, addresses and tweaks, and the tag
}

// Parse reads a response. It refuses with CodeTooLarge and CodeMalformed.
func Parse(data []byte) (*Response, error) {
	if len(data) > MaxEvidence {
		return nil, attest.Refuse(attest.CodeTooLarge, "evidence of %d bytes: at most %d are read", len(data), MaxEvidence)
	}
	var in struct {
		Measurement    []byte `json:"measurement"`
		AdditionalData []byte `json:"additional_data"`
		UserData       []byte `json:"user_data"`
		CUID           []byte `json:"cuid"`
		MeasurementKey []byte `json:"encr_measurement_key"`
		RequestNonce   []byte `json:"encr_request_nonce"`
		HeaderTags     []byte `json:"image_hdr_tags"`
	}
	if err := strictjson.UnmarshalNewer(data, &in); err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "the response: %w", err)
	}
	var err error
	for _, part := range []struct {
		name        string
		value       []byte
		least, most int
	}{
		{"measurement", in.Measurement, measurementSize, measurementSize},
		{"additional_data", in.AdditionalData, 0, maxAdditional},
		{"user_data", in.UserData, reportDataSize, maxUserData},
		{"cuid", in.CUID, cuidSize, cuidSize},
		{"encr_measurement_key", in.MeasurementKey, 1, maxEncrypted},
		{"encr_request_nonce", in.RequestNonce, 1, maxEncrypted},
		{"image_hdr_tags", in.HeaderTags, tagsSize, tagsSize},
	} {
		if n := len(part.value); n < part.least || n > part.most {
			err = errors.Join(err, fmt.Errorf("%s has %d bytes, not %d to %d", part.name, n, part.least, part.most))
		}
	}
	if err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "the response: %w", err)
	}
	return &Response{in.Measurement, in.AdditionalData, in.UserData, in.CUID, in.HeaderTags}, nil
}

// Verifier refuses all evidence of kind se, and says why.
type Verifier struct{}

// New returns a Verifier.
func New() *Verifier { return &Verifier{} }

// Kind returns attest.SE.
func (*Verifier) Kind() attest.Kind { return attest.SE }

// Verify refuses. It implements attest.Verifier.
func (*Verifier) Verify(_ context.Context, in attest.Input) (*attest.Claims, error) {
	r, err := Parse(in.Evidence)
	if err != nil {
		return nil, err
	}
	if err := in.Binding.Padded(r.UserData[:reportDataSize]); err != nil {
		return nil, err
	}
	return nil, attest.Refuse(attest.CodeNotVerifiable,
		"an attestation response of IBM Secure Execution proves something only to the one who made its request, "+
			"and the broker's challenge carries none: have another verifier attest the guest and present its token")
}
