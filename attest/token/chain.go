package token

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
)

// Limits of a certificate chain.
const (
	maxChain       = 8
	maxCertificate = 8 << 10 // bytes of DER
	// maxChains is how many verified chains are kept for each configured verifier. A verifier has one signing key, and a few around a rotation.
	maxChains = 64
	maxRoots  = 32
	// maxChainRSA is the largest RSA key of a certificate that a token brings, in bits, and chainExponent the only public exponent. Signatures are tried
	// with such keys before it is known whose they are, up to a hundred for one chain, and one of 8 KiB takes half a second.
	maxChainRSA   = 4096
	chainExponent = 1<<16 + 1
)

// roots verify the chains that come with tokens.
type roots struct {
	pool   *x509.CertPool
	chains *verified.Cache[*verifiedChain] // by the text of their certificates
}

// verifiedChain is what cannot change about a chain that was verified: its key, and when it is valid.
type verifiedChain struct {
	key
	from, until time.Time
}

// parseRoots reads PEM certificates, all of them authorities.
func parseRoots(text []byte) (*roots, error) {
	r := &roots{pool: x509.NewCertPool(), chains: verified.NewCache[*verifiedChain](maxChains)}
	count := 0
	for len(bytes.TrimSpace(text)) > 0 {
		block, rest := pem.Decode(text)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("something that is not a PEM certificate")
		}
		text = rest
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if !cert.BasicConstraintsValid || !cert.IsCA {
			return nil, fmt.Errorf("%q is not an authority", cert.Subject)
		}
		if count++; count > maxRoots {
			return nil, fmt.Errorf("over %d certificates", maxRoots)
		}
		r.pool.AddCert(cert)
	}
	if count == 0 {
		return nil, errors.New("no certificate")
	}
	return r, nil
}

// decodeChain decodes the members of an x5c: base64 (RFC 7515, section 4.1.6), or base64url as Confidential Containers' Attestation Service writes it.
func decodeChain(encoded []string) ([][]byte, error) {
	if len(encoded) > maxChain {
		return nil, attest.Refuse(attest.CodeCertMalformed, "a chain of %d certificates: at most %d are read", len(encoded), maxChain)
	}
	var chain [][]byte
	for i, text := range encoded {
		var der []byte
		ok := len(text) <= base64.StdEncoding.EncodedLen(maxCertificate)
		if ok {
			if der, ok = decodeStd(text); !ok {
				der, ok = decodeURL([]byte(text))
			}
		}
		if !ok || len(der) == 0 {
			return nil, attest.Refuse(attest.CodeCertMalformed, "certificate %d of the token's chain is not base64, or over %d bytes", i, maxCertificate)
		}
		chain = append(chain, der)
	}
	return chain, nil
}

// verify returns the key of the first certificate in a header's chain, which has one, when the chain ends at a configured root at the time at. Certificates that follow the first
// are intermediates at best: a root that a token brings is not a root. The chain is known by its text, which has one spelling in either base64: whoever
// fills the cache with others has what a root signed.
func (r *roots) verify(h *header, at time.Time) (*verifiedChain, error) {
	if v, ok := r.chains.Get(h.chainKey); ok {
		if !at.Before(v.from) && !at.After(v.until) {
			return v, nil
		}
		r.chains.Drop(h.chainKey)
	}
	chain, err := decodeChain(h.chain)
	if err != nil {
		return nil, err
	}
	v, err := r.build(chain, at)
	if err == nil {
		r.chains.Put(h.chainKey, v)
	}
	return v, err
}

func (r *roots) build(chain [][]byte, at time.Time) (*verifiedChain, error) {
	certs := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, attest.Refuse(attest.CodeCertMalformed, "certificate %d of the token's chain: %w", i, err)
		}
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && (key.N.BitLen() > maxChainRSA || key.E != chainExponent) {
			return nil, attest.Refuse(attest.CodeAlgorithm, "certificate %d of the token's chain has an RSA key of %d bits with the exponent %d: at most %d with %d are tried",
				i, key.N.BitLen(), key.E, maxChainRSA, chainExponent)
		}
		certs[i] = cert
	}
	leaf, between := certs[0], x509.NewCertPool()
	for _, cert := range certs[1:] {
		between.AddCert(cert)
	}
	if err := checkSigner(leaf); err != nil {
		return nil, err
	}
	paths, err := leaf.Verify(x509.VerifyOptions{
		Roots: r.pool, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		var invalid x509.CertificateInvalidError
		if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			return nil, attest.Refuse(attest.CodeCertExpired, "the certificate of the token's key: %w", err)
		}
		return nil, attest.Refuse(attest.CodeCertUntrusted, "the certificate of the token's key: %w", err)
	}
	v := &verifiedChain{key: key{public: leaf.PublicKey}, from: leaf.NotBefore, until: leaf.NotAfter}
	for _, cert := range paths[0] {
		if cert.NotBefore.After(v.from) {
			v.from = cert.NotBefore
		}
		if cert.NotAfter.Before(v.until) {
			v.until = cert.NotAfter
		}
	}
	if err := checkPublic(v.public); err != nil {
		return nil, attest.Refuse(attest.CodeAlgorithm, "the certificate of the token's key: %w", err)
	}
	if err := v.name(); err != nil {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the certificate of the token's key: %w", err)
	}
	return v, nil
}

// checkSigner refuses a certificate that is for something else than signing: an authority's, and one for TLS only, which an authority that
// also certifies servers gives to anyone who has a server.
func checkSigner(leaf *x509.Certificate) error {
	refuse := func(why string) error {
		return attest.Refuse(attest.CodeCertUntrusted, "the certificate of the token's key (%.80q) %s", leaf.Subject.String(), why)
	}
	if leaf.IsCA {
		return refuse("is an authority's")
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return refuse("is not for signatures")
	}
	tls := func(usage x509.ExtKeyUsage) bool {
		return usage == x509.ExtKeyUsageServerAuth || usage == x509.ExtKeyUsageClientAuth
	}
	other := func(usage x509.ExtKeyUsage) bool { return !tls(usage) }
	if slices.ContainsFunc(leaf.ExtKeyUsage, tls) && !slices.ContainsFunc(leaf.ExtKeyUsage, other) && len(leaf.UnknownExtKeyUsage) == 0 {
		return refuse("is for TLS and nothing else")
	}
	return nil
}
