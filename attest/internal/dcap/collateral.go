package dcap

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// nameSigner is the common name of the certificate whose key signs TCB info and identities.
const nameSigner = "Intel SGX TCB Signing"

// Limits of collateral, in bytes. TCB info has some 10 KiB, and the lists are no longer; in memory they take ten times as much.
const (
	maxJSON = 1 << 20
	maxList = 1 << 20
)

// names are the endorsements that the appraisal of one platform needs.
type names struct {
	tcb, identity, list, root string

	info string // what TCB info is held under: it was verified for the FMSPC in its name, and for one PCE
}

// namesOf returns what a platform of tee needs whose PCK the authority certified.
func namesOf(tee TEE, pck *PCK, authority string) names {
	n := names{
		tcb:      "intel/tcb/" + tee.path() + "/" + hex.EncodeToString(pck.FMSPC[:]),
		identity: "intel/identity/qe",
		list:     "intel/crl/" + authority,
		root:     "intel/crl/root",
	}
	if tee == TDX {
		n.identity = "intel/identity/tdqe"
	}
	n.info = n.tcb + "/" + hex.EncodeToString(pck.PCEID[:])
	return n
}

func (n *names) all() [4]string { return [4]string{n.tcb, n.identity, n.list, n.root} }

// Names returns the names of the endorsements that an appraisal of q needs, for fetching them ahead. It verifies the certificates that say
// which platform it is, so that a quote cannot have names fetched that Intel does not have, but nothing else, and no dates. Its errors are
// those of the chain.
func Names(q *Quote, roots Roots) ([]string, error) {
	chain, _ := cutChain(q.chain)
	p, _, err := verifyChain(chain, roots.Platform)
	if err != nil {
		return nil, err
	}
	n := namesOf(q.TEE, p.pck, p.authority)
	all := n.all()
	return all[:], nil
}

// signer is who signed an item of collateral.
type signer struct {
	serial    *big.Int
	issuer    []byte // raw name
	notBefore time.Time
	notAfter  time.Time
}

func signerOf(cert *x509.Certificate) *signer {
	return &signer{cert.SerialNumber, cert.RawIssuer, cert.NotBefore, cert.NotAfter}
}

// crl is a revocation list that was verified.
type crl struct {
	signer  *signer
	issuer  []byte // raw name
	serials map[string]struct{}
	next    time.Time
}

// revoked reports whether the list, of its issuer, names a certificate. A list that is stale still revokes.
func (l *crl) revoked(issuer []byte, serial *big.Int) bool {
	_, named := l.serials[string(serial.Bytes())]
	return named && bytes.Equal(issuer, l.issuer)
}

// collateral is what one appraisal relies on besides the evidence.
type collateral struct {
	items      [4]*attest.Endorsement // as they were found, in the order of names.all
	info       *tcbInfo
	identity   *qeIdentity
	list, root *crl
}

// lookup asks for everything before it gives up, so that all that is missing is fetched at once.
func (a *Appraiser) lookup(ctx context.Context, names [4]string) (items [4]*attest.Endorsement, err error) {
	var missing []string
	var causes []error
	var after time.Duration
	for i, name := range names {
		item, err := a.endorsements.Endorsement(ctx, name)
		if err == nil && item == nil {
			err = errors.New("nothing was returned")
		}
		if err != nil {
			missing = append(missing, name)
			var unavailable *attest.Unavailable
			if errors.As(err, &unavailable) { // what is not available is said once, of all items together
				after, err = max(after, unavailable.RetryAfter), unavailable.Err
			}
			same := func(other error) bool { return err == nil || other.Error() == err.Error() }
			if err != nil && !slices.ContainsFunc(causes, same) {
				causes = append(causes, err)
			}
		}
		items[i] = item
	}
	if len(missing) > 0 {
		return items, &attest.Unavailable{What: "Intel's collateral " + strings.Join(missing, ", "), RetryAfter: after, Err: errors.Join(causes...)}
	}
	return items, nil
}

