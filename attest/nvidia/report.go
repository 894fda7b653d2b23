package nvidia

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"encoding/binary"
	"math/big"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/fields"
)

// Sizes of a report's parts, in bytes.
const (
	NonceSize     = 32
	requestSize   = 4 + NonceSize + 1
	scalarSize    = 48 // r and s of the signature, each
	signatureSize = 2 * scalarSize
)

// Of the messages (DMTF DSP0274 version 1.1.1, sections 10.11.1 and 10.11.2).
const (
	spdmVersion      = 0x11
	codeRequest      = 0xe0 // GET_MEASUREMENTS
	codeResponse     = 0x60 // MEASUREMENTS
	requestSigned    = 0x01 // Param1: the responder is to sign
	requestAll       = 0xff // Param2: all measurements
	measurementsDMTF = 0x01 // MeasurementSpecification
)

// Block is one measurement of a report.
type Block struct {
	Index int    // 1 to 255
	Type  byte   // DMTFSpecMeasurementValueType
	Value []byte // a SHA-384 on the devices that are verified here
}

// Report is a measurement report: the request that was put to a device and its signed response.
type Report struct {
	Nonce  [NonceSize]byte // of the request
	Blocks []Block         // in the order of the response; no index is there twice
	Fields Fields          // the response's opaque data
	Signed []byte          // request and response without the signature
	R, S   [scalarSize]byte
}

// ParseReport reads a report of SPDM 1.1, all of data. It verifies nothing but its form, that a signature was asked for, and that all
// measurements were. It refuses with CodeMalformed and CodeVersionUnsupported. The report shares data's memory.
func ParseReport(data []byte) (*Report, error) {
	malformed := func(format string, args ...any) (*Report, error) {
		return nil, attest.Refuse(attest.CodeMalformed, "the report: "+format, args...)
	}
	if len(data) < requestSize+signatureSize {
		return malformed("%d bytes are too few", len(data))
	}
	r := &Report{Signed: data[:len(data)-signatureSize]}
	copy(r.R[:], data[len(r.Signed):])
	copy(r.S[:], data[len(r.Signed)+scalarSize:])

	request := fields.NewReader(data[:requestSize], binary.LittleEndian)
	if version := request.U8(); version != spdmVersion {
		return nil, attest.Refuse(attest.CodeVersionUnsupported, "the report: SPDM version %#02x in the request, not 1.1", version)
	}
	if code := request.U8(); code != codeRequest {
		return malformed("the request has the code %#02x, not that of GET_MEASUREMENTS", code)
	}
	if request.U8() != requestSigned || request.U8() != requestAll {
		return malformed("the request is not for all measurements, signed")
	}
	copy(r.Nonce[:], request.Bytes(NonceSize))

	response := fields.NewReader(r.Signed[requestSize:], binary.LittleEndian)
	if version := response.U8(); version != spdmVersion {
		return nil, attest.Refuse(attest.CodeVersionUnsupported, "the report: SPDM version %#02x in the response, not 1.1", version)
	}
	if code := response.U8(); code != codeResponse {
		return malformed("the response has the code %#02x, not that of MEASUREMENTS", code)
	}
	response.Bytes(2) // Param1 and Param2: reserved, and the slot of the certificates
	count := int(response.U8())
	low, high := response.U16(), response.U8()
	record := response.Bytes(uint32(high)<<16 | uint32(low))
	response.Bytes(NonceSize) // of the responder
	opaque := response.Bytes(uint32(response.U16()))
	if !response.Complete() {
		return malformed("the response's lengths are not those of its parts")
	}
	var err error
	if r.Blocks, err = parseBlocks(record, count); err != nil {
		return nil, err
	}
	if r.Fields, err = parseFields(opaque); err != nil {
		return nil, err
	}
	return r, nil
}

// parseBlocks reads the measurement record of count blocks.
func parseBlocks(record []byte, count int) ([]Block, error) {
	malformed := func(format string, args ...any) ([]Block, error) {
		return nil, attest.Refuse(attest.CodeMalformed, "the report's measurements: "+format, args...)
	}
	if count == 0 {
		return malformed("there are none")
	}
	reader := fields.NewReader(record, binary.LittleEndian)
	blocks := make([]Block, 0, count) // 255 at most
	var seen [256]bool
	for range count {
		index, specification := reader.U8(), reader.U8()
		m := fields.NewReader(reader.Bytes(uint32(reader.U16())), binary.LittleEndian)
		block := Block{Index: int(index), Type: m.U8()}
		block.Value = m.Bytes(uint32(m.U16()))
		switch {
		case reader.Failed() || !m.Complete() || len(block.Value) == 0:
			return malformed("a block's lengths are not those of its parts")
		case specification != measurementsDMTF:
			return malformed("block %d is of specification %#02x, not DMTF's", index, specification)
		case index == 0 || seen[index]:
			return malformed("block %d is there twice, or has no index", index)
		}
		seen[index] = true
		blocks = append(blocks, block)
	}
	if !reader.Complete() {
		return malformed("something follows the last block")
	}
	return blocks, nil
}

// VerifySignature checks the report's signature, ECDSA on P-384 with SHA-384 over request and response. It refuses with CodeSignature.
func (r *Report) VerifySignature(key *ecdsa.PublicKey) error {
	digest := sha512.Sum384(r.Signed)
	if !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(r.R[:]), new(big.Int).SetBytes(r.S[:])) {
		return attest.Refuse(attest.CodeSignature, "the report's signature does not verify with the key of its certificate")
	}
	return nil
}
