package tdx

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
)

// MaxEvidence is how large evidence may be, in bytes: a quote of 16 KiB and an event log of 512 KiB, in base64. Firmware keeps logs of 64 to
// 256 KiB.
const MaxEvidence = 768 << 10

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

// replay replays an event log to the four registers that a TD report has, and returns what it proves. Its errors are *attest.Refusal.
type replay func(log []byte, rtmrs [4][]byte) (*attest.BootClaims, error)

// Verifier appraises evidence of kind tdx.
type Verifier struct {
	appraiser *dcap.Appraiser
	replay    replay
	memories  sync.Pool // of *dcap.Memory
}

// New returns a Verifier that trusts Intel's root and nothing else. No endorsements, and a grace or cache size out of range are errors.
func New(cfg Config) (*Verifier, error) {
	roots, err := dcap.IntelRoots()
	if err != nil {
		return nil, err
	}
	return NewTrusting(cfg, roots)
}

// NewTrusting returns a Verifier that trusts roots in the place of Intel's. Only the packages under attest can name roots; their tests do, for
// the kinds whose evidence has a TD quote in it.
func NewTrusting(cfg Config, roots dcap.Roots) (*Verifier, error) {
	return newVerifier(cfg, roots, eventlog.BootRTMR)
}

func newVerifier(cfg Config, roots dcap.Roots, replay replay) (*Verifier, error) {
	appraiser, err := dcap.New(dcap.Settings(cfg), roots)
	if err != nil {
		return nil, fmt.Errorf("tdx: %w", err)
	}
	return &Verifier{appraiser: appraiser, replay: replay, memories: sync.Pool{New: func() any { return new(dcap.Memory) }}}, nil
}

// Kind returns attest.TDX.
func (v *Verifier) Kind() attest.Kind { return attest.TDX }

// Verify appraises evidence as the package documentation describes. It implements attest.Verifier.
func (v *Verifier) Verify(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	memory := v.memories.Get().(*dcap.Memory)
	defer v.memories.Put(memory)
	return v.judge(ctx, in, memory)
}

// judge appraises evidence that is decoded into memory. Nothing that it returns or holds is in that memory afterwards.
func (v *Verifier) judge(ctx context.Context, in attest.Input, memory *dcap.Memory) (*attest.Claims, error) {
	ev, err := parse(memory, in.Evidence)
	if err != nil {
		return nil, err
	}
	claims, err := v.appraiser.Appraise(ctx, ev.Quote, in)
	if err != nil {
		return nil, err
	}
	report := ev.Quote.TD
	claims.Kind = attest.TDX
	fill(claims, ev.Quote.Version, report)
	if ev.Log != nil {
		registers := [4][]byte{report.RTMR[0][:], report.RTMR[1][:], report.RTMR[2][:], report.RTMR[3][:]}
		if claims.Boot, err = v.replay(ev.Log, registers); err != nil {
			return nil, err
		}
	}
	claims.BindInitData(report.MRConfigID[:], in.Init)
	return claims, nil
}

// parse reads evidence and makes sure that it is of a TD.
func parse(memory *dcap.Memory, evidence []byte) (*dcap.Evidence, error) {
	ev, err := dcap.ParseEvidenceInto(memory, evidence, MaxEvidence)
	if err != nil {
		return nil, err
	}
	if ev.Quote.TD == nil {
		return nil, attest.Refuse(attest.CodeVersionUnsupported, "the quote is of an SGX enclave, which is evidence of kind %s", attest.SGX)
	}
	return ev, nil
}

// EndorsementNames returns the names of the endorsements that Verify needs for the platform that made the evidence, for fetching them ahead; see
// attest.Endorsements. It verifies that Intel certified the platform, and nothing else. Its errors are *attest.Refusal.
func EndorsementNames(evidence []byte) ([]string, error) {
	ev, err := parse(nil, evidence)
	if err != nil {
		return nil, err
	}
	roots, err := dcap.IntelRoots()
	if err != nil {
		return nil, err
	}
	return dcap.Names(ev.Quote, roots)
}