// collateral finds and verifies what the appraisal of p, by a quote of tee, needs. All its errors are *attest.Unavailable: that collateral
// is bad is not the fault of the evidence.
func (a *Appraiser) collateral(ctx context.Context, tee TEE, p *platform) (*collateral, error) {
	c, err := new(collateral), error(nil)
	if c.items, err = a.lookup(ctx, p.names.all()); err != nil {
		return nil, err
	}
	bad := func(name string, err error) (*collateral, error) {
		return nil, &attest.Unavailable{What: "good collateral for " + name, Err: err}
	}
	if c.info, err = cached(a.infos, p.names.info, c.items[0], func() (*tcbInfo, error) {
		return a.verifyTCBInfo(c.items[0], tee, p.pck)
	}); err != nil {
		return bad(p.names.tcb, err)
	}
	if c.identity, err = cached(a.identities, p.names.identity, c.items[1], func() (*qeIdentity, error) {
		return a.verifyIdentity(c.items[1], tee)
	}); err != nil {
		return bad(p.names.identity, err)
	}
	if c.list, err = cached(a.lists, p.names.list, c.items[2], func() (*crl, error) {
		return a.verifyPCKList(c.items[2], p.issuer)
	}); err != nil {
		return bad(p.names.list, err)
	}
	if c.root, err = cached(a.lists, p.names.root, c.items[3], func() (*crl, error) {
		return verifyList(c.items[3].Data, a.roots.Platform)
	}); err != nil {
		return bad(p.names.root, err)
	}
	return c, nil
}

// itemKey is what an item of collateral is held under: what it was verified as, and the digest of its bytes.
type itemKey struct {
	as     string
	digest [sha256.Size]byte
}

// cached returns what is held of item, or verifies and holds it.
func cached[T any](c *verified.CacheBy[itemKey, *T], as string, item *attest.Endorsement, verify func() (*T, error)) (*T, error) {
	k := itemKey{as, item.Digest}
	if k.digest == ([sha256.Size]byte{}) {
		k.digest = sha256.Sum256(item.Data)
	}
	if held, found := c.Get(k); found {
		return held, nil
	}
	result, err := verify()
	if err == nil {
		c.Set(k, result)
	}
	return result, err
}

