package dcap

import (
	"slices"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// status is the state of a trusted computing base, taken apart into what is wrong with it, so that the state of several parts together is the
// union of theirs.
type status uint8

// What can be wrong.
const (
	needsHardening     status = 1 << iota // software has to work around it
	needsConfiguration                    // the platform has to be set up otherwise
	advisesRelaunch                       // it was out of date when the TD was launched, and no more
	outOfDate                             // there are updates that it does not have
	revoked                               // not to be trusted
)

// upToDate is the state in which nothing is wrong.
const upToDate status = 0

// statuses are the words of Intel's collateral (Intel PCS API, version 4, "tcbStatus").
var statuses = map[string]status{
	"UpToDate":                          upToDate,
	"SWHardeningNeeded":                 needsHardening,
	"ConfigurationNeeded":               needsConfiguration,
	"ConfigurationAndSWHardeningNeeded": needsConfiguration | needsHardening,
	"OutOfDate":                         outOfDate,
	"OutOfDateConfigurationNeeded":      outOfDate | needsConfiguration,
	"Revoked":                           revoked,
}

// String returns the claim that says s. Where there is no word for all that is wrong it says the worst, as Intel's library does.
func (s status) String() string {
	configuration := s&needsConfiguration != 0
	switch {
	case s&revoked != 0:
		return attest.TCBRevoked
	case s&outOfDate != 0 && configuration:
		return attest.TCBOutOfDateConfiguration
	case s&outOfDate != 0:
		return attest.TCBOutOfDate
	case s&advisesRelaunch != 0 && configuration:
		return attest.TCBRelaunchConfiguration
	case s&advisesRelaunch != 0:
		return attest.TCBRelaunch
	case configuration && s&needsHardening != 0:
		return attest.TCBConfigurationHardening
	case configuration:
		return attest.TCBConfiguration
	case s&needsHardening != 0:
		return attest.TCBSWHardening
	}
	return attest.TCBUpToDate
}

// verdict is what collateral says of one part of the trusted computing base. The zero verdict is that of no part.
type verdict struct {
	part       bool // whether there is such a part
	listed     bool // whether a level of the collateral is reached; where none is, the status is revoked
	status     status
	date       time.Time // the day of the level
	advisories []string  // what is known to be wrong at the level
}

// unlisted is the verdict on what reaches no level that the collateral has.
var unlisted = verdict{part: true, status: revoked}

// evaluation is what collateral says of all parts at one time.
type evaluation struct {
	platform, module, qe verdict
	moduleID             string // of the module's identity: "TDX_03"; "" when the platform's level covers the module
}

// status converges the parts: out of date and revoked parts make the whole so, and it needs what any part needs.
func (e *evaluation) status() status { return e.platform.status | e.module.status | e.qe.status }

// relaunched converges the state at launch and the state now, after updates that preserved the TD. A TD that was launched on what is out of
// date may have been changed before the update; launching it again is all that is needed. Otherwise nothing is better than it was at
// launch, nor better than it is now.
func relaunched(launch, now status) status {
	if launch&outOfDate != 0 && launch&revoked == 0 && now&(outOfDate|revoked) == 0 {
		return advisesRelaunch | (launch|now)&needsConfiguration
	}
	return launch | now
}

// claims returns v as a claim.
func (v *verdict) claims() attest.IntelTCB {
	return attest.IntelTCB{Status: v.status.String(), Listed: v.listed, Date: v.date, Advisories: slices.Clone(v.advisories)}
}

// optional returns v as a claim, nil when there is no such part.
func (v *verdict) optional() *attest.IntelTCB {
	if !v.part {
		return nil
	}
	claims := v.claims()
	return &claims
}

// evaluateSGX judges an SGX platform and its quoting enclave.
func evaluateSGX(p *platform, info *tcbInfo, identity *qeIdentity) *evaluation {
	e := &evaluation{platform: unlisted, qe: identity.verdict(p.qe.SVN)}
	for i := range info.levels {
		if level := &info.levels[i]; level.reachedBy(p.pck) {
			e.platform = level.verdict
			break
		}
	}
	return e
}

// evaluateTDX judges a TDX platform, its module and its quoting enclave by svn, the TEE TCB security version numbers at launch or now. The second of
// them is the module's version; from 1 the module has an identity of its own with levels, the first number is held against these, and
// the platform's levels count without the two.
func evaluateTDX(p *platform, svn [16]byte, info *tcbInfo, identity *qeIdentity) (*evaluation, error) {
	e := &evaluation{platform: unlisted, qe: identity.verdict(p.qe.SVN)}
	first := 0
	if svn[1] > 0 {
		first = 2
		module, err := info.moduleOf(svn)
		if err != nil {
			return nil, err
		}
		e.moduleID, e.module = module.id, module.verdict(uint16(svn[0]))
	}
	for i := range info.levels {
		if level := &info.levels[i]; level.reachedBy(p.pck) && atLeast(svn[first:], level.tdx[first:]) {
			e.platform = level.verdict
			break
		}
	}
	return e, nil
}

// reachedBy reports whether the platform has no component that is older than the level's.
func (l *tcbLevel) reachedBy(p *PCK) bool { return p.PCESVN >= l.pceSVN && atLeast(p.TCB[:], l.sgx[:]) }

// atLeast reports whether no number in have is less than that in least.
func atLeast(have, least []byte) bool {
	for i := range least {
		if have[i] < least[i] {
			return false
		}
	}
	return true
}

// advisoriesOf returns the advisories of all verdicts, each once, in order.
func advisoriesOf(verdicts []*verdict) []string {
	var all []string
	for _, v := range verdicts {
		all = append(all, v.advisories...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// dateOf returns the earliest day of the verdicts on parts that reach a level; the zero time when there is none.
func dateOf(verdicts []*verdict) (earliest time.Time) {
	for _, v := range verdicts {
		if v.listed && (earliest.IsZero() || v.date.Before(earliest)) {
			earliest = v.date
		}
	}
	return earliest
}
