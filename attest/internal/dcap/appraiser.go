package dcap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/hextext"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
)

// Sizes of the caches, in entries.
const (
	// defaultCacheSize is how many attestation keys are held when Settings do not say. There is one for each platform and restart of its quoting
	// enclave, and it takes about 10 KiB with its certificates, so this is a fleet of two thousand hosts in 20 MiB.
	defaultCacheSize = 2048
	maxCacheSize     = 1 << 20
	infoCacheSize    = 64 // there is one for each family of processors and TEE
	itemCacheSize    = 8  // of the rest: there are two identities and three lists, and for a while the ones before them
)

// maxGrace bounds Settings.Grace. Intel's lists are good for 30 days; who takes ones that are a year late wants none.
const maxGrace = 366 * 24 * time.Hour

// Settings say what an Appraiser relies on besides its roots.
type Settings struct {
	// Endorsements is where Intel's collateral is found. It must be set: without it no quote can be judged.
	Endorsements attest.Endorsements
	// Grace is for how long past its next update collateral counts as current, while its publisher may be down. Zero is not at all.
	Grace time.Duration
	// CacheSize is how many verified attestation keys are kept, 2048 when zero.
	CacheSize int
}

// Appraiser appraises quotes. It is safe for concurrent use.
type Appraiser struct {
	endorsements attest.Endorsements
	grace        time.Duration
	roots        Roots
	platforms    *verified.CacheBy[platformKey, *platform]
	infos        *verified.CacheBy[itemKey, *tcbInfo]
	identities   *verified.CacheBy[itemKey, *qeIdentity]
	lists        *verified.CacheBy[itemKey, *crl]
}

// New returns an Appraiser that trusts roots and nothing else.
func New(s Settings, roots Roots) (*Appraiser, error) {
	if err := roots.check(); err != nil {
		return nil, err
	}
	if s.Endorsements == nil {
		return nil, errors.New("no endorsements are configured, without which no quote of Intel's can be judged")
	}
	if s.Grace < 0 || s.Grace > maxGrace {
		return nil, fmt.Errorf("a grace of %v for collateral: up to %v is possible", s.Grace, maxGrace)
	}
	size := s.CacheSize
	if size == 0 {
		size = defaultCacheSize
	}
	if size < 0 || size > maxCacheSize {
		return nil, fmt.Errorf("a cache of %d attestation keys: 1 to %d are possible", size, maxCacheSize)
	}
	return &Appraiser{
		endorsements: s.Endorsements, grace: s.Grace, roots: roots,
		platforms:  verified.NewCacheBy[platformKey, *platform](size),
		infos:      verified.NewCacheBy[itemKey, *tcbInfo](infoCacheSize),
		identities: verified.NewCacheBy[itemKey, *qeIdentity](itemCacheSize),
		lists:      verified.NewCacheBy[itemKey, *crl](itemCacheSize),
	}, nil
}

// Appraise judges q as the package documentation describes, and returns the claims that every quote of Intel's gives: all but Kind and what is in
// the report of the enclave or TD. Its errors are *attest.Refusal and *attest.Unavailable.
func (a *Appraiser) Appraise(ctx context.Context, q *Quote, in attest.Input) (*attest.Claims, error) {
	// What costs nothing comes first: stale and stolen evidence never gets as far as the public-key operations.
	if err := in.Binding.Padded(q.ReportData()); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, &attest.Unavailable{What: "time for the appraisal", Err: err}
	}
	p, err := a.platform(q, in.Time)
	if err != nil {
		return nil, err
	}
	if !verifySignature(p.key, q.signed, q.signature) {
		return nil, attest.Refuse(attest.CodeSignature, "the quote was not signed by the attestation key")
	}
	// Only now may the quote have collateral fetched: what it says of its platform is true.
	c, err := a.collateral(ctx, q.TEE, p)
	if err != nil {
		return nil, err
	}
	if err := c.checkRevocation(p); err != nil {
		return nil, err
	}
	if err := c.checkSigners(in.Time); err != nil {
		return nil, err
	}
	if err := c.identity.check(&p.qe); err != nil {
		return nil, err
	}
	launch, now, err := c.evaluate(q, p)
	if err != nil {
		return nil, err
	}
	claims := &attest.Claims{
		HardwareRoot: attest.RootIntel,
		Bound:        attest.Ptr(in.Binding.IsBound()),
		ReportData:   hextext.String(q.ReportData()),
		Intel:        c.claims(p, launch, now),
		Collateral:   a.freshness(c, p, in.Time),
	}
	claims.TCBStatus = claims.Intel.LaunchTCBStatus
	if now != nil {
		claims.TCBStatus = relaunched(launch.status(), now.status()).String()
	}
	return claims, nil
}

