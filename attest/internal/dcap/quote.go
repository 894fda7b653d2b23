package dcap

import (
	"bytes"
	"encoding/binary"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/fields"
)

// TEE is what a quote is of, as its header says.
type TEE uint32

// The kinds of trusted execution environment that Intel's quotes are of.
const (
	SGX TEE = 0x00
	TDX TEE = 0x81
)

// path is how names of endorsements spell t.
func (t TEE) path() string {
	if t == TDX {
		return "tdx"
	}
	return "sgx"
}

// collateralID is how Intel's TCB info spells t.
func (t TEE) collateralID() string {
	if t == TDX {
		return "TDX"
	}
	return "SGX"
}

// Sizes of a quote's parts, in bytes.
const (
	headerSize    = 48
	enclaveSize   = 384
	td10Size      = 584
	td15Size      = 648
	signatureSize = 64 // r and s, big-endian
	keySize       = 64 // x and y, big-endian
)

// MaxQuote is how large a quote may be, in bytes. Those of Intel's quoting enclave have about 5 KiB, and the kernel's older interface
// fills them up with zeros to 8000 bytes.
const MaxQuote = 16 << 10

// Types of certification data (Intel SGX DCAP Quote Library, "QE Certification Data").
const (
	certificationChain    = 5 // PEM certificates of the PCK, its authority and the root
	certificationQEReport = 6 // the quoting enclave's report with certification data of its own; version 4 and later
)

// Body types of a version 5 quote.
const (
	bodyEnclave = 1
	bodyTD10    = 2
	bodyTD15    = 3
)

// keyTypeP256 is the only type of attestation key: ECDSA on P-256 with SHA-256.
const keyTypeP256 = 2

// vendorIntel is the identifier of Intel's quoting enclaves.
var vendorIntel = [16]byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}

// Quote is a quote that was taken apart. Nothing in it is verified. It shares memory with the bytes it was parsed from.
type Quote struct {
	Version int // 3, 4 or 5
	TEE     TEE
	Enclave *EnclaveReport // of an SGX quote, else nil
	TD      *TDReport      // of a TDX quote, else nil

	signed    []byte // header and body, which the attestation key signed
	signature []byte

	// What the platform's certificate vouches for the attestation key with. It is the same for every quote by the same key.
	key          []byte // the attestation key
	qe           EnclaveReport
	qeReport     []byte // the bytes of qe, which the PCK signed
	qeSignature  []byte
	qeAuthorData []byte // what the quoting enclave reports its key together with
	chain        []byte // PEM
}

// ReportData is the field that binds q: 64 bytes.
func (q *Quote) ReportData() []byte {
	if q.TD != nil {
		return q.TD.ReportData[:]
	}
	return q.Enclave.ReportData[:]
}

// ParseQuote takes a quote apart. Zeros after it are passed over, and nothing else may be there. It refuses with CodeTooLarge,
// CodeMalformed, CodeVersionUnsupported, CodeAlgorithm, and with CodeCertMissing a quote that names its platform but brings no certificates.
func ParseQuote(data []byte) (*Quote, error) {
	if len(data) > MaxQuote {
		return nil, attest.Refuse(attest.CodeTooLarge, "a quote of %d bytes: at most %d are read", len(data), MaxQuote)
	}
	q := new(Quote)
	r := fields.NewReader(data, binary.LittleEndian)
	version, keyType, tee := r.U16(), r.U16(), TEE(r.U32())
	r.Bytes(4) // the security versions of QE and PCE in version 3: the certificates say what counts
	vendor := r.Bytes(uint32(len(vendorIntel)))
	r.Bytes(20) // the platform's identifier in the quoting enclave's words
	if r.Failed() {
		return nil, attest.Refuse(attest.CodeMalformed, "%d bytes are not a quote, whose header has %d", len(data), headerSize)
	}
	q.Version, q.TEE = int(version), tee
	switch {
	case version < 3 || version > 5:
		return nil, attest.Refuse(attest.CodeVersionUnsupported, "a quote of version %d: 3, 4 and 5 are verified", version)
	case tee != SGX && (tee != TDX || version == 3):
		return nil, attest.Refuse(attest.CodeVersionUnsupported, "a version %d quote of the TEE type %#x", version, uint32(tee))
	case keyType != keyTypeP256:
		return nil, attest.Refuse(attest.CodeAlgorithm, "an attestation key of type %d: only %d, ECDSA on P-256, is accepted", keyType, keyTypeP256)
	case !bytes.Equal(vendor, vendorIntel[:]):
		return nil, attest.Refuse(attest.CodeMalformed, "the quoting enclave's vendor is %x, which is not Intel", vendor)
	}
	if err := q.parseBody(r); err != nil {
		return nil, err
	}
	q.signed = data[:len(data)-len(r.Rest())]
	length := r.U32()
	section := r.Bytes(length)
	if r.Failed() {
		return nil, attest.Refuse(attest.CodeMalformed, "the quote ends within its signature data of %d bytes", length)
	}
	if !allZero(r.Rest()) {
		return nil, attest.Refuse(attest.CodeMalformed, "there are %d bytes after the quote which are not zero", len(r.Rest()))
	}
	return q, q.parseSignature(section)
}

