package nvidia

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/pki"
)

// maxResponse bounds an OCSP response, in bytes. NVIDIA's have 1 KiB.
const maxResponse = 16 << 10

// status is what a verified OCSP response says of one certificate.
type status struct {
	good, revoked          bool // neither where the responder does not know the certificate
	thisUpdate, nextUpdate time.Time
	responder              *x509.Certificate // nil where the issuer signed it itself
}

// revocation asks the responses at hand about cert, which has the hex SHA-256 digest and was issued by issuer. checked tells whether
// one said that it is good; its age goes into f. Where there is none it is not checked, and no error. It refuses nothing: revoked is
// for the caller.
func (v *Verifier) revocation(ctx context.Context, f *attest.Freshness, cert, issuer *x509.Certificate, digest string) (
	checked, revoked bool, err error,
) {
	if v.endorsements == nil {
		return false, false, nil
	}
	e, err := v.endorsements.Endorsement(ctx, "nvidia/ocsp/"+digest)
	var missing *attest.Unavailable
	if errors.As(err, &missing) && ctx.Err() == nil {
		return false, false, nil
	}
	if err != nil {
		return false, false, unavailable("the OCSP response for "+cert.Subject.CommonName, err)
	}
	s, err := v.response(e, cert, issuer)
	if err == nil {
		err = s.usable(f.At)
	}
	if err != nil {
		return false, false, unavailable("a valid OCSP response for "+cert.Subject.CommonName, err)
	}
	if !s.good && !s.revoked {
		return false, false, nil
	}
	f.List(s.nextUpdate, e.Fetched)
	return s.good, s.revoked, nil
}

// usable returns an error when s is of the future, or was signed with a certificate that was not valid when it was made.
func (s *status) usable(now time.Time) error {
	if s.thisUpdate.After(now.Add(maxClockSkew)) {
		return fmt.Errorf("it is of %s, which is in the future", s.thisUpdate.UTC().Format(time.RFC3339))
	}
	if r := s.responder; r != nil && (s.thisUpdate.Before(r.NotBefore) || s.thisUpdate.After(r.NotAfter)) {
		return errors.New("its responder's certificate was not valid when it was made")
	}
	return nil
}

// maxClockSkew is how far the clock of who made a response may be ahead of ours.
const maxClockSkew = 5 * time.Minute

// response returns what e says of cert, from the cache where it is there.
func (v *Verifier) response(e *attest.Endorsement, cert, issuer *x509.Certificate) (*status, error) {
	k := verified.KeyOf(e.Digest[:], cert.Raw, issuer.Raw)
	if s, ok := v.responses.Get(k); ok {
		return s, nil
	}
	s, err := verifyResponse(e.Data, cert, issuer)
	if err == nil {
		v.responses.Put(k, s)
	}
	return s, err
}

// verifyResponse verifies an OCSP response (RFC 6960): that it is of cert, and signed by issuer or by a responder that issuer
// authorised. NVIDIA's responders have certificates with an extended key usage for it.
func verifyResponse(der []byte, cert, issuer *x509.Certificate) (*status, error) {
	if len(der) > maxResponse {
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", len(der), maxResponse)
	}
	r, err := ocsp.ParseResponseForCert(der, cert, issuer)
	if err != nil {
		return nil, err
	}
	if r.SignatureAlgorithm != x509.ECDSAWithSHA384 {
		return nil, fmt.Errorf("it is signed with %v, not ECDSA and SHA-384", r.SignatureAlgorithm)
	}
	s := &status{good: r.Status == ocsp.Good, revoked: r.Status == ocsp.Revoked, thisUpdate: r.ThisUpdate, nextUpdate: r.NextUpdate}
	if r.Certificate == nil || r.Certificate.Equal(issuer) {
		return s, nil
	}
	if _, err := pki.Verify([]*x509.Certificate{r.Certificate}, issuer); err != nil {
		return nil, fmt.Errorf("its responder: %w", err)
	}
	if !slices.Contains(r.Certificate.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
		return nil, errors.New("its responder's certificate is not for OCSP")
	}
	s.responder = r.Certificate
	return s, nil
}

// unavailable says that collateral is missing or bad, which is not the evidence's fault.
func unavailable(what string, err error) error {
	u := &attest.Unavailable{What: what, Err: err}
	var cause *attest.Unavailable
	if errors.As(err, &cause) {
		u.RetryAfter = cause.RetryAfter
	}
	return u
}
