package dcap

import (
	"encoding/binary"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/fields"
)

// EnclaveReport is the report of an SGX enclave: of the one that is attested, or of the quoting enclave (Intel SDM, volume 3D, "REPORT"; 384 bytes).
type EnclaveReport struct {
	CPUSVN       [16]byte
	MiscSelect   [4]byte
	ExtProductID [16]byte
	Flags        [8]byte // first half of ATTRIBUTES
	XFRM         [8]byte // second half
	MREnclave    [32]byte
	MRSigner     [32]byte
	ConfigID     [64]byte
	ProductID    uint16
	SVN          uint16
	ConfigSVN    uint16
	FamilyID     [16]byte
	ReportData   [64]byte
}

// Flags of an enclave's ATTRIBUTES, in the first two bytes (Intel SDM, volume 3D, "ATTRIBUTES").
const (
	EnclaveDebug        = 1 << 1
	Enclave64Bit        = 1 << 2
	EnclaveProvisionKey = 1 << 4
	EnclaveLaunchKey    = 1 << 5
	EnclaveCET          = 1 << 6
	EnclaveKSS          = 1 << 7
	EnclaveAEXNotify    = 1 << 10
)

// Has reports whether a flag is set.
func (e *EnclaveReport) Has(flag uint64) bool {
	return binary.LittleEndian.Uint64(e.Flags[:])&flag != 0
}

// Attributes returns ATTRIBUTES as it stands in the report: flags, then XFRM.
func (e *EnclaveReport) Attributes() (a [16]byte) {
	copy(a[:], e.Flags[:])
	copy(a[8:], e.XFRM[:])
	return a
}

// parse reads the 384 bytes of a report. It refuses with CodeMalformed reserved bytes that are not zero.
func (e *EnclaveReport) parse(data []byte) error {
	r := fields.NewReader(data, binary.LittleEndian)
	reserved := true
	copy(e.CPUSVN[:], r.Bytes(16))
	copy(e.MiscSelect[:], r.Bytes(4))
	reserved = allZero(r.Bytes(12)) && reserved
	copy(e.ExtProductID[:], r.Bytes(16))
	copy(e.Flags[:], r.Bytes(8))
	copy(e.XFRM[:], r.Bytes(8))
	copy(e.MREnclave[:], r.Bytes(32))
	reserved = allZero(r.Bytes(32)) && reserved
	copy(e.MRSigner[:], r.Bytes(32))
	reserved = allZero(r.Bytes(32)) && reserved
	copy(e.ConfigID[:], r.Bytes(64))
	e.ProductID, e.SVN, e.ConfigSVN = r.U16(), r.U16(), r.U16()
	reserved = allZero(r.Bytes(42)) && reserved
	copy(e.FamilyID[:], r.Bytes(16))
	copy(e.ReportData[:], r.Bytes(64))
	if !r.Complete() {
		return attest.Refuse(attest.CodeMalformed, "an enclave's report of %d bytes, not %d", len(data), enclaveSize)
	}
	if !reserved {
		return attest.Refuse(attest.CodeMalformed, "an enclave's report has reserved bytes that are not zero")
	}
	return nil
}

// TDReport is the report of a trust domain, by the TDX module (Intel TDX DCAP Quoting Library API, "TD Quote Body": 584 bytes; with the
// fields of TDX 1.5: 648).
type TDReport struct {
	TCBSVN         [16]byte // TEE_TCB_SVN: when the TD was launched
	MRSEAM         [48]byte
	MRSignerSEAM   [48]byte
	SEAMAttributes [8]byte
	Attributes     [8]byte
	XFAM           [8]byte
	MRTD           [48]byte
	MRConfigID     [48]byte
	MROwner        [48]byte
	MROwnerConfig  [48]byte
	RTMR           [4][48]byte
	ReportData     [64]byte

	V15         bool     // whether there are the fields below
	TCBSVN2     [16]byte // TEE_TCB_SVN_2: now, after updates that preserved the TD
	MRServiceTD [48]byte // of the service TDs that are bound, such as a migration agent; zeros when there are none
}

// Attributes of a TD (Intel TDX Module Base Architecture Specification, "TD Attributes").
const (
	TDUnderDebug     = 0xff // the group TUD: a TD with any of these bits is not to be trusted, says the specification
	TDLASS           = 1 << 27
	TDSEPTVEDisable  = 1 << 28
	TDMigratable     = 1 << 29
	TDProtectionKeys = 1 << 30
	TDKeyLocker      = 1 << 31
	TDTPA            = 1 << 62
	TDPerfMon        = 1 << 63
)

// Has reports whether one of the attributes is set.
func (t *TDReport) Has(attributes uint64) bool {
	return binary.LittleEndian.Uint64(t.Attributes[:])&attributes != 0
}

func (t *TDReport) parse(data []byte) error {
	r := fields.NewReader(data, binary.LittleEndian)
	copy(t.TCBSVN[:], r.Bytes(16))
	copy(t.MRSEAM[:], r.Bytes(48))
	copy(t.MRSignerSEAM[:], r.Bytes(48))
	copy(t.SEAMAttributes[:], r.Bytes(8))
	copy(t.Attributes[:], r.Bytes(8))
	copy(t.XFAM[:], r.Bytes(8))
	copy(t.MRTD[:], r.Bytes(48))
	copy(t.MRConfigID[:], r.Bytes(48))
	copy(t.MROwner[:], r.Bytes(48))
	copy(t.MROwnerConfig[:], r.Bytes(48))
	for i := range t.RTMR {
		copy(t.RTMR[i][:], r.Bytes(48))
	}
	copy(t.ReportData[:], r.Bytes(64))
	if len(data) == td15Size {
		t.V15 = true
		copy(t.TCBSVN2[:], r.Bytes(16))
		copy(t.MRServiceTD[:], r.Bytes(48))
	}
	if !r.Complete() {
		return attest.Refuse(attest.CodeMalformed, "a TD's report of %d bytes, not %d or %d", len(data), td10Size, td15Size)
	}
	return nil
}
