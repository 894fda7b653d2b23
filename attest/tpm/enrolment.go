package tpm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"
)

// ErrNotEnrolled is what an [Enrolments] answers, wrapped or not, for a key that nobody enrolled.
var ErrNotEnrolled = errors.New("tpm: the attestation key is not enrolled")

// Enrolments finds the record of an enrolled attestation key.
type Enrolments interface {
	// Lookup returns the enrolment, in a namespace, of the key with the given [SPKIDigest]. A key that is not there is
	// ErrNotEnrolled; any other error means that it cannot be known now.
	Lookup(ctx context.Context, namespace, akSPKIDigest string) (*Enrolment, error)
}

// SPKIDigest returns the name by which enrolments are looked up: the lower-case hex SHA-256 of a key's DER SubjectPublicKeyInfo.
func SPKIDigest(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

// Enrolment is the record of an attestation key that proved, by credential activation, to be in the TPM whose maker certified the
// endorsement key. It holds nothing secret. Bytes are standard base64 in its JSON, digests lower-case hex.
type Enrolment struct {
	AKName       string `json:"ak_name"`        // hex TPM name of the attestation key
	AKPublic     []byte `json:"ak_public"`      // TPMT_PUBLIC
	AKSPKIDigest string `json:"ak_spki_sha256"` // see SPKIDigest; the record's key within a namespace

	EKDigest          string    `json:"ek_spki_sha256"`     // SPKIDigest of the endorsement key
	EKSerial          string    `json:"ek_serial"`          // serial number of its certificate, decimal
	EKIssuer          string    `json:"ek_issuer"`          // issuer of its certificate
	EKExpires         time.Time `json:"ek_expires"`         // when the first certificate, or list, that vouched for it expires
	RevocationChecked bool      `json:"revocation_checked"` // whether the whole chain was held against revocation lists

	Host       string    `json:"host"`        // the name the operator gave this host
	EnrolledAt time.Time `json:"enrolled_at"` // when it was completed
}
