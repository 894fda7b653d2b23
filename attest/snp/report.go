package snp

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Sizes of the report and of its parts, in bytes (AMD publication 56860, table "ATTESTATION_REPORT").
const (
	ReportSize      = 0x4A0 // the whole report
	SignedSize      = 0x2A0 // what the signature covers, from the start
	ReportDataSize  = 64
	MeasurementSize = 48
	HostDataSize    = 32
	ChipIDSize      = 64
)

// Versions of the report that are verified.
const (
	minVersion = 2
	maxVersion = 5
)

// signatureECDSA is the only SIGNATURE_ALGO: ECDSA on P-384 with SHA-384.
const signatureECDSA = 1

// scalarSize is the size of r and s in the report, in bytes; a P-384 scalar fills the first 48, little-endian.
const (
	scalarSize     = 72
	p384ScalarSize = 48
)

// maxVMPL is the least privileged level a guest has. A report that the hypervisor asked for has 0xffffffff there.
const maxVMPL = 3

// SigningKey says which of the firmware's keys signed a report.
type SigningKey uint8

// The signing keys.
const (
	VCEK SigningKey = 0 // derived from the chip and its TCB
	VLEK SigningKey = 1 // loaded by the cloud, derived from its seed and the TCB
	None SigningKey = 7 // the report is not signed
)

// String returns the lower-case name that claims have.
func (k SigningKey) String() string {
	switch k {
	case VCEK:
		return "vcek"
	case VLEK:
		return "vlek"
	case None:
		return "none"
	}
	return fmt.Sprintf("reserved (%d)", uint8(k))
}

// Firmware is the version of the SEV firmware.
type Firmware struct{ Major, Minor, Build uint8 }

func (f Firmware) String() string { return fmt.Sprintf("%d.%d.%d", f.Major, f.Minor, f.Build) }

// Bits of the guest policy.
const (
	PolicySMT              = 1 << 16
	policyOne              = 1 << 17 // reserved, must be one
	PolicyMigrationAgent   = 1 << 18
	PolicyDebug            = 1 << 19
	policySingleSocket     = 1 << 20
	policyCXL              = 1 << 21
	policyAES256XTS        = 1 << 22
	policyRAPLDisabled     = 1 << 23
	policyCiphertextHiding = 1 << 24
	policyPageSwapDisabled = 1 << 25

	// PolicyDefault is the least a guest policy can be: the bit that must be one, and nothing allowed.
	PolicyDefault = policyOne

	policyReserved = ^uint64(1<<26 - 1)
)

// Bits of PLATFORM_INFO.
const (
	platformSMT = 1 << iota
	platformTSME
	platformECC
	platformRAPLDisabled
	platformCiphertextHiding
	platformAliasChecked
)

// Bits of the key information word.
const (
	keyAuthor       = 1 << 0
	keyMaskChipKey  = 1 << 1
	keySigningShift = 2
	keyReserved     = ^uint32(1<<5 - 1)
)

// Report is an attestation report, in fields. The TCB versions stay bytes because their order depends on the
// processor, which a version 2 report does not name: see [TCBVersion.Decode].
type Report struct {
	Version         uint32
	GuestSVN        uint32
	Policy          uint64
	FamilyID        [16]byte
	ImageID         [16]byte
	VMPL            uint32
	SignatureAlgo   uint32
	CurrentTCB      TCBVersion
	PlatformInfo    uint64
	KeyInfo         uint32
	ReportData      [ReportDataSize]byte
	Measurement     [MeasurementSize]byte
	HostData        [HostDataSize]byte
	IDKeyDigest     [48]byte
	AuthorKeyDigest [48]byte
	ReportID        [32]byte
	ReportIDMA      [32]byte
	ReportedTCB     TCBVersion
	CPU             CPUID // zero before version 3
	ChipID          [ChipIDSize]byte
	CommittedTCB    TCBVersion
	Current         Firmware
	Committed       Firmware
	LaunchTCB       TCBVersion
	LaunchMitVector uint64 // mitigations at launch, version 5
	CurrMitVector   uint64 // mitigations now, version 5
	R, S            [scalarSize]byte
}

