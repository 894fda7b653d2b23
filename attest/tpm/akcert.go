package tpm

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
)

// maxCertificate bounds one certificate, in bytes: long before this, it is not one that a TPM's maker issued.
const maxCertificate = 8 << 10

//go:embed roots/google-ak-roots.pem
var googleRoots []byte

//go:embed roots/google-ak-intermediates.pem
var googleIntermediates []byte

// GoogleAKRoots returns the roots of Google Cloud's attestation keys: "EK/AK CA Root" (2022) and the one before it (2018).
func GoogleAKRoots() []*x509.Certificate { return builtIn(googleRoots) }

// GoogleAKIntermediates returns the authorities that issue under [GoogleAKRoots]. The TPM of an instance holds its leaf certificate only.
func GoogleAKIntermediates() []*x509.Certificate { return builtIn(googleIntermediates) }

// builtIn parses an embedded file. What is wrong with one is found by the first test, so it panics.
func builtIn(file []byte) []*x509.Certificate {
	certs, err := ParsePEM(file)
	if err != nil {
		panic(err)
	}
	return certs
}

// ParsePEM returns the certificates in a PEM file, in order. Text between the blocks is ignored.
func ParsePEM(file []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(file); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block of type %s; CERTIFICATE is expected", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

// anchors are roots with the intermediates and revocation lists that serve them.
type anchors struct {
	roots                   []*x509.Certificate
	rootPool, intermediates *x509.CertPool
	lists                   []*x509.RevocationList

	known *verified.Cache[*chain] // verified chains, by what was presented
}

// maxKnownChains bounds the chains that are remembered: one for each instance that attests. An entry takes about 150 bytes.
const maxKnownChains = 4096

func newAnchors(roots, intermediates []*x509.Certificate, lists []*x509.RevocationList) *anchors {
	a := &anchors{
		roots: roots, rootPool: x509.NewCertPool(), intermediates: x509.NewCertPool(), lists: lists,
		known: verified.NewCache[*chain](maxKnownChains),
	}
	for _, cert := range roots {
		a.rootPool.AddCert(cert)
	}
	for _, cert := range intermediates {
		a.intermediates.AddCert(cert)
	}
	return a
}

// oidSubjectAltName is critical in EK and AK certificates whose subject is empty, and holds a directory name, which crypto/x509
// does not interpret. It says which TPM model this is; nothing here is decided by it.
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// parseLeaf parses a certificate that says something about a TPM's key.
func parseLeaf(der []byte) (*x509.Certificate, error) {
	if len(der) > maxCertificate {
		return nil, attest.Refuse(attest.CodeTooLarge, "a certificate of %d bytes; the limit is %d", len(der), maxCertificate)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, attest.Refuse(attest.CodeCertMalformed, "%w", err)
	}
	cert.UnhandledCriticalExtensions = slices.DeleteFunc(cert.UnhandledCriticalExtensions, oidSubjectAltName.Equal)
	return cert, nil
}

// chain is a verified chain.
type chain struct {
	begins  time.Time // when the last certificate becomes valid
	expires time.Time // when the first certificate, or list it was held against, ceases to be
	checked bool      // every certificate under the root was held against a list of its issuer
	current bool      // all those lists were current
}

// verifyOnce is verify, remembering chains that were found good for as long as they are. A verdict depends on nothing but what is
// presented, the configuration, and the time.
func (a *anchors) verifyOnce(leaf *x509.Certificate, presented [][]byte, at time.Time) (*chain, error) {
	name := verified.KeyOf(append([][]byte{leaf.Raw}, presented...)...)
	if c, found := a.known.Get(name); found && !at.Before(c.begins) && at.Before(c.expires) {
		return c, nil
	}
	c, err := a.verify(leaf, presented, at)
	if err == nil && c.current {
		a.known.Set(name, c)
	}
	return c, err
}

// verify builds a chain from leaf to a root at a time, with the presented certificates as intermediates besides the configured
// ones, and holds it against the revocation lists.
func (a *anchors) verify(leaf *x509.Certificate, presented [][]byte, at time.Time) (*chain, error) {
	options := x509.VerifyOptions{
		Roots: a.rootPool, Intermediates: a.intermediates.Clone(), CurrentTime: at,
		// The purposes of TPM certificates (2.23.133.8.1 and .3) are unknown to crypto/x509; the callers check what they need.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, der := range presented {
		cert, err := parseLeaf(der)
		if err != nil {
			return nil, err
		}
		// Signatures are tried with a presented key before it is known whose it is, and one of 8 KiB takes a second.
		if err := checkKey(cert.PublicKey); err != nil {
			return nil, err
		}
		options.Intermediates.AddCert(cert)
	}
	if leaf.IsCA {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the certificate is an authority's, not a key's")
	}
	chains, err := leaf.Verify(options)
	if err != nil {
		if invalid, ok := err.(x509.CertificateInvalidError); ok && invalid.Reason == x509.Expired {
			return nil, attest.Refuse(attest.CodeCertExpired, "%w", err)
		}
		return nil, attest.Refuse(attest.CodeCertUntrusted, "%w", err)
	}
	return a.judge(chains[0], at)
}

// judge holds a chain, leaf first, against the revocation lists. A list counts only when the issuer in the chain signed it.
func (a *anchors) judge(certs []*x509.Certificate, at time.Time) (*chain, error) {
	result := &chain{checked: true, current: true, expires: certs[0].NotAfter}
	for i, cert := range certs {
		result.expires = earlier(result.expires, cert.NotAfter)
		if cert.NotBefore.After(result.begins) {
			result.begins = cert.NotBefore
		}
		if i == len(certs)-1 {
			break
		}
		issuer, found := certs[i+1], false
		for _, list := range a.lists {
			if !bytes.Equal(list.RawIssuer, issuer.RawSubject) || list.CheckSignatureFrom(issuer) != nil {
				continue
			}
			// A list that is partial, indirect or a difference says so critically. What it names is revoked; that it does not name a
			// certificate says nothing (RFC 5280, section 5.2).
			found = found || !slices.ContainsFunc(list.Extensions, func(e pkix.Extension) bool { return e.Critical })
			result.expires = earlier(result.expires, list.NextUpdate)
			result.current = result.current && at.Before(list.NextUpdate)
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
					return nil, attest.Refuse(attest.CodeCertRevoked, "certificate %v of %q is revoked", cert.SerialNumber, issuer.Subject)
				}
			}
		}
		result.checked = result.checked && found
	}
	return result, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// oidInstance is Google's extension that names the instance an AK certificate was issued to.
