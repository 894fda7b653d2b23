package sgx

import (
	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
)

// fill fills in what an enclave's report says.
func fill(claims *attest.Claims, version int, e *dcap.EnclaveReport) {
	s := &attest.SGXClaims{
		QuoteVersion: version,
		ProductID:    int(e.ProductID),
		SVN:          int(e.SVN),
		ConfigSVN:    int(e.ConfigSVN),

		Mode64Bit:    e.Has(dcap.Enclave64Bit),
		ProvisionKey: e.Has(dcap.EnclaveProvisionKey),
		LaunchKey:    e.Has(dcap.EnclaveLaunchKey),
		KSS:          e.Has(dcap.EnclaveKSS),
		CET:          e.Has(dcap.EnclaveCET),
		AEXNotify:    e.Has(dcap.EnclaveAEXNotify),
	}
	attributes := e.Attributes()
	dcap.WriteHex(
		dcap.HexField{To: &s.MREnclave, From: e.MREnclave[:]},
		dcap.HexField{To: &s.MRSigner, From: e.MRSigner[:]},
		dcap.HexField{To: &s.ConfigID, From: e.ConfigID[:]},
		dcap.HexField{To: &s.ExtProductID, From: e.ExtProductID[:]},
		dcap.HexField{To: &s.FamilyID, From: e.FamilyID[:]},
		dcap.HexField{To: &s.MiscSelect, From: e.MiscSelect[:]},
		dcap.HexField{To: &s.CPUSVN, From: e.CPUSVN[:]},
		dcap.HexField{To: &s.Attributes, From: attributes[:]},
	)
	claims.SGX = s
	claims.Measurement = s.MREnclave
	claims.InitData = s.ConfigID
	claims.Debug = attest.Ptr(e.Has(dcap.EnclaveDebug))
}
