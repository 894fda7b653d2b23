package csv

import (
	"bytes"
	"errors"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// MaxEvidence bounds evidence, in bytes: a page and three certificates as numbers, up to five characters each, and an
// event log of 256 KiB in base64.
const MaxEvidence = 512 << 10

// Evidence is what a guest presents. Only its form is known to be right.
type Evidence struct {
	Report *Report
	PEK    []byte // certificate, certSize bytes
	HSKCEK []byte // certificates of HSK and CEK, or nil
	Serial string // of the chip, as the guest says; "" when it says nothing that can be a serial number
}

// octets are bytes as an array of numbers. json itself would take a string for base64 and null for a zero, and is slow at it.
type octets []byte

var errOctets = errors.New("not an array of numbers from 0 to 255")

// UnmarshalJSON reads valid JSON, as json calls it with.
func (o *octets) UnmarshalJSON(data []byte) error {
	if len(data) < 2 || data[0] != '[' {
		return errOctets
	}
	*o = make(octets, 0, min(len(data)/2, pageSize))
	number, digits := 0, 0
	for _, c := range data[1:] {
		switch {
		case c >= '0' && c <= '9':
			if number, digits = 10*number+int(c-'0'), digits+1; digits > 3 || number > 0xff {
				return errOctets
			}
		case c == ',' || c == ']':
			if digits > 0 { // there are none in an empty array, and JSON has no other empty places
				*o = append(*o, byte(number))
			}
			number, digits = 0, 0
		case c != ' ' && c != '\t' && c != '\r' && c != '\n':
			return errOctets
		}
	}
	return nil
}

// The certificates of csv-rs, in its names.
type (
	jsonKey struct {
		Curve uint32 `json:"g"`
		X     octets `json:"x"`
		Y     octets `json:"y"`
	}
	jsonSignature struct {
		R octets `json:"r"`
		S octets `json:"s"`
	}
	jsonCert struct {
		Body struct {
			Version uint32 `json:"ver"`
			Data    struct {
				Firmware struct {
					Major uint8 `json:"major"`
					Minor uint8 `json:"minor"`
				} `json:"firmware"`
				Reserved1 uint16 `json:"reserved1"`
				Key       struct {
					Usage     uint32  `json:"usage"`
					Algorithm uint32  `json:"algo"`
					Key       jsonKey `json:"key"`
				} `json:"pubkey"`
				IdentitySize uint16 `json:"uid_size"`
				Identity     octets `json:"user_id"`
				SignerID     octets `json:"sid"`
				Reserved2    octets `json:"reserved2"`
			} `json:"data"`
		} `json:"body"`
		Signatures []struct {
			Usage     uint32        `json:"usage"`
			Algorithm uint32        `json:"algo"`
			Signature jsonSignature `json:"signature"`
		} `json:"sigs"`
	}
	jsonHSK struct {
		Body struct {
			Preamble struct {
				Version uint32 `json:"ver"`
				Data    struct {
					KeyID    octets `json:"kid"`
					SignerID octets `json:"sid"`
					Usage    uint32 `json:"usage"`
					Reserved octets `json:"reserved"`
				} `json:"data"`
			} `json:"preamble"`
			Key          jsonKey `json:"pubkey"`
			IdentitySize uint16  `json:"uid_size"`
			Identity     octets  `json:"user_id"`
			Reserved     octets  `json:"reserved"`
		} `json:"body"`
		Signature jsonSignature `json:"signature"`
	}
)

// Parse reads evidence. It refuses with CodeTooLarge, CodeMalformed and CodeVersionUnsupported.
func Parse(data []byte) (*Evidence, error) {
	if len(data) > MaxEvidence {
		return nil, attest.Refuse(attest.CodeTooLarge, "evidence of %d bytes: at most %d are read", len(data), MaxEvidence)
	}
	var in struct {
		Report struct {
			Magic octets `json:"magic"`
			Flags uint32 `json:"flags"`
			Data  octets `json:"data"`
		} `json:"attestation_report"`
		Chain struct {
			HSKCEK *struct {
				HSK jsonHSK  `json:"hsk"`
				CEK jsonCert `json:"cek"`
			} `json:"hsk_cek"`
			PEK jsonCert `json:"pek"`
		} `json:"cert_chain"`
		Serial octets `json:"serial_number"`
	}
	if err := strictjson.UnmarshalNewer(data, &in); err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "the evidence: %w", err)
	}
	report, err := parseReport(in.Report.Magic, in.Report.Data, in.Report.Flags)
	if err != nil {
		return nil, err
	}
	ev := &Evidence{Report: report, Serial: serial(in.Serial)}
	if ev.PEK, err = in.Chain.PEK.bytes(); err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "the PEK's certificate: %w", err)
	}
	if both := in.Chain.HSKCEK; both != nil {
		hsk, err := both.HSK.bytes()
		if err != nil {
			return nil, attest.Refuse(attest.CodeMalformed, "the HSK's certificate: %w", err)
		}
		cek, err := both.CEK.bytes()
		if err != nil {
			return nil, attest.Refuse(attest.CodeMalformed, "the CEK's certificate: %w", err)
		}
		ev.HSKCEK = append(hsk, cek...)
	}
	return ev, nil
}

