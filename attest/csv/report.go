package csv

import (
	"encoding/binary"

	"github.com/vouchsafe/vouchsafe/attest"
)

var le = binary.LittleEndian

// pageSize is the size of the page that a report is in, in bytes.
const pageSize = 4096

// extended is the magic of reports that say which version they are.
const extended = "ATTESTATION_EXT\x00"

// Offsets in a report, in bytes.
const (
	offUserKey    = 0
	offVMID       = 32
	offVMVersion  = 48
	offReportData = 64
	offNonce      = 128
	offMeasure    = 144
	offPolicy     = 176
	offUsage      = 180
	offAlgorithm  = 184

	offAnonce     = 188 // version 1 only
	offSignature1 = 192
	signed1       = 180

	offBuild      = 188 // version 2 only
	offRegisters  = 208
	offSignature2 = 1024
	signed2       = 1024
)

const (
	registers    = 5
	registerSize = 32
)

// Bits of a guest's policy.
const (
	policyNoDebug      = 1 << 0
	policyNoKeySharing = 1 << 1
	policyCSV2         = 1 << 2
	policyNoSend       = 1 << 3
	policyDomain       = 1 << 4
	policyCSV          = 1 << 5
	policyCSV3         = 1 << 6
	policyASIDReuse    = 1 << 7
)

// Report is an attestation report with its mask taken off.
type Report struct {
	Version       int // 1 or 2
	UserKeyDigest [32]byte
	VMID          [16]byte
	VMVersion     [16]byte
	ReportData    [64]byte
	Nonce         [16]byte
	Measure       [32]byte
	Policy        uint32
	Usage         uint32
	Algorithm     uint32
	Build         uint32                        // version 2 only
	Registers     [registers][registerSize]byte // version 2 only

	signed    []byte // as it was signed
	signature []byte
}

// parseReport reads a page.
func parseReport(magic, page []byte, flags uint32) (*Report, error) {
	if len(magic) != len(extended) || len(page) != pageSize {
		return nil, attest.Refuse(attest.CodeMalformed, "a report of %d bytes with a magic of %d, not %d and %d",
			len(page), len(magic), pageSize, len(extended))
	}
	r := new(Report)
	switch {
	case flags == 0 && (string(magic) == extended || string(magic) == string(make([]byte, len(extended)))):
		r.Version = 1
	case flags == 1 && string(magic) == extended:
		r.Version = 2
	default:
		return nil, attest.Refuse(attest.CodeVersionUnsupported, "a report with the magic %x and the flags %#x is not verified",
			magic, flags)
	}
	fields := page
	if r.Version == 1 {
		r.signed, r.signature = page[:signed1], page[offSignature1:][:sigSize]
		fields = unmask(page[:offAnonce], page[offAnonce:][:4])
	} else {
		r.signed, r.signature = page[:signed2], page[offSignature2:][:sigSize]
		r.Build = le.Uint32(page[offBuild:])
		for i := range r.Registers {
			copy(r.Registers[i][:], page[offRegisters+i*registerSize:])
		}
	}
	copy(r.UserKeyDigest[:], fields[offUserKey:])
	copy(r.VMID[:], fields[offVMID:])
	copy(r.VMVersion[:], fields[offVMVersion:])
	copy(r.ReportData[:], fields[offReportData:])
	copy(r.Nonce[:], fields[offNonce:])
	copy(r.Measure[:], fields[offMeasure:])
	r.Policy = le.Uint32(fields[offPolicy:])
	r.Usage = le.Uint32(fields[offUsage:])
	r.Algorithm = le.Uint32(fields[offAlgorithm:])
	return r, nil
}

// unmask returns data XORed with the four bytes of mask over and over.
func unmask(data, mask []byte) []byte {
	out := make([]byte, len(data))
	for i, b := range data {
		out[i] = b ^ mask[i%len(mask)]
	}
	return out
}

// verify checks that pek signed the report.
func (r *Report) verify(pek *publicKey) error {
	if r.Usage != usagePEK || r.Algorithm != algorithmSM2 {
		return attest.Refuse(attest.CodeAlgorithm,
			"the report is signed by a key of the usage %#x with the algorithm %#x, not by a PEK with SM2", r.Usage, r.Algorithm)
	}
	if !pek.signed(r.signed, r.signature) {
		return attest.Refuse(attest.CodeSignature, "the platform's key did not sign the report")
	}
	return nil
}
