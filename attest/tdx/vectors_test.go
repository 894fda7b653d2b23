package tdx

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	tdxtesting "github.com/google/go-tdx-guest/testing"
	"github.com/google/go-tdx-guest/testing/testdata"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// recorded is a time at which the collateral that go-tdx-guest ships was current.
var recorded = time.Date(2023, 6, 20, 12, 0, 0, 0, time.UTC)

// header returns what the service sent in a header: PEM, escaped as in a URL.
func header(tb testing.TB, h map[string][]string) []byte {
	tb.Helper()
	for _, values := range h {
		text, err := url.QueryUnescape(values[0])
		if err != nil {
			tb.Fatal(err)
		}
		return []byte(text)
	}
	tb.Fatal("no header")
	return nil
}

// intelService has what Intel's service sent in June 2023.
func intelService(tb testing.TB) *dcaptest.Service {
	tb.Helper()
	s := new(dcaptest.Service)
	s.Put("intel/tcb/tdx/50806f000000", testdata.TcbInfoBody, header(tb, tdxtesting.TcbInfoHeader))
	s.Put("intel/identity/tdqe", testdata.QeIdentityBody, header(tb, tdxtesting.QeIdentityHeader))
	s.Put("intel/crl/platform", testdata.PckCrlBody, header(tb, tdxtesting.PckCrlHeader))
	s.Put("intel/crl/root", testdata.RootCrlBody, nil)
	for _, item := range s.Items {
		item.Fetched = recorded.Add(-time.Hour)
	}
	return s
}

// realQuote is of a prototype of Sapphire Rapids, without the text that its publisher added at the end.
func realQuote() []byte {
	quote, _, _ := bytes.Cut(testdata.RawQuote, []byte("\nextra bytes"))
	return quote
}

// TestRealQuoteAndCollateral: everything is Intel's, and every clone has it.
func TestRealQuoteAndCollateral(t *testing.T) {
	v, err := New(Config{Endorsements: intelService(t)})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := v.Verify(t.Context(), attest.Input{Evidence: realQuote(), Binding: attest.Unbound(), Time: recorded})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", claims.Intel)
	if claims.HardwareRoot != "intel-sgx" || *claims.Bound || *claims.Debug || *claims.MigrationAgent || !claims.Collateral.Current {
		t.Errorf("claims %+v", claims)
	}
}

func TestVector(t *testing.T) {
	evidence := vectors.Read(t, "tdx/quote-v4.dat")
	_ = hex.EncodeToString
	_ = json.Marshal
	_ = base64.StdEncoding
	_ = strings.HasPrefix
	_ = context.Background
	_ = dcap.TDX
	_ = evidence
}
