package vendortest

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/intel"
	"github.com/vouchsafe/vouchsafe/attest/tdx/tdxtest"
)

// TDXService is Intel's service with whole collateral, by which quotes of a vendor's platforms can be judged.
type TDXService struct {
	*Server
	tb     testing.TB
	vendor *tdxtest.Vendor
}

// StartTDX starts one that has the identity and the revocation lists of a vendor, and no TCB info yet.
func StartTDX(tb testing.TB, vendor *tdxtest.Vendor) *TDXService {
	tb.Helper()
	s := &TDXService{Start(tb), tb, vendor}
	for _, e := range vendor.Shared() {
		s.Put(e)
	}
	return s
}

// Put has an item answered where Intel has it.
func (s *TDXService) Put(e *attest.Endorsement) {
	path, header := "/tdx/certification/v4/qe/identity", "Sgx-Enclave-Identity-Issuer-Chain"
	switch e.Name {
	case "intel/identity/tdqe":
	case "intel/crl/platform":
		path, header = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der", "Sgx-Pck-Crl-Issuer-Chain"
	case "intel/crl/root":
		path, header = "/sgx/certification/v4/rootcacrl", ""
	default:
		path, header = TCBPath("tdx", e.Name[len("intel/tcb/tdx/"):]), "Tcb-Info-Issuer-Chain"
	}
	a := Answer{Body: e.Data}
	if header != "" {
		a.Header = http.Header{header: {url.PathEscape(string(e.Chain))}}
	}
	s.Set(path, a)
}

// Publisher returns what fetches from it, nothing without a client.
func (s *TDXService) Publisher(client *collateral.Client, interval time.Duration) collateral.Publisher {
	s.tb.Helper()
	p, err := intel.New(intel.Config{Verify: s.vendor.Check, Client: client, Base: s.URL, Interval: interval})
	if err != nil {
		s.tb.Fatal(err)
	}
	return p
}
