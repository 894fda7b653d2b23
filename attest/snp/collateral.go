package snp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/snp/internal/roots"
)

// The beginnings of the names of AMD's collateral: see [attest.Endorsements].
const (
	collateralVCEK = "amd/vcek/"
	collateralVLEK = "amd/vlek/"
	collateralCRL  = "amd/crl/"
)

// EndorsementNames returns the names by which [attest.Endorsements] may have the certificate of the key which signed r: one, or one per
// product that r can be of when it does not name its processor. It refuses as [CertificateNames] does.
func EndorsementNames(r *Report) ([]string, error) {
	files, err := CertificateNames(r)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(files))
	for _, file := range files {
		product, rest, _ := strings.Cut(strings.TrimSuffix(file, ".der"), "/")
		// A report of an old version says no product. Turin's chips have eight bytes and zeros after them, which none before has: that spares
		// AMD's service questions about chips that cannot be.
		if r.SigningKey() == VCEK && len(files) > 1 && (Product(product) == Turin) != allZero(r.ChipID[Turin.hwidSize():]) {
			continue
		}
		if tcb, ok := strings.CutPrefix(rest, "vlek-"); ok {
			names = append(names, collateralVLEK+product+"/"+tcb)
		} else {
			names = append(names, collateralVCEK+product+"/"+rest)
		}
	}
	return names, nil
}

// CRLName returns the name by which [attest.Endorsements] may have the revocation list of a product's root.
func CRLName(p Product) string { return collateralCRL + string(p) }

// Collateral checks AMD's collateral before somebody keeps it, by the same code and roots by which a [Verifier] judges it later. It is safe for
// concurrent use.
type Collateral struct{ anchors []anchor }

// NewCollateral returns a Collateral that trusts AMD's roots and nothing else.
func NewCollateral() (*Collateral, error) {
	anchors, err := amdAnchors()
	return &Collateral{anchors}, err
}

// Check verifies that data, in DER, is the item of that name: a VCEK's or VLEK's certificate, which chains to the product's root and is for
// that chip and TCB, or a revocation list that the root signed. It returns from when and until when the item is good, and judges neither;
// a list without a next update is an error, since nobody could ever say that it is late.
func (c *Collateral) Check(name string, data []byte) (from, until time.Time, err error) {
	fail := func(format string, args ...any) (time.Time, time.Time, error) {
		return time.Time{}, time.Time{}, fmt.Errorf("snp: %s: "+format, append([]any{name}, args...)...)
	}
	if product, ok := strings.CutPrefix(name, collateralCRL); ok {
		i := slices.IndexFunc(c.anchors, func(a anchor) bool { return string(a.product) == product })
		if i < 0 {
			return fail("no product of that name is known")
		}
		lists, err := parseRevocations([][]byte{data}, c.anchors[i:i+1])
		if err != nil {
			return time.Time{}, time.Time{}, err
		}
		r := lists[Product(product)]
		if r.nextUpdate.IsZero() {
			return fail("the list does not say when its next is due")
		}
		return r.thisUpdate, r.nextUpdate, nil
	}
	if !strings.HasPrefix(name, collateralVCEK) && !strings.HasPrefix(name, collateralVLEK) {
		return fail("that is no collateral of AMD's")
	}
	if len(data) > maxCertificate {
		return fail("%d bytes are no certificate, which has at most %d", len(data), maxCertificate)
	}
	chain, err := verifyChain(data, nil, c.anchors)
	if err != nil {
		return fail("%w", err)
	}
	if is := chain.collateralName(); is != name {
		return fail("the certificate is another's: that of %s", is)
	}
	return chain.notBefore, chain.notAfter, nil
}

// collateralName is the one name that the chain's certificate can have among endorsements, made of what it says itself: "" where that fits no
// report of the root's product.
func (c *chain) collateralName() string {
	p, e := c.anchor.product, c.endorsement
	product, _, stepping := strings.Cut(e.Product, "-")
	tcb := e.TCB.Encode(p)
	switch {
	case product != string(p) || e.HasFMC != (p == Turin):
		return ""
	case e.SigningKey == VLEK && !stepping:
		return fmt.Sprintf("%s%s/%x", collateralVLEK, p, tcb[:])
	case e.SigningKey == VCEK && len(e.HWID) == p.hwidSize():
		return fmt.Sprintf("%s%s/%x-%x", collateralVCEK, p, e.HWID, tcb[:])
	}
	return ""
}

