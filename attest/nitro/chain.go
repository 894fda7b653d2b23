package nitro

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	_ "embed" // for the root
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// rootPEM is the root of AWS's commercial regions, which AWS publishes at
// https://aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip.
//
//go:embed roots/aws-nitro-g1.pem
var rootPEM []byte

// pinned is the SHA-256 of the root, as "Verifying the root of trust" in AWS's user guide states it, so that a change
// to the file is a change to the code too.
const pinned = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"

// awsRoot returns the root that is built in.
func awsRoot() (*x509.Certificate, error) {
	block, rest := pem.Decode(rootPEM)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("nitro: the root that is built in is not one certificate in PEM")
	}
	if digest := sha256.Sum256(block.Bytes); hex.EncodeToString(digest[:]) != pinned {
		return nil, errors.New("nitro: the root that is built in is not the one that is pinned")
	}
	return x509.ParseCertificate(block.Bytes)
}

// span is the time in which certificates are all valid.
type span struct{ from, to time.Time }

func (s span) and(cert *x509.Certificate) span {
	if cert.NotBefore.After(s.from) {
		s.from = cert.NotBefore
	}
	if cert.NotAfter.Before(s.to) {
		s.to = cert.NotAfter
	}
	return s
}

// check refuses with CodeCertExpired a time that is outside of s.
func (s span) check(what string, at time.Time) error {
	if at.Before(s.from) || at.After(s.to) {
		return attest.Refuse(attest.CodeCertExpired, "the certificates are valid from %s to %s and %s is %s",
			s.from.UTC().Format(time.RFC3339), s.to.UTC().Format(time.RFC3339), what, at.UTC().Format(time.RFC3339))
	}
	return nil
}

// authority is the last of a verified bundle, which signs the certificates of enclaves on one instance.
type authority struct {
	cert  *x509.Certificate
	valid span // of the whole bundle
}

// chain is a verified bundle and certificate. Dates were not judged.
type chain struct {
	key   *ecdsa.PublicKey
	name  string // common name of the certificate
	leaf  span   // of the certificate
	valid span   // of all
}

// verifyBundle verifies certificates from the root to the authority that signs the certificates of an instance's enclaves.
func verifyBundle(bundle [][]byte, root *x509.Certificate) (*authority, error) {
	if !bytes.Equal(bundle[0], root.Raw) {
		return nil, attest.Refuse(attest.CodeCertUntrusted, "the bundle does not begin with the root %q that is pinned",
			root.Subject.CommonName)
	}
	a := &authority{cert: root, valid: span{root.NotBefore, root.NotAfter}}
	for i, der := range bundle[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, attest.Refuse(attest.CodeCertMalformed, "certificate %d of the bundle: %w", i+1, err)
		}
		if err := checkForm(cert); err != nil {
			return nil, attest.Refuse(attest.CodeCertMalformed, "certificate %d of the bundle %w", i+1, err)
		}
		if !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
			return nil, attest.Refuse(attest.CodeCertUntrusted, "certificate %d of the bundle is not an authority's", i+1)
		}
		// The authorities after this one; the certificate of the enclave is none.
		below := len(bundle) - i - 2
		if limited := cert.MaxPathLen > 0 || cert.MaxPathLenZero; limited && below > cert.MaxPathLen {
			return nil, attest.Refuse(attest.CodeCertUntrusted,
				"certificate %d of the bundle allows %d authorities below it, and there are %d", i+1, cert.MaxPathLen, below)
		}
		if err := checkSigned(cert, a.cert); err != nil {
			return nil, attest.Refuse(attest.CodeCertUntrusted, "certificate %d of the bundle: %w", i+1, err)
		}
		a.cert, a.valid = cert, a.valid.and(cert)
	}
	return a, nil
}

// verifyLeaf verifies that by signed the certificate of an enclave.
func verifyLeaf(der []byte, by *authority) (*chain, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the certificate: %w", err)
	}
	if err := checkForm(cert); err != nil {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the certificate %w", err)
	}
	if cert.IsCA || cert.MaxPathLen > 0 || cert.MaxPathLenZero || cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the certificate is not one to sign documents with")
	}
	if err := checkSigned(cert, by.cert); err != nil {
		return nil, attest.Refuse(attest.CodeCertUntrusted, "the certificate: %w", err)
	}
	return &chain{
		key:   cert.PublicKey.(*ecdsa.PublicKey), // checkForm saw that it is one
		name:  cert.Subject.CommonName,
		leaf:  span{cert.NotBefore, cert.NotAfter},
		valid: by.valid.and(cert),
	}, nil
}

// The extensions that may be critical, because they are judged.
var (
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
)

// checkForm checks what holds for every certificate below the root. Its errors go on after the certificate's name.
func checkForm(cert *x509.Certificate) error {
	if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P384() {
		return errors.New("has a key that is not on P-384")
	}
	for _, e := range cert.Extensions {
		if e.Critical && !e.Id.Equal(oidKeyUsage) && !e.Id.Equal(oidBasicConstraints) {
			return fmt.Errorf("has the critical extension %v, which is not judged", e.Id)
		}
	}
	return nil
}

// checkSigned checks that issuer signed cert, with the one algorithm AWS uses.
func checkSigned(cert, issuer *x509.Certificate) error {
	if !bytes.Equal(cert.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("it was issued by %.80q, and the one before it is %.80q", cert.Issuer.CommonName, issuer.Subject.CommonName)
	}
	if cert.SignatureAlgorithm != x509.ECDSAWithSHA384 {
		return fmt.Errorf("it is signed with %v, not ECDSA with SHA-384", cert.SignatureAlgorithm)
	}
	return cert.CheckSignatureFrom(issuer)
}
