// Package pki verifies certificate chains of NVIDIA's: those of devices, of reference manifests, and of the responders that say which
// certificates are revoked. All of them are the same kind of chain.
//
// # What is verified
//
// [Verify] is given a chain in order, the leaf first and each certificate issued by the next, and the pinned root. The root may stand
// at the chain's end, as devices send it, and is then compared byte by byte; no other certificate is ever trusted for being there. For
// each certificate:
//
//   - its key is on P-384, and it is signed by its issuer with ECDSA and SHA-384, the only algorithms in NVIDIA's chains;
//   - its issuer's name is the subject of the next;
//   - it has no critical extension that is not understood;
//   - each but the leaf is an authority (basic constraints, key usage), for at least as many authorities below it as there are;
//   - the leaf is none, and its key usage includes signatures.
//
// # What is not
//
// Dates and revocation, since they depend on the time of use: [Chain] has the dates, and [Chain.Check] judges them. What names mean,
// which differs between the kinds of chains. Certificates of NVIDIA's devices are valid until the end of the year 9999, which is
// "without end" (RFC 5280, section 4.1.2.5).
package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// Bounds of a chain. Those of devices have 5 certificates with their root, those of manifests 4, of less than 1 KiB each.
const (
	MaxChain       = 8
	MaxCertificate = 8 << 10 // of one certificate in DER, in bytes
)

// ErrMalformed and ErrUntrusted tell why a chain does not verify: it cannot be read, or the root does not vouch for it.
var (
	ErrMalformed = errors.New("malformed certificate chain")
	ErrUntrusted = errors.New("untrusted certificate chain")
)

// Chain is a chain that was verified, dates and revocation apart.
type Chain struct {
	Certificates        []*x509.Certificate // leaf first, root last
	NotBefore, NotAfter time.Time           // when all of them are valid
}

// Leaf returns the certificate that the chain is of.
func (c *Chain) Leaf() *x509.Certificate { return c.Certificates[0] }

// Key returns the leaf's key, on P-384.
func (c *Chain) Key() *ecdsa.PublicKey {
	key, _ := c.Leaf().PublicKey.(*ecdsa.PublicKey) // checked by Verify
	return key
}

// Check returns an error unless every certificate is valid at now.
func (c *Chain) Check(now time.Time) error {
	if now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return fmt.Errorf("the certificates are valid from %s to %s and the time is %s",
			c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// ParsePEM reads certificates in PEM and nothing else, at most [MaxChain], with white space around them. Errors wrap [ErrMalformed].
func ParsePEM(text []byte) ([][]byte, error) {
	var out [][]byte
	for {
		text = bytes.TrimLeft(text, " \t\r\n")
		if len(text) == 0 {
			return out, nil
		}
		if !bytes.HasPrefix(text, []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, fmt.Errorf("%w: something that is no certificate in PEM", ErrMalformed)
		}
		block, rest := pem.Decode(text)
		// What does not decode is skipped by pem.Decode, so that it would find a later one.
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 || bytes.Count(text[:len(text)-len(rest)], []byte("-----BEGIN")) != 1 {
			return nil, fmt.Errorf("%w: a certificate in PEM does not decode", ErrMalformed)
		}
		if len(out) == MaxChain {
			return nil, fmt.Errorf("%w: more than %d certificates", ErrMalformed, MaxChain)
		}
		out, text = append(out, block.Bytes), rest
	}
}

// Parse reads the certificates of a chain in DER, 1 to [MaxChain] of at most [MaxCertificate] bytes. Errors wrap [ErrMalformed].
func Parse(ders [][]byte) ([]*x509.Certificate, error) {
	if len(ders) == 0 || len(ders) > MaxChain {
		return nil, fmt.Errorf("%w: %d certificates, not 1 to %d", ErrMalformed, len(ders), MaxChain)
	}
	out := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		if len(der) > MaxCertificate {
			return nil, fmt.Errorf("%w: certificate %d has %d bytes, at most %d are read", ErrMalformed, i, len(der), MaxCertificate)
		}
		var err error
		if out[i], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrMalformed, i, err)
		}
	}
	return out, nil
}

