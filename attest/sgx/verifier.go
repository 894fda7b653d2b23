package sgx

import (
	"context"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
)

// MaxEvidence is how large evidence may be, in bytes: a quote of 16 KiB in base64, and room.
const MaxEvidence = 32 << 10

// Config says what a Verifier relies on besides Intel's root, which is built in and cannot be added to.
type Config struct {
	// Endorsements is where Intel's collateral is found. It must be set: no quote can be judged without.
	Endorsements attest.Endorsements

	// Grace is for how long past its next update collateral counts as current, while Intel's service may be down. Zero is not at all; a
	// year is the most.
	Grace time.Duration

	// CacheSize is how many verified attestation keys are kept, with their certificates: 2048 when zero. There is about one for each host.
	CacheSize int
}

// Verifier appraises evidence of kind sgx.
type Verifier struct{ appraiser *dcap.Appraiser }

// New returns a Verifier that trusts Intel's root and nothing else. No endorsements, and a grace or cache size out of range are errors.
func New(cfg Config) (*Verifier, error) {
	roots, err := dcap.IntelRoots()
	if err != nil {
		return nil, err
	}
	return newVerifier(cfg, roots)
}

func newVerifier(cfg Config, roots dcap.Roots) (*Verifier, error) {
	appraiser, err := dcap.New(dcap.Settings(cfg), roots)
	if err != nil {
		return nil, fmt.Errorf("sgx: %w", err)
	}
	return &Verifier{appraiser}, nil
}

// Kind returns attest.SGX.
func (v *Verifier) Kind() attest.Kind { return attest.SGX }

// Verify appraises evidence as the package documentation describes. It implements attest.Verifier.
func (v *Verifier) Verify(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	q, err := parse(in.Evidence)
	if err != nil {
		return nil, err
	}
	claims, err := v.appraiser.Appraise(ctx, q, in)
	if err != nil {
		return nil, err
	}
	claims.Kind = attest.SGX
	fill(claims, q.Version, q.Enclave)
	claims.BindInitData(q.Enclave.ConfigID[:], in.Init)
	return claims, nil
}

// parse reads evidence and makes sure that it is of an enclave.
func parse(evidence []byte) (*dcap.Quote, error) {
	ev, err := dcap.ParseEvidence(evidence, MaxEvidence)
	if err != nil {
		return nil, err
	}
	switch {
	case ev.Log != nil:
		return nil, attest.Refuse(attest.CodeEventLog, "an event log beside the quote of an enclave, which has no registers that it could replay to")
	case ev.Quote.Enclave == nil:
		return nil, attest.Refuse(attest.CodeVersionUnsupported, "the quote is of a TD, which is evidence of kind %s", attest.TDX)
	}
	return ev.Quote, nil
}

// EndorsementNames returns the names of the endorsements that Verify needs for the platform that made the evidence, for fetching them ahead; see
// attest.Endorsements. It verifies that Intel certified the platform, and nothing else. Its errors are *attest.Refusal.
func EndorsementNames(evidence []byte) ([]string, error) {
	q, err := parse(evidence)
	if err != nil {
		return nil, err
	}
	roots, err := dcap.IntelRoots()
	if err != nil {
		return nil, err
	}
	return dcap.Names(q, roots)
}