// maxSerial bounds a serial number, in bytes. It becomes part of a name, so that it is letters and digits only.
const maxSerial = 64

// serial returns a serial number that zeros fill up, "" when it is none.
func serial(field []byte) string {
	text := bytes.TrimRight(field, "\x00")
	if len(text) > maxSerial {
		return ""
	}
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return ""
		}
	}
	return string(text)
}

// assembler puts a certificate together. A part of another size than it must have makes it fail.
type assembler struct {
	b   []byte
	bad bool
}

func (a *assembler) u16(n uint16)         { a.b = le.AppendUint16(a.b, n) }
func (a *assembler) u32(n uint32)         { a.b = le.AppendUint32(a.b, n) }
func (a *assembler) part(p []byte, n int) { a.bad = a.bad || len(p) != n; a.b = append(a.b, p...) }
func (a *assembler) zeros(n int)          { a.b = append(a.b, make([]byte, n)...) }
func (a *assembler) signature(s *jsonSignature) {
	a.part(s.R, scalarField)
	a.part(s.S, scalarField)
}

func (a *assembler) key(k *jsonKey, size uint16, identity []byte) {
	a.u32(k.Curve)
	a.part(k.X, scalarField)
	a.part(k.Y, scalarField)
	a.u16(size)
	a.part(identity, maxIdentity)
}

var errParts = errors.New("a part is missing or of another size than it has")

// done returns the certificate, which must have size bytes.
func (a *assembler) done(size int) ([]byte, error) {
	if a.bad || len(a.b) != size {
		return nil, errParts
	}
	return a.b, nil
}

// bytes returns the certificate that c was taken apart from. Bytes after signatures, which nothing covers, become zeros.
func (c *jsonCert) bytes() ([]byte, error) {
	if len(c.Signatures) != sigEntries {
		return nil, errParts
	}
	a := assembler{b: make([]byte, 0, certSize)}
	d := &c.Body.Data
	a.u32(c.Body.Version)
	a.b = append(a.b, d.Firmware.Major, d.Firmware.Minor)
	a.u16(d.Reserved1)
	a.u32(d.Key.Usage)
	a.u32(d.Key.Algorithm)
	a.key(&d.Key.Key, d.IdentitySize, d.Identity)
	a.part(d.SignerID, 16)
	a.part(d.Reserved2, 608)
	for i := range c.Signatures {
		s := &c.Signatures[i]
		a.u32(s.Usage)
		a.u32(s.Algorithm)
		a.signature(&s.Signature)
		a.zeros(sigEntrySize - 8 - sigSize)
	}
	return a.done(certSize)
}

// bytes returns the certificate that h was taken apart from.
func (h *jsonHSK) bytes() ([]byte, error) {
	a := assembler{b: make([]byte, 0, hskSize)}
	p := &h.Body.Preamble
	a.u32(p.Version)
	a.part(p.Data.KeyID, 16)
	a.part(p.Data.SignerID, 16)
	a.u32(p.Data.Usage)
	a.part(p.Data.Reserved, 24)
	a.key(&h.Body.Key, h.Body.IdentitySize, h.Body.Identity)
	a.part(h.Body.Reserved, 108)
	a.signature(&h.Signature)
	a.zeros(hskSize - offHSKSig - sigSize)
	return a.done(hskSize)
}
