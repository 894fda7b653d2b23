package tdx

import (
	"bytes"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
)

// TestCheckCollateral: what Intel really sent passes, as what it is and nothing else; anything that was changed does not, nor what others signed.
func TestCheckCollateral(t *testing.T) {
	items := dcaptest.Recorded().Items
	for name, e := range items {
		if err := CheckCollateral(name, e); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for other := range items {
			if other != name && CheckCollateral(other, e) == nil {
				t.Errorf("%s passes as %s", name, other)
			}
		}
		changed := *e
		for at := 0; at < len(e.Data); at += 1 + len(e.Data)/97 {
			changed.Data = bytes.Clone(e.Data)
			changed.Data[at] ^= 1
			if CheckCollateral(name, &changed) == nil {
				t.Errorf("%s with byte %d changed passes", name, at)
			}
		}
		if e.Chain != nil {
			changed = *e
			changed.Chain = nil
			if CheckCollateral(name, &changed) == nil {
				t.Errorf("%s without the certificate of its signer passes", name)
			}
		}
	}
	if len(items) != 4 {
		t.Fatalf("%d items", len(items))
	}
	w := dcaptest.New()
	m := w.Machine(dcaptest.DefaultPCK(), nil)
	for _, tee := range []dcap.TEE{dcap.TDX, dcap.SGX} {
		s := w.Service(tee, m, dcaptest.TCBInfo(tee, "UpToDate"), dcaptest.Identity(tee, "UpToDate"))
		for name, e := range s.Items {
			if err := dcap.Check(name, e, w.Roots()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if CheckCollateral(name, e) == nil {
				t.Errorf("%s by another root passes", name)
			}
		}
		// A list by the other authority is not this one's.
		s.Put("intel/crl/platform", w.Processor.List(dcaptest.Now.AddDate(0, 0, 20)), dcaptest.PEM(w.Processor, w.Root))
		if dcap.Check("intel/crl/platform", s.Items["intel/crl/platform"], w.Roots()) == nil {
			t.Error("the list of the other authority passes")
		}
	}
	for _, name := range []string{"", "intel/", "intel/crl/", "intel/tcb/sgx", "intel/tcb/xgs/50806f000000", "intel/tcb/tdx/50", "amd/crl/Milan", "intel/identity/x"} {
		if CheckCollateral(name, new(attest.Endorsement)) == nil {
			t.Errorf("%q is a name", name)
		}
	}
}

// TestInspect reads a quote and refuses what is none.
func TestInspect(t *testing.T) {
	claims, err := Inspect(dcaptest.RecordedQuote())
	if err != nil || claims.Kind != attest.TDX || *claims.Bound || claims.HardwareRoot != "" || claims.TDX.MRTD == "" {
		t.Errorf("%+v %v", claims, err)
	}
	_, err = Inspect([]byte("{}"))
	dcaptest.WantCode(t, err, attest.CodeMalformed)
}