// verifySigned verifies a response of Intel's service: a member with what is said and one with the signature over exactly its bytes, in hex, by
// the key whose certificate is first in the item's chain.
func (a *Appraiser) verifySigned(item *attest.Endorsement, member string) ([]byte, *signer, error) {
	if len(item.Data) > maxJSON {
		return nil, nil, fmt.Errorf("%d bytes: at most %d are read", len(item.Data), maxJSON)
	}
	ders, err := splitChain(item.Chain)
	if err != nil {
		return nil, nil, fmt.Errorf("the signer's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(ders[0])
	if err != nil {
		return nil, nil, fmt.Errorf("the signer's certificate: %w", err)
	}
	if err := checkIssued(cert, a.roots.Collateral, nameSigner); err != nil {
		return nil, nil, fmt.Errorf("the signer's certificate: %w", err)
	}
	if cert.IsCA || cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, nil, errors.New("the signer's certificate is not for signing")
	}
	members, err := strictjson.Object(item.Data)
	if err != nil {
		return nil, nil, err
	}
	body := members[member]
	text, err := strictjson.String(members["signature"])
	if body == nil || err != nil {
		return nil, nil, fmt.Errorf("it has no %s with a signature", member)
	}
	var signature [signatureSize]byte
	if err := unhex(text, signature[:]); err != nil {
		return nil, nil, err
	}
	if !verifySignature(cert.PublicKey.(*ecdsa.PublicKey), body, signature[:]) {
		return nil, nil, errors.New("the signature does not verify")
	}
	return body, signerOf(cert), nil
}

func (a *Appraiser) verifyTCBInfo(item *attest.Endorsement, tee TEE, p *PCK) (*tcbInfo, error) {
	body, signer, err := a.verifySigned(item, "tcbInfo")
	if err != nil {
		return nil, err
	}
	info, err := parseTCBInfo(body, tee, p)
	if err != nil {
		return nil, err
	}
	info.signer = signer
	return info, nil
}

func (a *Appraiser) verifyIdentity(item *attest.Endorsement, tee TEE) (*qeIdentity, error) {
	body, signer, err := a.verifySigned(item, "enclaveIdentity")
	if err != nil {
		return nil, err
	}
	identity, err := parseIdentity(body, tee)
	if err != nil {
		return nil, err
	}
	identity.signer = signer
	return identity, nil
}

// verifyPCKList verifies the list of the authority that issued a PCK certificate. issuer, from the evidence, was verified; should Intel
// have renewed the authority's key, the item's chain has the new certificate.
func (a *Appraiser) verifyPCKList(item *attest.Endorsement, issuer *x509.Certificate) (*crl, error) {
	list, err := verifyList(item.Data, issuer)
	if err == nil || len(item.Chain) == 0 {
		return list, err
	}
	ders, splitErr := splitChain(item.Chain)
	if splitErr != nil {
		return nil, errors.Join(err, splitErr)
	}
	other, parseErr := x509.ParseCertificate(ders[0])
	if parseErr != nil || bytes.Equal(other.Raw, issuer.Raw) {
		return nil, errors.Join(err, parseErr)
	}
	if err := checkAuthority(other, a.roots.Platform, issuer.Subject.CommonName); err != nil {
		return nil, err
	}
	if !bytes.Equal(other.RawSubject, issuer.RawSubject) {
		return nil, errors.New("the list is by another authority")
	}
	return verifyList(item.Data, other)
}

// verifyList verifies that der is a complete revocation list by issuer.
func verifyList(der []byte, issuer *x509.Certificate) (*crl, error) {
	if len(der) > maxList {
		return nil, fmt.Errorf("%d bytes: at most %d are read", len(der), maxList)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	if len(list.Raw) != len(der) {
		return nil, errors.New("bytes follow the list")
	}
	if !bytes.Equal(list.RawIssuer, issuer.RawSubject) {
		return nil, fmt.Errorf("the list is by %.60q, not %q", list.Issuer.CommonName, issuer.Subject.CommonName)
	}
	if list.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return nil, fmt.Errorf("the list is signed with %v, not ECDSA with SHA-256", list.SignatureAlgorithm)
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return nil, err
	}
	// A list that is partial, indirect or a difference says so critically, and cannot show that a certificate is not revoked (RFC 5280, section
	// 5.2).
	if at := slices.IndexFunc(list.Extensions, func(e pkix.Extension) bool { return e.Critical }); at >= 0 {
		return nil, fmt.Errorf("the list has the critical extension %v, which is not known", list.Extensions[at].Id)
	}
	l := &crl{signer: signerOf(issuer), issuer: bytes.Clone(list.RawIssuer), serials: map[string]struct{}{}, next: list.NextUpdate}
	for _, e := range list.RevokedCertificateEntries {
		l.serials[string(e.SerialNumber.Bytes())] = struct{}{}
	}
	return l, nil
}

// checkSigners makes sure that who signed the collateral is valid at now and not revoked.
func (c *collateral) checkSigners(now time.Time) error {
	for _, s := range []struct {
		what   string
		signer *signer
	}{{"TCB info", c.info.signer}, {"identity", c.identity.signer}, {"revocation list", c.list.signer}, {"root's revocation list", c.root.signer}} {
		if now.Before(s.signer.notBefore) || now.After(s.signer.notAfter) {
			return &attest.Unavailable{What: "collateral by a signer that is valid", Err: fmt.Errorf(
				"the certificate of who signed the %s is valid from %s to %s", s.what,
				s.signer.notBefore.UTC().Format(time.RFC3339), s.signer.notAfter.UTC().Format(time.RFC3339))}
		}
		if c.root.revoked(s.signer.issuer, s.signer.serial) {
			return &attest.Unavailable{What: "collateral by a signer that is not revoked", Err: fmt.Errorf("the root's list names who signed the %s", s.what)}
		}
	}
	return nil
}

// checkRevocation refuses with CodeCertRevoked a platform whose PCK or authority is on a list.
func (c *collateral) checkRevocation(p *platform) error {
	if c.root.revoked(p.issuer.RawIssuer, p.issuer.SerialNumber) {
		return attest.Refuse(attest.CodeCertRevoked, "the root's revocation list names %q with the serial number %x",
			p.issuer.Subject.CommonName, p.issuer.SerialNumber)
	}
	if c.list.revoked(p.issuer.RawSubject, p.serial) {
		return attest.Refuse(attest.CodeCertRevoked, "the revocation list of %q names the PCK certificate with the serial number %x",
			p.issuer.Subject.CommonName, p.serial)
	}
	return nil
}
