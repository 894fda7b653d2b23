package tdx

import (
	"encoding/hex"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
)

// fill fills in what a TD report says.
func fill(claims *attest.Claims, version int, t *dcap.TDReport) {
	s := &attest.TDXClaims{
		QuoteVersion: version,
		TDXVersion:   "1.0",

		SEPTVEDisable:  t.Has(dcap.TDSEPTVEDisable),
		Migratable:     t.Has(dcap.TDMigratable),
		ProtectionKeys: t.Has(dcap.TDProtectionKeys),
		KeyLocker:      t.Has(dcap.TDKeyLocker),
		PerfMon:        t.Has(dcap.TDPerfMon),
	}
	dcap.WriteHex(
		dcap.HexField{To: &s.MRTD, From: t.MRTD[:]},
		dcap.HexField{To: &s.MRConfigID, From: t.MRConfigID[:]},
		dcap.HexField{To: &s.MROwner, From: t.MROwner[:]},
		dcap.HexField{To: &s.MROwnerConfig, From: t.MROwnerConfig[:]},
		dcap.HexField{To: &s.RTMR0, From: t.RTMR[0][:]},
		dcap.HexField{To: &s.RTMR1, From: t.RTMR[1][:]},
		dcap.HexField{To: &s.RTMR2, From: t.RTMR[2][:]},
		dcap.HexField{To: &s.RTMR3, From: t.RTMR[3][:]},
		dcap.HexField{To: &s.TDAttributes, From: t.Attributes[:]},
		dcap.HexField{To: &s.XFAM, From: t.XFAM[:]},
		dcap.HexField{To: &s.TEETCBSVN, From: t.TCBSVN[:]},
		dcap.HexField{To: &s.MRSEAM, From: t.MRSEAM[:]},
		dcap.HexField{To: &s.MRSignerSEAM, From: t.MRSignerSEAM[:]},
		dcap.HexField{To: &s.SEAMAttributes, From: t.SEAMAttributes[:]},
	)
	if t.V15 {
		s.TDXVersion = "1.5"
		s.TEETCBSVN2 = hex.EncodeToString(t.TCBSVN2[:])
		if t.MRServiceTD != ([48]byte{}) {
			s.MRServiceTD = hex.EncodeToString(t.MRServiceTD[:])
		}
	}
	claims.TDX = s
	claims.Measurement = s.MRTD
	claims.InitData = s.MRConfigID
	claims.Debug = attest.Ptr(t.Has(dcap.TDUnderDebug))
	claims.MigrationAgent = attest.Ptr(s.Migratable || s.MRServiceTD != "")
}
