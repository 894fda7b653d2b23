package snp

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
)

// defaultCacheSize is how many chains are held when Config does not say. One is a chip at one TCB and takes about 3 KiB, so
// this is a fleet of four thousand hosts in 12 MiB.
const defaultCacheSize = 4096

// maxGrace bounds Config.Grace: a list that is a quarter late says little.
const maxGrace = 90 * 24 * time.Hour

// maxCacheSize bounds Config.CacheSize: 3 GiB of chains are a mistake.
const maxCacheSize = 1 << 20

// Config says what a Verifier relies on besides AMD's roots, which are built in and cannot be added to.
type Config struct {
	// Certificates is a folder of AMD's certificates, for evidence that comes without: see the package documentation
	// for its files. Nil means that evidence without its certificate cannot be judged.
	Certificates fs.FS

	// RevocationLists are AMD's lists in DER, each signed by a product's ARK and complete: one with a critical extension is an
	// error. A product without a list is not checked for revocation, which its claims say.
	RevocationLists [][]byte

	// Endorsements has what evidence comes without and Certificates has not, and the lists of AMD's roots: nil for nothing. A list that is there
	// counts at once, beside RevocationLists.
	Endorsements attest.Endorsements

	// RequireLists makes evidence of a product whose revocation list neither Endorsements nor RevocationLists have impossible to judge, an
	// *attest.Unavailable. Otherwise the claim revocation_checked says that nothing was checked.
	RequireLists bool

	// Grace is for how long past its next update a list still counts as current, while AMD's service may be down. At most 90 days.
	Grace time.Duration

	// MinimumTCB is, by product, the TCB below which tcb_status is out-of-date: that of the signing key, the committed one, to which
	// the host can go back, and the one at launch all count. A product that is not there has the status not-published.
	MinimumTCB map[Product]TCB

	// CacheSize is how many verified chains are kept, 4096 when zero.
	CacheSize int
}

// Verifier appraises evidence of kind snp.
type Verifier struct {
	certificates fs.FS
	anchors      []anchor
	revocations  map[Product]*revocations
	endorsements attest.Endorsements
	requireLists bool
	grace        time.Duration
	lists        map[Product]*atomic.Pointer[parsedList] // of the endorsements, as they were parsed last
	minimum      map[Product]TCB
	chains       *verified.Cache[*chain]
}

// New returns a Verifier that trusts AMD's roots and nothing else. A revocation list that no root signed, a minimum for an
// unknown product or with a part that product has not, and a cache size out of range are errors.
func New(cfg Config) (*Verifier, error) {
	anchors, err := amdAnchors()
	if err != nil {
		return nil, err
	}
	return newVerifier(cfg, anchors)
}

func newVerifier(cfg Config, anchors []anchor) (*Verifier, error) {
	v := &Verifier{
		certificates: cfg.Certificates, anchors: anchors, minimum: map[Product]TCB{},
		endorsements: cfg.Endorsements, requireLists: cfg.RequireLists, grace: cfg.Grace, lists: map[Product]*atomic.Pointer[parsedList]{},
	}
	for _, a := range anchors {
		v.lists[a.product] = new(atomic.Pointer[parsedList])
	}
	if cfg.Grace < 0 || cfg.Grace > maxGrace {
		return nil, fmt.Errorf("snp: a grace of %v: at most %v are possible", cfg.Grace, maxGrace)
	}
	if cfg.RequireLists && cfg.Endorsements == nil && len(cfg.RevocationLists) == 0 {
		return nil, errors.New("snp: revocation lists are required and there is nowhere to find any")
	}
	for p, least := range cfg.MinimumTCB {
		if !slices.Contains(Products(), p) {
			return nil, fmt.Errorf("snp: a minimum TCB for %q, which is not one of %v", p, Products())
		}
		if p != Turin && least.FMC != 0 {
			return nil, fmt.Errorf("snp: the minimum TCB of %s has an FMC, which only %s has", p, Turin)
		}
		v.minimum[p] = least
	}
	size := cfg.CacheSize
	if size == 0 {
		size = defaultCacheSize
	}
	if size < 0 || size > maxCacheSize {
		return nil, fmt.Errorf("snp: a cache of %d chains: 1 to %d are possible", size, maxCacheSize)
	}
	v.chains = verified.NewCache[*chain](size)
	var err error
	v.revocations, err = parseRevocations(cfg.RevocationLists, anchors)
	return v, err
}

