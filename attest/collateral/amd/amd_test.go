package amd_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-sev-guest/verify/testdata"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/amd"
	"github.com/vouchsafe/vouchsafe/attest/collateral/vendortest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// TestRequests holds what is asked of the service against AMD publication 57230: decimal levels, FMC on Turin alone.
func TestRequests(t *testing.T) {
	s := vendortest.Start(t)
	checker, err := snp.NewCollateral()
	if err != nil {
		t.Fatal(err)
	}
	p, err := amd.New(amd.Config{Checker: checker, Client: s.Client(t, 5*time.Second), Base: s.URL + "/mirror/"})
	if err != nil {
		t.Fatal(err)
	}
	if p.Interval != 10*time.Second || strings.Join(p.Always, " ") != "amd/crl/Milan amd/crl/Genoa amd/crl/Turin" {
		t.Errorf("%v %q", p.Interval, p.Always)
	}
	chip := strings.Repeat("0a", 64)
	for name, path := range map[string]string{
		"amd/vcek/Genoa/" + chip + "-0a00000000001719":     "/mirror/vcek/v1/Genoa/" + chip + "?blSPL=10&teeSPL=0&snpSPL=23&ucodeSPL=25",
		"amd/vcek/Milan/" + chip + "-03000000000008ff":     "/mirror/vcek/v1/Milan/" + chip + "?blSPL=3&teeSPL=0&snpSPL=8&ucodeSPL=255",
		"amd/vcek/Turin/6bb1229b7692b710-0101010400000052": "/mirror/vcek/v1/Turin/6bb1229b7692b710?fmcSPL=1&blSPL=1&teeSPL=1&snpSPL=4&ucodeSPL=82",
		"amd/crl/Turin": "/mirror/vcek/v1/Turin/crl",
	} {
		s.Set(path, vendortest.Answer{Body: []byte("x")})
		n, err := collateral.ParseName(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Source.Fetch(t.Context(), n)
		if err != nil || got.URL != s.URL+path {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	n, err := collateral.ParseName("amd/vlek/Genoa/0a00000000001719")
	if err != nil {
		t.Fatal(err)
	}
	requests := s.Count("")
	var failed *collateral.FetchError
	if _, err := p.Source.Fetch(t.Context(), n); !errors.As(err, &failed) || failed.Result != collateral.ResultNotFetched || s.Count("") != requests {
		t.Errorf("a VLEK's certificate, which nobody publishes: %v", err)
	}
	if _, err := amd.New(amd.Config{}); err == nil {
		t.Error("without a checker")
	}
	if _, err := amd.New(amd.Config{Checker: checker, Client: s.Client(t, time.Second), Base: "http://kds.test"}); err == nil {
		t.Error("in clear")
	}
}

// TestMutations: of a certificate that AMD issued nothing else is kept, and it under its own name only.
func TestMutations(t *testing.T) {
	checker, err := snp.NewCollateral()
	if err != nil {
		t.Fatal(err)
	}
	p, err := amd.New(amd.Config{Checker: checker})
	if err != nil {
		t.Fatal(err)
	}
	report, err := snp.ParseReport(testdata.AttestationBytes)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := snp.EndorsementNames(report)
	if err != nil {
		t.Fatal(err)
	}
	var names []collateral.Name
	for _, text := range append(texts, "amd/crl/Milan") {
		n, err := collateral.ParseName(text)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	kept := 0
	mutate.Run(t, [][]byte{testdata.VcekBytes}, func(t *testing.T, input []byte) {
		for _, n := range names {
			if _, err := p.Check(n, &attest.Endorsement{Data: input}, time.Now()); err != nil {
				continue
			}
			if kept++; !bytes.Equal(input, testdata.VcekBytes) || !strings.HasPrefix(n.String(), "amd/vcek/Milan/") {
				t.Errorf("%s was kept: %x", n, input)
			}
		}
	})
	if kept == 0 {
		t.Error("what AMD issued was not kept")
	}
}

// FuzzCheck: no bytes are kept as a list or a certificate but those that AMD signed.
func FuzzCheck(f *testing.F) {
	checker, err := snp.NewCollateral()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("amd/crl/Genoa", testdata.VcekBytes)
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if _, _, err := checker.Check(name, data); err == nil && !bytes.Equal(data, testdata.VcekBytes) {
			t.Errorf("%q was kept: %x", name, data)
		}
	})
}
