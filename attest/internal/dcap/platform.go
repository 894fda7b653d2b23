package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Names of the certificates between the root and the quoting enclave.
const (
	namePCK       = "Intel SGX PCK Certificate"
	nameProcessor = "Intel SGX PCK Processor CA"
	namePlatform  = "Intel SGX PCK Platform CA"
)

// authorities are those that certify platforms, by how the names of their revocation lists spell them.
var authorities = map[string]string{nameProcessor: "processor", namePlatform: "platform"}

// Limits of a certificate chain.
const (
	maxChain        = 16 << 10 // in bytes; Intel's have 3.7 KiB
	maxCertificates = 4        // PCK, authority, root, and one more
)

// platform is what vouches for an attestation key: verified, but for dates, revocation and the quoting enclave's identity, which are judged
// at every use.
type platform struct {
	pck       *PCK
	authority string            // "processor" or "platform"
	issuer    *x509.Certificate // that authority's certificate
	serial    *big.Int          // of the PCK certificate
	notBefore time.Time         // the latest of the chain
	notAfter  time.Time         // the earliest of the chain
	qe        EnclaveReport
	key       *ecdsa.PublicKey // the attestation key
}

// verifyPlatform verifies that the root vouches for the PCK, the PCK signed the quoting enclave's report, and that covers the attestation key.
// It refuses with CodeCertMissing, CodeCertMalformed, CodeCertUntrusted, CodeSignature, CodeKeyNotReported and CodeMalformed.
func verifyPlatform(q *Quote, root *x509.Certificate) (*platform, error) {
	p, cert, err := verifyChain(q.chain, root)
	if err != nil {
		return nil, err
	}
	if !verifySignature(cert.PublicKey.(*ecdsa.PublicKey), q.qeReport, q.qeSignature) {
		return nil, attest.Refuse(attest.CodeSignature, "the PCK did not sign the quoting enclave's report")
	}
	p.qe = q.qe
	h := sha256.New()
	h.Write(q.key)
	h.Write(q.qeAuthorData)
	var want [64]byte
	h.Sum(want[:0])
	if subtle.ConstantTimeCompare(want[:], q.qe.ReportData[:]) != 1 {
		return nil, attest.Refuse(attest.CodeKeyNotReported, "the quoting enclave's report does not cover the attestation key")
	}
	p.key, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, q.key...))
	if err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "the attestation key is not a point on P-256")
	}
	return p, nil
}

// verifyChain verifies a PCK certificate, the first in the chain, by the authority in the chain that issued it, and that by root. Other
// certificates, such as the root that Intel's libraries put last, are not looked at.
func verifyChain(chain []byte, root *x509.Certificate) (*platform, *x509.Certificate, error) {
	ders, err := splitChain(chain)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(ders[0])
	if err != nil {
		return nil, nil, attest.Refuse(attest.CodeCertMalformed, "the PCK certificate: %w", err)
	}
	p := &platform{authority: authorities[cert.Issuer.CommonName], serial: cert.SerialNumber}
	if p.authority == "" {
		return nil, nil, attest.Refuse(attest.CodeCertUntrusted,
			"the PCK certificate was issued by %.60q, which is no authority that certifies platforms", cert.Issuer.CommonName)
	}
	if p.issuer, err = findIssuer(cert, ders[1:]); err != nil {
		return nil, nil, err
	}
	if err := checkAuthority(p.issuer, root, cert.Issuer.CommonName); err != nil {
		return nil, nil, attest.Refuse(attest.CodeCertUntrusted, "the PCK certificate's issuer: %w", err)
	}
	if err := checkIssued(cert, p.issuer, namePCK); err != nil {
		return nil, nil, attest.Refuse(attest.CodeCertUntrusted, "the PCK certificate: %w", err)
	}
	if cert.IsCA || cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, nil, attest.Refuse(attest.CodeCertMalformed, "the PCK certificate is not for signing quoting enclaves' reports")
	}
	for _, ext := range cert.Extensions { // ParseCertificate makes sure that none is there twice
		if !ext.Id.Equal(sgxArc) {
			continue
		}
		if p.pck, err = parsePCK(ext.Value); err != nil {
			return nil, nil, attest.Refuse(attest.CodeCertMalformed, "the PCK certificate's SGX extension: %w", err)
		}
	}
	if p.pck == nil {
		return nil, nil, attest.Refuse(attest.CodeCertMalformed, "the PCK certificate has no SGX extension")
	}
	p.notBefore, p.notAfter = cert.NotBefore, cert.NotAfter
	for _, c := range []*x509.Certificate{p.issuer, root} {
		if c.NotBefore.After(p.notBefore) {
			p.notBefore = c.NotBefore
		}
		if c.NotAfter.Before(p.notAfter) {
			p.notAfter = c.NotAfter
		}
	}
	return p, cert, nil
}

// findIssuer returns the certificate of the authority that cert names.
func findIssuer(cert *x509.Certificate, ders [][]byte) (*x509.Certificate, error) {
	for _, der := range ders {
		issuer, err := x509.ParseCertificate(der)
		if err == nil && bytes.Equal(issuer.RawSubject, cert.RawIssuer) {
			return issuer, nil
		}
	}
	return nil, attest.Refuse(attest.CodeCertMissing, "the quote does not have the certificate of %q, which issued the PCK's", cert.Issuer.CommonName)
}

// splitChain takes certificates out of PEM, one to four. Libraries end the text with a zero byte or with none.
func splitChain(chain []byte) ([][]byte, error) {
	if len(chain) > maxChain {
		return nil, attest.Refuse(attest.CodeTooLarge, "a certificate chain of %d bytes: at most %d are read", len(chain), maxChain)
	}
	rest := bytes.TrimRight(chain, "\x00\r\n\t ")
	if len(rest) == 0 {
		return nil, attest.Refuse(attest.CodeCertMissing, "the quote's certificate chain is empty")
	}
	var ders [][]byte
	for len(rest) > 0 {
		var block *pem.Block
		if !bytes.HasPrefix(rest, []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, attest.Refuse(attest.CodeCertMalformed, "the certificate chain has other things than certificates in it")
		}
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return nil, attest.Refuse(attest.CodeCertMalformed, "the certificate chain is not PEM")
		}
		if ders = append(ders, block.Bytes); len(ders) > maxCertificates {
			return nil, attest.Refuse(attest.CodeTooLarge, "a certificate chain of more than %d certificates", maxCertificates)
		}
		rest = bytes.TrimLeft(rest, "\r\n\t ")
	}
	return ders, nil
}

// checkTime refuses with CodeCertExpired when a certificate of the chain is not valid at now.
func (p *platform) checkTime(now time.Time) error {
	if now.Before(p.notBefore) || now.After(p.notAfter) {
		return attest.Refuse(attest.CodeCertExpired, "the certificates are valid from %s to %s and the time is %s",
			p.notBefore.UTC().Format(time.RFC3339), p.notAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// verifySignature verifies ECDSA on P-256 with SHA-256. A signature is r and s, each of 32 bytes.
func verifySignature(key *ecdsa.PublicKey, data, signature []byte) bool {
	if len(signature) != signatureSize {
		return false
	}
	digest := sha256.Sum256(data)
	r, s := new(big.Int).SetBytes(signature[:signatureSize/2]), new(big.Int).SetBytes(signature[signatureSize/2:])
	return ecdsa.Verify(key, digest[:], r, s)
}
