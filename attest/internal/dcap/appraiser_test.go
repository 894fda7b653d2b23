package dcap_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
)

// TestTwoTEEs: one appraiser for the quotes of both TEEs, by one attestation key, judges each by its own collateral.
func TestTwoTEEs(t *testing.T) {
	w := dcaptest.New()
	m := w.Machine(dcaptest.DefaultPCK(), nil)
	service := w.Service(dcap.SGX, m, dcaptest.TCBInfo(dcap.SGX, "OutOfDate"), dcaptest.Identity(dcap.SGX, "UpToDate"))
	service.PutTCB(w, dcap.TDX, m, dcaptest.TCBInfo(dcap.TDX, "UpToDate"))
	service.PutIdentity(w, dcap.TDX, dcaptest.Identity(dcap.TDX, "UpToDate"))
	a, err := dcap.New(dcap.Settings{Endorsements: service}, w.Roots())
	if err != nil {
		t.Fatal(err)
	}
	enclave, td := w.Quote(m, 4, dcaptest.BodyEnclave), w.Quote(m, 4, dcaptest.BodyTD10)
	td.Key = enclave.Key
	appraise := func(q *dcaptest.Quote) (*attest.Claims, error) {
		parsed, err := dcap.ParseQuote(q.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		return a.Appraise(t.Context(), parsed, attest.Input{Binding: attest.BoundTo(dcaptest.Binding), Time: dcaptest.Now})
	}
	for range 2 {
		for q, want := range map[*dcaptest.Quote]string{enclave: "out-of-date", td: "up-to-date"} {
			claims, err := appraise(q)
			if err != nil || claims.TCBStatus != want {
				t.Errorf("%+v, %v, want %s", claims, err, want)
			}
		}
	}
	// A TD's quote by the quoting enclave of SGX, whose key is held for that, and the other way round.
	for _, pair := range [][2]*dcaptest.Quote{{enclave, td}, {td, enclave}} {
		pair[0].Vouched = dcaptest.SignRaw(m.PCK.Key, pair[0].QE)
		if _, err := appraise(pair[0]); err != nil {
			t.Fatal(err)
		}
		other := *pair[1]
		other.QE, other.Vouched = slices.Clone(pair[0].QE), pair[0].Vouched
		_, err := appraise(&other)
		var refusal *attest.Refusal
		if !errors.As(err, &refusal) || refusal.Code != attest.CodeIdentity {
			t.Errorf("error %v, want %s", err, attest.CodeIdentity)
		}
	}
}
