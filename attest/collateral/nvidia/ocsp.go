package nvidia

import (
	"crypto/sha1" //nolint:gosec // names an issuer, as RFC 6960 has it; nothing rests on it
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
)

// The structures of RFC 6960, section 4.1.1, as far as a request needs them.
type (
	ocspRequest   struct{ TBS tbsRequest }
	tbsRequest    struct{ Requests []singleRequest }
	singleRequest struct{ Cert certID }
	certID        struct {
		Hash     pkix.AlgorithmIdentifier
		NameHash []byte
		KeyHash  []byte
		Serial   *big.Int
	}
)

var oidSHA1 = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}

// OCSPRequest makes the request for the state of a certificate, unsigned and without a nonce, so that answers can be cached. The issuer is named with
// SHA-1, the one hash that every service takes (RFC 5019, section 2.1.1).
func OCSPRequest(cert, issuer *x509.Certificate) ([]byte, error) {
	var key struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if rest, err := asn1.Unmarshal(issuer.RawSubjectPublicKeyInfo, &key); err != nil || len(rest) != 0 {
		return nil, errors.New("nvidia: the issuer's public key cannot be read")
	}
	name, spki := sha1.Sum(issuer.RawSubject), sha1.Sum(key.Key.RightAlign())
	return asn1.Marshal(ocspRequest{tbsRequest{[]singleRequest{{certID{
		Hash:     pkix.AlgorithmIdentifier{Algorithm: oidSHA1, Parameters: asn1.NullRawValue},
		NameHash: name[:], KeyHash: spki[:], Serial: cert.SerialNumber,
	}}}}})
}