// SigningKey returns which key signed the report, from KeyInfo.
func (r *Report) SigningKey() SigningKey { return SigningKey(r.KeyInfo >> keySigningShift & 7) }

// Offsets of fields, in bytes.
const (
	offVersion         = 0x000
	offGuestSVN        = 0x004
	offPolicy          = 0x008
	offFamilyID        = 0x010
	offImageID         = 0x020
	offVMPL            = 0x030
	offSignatureAlgo   = 0x034
	offCurrentTCB      = 0x038
	offPlatformInfo    = 0x040
	offKeyInfo         = 0x048
	offReserved0       = 0x04C // to 0x050
	offReportData      = 0x050
	offMeasurement     = 0x090
	offHostData        = 0x0C0
	offIDKeyDigest     = 0x0E0
	offAuthorKeyDigest = 0x110
	offReportID        = 0x140
	offReportIDMA      = 0x160
	offReportedTCB     = 0x180
	offCPU             = 0x188 // family, model, stepping from version 3
	offReserved1       = 0x18B // to 0x1A0; from 0x188 in version 2
	offChipID          = 0x1A0
	offCommittedTCB    = 0x1E0
	offCurrent         = 0x1E8 // build, minor, major
	offReserved2       = 0x1EB
	offCommitted       = 0x1EC
	offReserved3       = 0x1EF
	offLaunchTCB       = 0x1F0
	offMitVectors      = 0x1F8 // two words in version 5, reserved before
	offReserved4       = 0x208 // to 0x2A0
	offSignature       = 0x2A0
	offReserved5       = offSignature + 2*scalarSize // to the end
)

// ParseReport reads a report of exactly ReportSize bytes. Every reserved field is checked to be zero as the ABI has it
// for the report's version, so that Marshal gives back the same bytes; PLATFORM_INFO alone may have bits that are
// not known here, since the firmware sets it and its number is a claim. It verifies nothing.
//
// It refuses with CodeMalformed and CodeVersionUnsupported.
func ParseReport(b []byte) (*Report, error) {
	r := new(Report)
	if err := r.parse(b); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Report) parse(b []byte) error {
	if len(b) != ReportSize {
		return attest.Refuse(attest.CodeMalformed, "the report has %d bytes, not %d", len(b), ReportSize)
	}
	le := binary.LittleEndian
	r.Version = le.Uint32(b[offVersion:])
	if r.Version < minVersion || r.Version > maxVersion {
		return attest.Refuse(attest.CodeVersionUnsupported,
			"report version %d: versions %d to %d are verified", r.Version, minVersion, maxVersion)
	}
	if at := r.firstReserved(b); at >= 0 {
		return attest.Refuse(attest.CodeMalformed,
			"byte %#x of the report is reserved in version %d and is not zero", at, r.Version)
	}
	r.GuestSVN = le.Uint32(b[offGuestSVN:])
	r.Policy = le.Uint64(b[offPolicy:])
	copy(r.FamilyID[:], b[offFamilyID:])
	copy(r.ImageID[:], b[offImageID:])
	r.VMPL = le.Uint32(b[offVMPL:])
	r.SignatureAlgo = le.Uint32(b[offSignatureAlgo:])
	copy(r.CurrentTCB[:], b[offCurrentTCB:])
	r.PlatformInfo = le.Uint64(b[offPlatformInfo:])
	r.KeyInfo = le.Uint32(b[offKeyInfo:])
	copy(r.ReportData[:], b[offReportData:])
	copy(r.Measurement[:], b[offMeasurement:])
	copy(r.HostData[:], b[offHostData:])
	copy(r.IDKeyDigest[:], b[offIDKeyDigest:])
	copy(r.AuthorKeyDigest[:], b[offAuthorKeyDigest:])
	copy(r.ReportID[:], b[offReportID:])
	copy(r.ReportIDMA[:], b[offReportIDMA:])
	copy(r.ReportedTCB[:], b[offReportedTCB:])
	r.CPU = CPUID{b[offCPU], b[offCPU+1], b[offCPU+2]}
	copy(r.ChipID[:], b[offChipID:])
	copy(r.CommittedTCB[:], b[offCommittedTCB:])
	r.Current = Firmware{Build: b[offCurrent], Minor: b[offCurrent+1], Major: b[offCurrent+2]}
	r.Committed = Firmware{Build: b[offCommitted], Minor: b[offCommitted+1], Major: b[offCommitted+2]}
	copy(r.LaunchTCB[:], b[offLaunchTCB:])
	r.LaunchMitVector = le.Uint64(b[offMitVectors:])
	r.CurrMitVector = le.Uint64(b[offMitVectors+8:])
	copy(r.R[:], b[offSignature:])
	copy(r.S[:], b[offSignature+scalarSize:])
	return r.checkFields()
}

