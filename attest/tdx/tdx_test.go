package tdx

import (
	"errors"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
)

// setup is a machine, the service that knows it, and a verifier that trusts the world.
type setup struct {
	machine  *dcaptest.Machine
	service  *dcaptest.Service
	verifier *Verifier
}

func newSetup(tb testing.TB, info, identity dcaptest.Object) *setup {
	tb.Helper()
	w := dcaptest.Shared()
	s := &setup{machine: w.Machine(dcaptest.DefaultPCK(), nil)}
	s.service = w.Service(dcap.TDX, s.machine, info, identity)
	s.verifier = verifier(tb, s.service, w.Roots())
	return s
}

// goodSetup is one in which all is up to date.
func goodSetup(tb testing.TB) *setup {
	return newSetup(tb, dcaptest.TCBInfo(dcap.TDX, "UpToDate"), dcaptest.Identity(dcap.TDX, "UpToDate"))
}

func verifier(tb testing.TB, endorsements attest.Endorsements, roots dcap.Roots) *Verifier {
	tb.Helper()
	v, err := newVerifier(Config{Endorsements: endorsements}, roots, eventlog.BootRTMR)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func (s *setup) quote(version, bodyType uint16) *dcaptest.Quote {
	return dcaptest.Shared().Quote(s.machine, version, bodyType)
}

func (s *setup) verify(tb testing.TB, evidence []byte) (*attest.Claims, error) {
	tb.Helper()
	return dcaptest.Verify(tb, s.verifier, evidence, dcaptest.Now)
}

// wantUnavailable fails unless err says that evidence cannot be judged now.
func wantUnavailable(tb testing.TB, err error) *attest.Unavailable {
	tb.Helper()
	var unavailable *attest.Unavailable
	if !errors.As(err, &unavailable) {
		tb.Errorf("error %v, want unavailability", err)
		return &attest.Unavailable{}
	}
	return unavailable
}
