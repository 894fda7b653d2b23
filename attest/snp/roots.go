package snp

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	_ "embed" // for the roots
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/vouchsafe/vouchsafe/attest"
)

// anchor is the root of one product, with the intermediates its owner publishes.
type anchor struct {
	product Product
	name    string            // for claims: hardware_root
	ark     *x509.Certificate // the root, AMD Root Key
	ask     *x509.Certificate // signs VCEKs, AMD SEV Signing Key
	asvk    *x509.Certificate // signs VLEKs, AMD SEV-VLEK Signing Key
}

// AMD's certificates, ARK, ASK and ASVK of each product, as its key distribution service publishes them at
// https://kdsintf.amd.com/{vcek,vlek}/v1/{product}/cert_chain.
var (
	//go:embed roots/milan.pem
	milanPEM []byte
	//go:embed roots/genoa.pem
	genoaPEM []byte
	//go:embed roots/turin.pem
	turinPEM []byte
)

// pinned is the SHA-256 of each product's ARK, so that a change to the files above is a change to the code too.
var pinned = map[Product]string{
	Milan: "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
	Genoa: "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
	Turin: "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
}

// rootNames are the products' roots in claims.
var rootNames = map[Product]string{Milan: attest.RootMilan, Genoa: attest.RootGenoa, Turin: attest.RootTurin}

// amdAnchors returns the anchors of every product.
func amdAnchors() ([]anchor, error) {
	var anchors []anchor
	for _, p := range Products() {
		a, err := parseAnchor(p, map[Product][]byte{Milan: milanPEM, Genoa: genoaPEM, Turin: turinPEM}[p])
		if err != nil {
			return nil, fmt.Errorf("snp: the roots of %s that are built in: %w", p, err)
		}
		if digest := sha256.Sum256(a.ark.Raw); hex.EncodeToString(digest[:]) != pinned[p] {
			return nil, fmt.Errorf("snp: the root of %s that is built in is not the one that is pinned", p)
		}
		anchors = append(anchors, *a)
	}
	return anchors, nil
}

// parseAnchor reads an ARK, ASK and ASVK in PEM and checks that the first vouches for the others.
func parseAnchor(p Product, text []byte) (*anchor, error) {
	var certs [3]*x509.Certificate
	for i := range certs {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errors.New("not three certificates in PEM")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs[i], text = cert, rest
	}
	a := &anchor{product: p, name: rootNames[p], ark: certs[0], ask: certs[1], asvk: certs[2]}
	return a, a.check()
}

// check verifies what chains then rely on without looking again.
func (a *anchor) check() error {
	if err := checkAuthority(a.ark, a.ark, "ARK-"+string(a.product)); err != nil {
		return err
	}
	if err := checkAuthority(a.ask, a.ark, a.intermediateName(VCEK)); err != nil {
		return err
	}
	return checkAuthority(a.asvk, a.ark, a.intermediateName(VLEK))
}

// intermediateName is the common name of the certificate that signs keys of one kind, which AMD tells apart by
// nothing else.
func (a *anchor) intermediateName(key SigningKey) string {
	if key == VLEK {
		return "SEV-VLEK-" + string(a.product)
	}
	return "SEV-" + string(a.product)
}

// intermediate returns the built-in certificate that signs keys of one kind.
func (a *anchor) intermediate(key SigningKey) *x509.Certificate {
	if key == VLEK {
		return a.asvk
	}
	return a.ask
}

// minRSABits is the least modulus of AMD's authorities, all of which have 4096 bits.
const minRSABits = 4096

// checkAuthority checks that cert is an authority of that name, with AMD's algorithms, and signed by issuer.
func checkAuthority(cert, issuer *x509.Certificate, name string) error {
	if cert.Subject.CommonName != name {
		return fmt.Errorf("the certificate of %q is not that of %q", cert.Subject.CommonName, name)
	}
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minRSABits {
		return fmt.Errorf("the key of %s is not RSA of %d bits", name, minRSABits)
	}
	if !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%s is not an authority", name)
	}
	if len(cert.UnhandledCriticalExtensions) > 0 {
		return fmt.Errorf("%s has the critical extension %v, which is not known", name, cert.UnhandledCriticalExtensions[0])
	}
	return checkSigned(cert, issuer)
}

// checkSigned checks that issuer signed cert, with the one algorithm AMD uses.
func checkSigned(cert, issuer *x509.Certificate) error {
	if string(cert.RawIssuer) != string(issuer.RawSubject) {
		return fmt.Errorf("%s was issued by %q, not %q", cert.Subject.CommonName, cert.Issuer.CommonName, issuer.Subject.CommonName)
	}
	if cert.SignatureAlgorithm != x509.SHA384WithRSAPSS {
		return fmt.Errorf("%s is signed with %v, not RSA-PSS with SHA-384", cert.Subject.CommonName, cert.SignatureAlgorithm)
	}
	return cert.CheckSignatureFrom(issuer)
}