// Kind returns attest.SNP.
func (v *Verifier) Kind() attest.Kind { return attest.SNP }

// Verify appraises evidence in any form that [Parse] reads, as the package documentation describes. It implements
// attest.Verifier.
func (v *Verifier) Verify(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	ev, err := Parse(in.Evidence)
	if err != nil {
		return nil, err
	}
	r := &ev.Report
	// What costs nothing comes first: stale and stolen evidence never gets as far as the public-key operations.
	if err := in.Binding.Padded(r.ReportData[:]); err != nil {
		return nil, err
	}
	if r.SigningKey() == None {
		return nil, attest.Refuse(attest.CodeSignature, "the report says that no key signed it")
	}
	if err := ctx.Err(); err != nil {
		return nil, &attest.Unavailable{What: "time for the appraisal", Err: err}
	}
	f := &attest.Freshness{At: in.Time, Grace: v.grace}
	c, source, checked, err := v.endorse(ctx, ev, in, f)
	if err != nil {
		return nil, err
	}
	p := c.anchor.product
	if err := checkCPU(r, p); err != nil {
		return nil, err
	}
	if err := c.endorsement.Matches(r, p); err != nil {
		return nil, err
	}
	if err := r.VerifySignature(c.endorsement.Key, ev.Raw[:SignedSize]); err != nil {
		return nil, err
	}
	claims, err := r.Claims(p)
	if err != nil {
		return nil, err
	}
	claims.Kind = attest.SNP
	claims.HardwareRoot = c.anchor.name
	claims.Bound = attest.Ptr(in.Binding.IsBound())
	claims.TCBStatus = v.tcbStatus(r, p)
	claims.Collateral = f.Claims(source, checked)
	BindInitData(claims, r.HostData, in.Init)
	return claims, nil
}

// endorse finds the certificate of the key that signed the report and returns its chain, verified, valid at in.Time and not revoked; where it came
// from; and whether it was held against a revocation list. What it relied on is taken in by f. A presented certificate that does not do is
// refused; one of the broker's own that does not is the broker's trouble, so Unavailable.
func (v *Verifier) endorse(ctx context.Context, ev *Evidence, in attest.Input, f *attest.Freshness) (c *chain, source string, checked bool, err error) {
	if leaf := ev.Certificates.leaf(ev.Report.SigningKey()); leaf != nil {
		source = "evidence"
		c, err = v.chain(leaf, ev.Certificates.ASK, in)
	} else {
		source = "local"
		c, err = v.localChain(ctx, &ev.Report, in, f)
	}
	if err != nil {
		return nil, "", false, err
	}
	f.Certificate(c.notAfter)
	checked, err = v.checkRevocation(ctx, c, f)
	return c, source, checked, err
}

// localChain returns the chain of a certificate that evidence came without.
func (v *Verifier) localChain(ctx context.Context, r *Report, in attest.Input, f *attest.Freshness) (*chain, error) {
	leaf, err := v.localLeaf(r)
	if err == nil {
		return v.chain(leaf, nil, in)
	}
	if v.endorsements == nil || !errors.As(err, new(*attest.Unavailable)) {
		return nil, err
	}
	e, err := v.endorsedLeaf(ctx, r)
	if err != nil {
		return nil, err
	}
	c, err := v.chain(e.Data, nil, in)
	if err != nil {
		return nil, &attest.Unavailable{What: e.Name, Err: err}
	}
	if c.collateralName() != e.Name {
		return nil, &attest.Unavailable{What: e.Name, Err: fmt.Errorf("snp: what is kept by that name is %s", c.collateralName())}
	}
	f.Fetch(e.Fetched)
	return c, nil
}