// firstReserved returns the offset of the first reserved byte that is not zero, or -1.
func (r *Report) firstReserved(b []byte) int {
	cpu, mit := offReserved1, offReserved4
	if r.Version < 3 {
		cpu = offCPU
	}
	if r.Version < 5 {
		mit = offMitVectors
	}
	for _, span := range [...][2]int{
		{offReserved0, offReportData}, {cpu, offChipID}, {offReserved2, offCommitted},
		{offReserved3, offLaunchTCB}, {mit, offSignature}, {offReserved5, ReportSize},
	} {
		for at := span[0]; at < span[1]; at++ {
			if b[at] != 0 {
				return at
			}
		}
	}
	return -1
}

// checkFields checks the reserved parts of words.
func (r *Report) checkFields() error {
	switch key := r.SigningKey(); {
	case r.Policy&policyOne == 0 || r.Policy&policyReserved != 0:
		return attest.Refuse(attest.CodeMalformed,
			"guest policy %#x: bit 17 must be one and bits 26 to 63 zero", r.Policy)
	case r.KeyInfo&keyReserved != 0 || (key != VCEK && key != VLEK && key != None):
		return attest.Refuse(attest.CodeMalformed, "key information %#x has a value that is reserved", r.KeyInfo)
	case r.PlatformInfo>>63 != 0: // reserved; claims hold the number as a signed one
		return attest.Refuse(attest.CodeMalformed, "platform information %#x has the last bit set", r.PlatformInfo)
	case r.VMPL > maxVMPL:
		return attest.Refuse(attest.CodeMalformed,
			"VMPL %#x: a guest has 0 to %d; the hypervisor's own reports are not evidence", r.VMPL, maxVMPL)
	}
	return nil
}

// Marshal returns the ReportSize bytes of the report. The fields a version does not have are left out.
func (r *Report) Marshal() []byte { return r.append(make([]byte, 0, ReportSize)) }

