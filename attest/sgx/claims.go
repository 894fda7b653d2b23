package sgx

import (
	"encoding/hex"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
)

// fill fills in what an enclave's report says.
func fill(claims *attest.Claims, version int, e *dcap.EnclaveReport) {
	s := &attest.SGXClaims{
		QuoteVersion: version,
		MREnclave:    hex.EncodeToString(e.MREnclave[:]),
		MRSigner:     hex.EncodeToString(e.MRSigner[:]),
		ProductID:    int(e.ProductID),
		SVN:          int(e.SVN),
		ConfigID:     hex.EncodeToString(e.ConfigID[:]),
		ConfigSVN:    int(e.ConfigSVN),
		ExtProductID: hex.EncodeToString(e.ExtProductID[:]),
		FamilyID:     hex.EncodeToString(e.FamilyID[:]),

		Attributes:   hex.EncodeToString(e.Flags[:]) + hex.EncodeToString(e.XFRM[:]),
		MiscSelect:   hex.EncodeToString(e.MiscSelect[:]),
		CPUSVN:       hex.EncodeToString(e.CPUSVN[:]),
		Mode64Bit:    e.Has(dcap.Enclave64Bit),
		ProvisionKey: e.Has(dcap.EnclaveProvisionKey),
		LaunchKey:    e.Has(dcap.EnclaveLaunchKey),
		KSS:          e.Has(dcap.EnclaveKSS),
		CET:          e.Has(dcap.EnclaveCET),
		AEXNotify:    e.Has(dcap.EnclaveAEXNotify),
	}
	claims.SGX = s
	claims.Measurement = s.MREnclave
	claims.InitData = s.ConfigID
	claims.Debug = attest.Ptr(e.Has(dcap.EnclaveDebug))
}