// checkRevocation holds a chain against the lists of its root: those of the configuration, and the one among the endorsements. What either
// names is revoked, since nothing is ever taken off these lists. Both are complete, so the one that is good for longer says how current that is.
func (v *Verifier) checkRevocation(ctx context.Context, c *chain, f *attest.Freshness) (checked bool, err error) {
	fixed := v.revocations[c.anchor.product]
	list, e, err := v.endorsedList(ctx, c.anchor)
	if err != nil {
		return false, err
	}
	for _, r := range [...]*revocations{fixed, list} {
		if err := c.isRevoked(r); err != nil {
			return false, err
		}
	}
	switch {
	case list != nil && (fixed == nil || !list.nextUpdate.Before(fixed.nextUpdate)):
		f.List(list.nextUpdate, e.Fetched)
	case fixed != nil:
		f.List(fixed.nextUpdate, time.Time{})
	case v.requireLists: // endorsedList has said so already, but for a verifier without endorsements
		return false, &attest.Unavailable{What: CRLName(c.anchor.product)}
	default:
		return false, nil
	}
	return true, nil
}

// checkCPU holds the processor that a report names, from version 3, against the product whose root vouches.
func checkCPU(r *Report, p Product) error {
	if r.Version < 3 {
		return nil
	}
	switch is, known := r.CPU.Product(); {
	case !known:
		return attest.Refuse(attest.CodeVersionUnsupported, "a processor of %v is none that is verified", r.CPU)
	case is != p:
		return attest.Refuse(attest.CodeCertMismatch, "a %s processor with a certificate for %s", is, p)
	}
	return nil
}

// tcbStatus judges the least of three TCBs. The firmware reports no more than it runs, and the signing key proves that, so it is a lower
// bound of what runs; the host can roll back to the committed one while the guest runs; and firmware that was bad at launch may have
// changed the guest before it was brought up to date.
func (v *Verifier) tcbStatus(r *Report, p Product) string {
	least, ok := v.minimum[p]
	if !ok {
		return attest.TCBNotPublished
	}
	for _, version := range [...]TCBVersion{r.ReportedTCB, r.CommittedTCB, r.LaunchTCB} {
		if tcb, err := version.Decode(p); err != nil || !tcb.AtLeast(least) {
			return attest.TCBOutOfDate
		}
	}
	return attest.TCBUpToDate
}

// localLeaf finds the certificate of the key that signed r in the local folder.
func (v *Verifier) localLeaf(r *Report) ([]byte, error) {
	names, err := CertificateNames(r)
	if err != nil {
		return nil, err
	}
	if v.certificates != nil {
		for _, name := range names {
			der, err := readCertificate(v.certificates, name)
			if err == nil {
				return der, nil
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, &attest.Unavailable{What: "the certificate " + name, Err: err}
			}
		}
	}
	return nil, &attest.Unavailable{What: "the certificate " + strings.Join(names, " or ")}
}

func readCertificate(dir fs.FS, name string) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	der, err := io.ReadAll(io.LimitReader(f, maxCertificate+1))
	if err != nil {
		return nil, err
	}
	if len(der) == 0 || len(der) > maxCertificate {
		return nil, fmt.Errorf("snp: %s is not a certificate: it has not 1 to %d bytes", name, maxCertificate)
	}
	return der, nil
}

// CertificateNames returns the names that the certificate of the key which signed r may have in [Config].Certificates: one,
// or one per product when the report does not name its processor. It refuses with CodeCertMissing a VCEK's report that hides the
// chip, since then nothing tells which certificate it is and the evidence has to bring it.
func CertificateNames(r *Report) ([]string, error) {
	products := Products()
	if r.Version >= 3 {
		p, known := r.CPU.Product()
		if !known {
			return nil, attest.Refuse(attest.CodeVersionUnsupported, "a processor of %v is none that is verified", r.CPU)
		}
		products = []Product{p}
	}
	if r.SigningKey() == VCEK && r.ChipID == ([ChipIDSize]byte{}) {
		return nil, attest.Refuse(attest.CodeCertMissing,
			"the host hides the chip and the evidence has no certificate: the guest must present the VCEK's")
	}
	names := make([]string, 0, len(products))
	for _, p := range products {
		owner := "vlek"
		if r.SigningKey() == VCEK {
			owner = hex.EncodeToString(r.ChipID[:p.hwidSize()])
		}
		names = append(names, fmt.Sprintf("%s/%s-%x.der", p, owner, r.ReportedTCB[:]))
	}
	return names, nil
}