// platform returns what vouches for the quote's attestation key, from the cache where it is there, valid at the time.
func (a *Appraiser) platform(q *Quote, at time.Time) (*platform, error) {
	k := platformKey{q.TEE, [keySize]byte(q.key)}
	if p, found := a.platforms.Get(k); found {
		if tail, same := p.vouching.vouchesFor(q); same {
			if err := checkTail(tail); err != nil {
				return nil, err
			}
			return p, p.checkTime(at)
		}
	}
	v, tail := vouchingOf(q)
	if err := checkTail(tail); err != nil {
		return nil, err
	}
	p, err := verifyPlatform(q, v, a.roots.Platform)
	if err != nil {
		return nil, err
	}
	a.platforms.Set(k, p)
	return p, p.checkTime(at)
}

// evaluate judges the trusted computing base at launch, and as it is now where the quote says that.
func (c *collateral) evaluate(q *Quote, p *platform) (launch, now *evaluation, err error) {
	if q.TD == nil {
		return evaluateSGX(p, c.info, c.identity), nil, nil
	}
	module, err := c.info.moduleOf(q.TD.TCBSVN)
	if err != nil {
		return nil, nil, err
	}
	if err := module.check(q.TD); err != nil {
		return nil, nil, err
	}
	if launch, err = evaluateTDX(p, q.TD.TCBSVN, c.info, c.identity); err != nil || !q.TD.V15 {
		return launch, nil, err
	}
	now, err = evaluateTDX(p, q.TD.TCBSVN2, c.info, c.identity)
	return launch, now, err
}

// freshness says how good what was relied on is at the time.
func (a *Appraiser) freshness(c *collateral, p *platform, at time.Time) *attest.CollateralClaims {
	f := attest.Freshness{At: at, Grace: a.grace}
	f.Certificate(p.notAfter)
	for i, list := range [...]struct {
		next   time.Time
		signer *signer
	}{{c.info.next, c.info.signer}, {c.identity.next, c.identity.signer}, {c.list.next, c.list.signer}, {c.root.next, c.root.signer}} {
		f.List(list.next, c.items[i].Fetched)
		f.Certificate(list.signer.notAfter)
	}
	return f.Claims("evidence", true)
}

// claims returns what the platform's certificate and the collateral say.
func (c *collateral) claims(p *platform, launch, now *evaluation) *attest.IntelClaims {
	claims := new(attest.IntelClaims)
	*claims = p.claims
	if config := p.pck.Config; config != nil {
		copied := *config
		claims.DynamicPlatform, claims.CachedKeys, claims.SMTEnabled = &copied.DynamicPlatform, &copied.CachedKeys, &copied.SMTEnabled
	}
	claims.TCBEvaluationNumber, claims.TCBIssued = c.info.number, c.info.issued.UTC()
	claims.QEEvaluationNumber, claims.QEIssued = c.identity.number, c.identity.issued.UTC()
	claims.LaunchTCBStatus = launch.status().String()
	claims.Platform, claims.QE = launch.platform.claims(), launch.qe.claims()
	claims.Module, claims.ModuleID = launch.module.optional(), launch.moduleID
	parts := []*verdict{&launch.platform, &launch.module, &launch.qe}
	if now != nil {
		claims.CurrentTCBStatus = now.status().String()
		claims.CurrentPlatform = now.platform.optional()
		claims.CurrentModule, claims.CurrentModuleID = now.module.optional(), now.moduleID
		parts = append(parts, &now.platform, &now.module)
	}
	claims.TCBDate, claims.Advisories = dateOf(parts), advisoriesOf(parts)
	return claims
}
