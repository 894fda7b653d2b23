package snp

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
)

// chain is a certificate chain whose signatures and names were verified. Dates and revocation were not: they are judged at every
// use, since they depend on the time of appraisal.
type chain struct {
	endorsement *Endorsement
	anchor      *anchor
	notBefore   time.Time // the latest of the chain
	notAfter    time.Time // the earliest of the chain
	serials     [3]*big.Int
	byPresented bool // by the intermediate that was presented, without which it is no chain
}

// verifyChain verifies that leaf, in DER, is a certificate that the root of its product vouches for by one intermediate:
// the built-in one, or where that did not sign it, the presented one, of which AMD may have made a newer. It refuses with
// CodeCertMalformed and CodeCertUntrusted.
func verifyChain(leaf, presented []byte, anchors []anchor) (*chain, error) {
	cert, err := x509.ParseCertificate(leaf)
	if err != nil {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the certificate of the signing key: %w", err)
	}
	endorsement, err := ParseEndorsement(cert)
	if err != nil {
		return nil, err
	}
	var root *anchor
	for i := range anchors {
		if cert.Issuer.CommonName == anchors[i].intermediateName(endorsement.SigningKey) {
			root = &anchors[i]
		}
	}
	if root == nil {
		return nil, attest.Refuse(attest.CodeCertUntrusted,
			"the certificate was issued by %.60q, which is no intermediate of a pinned root that signs %vs",
			cert.Issuer.CommonName, endorsement.SigningKey)
	}
	signer, byPresented := root.intermediate(endorsement.SigningKey), false
	if err := checkSigned(cert, signer); err != nil {
		byPresented = true
		if signer, err = otherSigner(cert, presented, root, endorsement.SigningKey, err); err != nil {
			return nil, attest.Refuse(attest.CodeCertUntrusted, "the certificate does not chain to %s: %w",
				root.ark.Subject.CommonName, err)
		}
	}
	c := &chain{endorsement: endorsement, anchor: root, notBefore: cert.NotBefore, notAfter: cert.NotAfter, byPresented: byPresented}
	for i, link := range [...]*x509.Certificate{cert, signer, root.ark} {
		c.serials[i] = link.SerialNumber
		if link.NotBefore.After(c.notBefore) {
			c.notBefore = link.NotBefore
		}
		if link.NotAfter.Before(c.notAfter) {
			c.notAfter = link.NotAfter
		}
	}
	return c, nil
}

// otherSigner verifies the intermediate that was presented, and that it signed cert. cause is why the built-in one did not.
func otherSigner(cert *x509.Certificate, presented []byte, root *anchor, key SigningKey, cause error) (*x509.Certificate, error) {
	if len(presented) == 0 || bytes.Equal(presented, root.intermediate(key).Raw) {
		return nil, cause
	}
	signer, err := x509.ParseCertificate(presented)
	if err != nil {
		return nil, errors.Join(cause, fmt.Errorf("the intermediate that was presented: %w", err))
	}
	if err := checkAuthority(signer, root.ark, root.intermediateName(key)); err != nil {
		return nil, errors.Join(cause, fmt.Errorf("the intermediate that was presented: %w", err))
	}
	return signer, checkSigned(cert, signer)
}

// checkTime refuses with CodeCertExpired when a certificate of c is not valid at now.
func (c *chain) checkTime(now time.Time) error {
	if now.Before(c.notBefore) || now.After(c.notAfter) {
		return attest.Refuse(attest.CodeCertExpired, "the certificates are valid from %s to %s and the time is %s",
			c.notBefore.UTC().Format(time.RFC3339), c.notAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// known returns the chain that is held under key, nil when none is. One that expired before now is dropped: its certificates will not be
// valid again, and its place is of use to others.
func (v *Verifier) known(key verified.Key, now time.Time) *chain {
	c, ok := v.chains.Get(key)
	if ok && now.After(c.notAfter) {
		v.chains.Drop(key)
		return nil
	}
	return c
}

// chain returns the verified chain of leaf, from the cache where it is there, valid at in.Time. A chain is held under everything that verifyChain's
// answer depends on, the anchors of the verifier apart: the leaf, and the presented intermediate only where that signed it. What is
// presented for nothing must not make places of its own in the cache.
func (v *Verifier) chain(leaf, presented []byte, in attest.Input) (*chain, error) {
	c := v.known(verified.KeyOf(leaf, nil), in.Time)
	if c == nil && presented != nil {
		c = v.known(verified.KeyOf(leaf, presented), in.Time)
	}
	if c == nil {
		var err error
		if c, err = verifyChain(leaf, presented, v.anchors); err != nil {
			return nil, err
		}
		if !c.byPresented {
			presented = nil
		}
		if in.Time.Before(c.notAfter) {
			v.chains.Put(verified.KeyOf(leaf, presented), c)
		}
	}
	return c, c.checkTime(in.Time)
}
