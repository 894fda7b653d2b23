package intel_test

import (
	"context"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/intel"
	"github.com/vouchsafe/vouchsafe/attest/collateral/vendortest"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

const fmspc = "50806f000000"

// fetch fetches names from a service and returns how that ended.
func fetch(t *testing.T, p collateral.Publisher, names ...string) (*collateral.Manager, map[string]collateral.Outcome) {
	t.Helper()
	p.Always = nil
	m, err := collateral.Open(collateral.Config{Publishers: []collateral.Publisher{p}, Jitter: func() float64 { return 0.999 }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	defer func() { cancel(); <-done }()
	out := map[string]collateral.Outcome{}
	if err := m.Fetch(ctx, names, func(o collateral.Outcome) { out[o.Name] = o }); err != nil {
		t.Fatal(err)
	}
	return m, out
}

func TestFetch(t *testing.T) {
	now := time.Now()
	pcs := vendortest.StartPCS(t, now)
	pcs.Set(vendortest.TCBPath("tdx", fmspc), pcs.TCB("TDX", fmspc, now.Add(-time.Hour), now.AddDate(0, 1, 0)))
	old := pcs.TCB("SGX", fmspc, now.Add(-time.Hour), now.AddDate(0, 1, 0)) // the header that the service had for SGX at first
	old.Header = http.Header{"Sgx-Tcb-Info-Issuer-Chain": old.Header["Tcb-Info-Issuer-Chain"]}
	pcs.Set(vendortest.TCBPath("sgx", fmspc), old)
	names := []string{
		"intel/tcb/tdx/" + fmspc, "intel/tcb/sgx/" + fmspc, "intel/identity/qe", "intel/identity/tdqe",
		"intel/crl/processor", "intel/crl/platform", "intel/crl/root",
	}
	m, out := fetch(t, pcs.Publisher(pcs.Client(t, 5*time.Second), time.Millisecond), names...)
	for _, name := range names {
		if o := out[name]; o.Result != collateral.ResultOK || o.Err != nil {
			t.Errorf("%+v", o)
			continue
		}
		i := m.Item(name)
		if (i.Endorsement.Chain == nil) != (name == "intel/crl/root") {
			t.Errorf("%s: chain %q", name, i.Endorsement.Chain)
		}
		if i.Endorsement.Chain != nil {
			if block, _ := pem.Decode(i.Endorsement.Chain); block == nil {
				t.Errorf("%s: the chain is not PEM", name)
			}
		}
		if i.Expires.IsZero() || i.Issued.IsZero() || !strings.HasPrefix(i.Source, pcs.URL) {
			t.Errorf("%s: %+v", name, i)
		}
	}
}

// TestLies: what is of another platform, not signed, or cannot be read is not kept.
func TestLies(t *testing.T) {
	now := time.Now()
	pcs, stranger := vendortest.StartPCS(t, now), vendortest.StartPCS(t, now)
	past, next := now.Add(-time.Hour), now.AddDate(0, 1, 0)
	tcb, path := "intel/tcb/tdx/"+fmspc, vendortest.TCBPath("tdx", fmspc)
	good := pcs.TCB("TDX", fmspc, past, next)
	with := func(change func(*vendortest.Answer)) vendortest.Answer {
		a := vendortest.Answer{Body: good.Body, Header: good.Header.Clone()}
		change(&a)
		return a
	}
	replace := func(old, new string) vendortest.Answer {
		return with(func(a *vendortest.Answer) { a.Body = []byte(strings.Replace(string(a.Body), old, new, 1)) })
	}
	for what, a := range map[string]vendortest.Answer{
		"another platform": pcs.TCB("TDX", "00906ed50000", past, next),
		"another kind":     pcs.TCB("SGX", fmspc, past, next),
		"another's key":    stranger.TCB("TDX", fmspc, past, next),
		"expired":          pcs.TCB("TDX", fmspc, now.AddDate(0, -2, 0), now.AddDate(0, -1, 0)),
		"from the future":  pcs.TCB("TDX", fmspc, now.AddDate(0, 1, 0), now.AddDate(0, 2, 0)),
		"ends before":      pcs.TCB("TDX", fmspc, next, past),
		"changed":          replace(`"version":3`, `"version":4`),
		"member twice":     replace(`"version":3`, `"version":3,"fmspc":"`+fmspc+`"`),
		"no signature":     replace(`"signature"`, `"signatura"`),
		"no date":          replace(`"issueDate"`, `"issuedate"`),
		"no chain":         with(func(a *vendortest.Answer) { a.Header = nil }),
		"chain twice": with(func(a *vendortest.Answer) {
			a.Header["Tcb-Info-Issuer-Chain"] = append(a.Header["Tcb-Info-Issuer-Chain"], "x")
		}),
		"chain of nonsense": with(func(a *vendortest.Answer) { a.Header["Tcb-Info-Issuer-Chain"] = []string{"%zz"} }),
		"chain empty":       with(func(a *vendortest.Answer) { a.Header["Tcb-Info-Issuer-Chain"] = []string{""} }),
		"chain and more":    with(func(a *vendortest.Answer) { a.Header["Tcb-Info-Issuer-Chain"][0] += "more" }),
		"garbage":           {Body: []byte("<html>"), Header: good.Header},
		"a list instead":    {Body: pcs.List(past, next), Header: good.Header},
		"no document":       {Body: []byte("[]"), Header: good.Header},
	} {
		pcs.Set(path, a)
		p := pcs.Publisher(pcs.Client(t, 5*time.Second), time.Microsecond)
		got, err := p.Source.Fetch(t.Context(), name(t, tcb))
		if err != nil {
			continue // refused before the check
		}
		e := &attest.Endorsement{Name: tcb, Data: got.Data, Chain: got.Chain}
		v, err := p.Check(name(t, tcb), e, now)
		if err == nil && v.Expires.After(now) && v.Issued.Before(now) {
			t.Errorf("%s was accepted: %+v", what, v)
		}
	}
	for what, a := range map[string]vendortest.Answer{
		"another enclave": pcs.Identity("QVE", past, next), "TDX for SGX": pcs.Identity("TD_QE", past, next), "TCB info": good,
	} {
		pcs.Set("/sgx/certification/v4/qe/identity", a)
		p := pcs.Publisher(pcs.Client(t, 5*time.Second), time.Microsecond)
		got, err := p.Source.Fetch(t.Context(), name(t, "intel/identity/qe"))
		if err != nil {
			continue
		}
		if _, err := p.Check(name(t, "intel/identity/qe"), &attest.Endorsement{Data: got.Data, Chain: got.Chain}, now); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}

func name(t *testing.T, text string) collateral.Name {
	t.Helper()
	n, err := collateral.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestListForms: services write lists as DER, hex or PEM, and DER is what is kept.
func TestListForms(t *testing.T) {
	pcs := vendortest.StartPCS(t, time.Now())
	list := pcs.List(time.Now().Add(-time.Hour), time.Now().AddDate(0, 1, 0))
	for what, body := range map[string][]byte{
		"der": list, "hex": []byte(hex.EncodeToString(list) + "\n"), "pem": pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list}),
	} {
		pcs.Set("/sgx/certification/v4/rootcacrl", vendortest.Answer{Body: body})
		got, err := pcs.Publisher(pcs.Client(t, time.Second), 1).Source.Fetch(t.Context(), name(t, "intel/crl/root"))
		if err != nil || string(got.Data) != string(list) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestRealCollateral: Intel's own documents have the form that is checked, for the platform that they are of and no other.
func TestRealCollateral(t *testing.T) {
	p, err := intel.New(intel.Config{Verify: func(string, *attest.Endorsement, time.Time) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	tcb := vectors.Read(t, "tdx/tcbInfo.json")
	taken := 0
	for _, text := range []string{"intel/tcb/tdx/00a06d080000", "intel/tcb/sgx/00a06d080000", "intel/tcb/tdx/50806f000000"} {
		if v, err := p.Check(name(t, text), &attest.Endorsement{Data: tcb}, time.Now()); err == nil {
			taken++
			if v.Issued.IsZero() || !v.Expires.After(v.Issued) {
				t.Errorf("%+v", v)
			}
			t.Logf("%s: %+v", text, v)
		}
	}
	if taken != 1 {
		t.Errorf("the TCB info was taken for %d platforms", taken)
	}
	identity := vectors.Read(t, "tdx/enclaveIdentity.json")
	taken = 0
	for _, text := range []string{"intel/identity/qe", "intel/identity/tdqe"} {
		if _, err := p.Check(name(t, text), &attest.Endorsement{Data: identity}, time.Now()); err == nil {
			taken++
		}
	}
	if taken != 1 {
		t.Errorf("the identity was taken for %d enclaves", taken)
	}
}

func TestNewRefuses(t *testing.T) {
	client := vendortest.Start(t).Client(t, time.Second)
	ok := func(string, *attest.Endorsement, time.Time) error { return nil }
	for what, c := range map[string]intel.Config{
		"no verification": {Client: client},
		"plain HTTP":      {Client: client, Verify: ok, Base: "http://pccs.test"},
		"root list":       {Client: client, Verify: ok, RootCRL: "http://pccs.test/x"},
	} {
		if _, err := intel.New(c); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	if p, err := intel.New(intel.Config{Client: client, Verify: ok}); err != nil || len(p.Always) != 5 {
		t.Errorf("defaults: %v %v", p.Always, err)
	}
}

// FuzzCheck: no document or list makes the check panic, and what passes says when it was made and when its next is due.
func FuzzCheck(f *testing.F) {
	p, err := intel.New(intel.Config{Verify: func(string, *attest.Endorsement, time.Time) error { return nil }})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"tcbInfo":{"id":"TDX","fmspc":"50806f000000","issueDate":"2026-01-01T00:00:00Z","nextUpdate":"2026-02-01T00:00:00Z"},"signature":"00"}`))
	f.Add([]byte(`{"enclaveIdentity":{"id":"QE","issueDate":"2026-01-01T00:00:00Z","nextUpdate":"2026-02-01T00:00:00Z"},"signature":"00"}`))
	var names []collateral.Name
	for _, text := range []string{"intel/tcb/tdx/" + fmspc, "intel/identity/qe", "intel/crl/root"} {
		n, err := collateral.ParseName(text)
		if err != nil {
			f.Fatal(err)
		}
		names = append(names, n)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, n := range names {
			if v, err := p.Check(n, &attest.Endorsement{Data: data}, time.Now()); err == nil && (v.Issued.IsZero() || v.Expires.IsZero()) {
				t.Errorf("%s: %+v", n, v)
			}
		}
	})
}
