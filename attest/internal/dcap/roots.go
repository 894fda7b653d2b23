package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	_ "embed" // for the root
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// Roots are the anchors of trust. In production both are the same certificate, Intel's; tests hold real quotes against collateral of
// their own.
type Roots struct {
	Platform   *x509.Certificate // of PCK certificates and of revocation lists
	Collateral *x509.Certificate // of who signs TCB info and identities
}

// intelRootPEM is the Intel SGX Root CA, which Intel publishes at
// https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer.
//
//go:embed roots/intel-sgx-root-ca.pem
var intelRootPEM []byte

// intelRootDigest is the SHA-256 of that certificate, so that a change to the file is a change to the code too.
const intelRootDigest = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"

// nameRoot is the common name of the root.
const nameRoot = "Intel SGX Root CA"

// IntelRoots returns the one root that is built in.
func IntelRoots() (Roots, error) {
	block, rest := pem.Decode(intelRootPEM)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return Roots{}, errors.New("dcap: the root that is built in is not one certificate in PEM")
	}
	if digest := sha256.Sum256(block.Bytes); hex.EncodeToString(digest[:]) != intelRootDigest {
		return Roots{}, errors.New("dcap: the root that is built in is not the one that is pinned")
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return Roots{}, fmt.Errorf("dcap: the root that is built in: %w", err)
	}
	return Roots{Platform: root, Collateral: root}, nil
}

// check verifies what chains then rely on without looking again.
func (r Roots) check() error {
	for _, root := range []*x509.Certificate{r.Platform, r.Collateral} {
		if root == nil {
			return errors.New("dcap: a root is missing")
		}
		if err := checkAuthority(root, root, nameRoot); err != nil {
			return fmt.Errorf("dcap: the root: %w", err)
		}
	}
	return nil
}

// checkAuthority checks that cert is an authority of that name, and issued by issuer.
func checkAuthority(cert, issuer *x509.Certificate, name string) error {
	if !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%q is not an authority", cert.Subject.CommonName)
	}
	return checkIssued(cert, issuer, name)
}

// checkIssued checks what all of Intel's certificates have in common: the name, a key on P-256, and issuer's signature by ECDSA with SHA-256.
func checkIssued(cert, issuer *x509.Certificate, name string) error {
	if cert.Subject.CommonName != name {
		return fmt.Errorf("the certificate of %.60q is not that of %q", cert.Subject.CommonName, name)
	}
	if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return fmt.Errorf("the key of %q is not on P-256", name)
	}
	if len(cert.UnhandledCriticalExtensions) > 0 {
		return fmt.Errorf("%q has the critical extension %v, which is not known", name, cert.UnhandledCriticalExtensions[0])
	}
	if !bytes.Equal(cert.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("%q was issued by %.60q, not %q", name, cert.Issuer.CommonName, issuer.Subject.CommonName)
	}
	if cert.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return fmt.Errorf("%q is signed with %v, not ECDSA with SHA-256", name, cert.SignatureAlgorithm)
	}
	return cert.CheckSignatureFrom(issuer)
}
