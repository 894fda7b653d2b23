package tdx

import (
	"encoding/hex"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
)

// fill fills in what a TD report says.
func fill(claims *attest.Claims, version int, t *dcap.TDReport) {
	s := &attest.TDXClaims{
		QuoteVersion:  version,
		TDXVersion:    "1.0",
		MRTD:          hex.EncodeToString(t.MRTD[:]),
		MRConfigID:    hex.EncodeToString(t.MRConfigID[:]),
		MROwner:       hex.EncodeToString(t.MROwner[:]),
		MROwnerConfig: hex.EncodeToString(t.MROwnerConfig[:]),
		RTMR0:         hex.EncodeToString(t.RTMR[0][:]),
		RTMR1:         hex.EncodeToString(t.RTMR[1][:]),
		RTMR2:         hex.EncodeToString(t.RTMR[2][:]),
		RTMR3:         hex.EncodeToString(t.RTMR[3][:]),

		TDAttributes:   hex.EncodeToString(t.Attributes[:]),
		XFAM:           hex.EncodeToString(t.XFAM[:]),
		SEPTVEDisable:  t.Has(dcap.TDSEPTVEDisable),
		Migratable:     t.Has(dcap.TDMigratable),
		ProtectionKeys: t.Has(dcap.TDProtectionKeys),
		KeyLocker:      t.Has(dcap.TDKeyLocker),
		PerfMon:        t.Has(dcap.TDPerfMon),

		TEETCBSVN:      hex.EncodeToString(t.TCBSVN[:]),
		MRSEAM:         hex.EncodeToString(t.MRSEAM[:]),
		MRSignerSEAM:   hex.EncodeToString(t.MRSignerSEAM[:]),
		SEAMAttributes: hex.EncodeToString(t.SEAMAttributes[:]),
	}
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