var oidInstance = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 21}

// instance is the content of oidInstance.
type instance struct {
	Zone          string `asn1:"utf8"`
	ProjectNumber int64
	ProjectID     string `asn1:"utf8"`
	InstanceID    int64
	InstanceName  string `asn1:"utf8"`
	Security      struct {
		Version    int64 `asn1:"explicit,tag:0,optional"`
		Production bool  `asn1:"explicit,tag:1,optional"`
	} `asn1:"explicit,optional"`
}

// checkAKCertificate checks what an AK certificate says of its key and returns the name of the instance it was issued to,
// projects/PROJECT/zones/ZONE/instances/ID.
func checkAKCertificate(cert *x509.Certificate) (host string, err error) {
	if cert.KeyUsage != x509.KeyUsageDigitalSignature {
		return "", attest.Refuse(attest.CodeCertMalformed, "the AK certificate is not for signatures alone")
	}
	at := slices.IndexFunc(cert.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidInstance) })
	if at < 0 {
		return "", attest.Refuse(attest.CodeCertMalformed, "the AK certificate does not name an instance, so it would be anybody's")
	}
	var info instance
	if rest, err := asn1.Unmarshal(cert.Extensions[at].Value, &info); err != nil || len(rest) != 0 {
		return "", attest.Refuse(attest.CodeCertMalformed, "the AK certificate's instance extension cannot be parsed")
	}
	if !info.Security.Production || info.ProjectID == "" || info.Zone == "" || info.InstanceID == 0 {
		return "", attest.Refuse(attest.CodeCertMalformed, "the AK certificate is not of a production instance")
	}
	// Google names none otherwise. A name with a slash in it could be taken for another's.
	if strings.ContainsFunc(info.ProjectID+info.Zone, notInName) {
		return "", attest.Refuse(attest.CodeCertMalformed, "the AK certificate names the project %.100q and the zone %.100q, which have other characters than names", info.ProjectID, info.Zone)
	}
	return fmt.Sprintf("projects/%s/zones/%s/instances/%d", info.ProjectID, info.Zone, uint64(info.InstanceID)), nil
}

// notInName reports whether a character is in no project's and no zone's name. A project of an organisation is named after it: example.com:project.
func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-.:", r)
}
