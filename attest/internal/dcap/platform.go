package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
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
	vouching  vouching          // what all this was verified from
	notBefore time.Time         // the latest of the chain
	notAfter  time.Time         // the earliest of the chain
	qe        EnclaveReport
	key       *ecdsa.PublicKey   // the attestation key
	names     names              // of the endorsements that judge the platform
	claims    attest.IntelClaims // what the certificate and the quoting enclave say; the rest is not filled in
}

// platformKey is what a platform is held under: an attestation key, and the TEE, on which the names of endorsements depend.
type platformKey struct {
	tee TEE
	key [keySize]byte
}

// vouching is what vouches for an attestation key, as a quote has it: all that verifyPlatform's answer depends on, and nothing else. What
// is presented for nothing, such as a root, is no part of it.
type vouching struct {
	report, signature, authorData []byte // of the quoting enclave
	chain                         []byte // up to the end of the second certificate
}

// vouchingOf returns what vouches for the quote's attestation key, and the rest of its chain.
func vouchingOf(q *Quote) (v vouching, tail []byte) {
	chain, tail := cutChain(q.chain)
	return vouching{q.qeReport, q.qeSignature, q.qeAuthorData, chain}, tail
}

// clone returns a copy that shares no memory with the evidence.
func (v vouching) clone() vouching {
	return vouching{bytes.Clone(v.report), bytes.Clone(v.signature), bytes.Clone(v.authorData), bytes.Clone(v.chain)}
}

// vouchesFor reports whether the quote has the very same, and returns the rest of its chain.
func (v *vouching) vouchesFor(q *Quote) (tail []byte, same bool) {
	if !bytes.Equal(q.qeReport, v.report) || !bytes.Equal(q.qeSignature, v.signature) || !bytes.Equal(q.qeAuthorData, v.authorData) {
		return nil, false
	}
	return bytes.CutPrefix(q.chain, v.chain)
}

// beginPEM and endPEM are the lines around a certificate.
var (
	beginPEM = []byte("-----BEGIN CERTIFICATE-----")
	endPEM   = []byte("-----END CERTIFICATE-----")
)

// cutChain returns a chain up to the end of its second certificate, all of it where there are fewer, and the rest.
func cutChain(chain []byte) (head, tail []byte) {
	at := 0
	for range 2 {
		end := bytes.Index(chain[at:], endPEM)
		if end < 0 {
			return chain, nil
		}
		at += end + len(endPEM)
	}
	return chain[:at], chain[at:]
}

// checkTail makes sure that what follows the certificates which count is at most two more, which nobody looks into. It is done at every use, since
// what is held says nothing of it.
func checkTail(tail []byte) error {
	rest := bytes.TrimRight(tail, "\x00\r\n\t ")
	for n := 2; len(rest) > 0; n++ {
		rest = bytes.TrimLeft(rest, "\r\n\t ")
		if n == maxCertificates {
			return attest.Refuse(attest.CodeTooLarge, "a certificate chain of more than %d certificates", maxCertificates)
		}
		end := bytes.Index(rest, endPEM)
		if !bytes.HasPrefix(rest, beginPEM) || end < len(beginPEM) || !isBase64(rest[len(beginPEM):end]) {
			return attest.Refuse(attest.CodeCertMalformed, "the certificate chain has other things than certificates in it")
		}
		rest = rest[end+len(endPEM):]
	}
	return nil
}

// inBase64 has what base64 is written with, the ends of lines included.
var inBase64 = func() (in [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\n\r" {
		in[c] = true
	}
	return in
}()

// isBase64 reports whether all characters are of base64 or end a line. It looks at a kilobyte for each quote.
func isBase64(text []byte) bool {
	for _, c := range text {
		if !inBase64[c] {
			return false
		}
	}
	return true
}

// verifyPlatform verifies that the root vouches for the PCK, the PCK signed the quoting enclave's report, and that covers the attestation key.
// It refuses with CodeCertMissing, CodeCertMalformed, CodeCertUntrusted, CodeSignature, CodeKeyNotReported and CodeMalformed.
func verifyPlatform(q *Quote, v vouching, root *x509.Certificate) (*platform, error) {
	p, cert, err := verifyChain(v.chain, root)
	if err != nil {
		return nil, err
	}
	p.vouching = v.clone()
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
	p.names = namesOf(q.TEE, p.pck, p.authority)
	p.claims = attest.IntelClaims{
		FMSPC:              hex.EncodeToString(p.pck.FMSPC[:]),
		PCEID:              hex.EncodeToString(p.pck.PCEID[:]),
		PPID:               hex.EncodeToString(p.pck.PPID[:]),
		PlatformInstanceID: hex.EncodeToString(p.pck.Instance),
		Authority:          p.authority,
		CPUSVN:             hex.EncodeToString(p.pck.CPUSVN[:]),
		SGXComponents:      hex.EncodeToString(p.pck.TCB[:]),
		PCESVN:             int(p.pck.PCESVN),
		SGXType:            p.pck.SGXType,
		QESVN:              int(p.qe.SVN),
		QEMREnclave:        hex.EncodeToString(p.qe.MREnclave[:]),
	}
	return p, nil
}

// verifyChain verifies a PCK certificate, the first in the chain, by the authority that issued it, the second, and that by root.
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
	if len(ders) < 2 {
		return nil, nil, attest.Refuse(attest.CodeCertMissing,
			"the quote does not have the certificate of %q, which issued the PCK's", cert.Issuer.CommonName)
	}
	if p.issuer, err = x509.ParseCertificate(ders[1]); err != nil {
		return nil, nil, attest.Refuse(attest.CodeCertMalformed, "the PCK certificate's issuer: %w", err)
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
		if !bytes.HasPrefix(rest, beginPEM) {
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
	return ecdsa.VerifyASN1(key, digest[:], derSignature((*[signatureSize]byte)(signature)))
}

// derSignature returns r and s as the sequence of integers that package crypto/ecdsa reads: to have it made of two numbers by ecdsa.Verify takes twenty
// allocations.
func derSignature(signature *[signatureSize]byte) []byte {
	der := make([]byte, 2, 2+2*(3+signatureSize/2))
	for _, number := range [...][]byte{signature[:signatureSize/2], signature[signatureSize/2:]} {
		number = bytes.TrimLeft(number, "\x00")
		if len(number) == 0 || number[0] >= 0x80 { // it is not negative
			der = append(der, 0x02, byte(len(number)+1), 0)
		} else {
			der = append(der, 0x02, byte(len(number)))
		}
		der = append(der, number...)
	}
	der[0], der[1] = 0x30, byte(len(der)-2)
	return der
}
