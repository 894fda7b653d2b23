package dcaptest

import (
	"bytes"
	"net/url"
	"time"

	tdxtesting "github.com/google/go-tdx-guest/testing"
	"github.com/google/go-tdx-guest/testing/testdata"
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
