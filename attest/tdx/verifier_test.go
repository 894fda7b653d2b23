package tdx

import (
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
)

// TestVerify goes through every layout, each by a verifier that does not know the platform yet and by one that does, and through both authorities.
func TestVerify(t *testing.T) {
	w := dcaptest.Shared()
	for _, authority := range []string{"platform", "processor"} {
		pck := dcaptest.DefaultPCK()
		if authority == "processor" {
			pck.Instance, pck.Config = nil, nil
		}
		m := w.Machine(pck, nil)
		service := w.Service(dcap.TDX, m, dcaptest.TCBInfo(dcap.TDX, "UpToDate"), dcaptest.Identity(dcap.TDX, "UpToDate"))
		v := verifier(t, service, w.Roots())
		for _, layout := range [][2]uint16{{4, dcaptest.BodyTD10}, {5, dcaptest.BodyTD10}, {5, dcaptest.BodyTD15}} {
			evidence := w.Quote(m, layout[0], layout[1]).Bytes()
			for range 2 {
				claims, err := dcaptest.Verify(t, v, evidence, dcaptest.Now)
				if err != nil {
					t.Fatalf("%s, version %d, body %d: %v", authority, layout[0], layout[1], err)
				}
				td, in := claims.TDX, claims.Intel
				v15 := layout[1] == dcaptest.BodyTD15
				if claims.Kind != attest.TDX || claims.HardwareRoot != "intel-sgx" || !*claims.Bound || *claims.Debug || *claims.MigrationAgent ||
					claims.TCBStatus != "up-to-date" || claims.Measurement != td.MRTD || claims.Measurement[:6] != "808182" || claims.ReportData[:8] != "30313233" ||
					td.QuoteVersion != int(layout[0]) || (td.TDXVersion == "1.5") != v15 || (td.TEETCBSVN2 != "") != v15 || !td.SEPTVEDisable || td.Migratable ||
					td.RTMR3[:4] != "3031" || claims.InitDataBound != nil || claims.Boot != nil {
					t.Errorf("claims %+v\n%+v", claims, td)
				}
				if in.FMSPC != dcaptest.FMSPC || in.Authority != authority || in.TCBEvaluationNumber != 18 || in.QEEvaluationNumber != 17 || in.QESVN != 8 ||
					in.Platform.Status != "up-to-date" || !in.Platform.Listed || in.Module != nil || (in.CurrentTCBStatus != "") != v15 ||
					(in.SMTEnabled != nil) != (authority == "platform") || in.TCBDate.Format("2006-01-02") != "2026-04-01" {
					t.Errorf("claims %+v", in)
				}
				if c := claims.Collateral; !c.Current || c.Stale || !c.RevocationChecked || c.Source != "evidence" || *c.Age != 86400 ||
					c.Expires.Format("2006-01-02") != "2026-12-01" {
					t.Errorf("collateral %+v", c)
				}
			}
		}
		if len(service.Asked) > 0 {
			t.Errorf("asked for %v too", service.Asked)
		}
	}
}
