package snp

import (
	"bytes"

	"github.com/vouchsafe/vouchsafe/attest"
)

// MaxEvidence is how large evidence may be, in bytes. The KBS form writes each byte in up to four characters, so a report and
// three certificates of AMD's size take 25 KiB; the rest is room for what hosts add to their tables.
const MaxEvidence = 128 << 10

// maxCertificate is how large one certificate may be, in bytes. AMD's have up to 1700.
const maxCertificate = 4 << 10

// Evidence is a report with the certificates that came with it. Nothing in it is verified.
type Evidence struct {
	Report       Report
	Raw          [ReportSize]byte // the report's bytes, which the signature covers the start of
	Certificates Certificates
}

// Parse reads evidence in any of its three forms: a raw report, an extended report (the report with its certificate table after it), or
// the JSON of KBS clients, which is recognised by its first character that is not white space being "{": a report cannot begin so, since
// its first byte is its version. Certificates may share data's memory.
//
// It refuses with CodeTooLarge, CodeMalformed and CodeVersionUnsupported.
func Parse(data []byte) (*Evidence, error) {
	if len(data) > MaxEvidence {
		return nil, attest.Refuse(attest.CodeTooLarge, "evidence of %d bytes: at most %d are read", len(data), MaxEvidence)
	}
	ev := new(Evidence)
	if text := bytes.TrimLeft(data, " \t\r\n"); len(text) > 0 && text[0] == '{' {
		if err := ev.parseJSON(data); err != nil {
			return nil, err
		}
		return ev, nil
	}
	if len(data) < ReportSize {
		return nil, attest.Refuse(attest.CodeMalformed,
			"evidence of %d bytes is neither JSON nor a report, which has %d", len(data), ReportSize)
	}
	copy(ev.Raw[:], data)
	if err := ev.Report.parse(ev.Raw[:]); err != nil {
		return nil, err
	}
	var err error
	if ev.Certificates, err = ParseTable(data[ReportSize:]); err != nil {
		return nil, err
	}
	return ev, nil
}

// leaf returns the certificate for the key that signed the report, nil when none was presented.
func (c *Certificates) leaf(key SigningKey) []byte {
	if key == VLEK {
		return c.VLEK
	}
	return c.VCEK
}
