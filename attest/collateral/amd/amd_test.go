package amd_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/amd"
	"github.com/vouchsafe/vouchsafe/attest/collateral/vendortest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
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