func (r *Report) append(dst []byte) []byte {
	dst = slices.Grow(dst, ReportSize)
	b := dst[len(dst) : len(dst)+ReportSize]
	clear(b)
	le := binary.LittleEndian
	le.PutUint32(b[offVersion:], r.Version)
	le.PutUint32(b[offGuestSVN:], r.GuestSVN)
	le.PutUint64(b[offPolicy:], r.Policy)
	copy(b[offFamilyID:], r.FamilyID[:])
	copy(b[offImageID:], r.ImageID[:])
	le.PutUint32(b[offVMPL:], r.VMPL)
	le.PutUint32(b[offSignatureAlgo:], r.SignatureAlgo)
	copy(b[offCurrentTCB:], r.CurrentTCB[:])
	le.PutUint64(b[offPlatformInfo:], r.PlatformInfo)
	le.PutUint32(b[offKeyInfo:], r.KeyInfo)
	copy(b[offReportData:], r.ReportData[:])
	copy(b[offMeasurement:], r.Measurement[:])
	copy(b[offHostData:], r.HostData[:])
	copy(b[offIDKeyDigest:], r.IDKeyDigest[:])
	copy(b[offAuthorKeyDigest:], r.AuthorKeyDigest[:])
	copy(b[offReportID:], r.ReportID[:])
	copy(b[offReportIDMA:], r.ReportIDMA[:])
	copy(b[offReportedTCB:], r.ReportedTCB[:])
	if r.Version >= 3 {
		b[offCPU], b[offCPU+1], b[offCPU+2] = r.CPU.Family, r.CPU.Model, r.CPU.Stepping
	}
	copy(b[offChipID:], r.ChipID[:])
	copy(b[offCommittedTCB:], r.CommittedTCB[:])
	b[offCurrent], b[offCurrent+1], b[offCurrent+2] = r.Current.Build, r.Current.Minor, r.Current.Major
	b[offCommitted], b[offCommitted+1], b[offCommitted+2] = r.Committed.Build, r.Committed.Minor, r.Committed.Major
	copy(b[offLaunchTCB:], r.LaunchTCB[:])
	if r.Version >= 5 {
		le.PutUint64(b[offMitVectors:], r.LaunchMitVector)
		le.PutUint64(b[offMitVectors+8:], r.CurrMitVector)
	}
	copy(b[offSignature:], r.R[:])
	copy(b[offSignature+scalarSize:], r.S[:])
	return dst[:len(dst)+ReportSize]
}

// SetSignature sets R and S to an ECDSA P-384 signature of the first SignedSize bytes of Marshal, in the report's encoding.
// It is for the development TEE and for tests.
func (r *Report) SetSignature(x, y *big.Int) error {
	if x.Sign() < 0 || y.Sign() < 0 || x.BitLen() > 8*p384ScalarSize || y.BitLen() > 8*p384ScalarSize {
		return errors.New("snp: not a P-384 signature")
	}
	for i, n := range [...]*big.Int{x, y} {
		var field [scalarSize]byte
		n.FillBytes(field[:])
		slices.Reverse(field[:])
		if i == 0 {
			r.R = field
		} else {
			r.S = field
		}
	}
	return nil
}

// VerifySignature checks the signature of signed, the first SignedSize bytes of the report as it was presented, with
// key. It refuses with CodeAlgorithm when the report names another algorithm than ECDSA P-384 with SHA-384, and with
// CodeSignature otherwise, also when the report says that it is not signed.
func (r *Report) VerifySignature(key *ecdsa.PublicKey, signed []byte) error {
	if r.SignatureAlgo != signatureECDSA {
		return attest.Refuse(attest.CodeAlgorithm,
			"signature algorithm %d: only %d, ECDSA P-384 with SHA-384, is verified", r.SignatureAlgo, signatureECDSA)
	}
	if r.SigningKey() == None {
		return attest.Refuse(attest.CodeSignature, "the report says that no key signed it")
	}
	x, ok1 := scalar(&r.R)
	y, ok2 := scalar(&r.S)
	digest := sha512.Sum384(signed)
	// The standard library refuses r and s outside 1 to n-1.
	if !ok1 || !ok2 || !ecdsa.Verify(key, digest[:], x, y) {
		return attest.Refuse(attest.CodeSignature, "the report is not signed by the key of its certificate")
	}
	return nil
}

// scalar decodes a little-endian scalar, whose bytes over the curve's 48 must be zero.
func scalar(field *[scalarSize]byte) (*big.Int, bool) {
	var be [p384ScalarSize]byte
	for i := range be {
		be[p384ScalarSize-1-i] = field[i]
	}
	for _, c := range field[p384ScalarSize:] {
		if c != 0 {
			return nil, false
		}
	}
	return new(big.Int).SetBytes(be[:]), true
}
