package tdx

import (
	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
)

// CheckCollateral says whether an item of Intel's collateral, for TDX or SGX, is what its name says and signed by Intel, so that it may be kept. Names are
// those of attest.Endorsements that begin with intel/. The list of an authority needs the authority's certificate in Chain. Neither dates nor revocation are
// judged: each appraisal does that.
func CheckCollateral(name string, e *attest.Endorsement) error {
	roots, err := dcap.IntelRoots()
	if err != nil {
		return err
	}
	return dcap.Check(name, e, roots)
}

// NewUnder is [New] with other roots in the place of Intel's, for tdxtest: only packages below attest can name any.
func NewUnder(cfg Config, roots dcap.Roots) (*Verifier, error) {
	return newVerifier(cfg, roots, eventlog.BootRTMR)
}
