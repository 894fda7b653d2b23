//go:build unix

package node_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/vendortest"
	"github.com/vouchsafe/vouchsafe/attest/tdx"
	"github.com/vouchsafe/vouchsafe/attest/tdx/tdxtest"
	"github.com/vouchsafe/vouchsafe/client"
)

const tdxPolicy = `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: tdx-guests}
spec:
  secrets: ["payments/db/*"]
  require:
    - {name: checked, that: claims.kind == "tdx" && claims.collateral.revocation_checked}
`

// knownFamilies is of how many families of platforms TCB info is on the broker's disk.
const knownFamilies = 8

// intelStage is what scenes of TDX guests share: platforms, and a bundle with what Intel says of some of their families.
type intelStage struct {
	vendor           *tdxtest.Vendor
	known, strangers []*tdxtest.Machine
	carried
}

func newIntelStage(t *testing.T) *intelStage {
	t.Helper()
	now := time.Now()
	s := &intelStage{vendor: tdxtest.NewVendor(t, now)}
	service := vendortest.StartTDX(t, s.vendor)
	names := []string{"intel/identity/tdqe", "intel/crl/platform", "intel/crl/root"}
	for i := range knownFamilies {
		m := s.vendor.Machine(uint32(1 + i))
		service.Put(m.TCBInfo())
		s.known, names = append(s.known, m), append(names, m.Name())
	}
	for i := range guests / 2 {
		s.strangers = append(s.strangers, s.vendor.Machine(uint32(1000+i)))
	}
	s.carried = carry(t, service.Publisher(service.Client(t, 5*time.Second), time.Microsecond), names, now)
	return s
}

// open starts a broker that has imported the bundle, and fetches from a service or does not.
func (s *intelStage) open(t *testing.T, online bool) (*scene, *vendortest.TDXService) {
	t.Helper()
	service := vendortest.StartTDX(t, s.vendor)
	x := &scene{t: t, known: quoters(s.known)}
	c := service.Client(t, vendorWait)
	if !online {
		c = nil
	}
	x.start([]collateral.Publisher{service.Publisher(c, time.Millisecond)}, s.bundle, s.key, knownFamilies+3, tdxPolicy, func() attest.Verifier {
		return s.vendor.Verifier(tdx.Config{Endorsements: x.m})
	})
	return x, service
}

// quoter makes quotes of a TD. spoil changes the quote after it was signed.
type quoter struct {
	machine *tdxtest.Machine
	spoil   func([]byte)
}

func quoters(machines []*tdxtest.Machine) (all []client.Collector) {
	for _, m := range machines {
		all = append(all, quoter{machine: m})
	}
	return all
}

func (q quoter) Kind() attest.Kind { return attest.TDX }

func (q quoter) Evidence(_ context.Context, digest []byte) ([]byte, error) {
	quote := q.machine.Quote(digest)
	if q.spoil != nil {
		q.spoil(quote)
	}
	return quote, nil
}

// TestCollateralOutageTDX is what a broker does while Intel's service throttles, fails, hangs and answers garbage, and 64 TDX guests attest: those whose
// collateral is on disk are served as ever, the others get 503 and are told when to come back, nothing is released without verification, and the service is
// asked for each item once at a time.
func TestCollateralOutageTDX(t *testing.T) {
	s := newIntelStage(t)
	calm, _ := s.open(t, true)
	baseline := calm.load(quoters(s.strangers))
	other := s.known[0].TCBInfo()
	for what, answer := range map[string]vendortest.Answer{
		"throttle": {Status: 429, RetryAfter: "5"},
		"fail":     {Status: 500},
		"hang":     {Hang: true},
		"babble":   {Body: []byte("<html>garbage</html>")},
		"lie":      {Body: other.Data}, // genuine, of another family, and without its signer
	} {
		t.Run(what, func(t *testing.T) {
			x, service := s.open(t, true)
			service.Every(-1, answer)
			start := time.Now()
			x.notWaited(x.load(quoters(s.strangers)), baseline)
			for _, m := range s.strangers {
				// The first retry is after five seconds at the earliest.
				if n := service.Count(vendortest.TCBPath("tdx", m.FMSPC)); n > 1+int(time.Since(start)/(5*time.Second)) {
					t.Errorf("a family was asked for %d times in %v", n, time.Since(start))
				}
				if x.m.Item(m.Name()) != nil {
					t.Error("what is no TCB info of the family was kept")
				}
			}
			// What is at hand makes no evidence good.
			_, err := x.fetch(quoter{machine: s.known[0], spoil: func(quote []byte) { quote[200] ^= 1 }})
			var refused *client.Refused
			if !errors.As(err, &refused) {
				t.Errorf("a forged quote: %v", err)
			}
		})
	}
}

// TestCollateralArrivesTDX: what nobody had is asked for once, however many guests attest, and then they are served.
func TestCollateralArrivesTDX(t *testing.T) {
	s := newIntelStage(t)
	x, service := s.open(t, true)
	m := s.vendor.Machine(77)
	service.Put(m.TCBInfo())
	x.served(quoter{machine: m})
	if n := service.Count(vendortest.TCBPath("tdx", m.FMSPC)); n != 1 {
		t.Errorf("the service was asked %d times for one item", n)
	}
	// A list that revokes counts without a restart.
	for _, e := range s.vendor.Shared(m) {
		service.Put(e)
	}
	if err := x.m.Fetch(t.Context(), []string{"intel/crl/platform"}, func(o collateral.Outcome) {
		if o.Err != nil {
			t.Error(o.Err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	var refused *client.Refused
	if _, err := x.fetch(quoter{machine: m}); !errors.As(err, &refused) {
		t.Errorf("after its certificate was revoked: %v", err)
	}
}

// TestCollateralOfflineTDX: with the network off, what was imported serves, and what was not is wanted.
func TestCollateralOfflineTDX(t *testing.T) {
	s := newIntelStage(t)
	x, service := s.open(t, false)
	x.load(quoters(s.strangers))
	if n := service.Count(""); n != 0 {
		t.Errorf("%d requests with the network off", n)
	}
	if n := len(x.m.Wanted()); n != guests/2 {
		t.Errorf("%d items are noted as wanted", n)
	}
}
