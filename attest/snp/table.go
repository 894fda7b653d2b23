package snp

import (
	"encoding/binary"

	"github.com/vouchsafe/vouchsafe/attest"
)

// guid names a certificate in the table that follows an extended report, in the byte order of its text.
type guid [16]byte

// The GUIDs of the certificate table (AMD publication 56421, "SNP Extended Guest Request"). The certificate that signs
// VLEKs stands under the same GUID as the one that signs VCEKs.
var (
	guidVCEK = guid{0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd}
	guidVLEK = guid{0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1}
	guidASK  = guid{0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7, 0x82}
)

// tableEntrySize is the size of a table entry in bytes: GUID, offset and length.
const tableEntrySize = 16 + 4 + 4

// maxTableEntries bounds the table. Hosts put five kinds of certificates there; the rest is room for what they add.
const maxTableEntries = 16

// Certificates are the certificates presented with a report, DER, nil where there is none. An ARK that comes along is
// never looked at: roots are pinned.
type Certificates struct {
	VCEK []byte
	VLEK []byte
	ASK  []byte // the intermediate: the ASK that signs VCEKs, or the ASVK that signs VLEKs
}

// ParseTable reads the certificate table of an extended report: entries up to one that is all zero, then the
// certificates they point to. Empty input is an empty table. Entries of GUIDs not known here are passed over, and so are bytes that
// no entry covers, which hosts leave when they round the table up to pages. The certificates share b's memory.
//
// It refuses with CodeMalformed: an entry out of bounds, an empty certificate, the same GUID twice, too many entries, no
// terminator.
func ParseTable(b []byte) (Certificates, error) {
	var certs Certificates
	if len(b) == 0 {
		return certs, nil
	}
	end := -1 // of the entries, terminator included
	for i := range maxTableEntries + 1 {
		if len(b) < (i+1)*tableEntrySize {
			return certs, attest.Refuse(attest.CodeMalformed, "the certificate table ends before its terminator")
		}
		if [tableEntrySize]byte(b[i*tableEntrySize:]) == ([tableEntrySize]byte{}) {
			end = (i + 1) * tableEntrySize
			break
		}
	}
	if end < 0 {
		return certs, attest.Refuse(attest.CodeMalformed, "the certificate table has over %d entries", maxTableEntries)
	}
	for at := 0; at < end-tableEntrySize; at += tableEntrySize {
		entry := b[at : at+tableEntrySize]
		// 64-bit sums, so that an offset and a length near 2^32 do not wrap around.
		from := uint64(binary.LittleEndian.Uint32(entry[16:]))
		length := uint64(binary.LittleEndian.Uint32(entry[20:]))
		if from < uint64(end) || length == 0 || from+length > uint64(len(b)) {
			return certs, attest.Refuse(attest.CodeMalformed,
				"certificate table entry %d covers bytes %d to %d of a table of %d", at/tableEntrySize, from, from+length, len(b))
		}
		if err := certs.add(guid(entry), b[from:from+length]); err != nil {
			return certs, err
		}
	}
	return certs, nil
}

func (c *Certificates) add(id guid, der []byte) error {
	var field *[]byte
	switch id {
	case guidVCEK:
		field = &c.VCEK
	case guidVLEK:
		field = &c.VLEK
	case guidASK:
		field = &c.ASK
	default:
		return nil
	}
	if *field != nil {
		return attest.Refuse(attest.CodeMalformed, "the certificate table has one GUID twice")
	}
	if len(der) > maxCertificate {
		return attest.Refuse(attest.CodeTooLarge,
			"a certificate of %d bytes: at most %d are read", len(der), maxCertificate)
	}
	*field = der
	return nil
}

// Table returns the table that ParseTable reads, nil when c is empty.
func (c Certificates) Table() []byte {
	entries := []struct {
		id  guid
		der []byte
	}{{guidVCEK, c.VCEK}, {guidVLEK, c.VLEK}, {guidASK, c.ASK}}
	var header, body []byte
	count := 1 // the terminator
	for _, e := range entries {
		if e.der != nil {
			count++
		}
	}
	if count == 1 {
		return nil
	}
	for _, e := range entries {
		if e.der == nil {
			continue
		}
		header = append(header, e.id[:]...)
		header = binary.LittleEndian.AppendUint32(header, uint32(count*tableEntrySize+len(body)))
		header = binary.LittleEndian.AppendUint32(header, uint32(len(e.der)))
		body = append(body, e.der...)
	}
	header = append(header, make([]byte, tableEntrySize)...)
	return append(header, body...)
}
