package azure

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/fields"
	"github.com/vouchsafe/vouchsafe/attest/snp"
)

// Constants of the HCL report, from the paravisor's published sources (openvmm, openhcl_attestation_protocol) and the evidence at hand.
const (
	signatureHCLA    = 0x414c4348 // "HCLA"
	requestAK        = 2          // the request the report was made for: a certificate for the attestation key
	dataVersion      = 1          // without the extension that requests to the host may have
	hashSHA256       = 1
	headerSize       = 32
	hardwareSize     = snp.ReportSize // the area, which a report of SEV-SNP fills
	dataHeaderSize   = 20
	tdReportSize     = 1024
	reportDataSize   = 64
	tdReportData     = 128 // offset of REPORTDATA in a TD report
	snpReportData    = 0x50
	variableOffset   = headerSize + hardwareSize + dataHeaderSize
	maxHeaderVersion = 2
)

// ReportType says of which hardware an HCL report is.
type ReportType uint32

// The report types that are verified.
const (
	TypeSNP ReportType = 2
	TypeTDX ReportType = 4
)

// HCLReport is a parsed HCL report: the paravisor's envelope of the hardware's report and of the data whose digest that covers. Its slices alias
// what it was parsed from.
type HCLReport struct {
	Type     ReportType
	Hardware []byte  // SEV-SNP's report of 1184 bytes, or TDX's TD report of 1024, which only the same machine could verify
	Variable []byte  // JSON whose SHA-256 is the start of the hardware's report data
	Runtime  Runtime // what Variable says

	Digest [sha256.Size]byte // of Variable, with which the hardware's report data begins; zeros follow it there
}

// ParseHCLReport parses an HCL report, which may be followed by zeros, as in the NV index it is read from. Every field is held against what it can
// be, and the hardware report's own report data against the digest of the variable data. No signature is checked. Its errors are
// *attest.Refusal with CodeTooLarge, CodeMalformed, CodeVersionUnsupported, CodeAlgorithm, CodeKeyNotReported or CodeKeyAttributes.
func ParseHCLReport(data []byte) (*HCLReport, error) {
	if len(data) > maxReport {
		return nil, attest.Refuse(attest.CodeTooLarge, "an HCL report of %d bytes; the limit is %d", len(data), maxReport)
	}
	malformed := func(format string, args ...any) (*HCLReport, error) {
		return nil, attest.Refuse(attest.CodeMalformed, "the HCL report "+format, args...)
	}
	r := fields.NewReader(data, binary.LittleEndian)
	if signature := r.U32(); signature != signatureHCLA {
		return malformed("starts with %#x, not with HCLA", signature)
	}
	if version := r.U32(); !r.Failed() && (version == 0 || version > maxHeaderVersion) {
		return nil, attest.Refuse(attest.CodeVersionUnsupported, "an HCL report of version %d; 1 and 2 are verified", version)
	}
	size, request, status := r.U32(), r.U32(), r.U32()
	reserved := r.Bytes(12)
	area := r.Bytes(hardwareSize)
	dataSize, version, kind, hash, variableSize := r.U32(), r.U32(), r.U32(), r.U32(), r.U32()
	if r.Failed() {
		return malformed("has %d bytes, fewer than its headers and the hardware's report", len(data))
	}
	if request != requestAK || status != 0 || !allZero(reserved) {
		return malformed("is for request %d with status %d and reserved bytes %x", request, status, reserved)
	}
	if version != dataVersion {
		return nil, attest.Refuse(attest.CodeVersionUnsupported, "an HCL report with data of version %d; %d is verified", version, dataVersion)
	}
	if hash != hashSHA256 {
		return nil, attest.Refuse(attest.CodeAlgorithm, "an HCL report whose data is hashed by algorithm %d; SHA-256 is %d", hash, hashSHA256)
	}
	// 64-bit sums, so that a size near 2^32 does not wrap around.
	if uint64(dataSize) != dataHeaderSize+uint64(variableSize) || uint64(size) != headerSize+hardwareSize+uint64(dataSize) {
		return malformed("says it has %d bytes, %d of data and %d of variable data", size, dataSize, variableSize)
	}
	report := &HCLReport{Type: ReportType(kind), Variable: r.Bytes(variableSize)}
	if r.Failed() {
		return malformed("ends before its %d bytes", size)
	}
	if !allZero(r.Rest()) {
		return malformed("has more data after its %d bytes", size)
	}
	if err := report.hardware(area); err != nil {
		return nil, err
	}
	var err error
	report.Runtime, err = parseRuntime(report.Variable)
	return report, err
}

// hardware takes the hardware's report out of its area.
func (report *HCLReport) hardware(area []byte) error {
	var reportData []byte
	switch report.Type {
	case TypeSNP:
		report.Hardware, reportData = area, area[snpReportData:]
	case TypeTDX:
		if !allZero(area[tdReportSize:]) {
			return attest.Refuse(attest.CodeMalformed, "the HCL report has more data after the TD report")
		}
		report.Hardware, reportData = area[:tdReportSize:tdReportSize], area[tdReportData:]
	default:
		return attest.Refuse(attest.CodeVersionUnsupported, "an HCL report of type %d; 2 (SEV-SNP) and 4 (TDX) are verified", report.Type)
	}
	report.Digest = sha256.Sum256(report.Variable)
	if err := attest.BoundTo(report.Digest[:]).Padded(reportData[:reportDataSize]); err != nil {
		return attest.Refuse(attest.CodeKeyNotReported, "the hardware's report in the HCL report is not about its variable data")
	}
	return nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
