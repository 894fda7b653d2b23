package nvidia

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/pki"
)

// chainLength is how many certificates a device's chain has with its root: of the key that signs reports, the device's identity, two
// authorities.
const chainLength = 5

// Places in a chain.
const (
	leafAt = iota
	identityAt
	provisionerAt
	familyAt
)

// deviceChain is a device's chain whose signatures and names were verified. Dates and revocation were not: they are judged at every use.
type deviceChain struct {
	*pki.Chain
	architecture Architecture
	chip         string    // as its certificates name it: GH100
	layer        layer     // of the firmware that has the leaf's key
	name         *dmtfName // nil where the leaf has none
	identity     [sha256.Size]byte
	digests      [chainLength - 1]string // hex SHA-256 of each certificate, the root apart
}

// verifyChain verifies that root vouches for the chain of a device, certificates in DER, its own first. It refuses with CodeCertMissing,
// CodeCertMalformed and CodeCertUntrusted.
func verifyChain(ders [][]byte, root *x509.Certificate) (*deviceChain, error) {
	malformed := func(err error) (*deviceChain, error) {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the device's certificates: %w", err)
	}
	certs, err := pki.Parse(ders)
	if err != nil {
		return malformed(err)
	}
	if len(certs) == 1 && bytes.Equal(certs[0].Raw, root.Raw) {
		return nil, attest.Refuse(attest.CodeCertMissing, "the device's certificates are its root only")
	}
	chain, err := pki.Verify(certs, root)
	if err != nil {
		return nil, attest.Refuse(attest.CodeCertUntrusted, "the device's certificates do not chain to %s: %w", root.Subject.CommonName, err)
	}
	if len(chain.Certificates) != chainLength {
		return nil, attest.Refuse(attest.CodeCertUntrusted, "the device's chain has %d certificates with its root, not %d",
			len(chain.Certificates), chainLength)
	}
	c := &deviceChain{Chain: chain, identity: sha256.Sum256(chain.Certificates[identityAt].RawSubjectPublicKeyInfo)}
	if c.chip, c.architecture = chipOf(chain); c.architecture == "" {
		return nil, attest.Refuse(attest.CodeCertUntrusted,
			"the device's certificates, of %.60q issued by %.60q, are not of a GPU or switch that is verified",
			c.Leaf().Subject.CommonName, c.Certificates[provisionerAt].Subject.CommonName)
	}
	l, err := readLayer(c.Leaf())
	if err != nil {
		return malformed(err)
	}
	if l.deviceID != nil && !bytes.Equal(l.deviceID, chain.Certificates[identityAt].RawSubjectPublicKeyInfo) {
		return malformed(errors.New("its DICE extension names another device's key than its issuer's"))
	}
	c.layer = *l
	if c.name, err = readName(c.Leaf()); err != nil {
		return malformed(err)
	}
	if c.name != nil && (c.name.manufacturer != "NVIDIA" || c.name.product != c.chip) {
		return malformed(errors.New("its DMTF name is of another chip than its issuers"))
	}
	for i := range c.digests {
		digest := sha256.Sum256(c.Certificates[i].Raw)
		c.digests[i] = hex.EncodeToString(digest[:])
	}
	return c, nil
}

// chipOf returns the chip that a chain's names agree on, and its architecture, "" where they do not agree or it is none that is
// verified. The authority directly below the root says what kind of thing it vouches for ("NVIDIA GH100 Identity", also of switches of
// that generation), the one below it which chip ("NVIDIA LS_10 Provisioner ICA 1"), and the device's own certificates repeat it ("LS_10
// A01 FSP BROM").
func chipOf(c *pki.Chain) (string, Architecture) {
	common := func(at int) string { return c.Certificates[at].Subject.CommonName }
	family, isIdentity := strings.CutSuffix(common(familyAt), " Identity")
	if !isIdentity || !strings.HasPrefix(family, "NVIDIA ") {
		return "", ""
	}
	rest, ok := strings.CutPrefix(common(provisionerAt), "NVIDIA ")
	if !ok {
		return "", ""
	}
	chip, number, ok := strings.Cut(rest, " Provisioner ICA ")
	if !ok || number == "" || strings.Trim(number, "0123456789") != "" {
		return "", ""
	}
	if !strings.HasPrefix(common(identityAt), chip+" ") || !strings.HasPrefix(common(leafAt), chip+" ") {
		return "", ""
	}
	return chip, of(chip)
}

// chain returns the verified chain in text, PEM, from the cache where it is there, valid at now. Chains are known by their certificates without the
// root, so that one chain in many writings has one place in the cache; the writings have a cache of their own, which only saves decoding.
func (v *Verifier) chain(text []byte, now time.Time) (*deviceChain, error) {
	writing := verified.Key(sha256.Sum256(text))
	c, ok := v.writings.Get(writing)
	if !ok {
		var err error
		if c, err = v.decodedChain(text); err != nil {
			return nil, err
		}
		if !now.After(c.NotAfter) {
			v.writings.Put(writing, c)
		}
	}
	if err := c.Check(now); err != nil {
		return nil, attest.Refuse(attest.CodeCertExpired, "the device's certificates: %w", err)
	}
	return c, nil
}

// decodedChain is chain for a writing that is not known, at any time.
func (v *Verifier) decodedChain(text []byte) (*deviceChain, error) {
	ders, err := pki.ParsePEM(text)
	if err != nil {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the device's certificates: %w", err)
	}
	k := chainKey(ders, v.roots.device)
	if c, ok := v.chains.Get(k); ok {
		return c, nil
	}
	c, err := verifyChain(ders, v.roots.device)
	if err == nil {
		v.chains.Put(k, c)
	}
	return c, err
}

// chainKey names a chain by its certificates but the root, where that is the last.
func chainKey(ders [][]byte, root *x509.Certificate) verified.Key {
	if last := len(ders) - 1; last > 0 && bytes.Equal(ders[last], root.Raw) {
		ders = ders[:last]
	}
	return verified.KeyOf(ders...)
}