// parseBody reads the report of the enclave or TD.
func (q *Quote) parseBody(r *fields.Reader) error {
	kind, size := uint16(bodyEnclave), uint32(enclaveSize)
	if q.TEE == TDX {
		kind, size = bodyTD10, td10Size
	}
	if q.Version == 5 {
		declared := uint32(0)
		kind, declared = r.U16(), r.U32()
		switch {
		case r.Failed():
			return attest.Refuse(attest.CodeMalformed, "the quote ends before its body")
		case q.TEE == TDX && kind == bodyTD15:
			size = td15Size
		case q.TEE == TDX && kind != bodyTD10, q.TEE == SGX && kind != bodyEnclave:
			return attest.Refuse(attest.CodeVersionUnsupported, "a quote of TEE type %#x with a body of type %d", uint32(q.TEE), kind)
		}
		if declared != size {
			return attest.Refuse(attest.CodeMalformed, "a body of type %d with %d bytes, not %d", kind, declared, size)
		}
	}
	body := r.Bytes(size)
	if body == nil {
		return attest.Refuse(attest.CodeMalformed, "the quote ends within its body of %d bytes", size)
	}
	if kind == bodyEnclave {
		q.Enclave = new(EnclaveReport)
		return q.Enclave.parse(body)
	}
	q.TD = new(TDReport)
	return q.TD.parse(body)
}

// parseSignature reads the signature data, which has two layouts: that of version 3, and that of later ones, where the quoting enclave's
// report is within certification data.
func (q *Quote) parseSignature(section []byte) error {
	malformed := func(format string, args ...any) error { return attest.Refuse(attest.CodeMalformed, format, args...) }
	r := fields.NewReader(section, binary.LittleEndian)
	q.signature = r.Bytes(signatureSize)
	q.key = r.Bytes(keySize)
	if q.Version > 3 {
		kind, length := r.U16(), r.U32()
		nested := r.Bytes(length)
		if !r.Complete() {
			return malformed("certification data of %d bytes in signature data of %d", length, len(section))
		}
		if kind != certificationQEReport {
			return malformed("certification data of type %d, not %d, in a version %d quote", kind, certificationQEReport, q.Version)
		}
		r = fields.NewReader(nested, binary.LittleEndian)
	}
	q.qeReport = r.Bytes(enclaveSize)
	q.qeSignature = r.Bytes(signatureSize)
	q.qeAuthorData = r.Bytes(uint32(r.U16()))
	kind, length := r.U16(), r.U32()
	q.chain = r.Bytes(length)
	if !r.Complete() {
		return malformed("the lengths in the signature data of %d bytes do not add up", len(section))
	}
	if kind != certificationChain {
		return attest.Refuse(attest.CodeCertMissing,
			"the quote has certification data of type %d, not %d with the PCK's certificates: give the host's quoting library a collateral service",
			kind, certificationChain)
	}
	return q.qe.parse(q.qeReport)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
