package intel_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"testing"
	"time"

	tdxtesting "github.com/google/go-tdx-guest/testing"
	tdxdata "github.com/google/go-tdx-guest/testing/testdata"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/intel"
	"github.com/vouchsafe/vouchsafe/attest/tdx"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// recorded is what Intel's service sent in June 2023.
func recorded(t *testing.T) map[string]*attest.Endorsement {
	t.Helper()
	all := map[string]*attest.Endorsement{}
	for name, item := range map[string]struct {
		data   []byte
		header map[string][]string
	}{
		"intel/tcb/tdx/50806f000000": {tdxdata.TcbInfoBody, tdxtesting.TcbInfoHeader},
		"intel/identity/tdqe":        {tdxdata.QeIdentityBody, tdxtesting.QeIdentityHeader},
		"intel/crl/platform":         {tdxdata.PckCrlBody, tdxtesting.PckCrlHeader},
		"intel/crl/root":             {tdxdata.RootCrlBody, nil},
	} {
		all[name] = &attest.Endorsement{Name: name, Data: item.data}
		for _, values := range item.header {
			chain, err := url.QueryUnescape(values[0])
			if err != nil {
				t.Fatal(err)
			}
			all[name].Chain = []byte(chain)
		}
	}
	return all
}

// TestMutations: of what Intel sent, nothing that says anything else is kept, under whatever name.
func TestMutations(t *testing.T) {
	p, err := intel.New(intel.Config{Verify: func(name string, e *attest.Endorsement, _ time.Time) error { return tdx.CheckCollateral(name, e) }})
	if err != nil {
		t.Fatal(err)
	}
	var (
		at    = time.Date(2023, 6, 20, 12, 0, 0, 0, time.UTC)
		sent  = recorded(t)
		seeds [][]byte
		names []collateral.Name
	)
	for text, e := range sent {
		name, err := collateral.ParseName(text)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := p.Check(name, e, at); err != nil || v.Issued.IsZero() || !v.Expires.After(v.Issued) {
			t.Errorf("%s as it was sent: %+v, %v", name, v, err)
		}
		names = append(names, name)
		seeds = append(seeds, e.Data)
	}
	mutate.Run(t, seeds, func(t *testing.T, input []byte) {
		for _, name := range names {
			e := sent[name.String()]
			if _, err := p.Check(name, &attest.Endorsement{Name: e.Name, Data: input, Chain: e.Chain}, at); err == nil && !same(input, e.Data) {
				t.Errorf("%s was kept: %.300q", name, input)
			}
		}
	})
}

// same reports whether two items have the same signed content: of a JSON document what surrounds that is free.
func same(a, b []byte) bool {
	var x, y map[string]json.RawMessage
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return bytes.Equal(a, b)
	}
	for _, member := range []string{"tcbInfo", "enclaveIdentity"} {
		if !bytes.Equal(x[member], y[member]) {
			return false
		}
	}
	return true
}