// NewUnder is [New] with other roots in the place of AMD's, for snptest: only packages below this one can name any.
func NewUnder(cfg Config, others []roots.Root) (*Verifier, error) {
	anchors, err := anchorsOf(others)
	if err != nil {
		return nil, err
	}
	return newVerifier(cfg, anchors)
}

// NewCollateralUnder is [NewCollateral] with other roots in the place of AMD's, as NewUnder.
func NewCollateralUnder(others []roots.Root) (*Collateral, error) {
	anchors, err := anchorsOf(others)
	return &Collateral{anchors}, err
}

func anchorsOf(others []roots.Root) ([]anchor, error) {
	if len(others) == 0 {
		return nil, errors.New("snp: no roots")
	}
	var anchors []anchor
	for _, r := range others {
		a := anchor{product: Product(r.Product), name: rootNames[Product(r.Product)], ark: r.ARK, ask: r.ASK, asvk: r.ASVK}
		if a.name == "" || a.ark == nil || a.ask == nil || a.asvk == nil {
			return nil, fmt.Errorf("snp: a root of %q that is not whole", r.Product)
		}
		if err := a.check(); err != nil {
			return nil, fmt.Errorf("snp: a root of %s: %w", r.Product, err)
		}
		anchors = append(anchors, a)
	}
	return anchors, nil
}

// endorsedLeaf finds the certificate of the key that signed r among the endorsements, nil where r has no names there.
func (v *Verifier) endorsedLeaf(ctx context.Context, r *Report) (*attest.Endorsement, error) {
	names, err := EndorsementNames(r)
	if err != nil {
		return nil, err
	}
	// What is missing under every name is unavailable by the soonest of them.
	var missing *attest.Unavailable
	for _, name := range names {
		e, err := v.endorsements.Endorsement(ctx, name)
		if err == nil {
			return e, nil
		}
		u := unavailable(name, err)
		if missing == nil || u.RetryAfter < missing.RetryAfter {
			missing = u
		}
	}
	if missing == nil {
		return nil, nil
	}
	return nil, missing
}

// unavailable makes whatever a lookup failed with an Unavailable.
func unavailable(name string, err error) *attest.Unavailable {
	var u *attest.Unavailable
	if errors.As(err, &u) {
		return u
	}
	return &attest.Unavailable{What: name, Err: err}
}

// endorsedList returns the revocation list of a product's root among the endorsements, parsed and verified; nil where there is none and none is
// demanded. What is at hand and does not verify is not the evidence's fault: an Unavailable.
func (v *Verifier) endorsedList(ctx context.Context, a *anchor) (*revocations, *attest.Endorsement, error) {
	if v.endorsements == nil {
		return nil, nil, nil
	}
	name := CRLName(a.product)
	e, err := v.endorsements.Endorsement(ctx, name)
	if err != nil {
		if !v.requireLists || v.revocations[a.product] != nil {
			return nil, nil, nil
		}
		return nil, nil, unavailable(name, err)
	}
	slot := v.lists[a.product]
	if held := slot.Load(); held != nil && held.digest == e.Digest {
		return held.list, e, held.err
	}
	parsed := &parsedList{digest: e.Digest}
	lists, err := parseRevocations([][]byte{e.Data}, []anchor{*a})
	if err == nil {
		parsed.list = lists[a.product]
	} else {
		parsed.err = &attest.Unavailable{What: name, Err: err}
	}
	slot.Store(parsed) // whoever parsed it meanwhile has the same
	return parsed.list, e, parsed.err
}

// parsedList is a revocation list by the digest of its bytes. One of a product is held, which bounds them.
type parsedList struct {
	digest [32]byte
	list   *revocations
	err    error
}

// isRevoked refuses a chain of which a list names a certificate.
func (c *chain) isRevoked(r *revocations) error {
	if r == nil {
		return nil
	}
	for _, serial := range c.serials {
		if r.revoked(serial) {
			return attest.Refuse(attest.CodeCertRevoked, "the revocation list of %s names the certificate with the serial number %x",
				c.anchor.ark.Subject.CommonName, serial)
		}
	}
	return nil
}
