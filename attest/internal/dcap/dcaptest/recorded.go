package dcaptest

import (
	"bytes"
	"net/url"
	"time"

	tdxtesting "github.com/google/go-tdx-guest/testing"
	"github.com/google/go-tdx-guest/testing/testdata"

	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
)

// RecordedAt is a time at which what [Recorded] returns was current.
var RecordedAt = time.Date(2023, 6, 20, 12, 0, 0, 0, time.UTC)

// Recorded returns a service with what Intel's sent in June 2023, for TDX platforms of one family and the lists of the Platform CA and the root. It
// was recorded by go-tdx-guest.
func Recorded() *Service {
	s := new(Service)
	s.Put("intel/tcb/tdx/50806f000000", testdata.TcbInfoBody, header(tdxtesting.TcbInfoHeader))
	s.Put("intel/identity/tdqe", testdata.QeIdentityBody, header(tdxtesting.QeIdentityHeader))
	s.Put("intel/crl/platform", testdata.PckCrlBody, header(tdxtesting.PckCrlHeader))
	s.Put("intel/crl/root", testdata.RootCrlBody, nil)
	for _, item := range s.Items {
		item.Fetched = RecordedAt.Add(-time.Hour)
	}
	return s
}

// header returns what a header holds: PEM, escaped as in a URL.
func header(h map[string][]string) []byte {
	for _, values := range h {
		return []byte(must(url.QueryUnescape(values[0])))
	}
	panic("no header was recorded")
}

// RecordedQuote returns a quote of a prototype of Sapphire Rapids, of that family, without the text that its publisher added at the end.
func RecordedQuote() []byte {
	quote, _, _ := bytes.Cut(testdata.RawQuote, []byte("\nextra bytes"))
	return quote
}

// RecordedIdentity returns the identity of the quoting enclave that made the real quotes, with one level of a status.
func RecordedIdentity(status string) Object {
	identity := Identity(dcap.TDX, status)
	identity["mrsigner"] = "DC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5"
	identity["tcbLevels"] = []Object{EnclaveLevel(4, status)}
	return identity
}

// RecordedAzure returns a service that judges the TD quote of the shared evidence of an Azure confidential VM at [Now], with the roots that are needed:
// the platform is Intel's, with Intel's lists of June 2023, which are late; no collateral of its family is at hand, so that is the world's.
func RecordedAzure(w *World) (*Service, dcap.Roots) {
	info := TCBInfo(dcap.TDX, "UpToDate")
	info["fmspc"] = "00806f050000"
	info["tcbLevels"] = []Object{Level(dcap.TDX, 0, 0, "UpToDate")}
	info["tdxModuleIdentities"] = []Object{Module("TDX_01", EnclaveLevel(2, "UpToDate"))}
	s := Recorded()
	s.PutTCB(w, dcap.TDX, &Machine{FMSPC: "00806f050000"}, info)
	s.PutIdentity(w, dcap.TDX, RecordedIdentity("UpToDate"))
	return s, dcap.Roots{Platform: must(dcap.IntelRoots()).Platform, Collateral: w.Root.Certificate}
}
