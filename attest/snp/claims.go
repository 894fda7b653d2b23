package snp

import (
	"bytes"
	"encoding/hex"
	"fmt"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Claims returns what r says, on a processor of p. What is not in a report is left for the caller: Kind, HardwareRoot, Bound, the
// claims of init-data but its digest, TCBStatus and Collateral. It refuses with CodeMalformed a TCB whose reserved bytes are not zero.
func (r *Report) Claims(p Product) (*attest.Claims, error) {
	var tcb [4]attest.TCBVersion
	for i, v := range [...]TCBVersion{r.CurrentTCB, r.ReportedTCB, r.CommittedTCB, r.LaunchTCB} {
		decoded, err := v.Decode(p)
		if err != nil {
			return nil, err
		}
		tcb[i] = decoded.claims(p)
	}
	policy := func(bit uint64) bool { return r.Policy&bit != 0 }
	platform := func(bit uint64) bool { return r.PlatformInfo&bit != 0 }
	s := &attest.SNPClaims{
		ReportVersion: int(r.Version),
		Product:       string(p),
		SigningKey:    r.SigningKey().String(),
		GuestSVN:      int(r.GuestSVN),
		FamilyID:      hex.EncodeToString(r.FamilyID[:]),
		ImageID:       hex.EncodeToString(r.ImageID[:]),
		ReportID:      hex.EncodeToString(r.ReportID[:]),

		Policy:           int64(r.Policy),
		PolicyABIMajor:   int(r.Policy >> 8 & 0xff),
		PolicyABIMinor:   int(r.Policy & 0xff),
		SMTAllowed:       policy(PolicySMT),
		SingleSocket:     policy(policySingleSocket),
		CXLAllowed:       policy(policyCXL),
		AES256XTS:        policy(policyAES256XTS),
		RAPLDisabled:     policy(policyRAPLDisabled),
		CiphertextHiding: policy(policyCiphertextHiding),

		PlatformSMT:              platform(platformSMT),
		PlatformTSME:             platform(platformTSME),
		PlatformECC:              platform(platformECC),
		PlatformRAPLDisabled:     platform(platformRAPLDisabled),
		PlatformCiphertextHiding: platform(platformCiphertextHiding),
		PlatformAliasChecked:     platform(platformAliasChecked),
		PlatformInfo:             int64(r.PlatformInfo),

		ChipKeyMasked: r.KeyInfo&keyMaskChipKey != 0,
		CurrentTCB:    tcb[0], ReportedTCB: tcb[1], CommittedTCB: tcb[2], LaunchTCB: tcb[3],
		CurrentFirmware: r.Current.String(), CommittedFirmware: r.Committed.String(),

		ChipID:          hexUnlessZero(r.ChipID[:]),
		IDKeyDigest:     hexUnlessZero(r.IDKeyDigest[:]),
		AuthorKeyDigest: hexUnlessZero(r.AuthorKeyDigest[:]),
	}
	agent := r.hasMigrationAgent()
	if agent {
		s.ReportIDMA = hex.EncodeToString(r.ReportIDMA[:])
	}
	if r.Version >= 3 {
		s.CPUIDFamily = attest.Ptr(int(r.CPU.Family))
		s.CPUIDModel = attest.Ptr(int(r.CPU.Model))
		s.CPUIDStepping = attest.Ptr(int(r.CPU.Stepping))
	}
	return &attest.Claims{
		Measurement:    hex.EncodeToString(r.Measurement[:]),
		ReportData:     hex.EncodeToString(r.ReportData[:]),
		InitData:       hex.EncodeToString(r.HostData[:]),
		Debug:          attest.Ptr(policy(PolicyDebug)),
		MigrationAgent: attest.Ptr(agent || policy(PolicyMigrationAgent)),
		VMPL:           attest.Ptr(int(r.VMPL)),
		SNP:            s,
	}, nil
}

// hasMigrationAgent reports whether the guest has one: REPORT_ID_MA is all ones when it has none.
func (r *Report) hasMigrationAgent() bool {
	return bytes.Count(r.ReportIDMA[:], []byte{0xff}) != len(r.ReportIDMA)
}

func hexUnlessZero(b []byte) string {
	if allZero(b) {
		return ""
	}
	return hex.EncodeToString(b)
}

// BindInitData fills in the claims about the init-data document init that was presented, nil when none was: whether hostData
// carries it, and only if it does, what is in it. A document that is not the one carried is not a refusal here; the policy baseline judges it.
func BindInitData(claims *attest.Claims, hostData [HostDataSize]byte, init *attest.InitData) {
	claims.BindInitData(hostData[:], init)
}

// HostData returns the HOST_DATA that carries init: its digest, cut off or filled with zeros to 32 bytes. A digest that is
// not as long as its algorithm makes it is an error; an empty one would otherwise be carried by every guest that has no init-data.
func HostData(init *attest.InitData) (field [HostDataSize]byte, err error) {
	digest, err := init.Field(len(field))
	if err != nil {
		return field, fmt.Errorf("snp: %w", err)
	}
	copy(field[:], digest)
	return field, nil
}
