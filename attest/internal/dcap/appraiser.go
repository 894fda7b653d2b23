package dcap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Sizes of the caches, in entries.
const (
	// defaultCacheSize is how many attestation keys are held when Settings do not say. There is one for each platform and restart of its quoting
	// enclave, and it takes about 5 KiB with its certificates, so this is a fleet of two thousand hosts in 10 MiB.
	defaultCacheSize = 2048
	maxCacheSize     = 1 << 20
	// collateralCacheSize is for TCB info, of which there is one for each processor family, and more than is needed of the rest.
	collateralCacheSize = 64
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
	platforms    *cache[platform]
	infos        *cache[tcbInfo]
	identities   *cache[qeIdentity]
	lists        *cache[crl]
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
		endorsements: s.Endorsements, grace: s.Grace, roots: roots, platforms: newCache[platform](size),
		infos: newCache[tcbInfo](collateralCacheSize), identities: newCache[qeIdentity](collateralCacheSize), lists: newCache[crl](collateralCacheSize),
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
	c, items, err := a.collateral(ctx, q.TEE, p)
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
		ReportData:   hex.EncodeToString(q.ReportData()),
		Intel:        c.claims(p, launch, now),
		Collateral:   a.freshness(c, p, items, in.Time),
	}
	claims.TCBStatus = claims.Intel.LaunchTCBStatus
	if now != nil {
		claims.TCBStatus = relaunched(launch.status(), now.status()).String()
	}
	return claims, nil
}

// platform returns what vouches for the quote's attestation key, from the cache where it is there, valid at the time.
func (a *Appraiser) platform(q *Quote, at time.Time) (*platform, error) {
	k := key{"3", sha256.Sum256(q.certified)}
	if q.Version > 3 {
		k.as = "4" // the layout of the same bytes differs
	}
	p := a.platforms.get(k)
	if p == nil {
		var err error
		if p, err = verifyPlatform(q, a.roots.Platform); err != nil {
			return nil, err
		}
		a.platforms.put(k, p)
	}
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
func (a *Appraiser) freshness(c *collateral, p *platform, items []*attest.Endorsement, at time.Time) *attest.CollateralClaims {
	f := attest.Freshness{At: at, Grace: a.grace}
	f.Certificate(p.notAfter)
	for i, list := range [...]struct {
		next   time.Time
		signer *signer
	}{{c.info.next, c.info.signer}, {c.identity.next, c.identity.signer}, {c.list.next, c.list.signer}, {c.root.next, c.root.signer}} {
		f.List(list.next, items[i].Fetched)
		f.Certificate(list.signer.notAfter)
	}
	return f.Claims("evidence", true)
}

// claims returns what the platform's certificate and the collateral say.
func (c *collateral) claims(p *platform, launch, now *evaluation) *attest.IntelClaims {
	claims := &attest.IntelClaims{
		FMSPC:              hex.EncodeToString(p.pck.FMSPC[:]),
		PCEID:              hex.EncodeToString(p.pck.PCEID[:]),
		PPID:               hex.EncodeToString(p.pck.PPID[:]),
		PlatformInstanceID: hex.EncodeToString(p.pck.Instance),
		Authority:          p.authority,
		CPUSVN:             hex.EncodeToString(p.pck.CPUSVN[:]),
		SGXComponents:      hex.EncodeToString(p.pck.TCB[:]),
		PCESVN:             int(p.pck.PCESVN),
		SGXType:            p.pck.SGXType,

		TCBEvaluationNumber: c.info.number,
		TCBIssued:           c.info.issued.UTC(),
		QEEvaluationNumber:  c.identity.number,
		QEIssued:            c.identity.issued.UTC(),
		QESVN:               int(p.qe.SVN),
		QEMREnclave:         hex.EncodeToString(p.qe.MREnclave[:]),

		LaunchTCBStatus: launch.status().String(),
		Platform:        *launch.platform.claims(),
		QE:              *launch.qe.claims(),
		Module:          launch.module.claims(),
		ModuleID:        launch.moduleID,
		TCBDate:         dateOf(launch.platform, launch.module, launch.qe),
		Advisories:      advisoriesOf(launch.platform, launch.module, launch.qe),
	}
	if config := p.pck.Config; config != nil {
		claims.DynamicPlatform, claims.CachedKeys, claims.SMTEnabled = &config.DynamicPlatform, &config.CachedKeys, &config.SMTEnabled
	}
	if now != nil {
		claims.CurrentTCBStatus = now.status().String()
		claims.CurrentPlatform, claims.CurrentModule, claims.CurrentModuleID = now.platform.claims(), now.module.claims(), now.moduleID
		claims.TCBDate = dateOf(launch.platform, launch.module, launch.qe, now.platform, now.module)
		claims.Advisories = advisoriesOf(launch.platform, launch.module, launch.qe, now.platform, now.module)
	}
	return claims
}