// Root reads a root in PEM and checks what Verify relies on: that it is an authority and signed itself.
func Root(text []byte) (*x509.Certificate, error) {
	ders, err := ParsePEM(text)
	if err != nil {
		return nil, err
	}
	if len(ders) != 1 {
		return nil, fmt.Errorf("%w: %d certificates, not one root", ErrMalformed, len(ders))
	}
	certs, err := Parse(ders)
	if err != nil {
		return nil, err
	}
	if err := authority(certs[0], 0); err != nil {
		return nil, err
	}
	return certs[0], signed(certs[0], certs[0])
}

// Verify verifies that root vouches for the chain certs, in order and the leaf first. Errors wrap [ErrMalformed] or [ErrUntrusted].
func Verify(certs []*x509.Certificate, root *x509.Certificate) (*Chain, error) {
	if len(certs) > 0 && bytes.Equal(certs[len(certs)-1].Raw, root.Raw) {
		certs = certs[:len(certs)-1]
	}
	if len(certs) == 0 || len(certs) > MaxChain {
		return nil, fmt.Errorf("%w: no certificate but the root", ErrUntrusted)
	}
	c := &Chain{Certificates: append(certs[:len(certs):len(certs)], root), NotBefore: root.NotBefore, NotAfter: root.NotAfter}
	if err := endEntity(c.Leaf()); err != nil {
		return nil, err
	}
	for i, cert := range certs {
		issuer := c.Certificates[i+1]
		if err := authority(issuer, i); err != nil {
			return nil, err
		}
		if err := signed(cert, issuer); err != nil {
			return nil, err
		}
		if cert.NotBefore.After(c.NotBefore) {
			c.NotBefore = cert.NotBefore
		}
		if cert.NotAfter.Before(c.NotAfter) {
			c.NotAfter = cert.NotAfter
		}
	}
	return c, nil
}

// endEntity checks a certificate whose key signs things that are no certificates.
func endEntity(cert *x509.Certificate) error {
	if cert.IsCA || cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return fmt.Errorf("%w: %s may not sign", ErrUntrusted, name(cert))
	}
	return usable(cert)
}

// authority checks a certificate that has so many authorities below it.
func authority(cert *x509.Certificate, below int) error {
	if !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%w: %s is not an authority", ErrUntrusted, name(cert))
	}
	if (cert.MaxPathLen > 0 || cert.MaxPathLenZero) && cert.MaxPathLen < below {
		return fmt.Errorf("%w: %s is an authority for fewer below it than there are", ErrUntrusted, name(cert))
	}
	return usable(cert)
}

func usable(cert *x509.Certificate) error {
	if len(cert.UnhandledCriticalExtensions) > 0 {
		return fmt.Errorf("%w: %s has the critical extension %v, which is not known", ErrUntrusted, name(cert), cert.UnhandledCriticalExtensions[0])
	}
	if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P384() {
		return fmt.Errorf("%w: the key of %s is not on P-384", ErrUntrusted, name(cert))
	}
	return nil
}

func signed(cert, issuer *x509.Certificate) error {
	if !bytes.Equal(cert.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("%w: %s was issued by %.60q, and %s comes next", ErrUntrusted, name(cert), cert.Issuer.CommonName, name(issuer))
	}
	if cert.SignatureAlgorithm != x509.ECDSAWithSHA384 {
		return fmt.Errorf("%w: %s is signed with %v, not ECDSA and SHA-384", ErrUntrusted, name(cert), cert.SignatureAlgorithm)
	}
	if err := issuer.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
		return fmt.Errorf("%w: %s did not sign %s: %w", ErrUntrusted, name(issuer), name(cert), err)
	}
	return nil
}

// name is a certificate's common name as messages quote it.
func name(cert *x509.Certificate) string { return fmt.Sprintf("%.60q", cert.Subject.CommonName) }
