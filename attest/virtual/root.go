package virtual

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/snp"
)

// rootLifetime and deviceLifetime are how long certificates are good. A development set-up that is older is better
// made anew.
const (
	rootLifetime   = 10 * 365 * 24 * time.Hour
	deviceLifetime = 5 * 365 * 24 * time.Hour
)

// clockSkew is how far back certificates are dated, so that a guest whose clock is behind its broker's is not refused.
const clockSkew = time.Hour

// rootName is the common name of a Root. Nothing relies on it.
const rootName = "Vouchsafe virtual TEE development root"

// Root is a development authority: its key certifies devices.
type Root struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// NewRoot makes an authority that is valid from now. Randomness is read from random.
func NewRoot(random io.Reader, now time.Time) (*Root, error) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), random)
	if err != nil {
		return nil, fmt.Errorf("virtual: making the root's key: %w", err)
	}
	serial, err := serialNumber(random)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: rootName},
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(rootLifetime),
		IsCA:         true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(random, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("virtual: making the root's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("virtual: making the root's certificate: %w", err)
	}
	return &Root{key: key, cert: cert}, nil
}

// serialNumber returns a random positive number of 16 bytes.
func serialNumber(random io.Reader) (*big.Int, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("virtual: making a serial number: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:]), nil
}

// Certificate returns the root's certificate, which is what a [Verifier] needs of it.
func (r *Root) Certificate() *x509.Certificate { return r.cert }

// Marshal returns the root as PEM, private key included: keep it in a file that its owner alone can read.
func (r *Root) Marshal() ([]byte, error) { return marshalPair(r.key, r.cert) }

// ParseRoot reads what Marshal returned.
func ParseRoot(text []byte) (*Root, error) {
	key, cert, err := parsePair(text)
	if err != nil {
		return nil, fmt.Errorf("virtual: the root: %w", err)
	}
	if err := checkRoot(cert); err != nil {
		return nil, err
	}
	return &Root{key: key, cert: cert}, nil
}

// checkRoot checks that cert is one that NewRoot makes.
func checkRoot(cert *x509.Certificate) error {
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P384() || !cert.IsCA || !cert.BasicConstraintsValid {
		return errors.New("virtual: the root's certificate is not that of an authority with a key on P-384")
	}
	if err := cert.CheckSignatureFrom(cert); err != nil {
		return fmt.Errorf("virtual: the root's certificate is not signed by its key: %w", err)
	}
	return nil
}

// certify makes the certificate of a device's key.
func (r *Root) certify(random io.Reader, now time.Time, key *ecdsa.PublicKey, e *snp.Endorsement) (*x509.Certificate, error) {
	extensions, err := e.Extensions()
	if err != nil {
		return nil, fmt.Errorf("virtual: %w", err)
	}
	serial, err := serialNumber(random)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:    serial,
		Subject:         pkix.Name{CommonName: "SEV-VCEK"},
		NotBefore:       now.Add(-clockSkew),
		NotAfter:        now.Add(deviceLifetime),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: extensions,
	}
	if template.NotAfter.After(r.cert.NotAfter) {
		template.NotAfter = r.cert.NotAfter
	}
	der, err := x509.CreateCertificate(random, template, r.cert, key, r.key)
	if err != nil {
		return nil, fmt.Errorf("virtual: making the device's certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// Types of PEM blocks.
const (
	pemKey         = "PRIVATE KEY"
	pemCertificate = "CERTIFICATE"
)

func marshalPair(key *ecdsa.PrivateKey, cert *x509.Certificate) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("virtual: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der})
	return append(text, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert.Raw})...), nil
}

// parsePair reads a key and its certificate, and nothing else.
func parsePair(text []byte) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	keyBlock, rest := pem.Decode(text)
	certBlock, rest := pem.Decode(rest)
	if keyBlock == nil || certBlock == nil || keyBlock.Type != pemKey || certBlock.Type != pemCertificate || len(rest) != 0 {
		return nil, nil, errors.New("not a private key and a certificate in PEM, in that order")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P384() {
		return nil, nil, errors.New("the private key is not on P-384")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, errors.New("the certificate is of another key")
	}
	return key, cert, nil
}

// digest hashes what a report's signature covers.
func digest(signed []byte) []byte {
	d := sha512.Sum384(signed)
	return d[:]
}
