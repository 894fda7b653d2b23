package csv

import (
	"bytes"
	"math"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/jsonscan"
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

// member says where the bytes of a member are in a certificate. Of number, octets, inner and list one is set.
type member struct {
	name   string
	at     int        // where its bytes begin
	number int        // the bytes of a number, little-endian
	octets int        // the bytes of an array
	inner  []member   // the members of an object
	list   [][]member // those of each of so many objects
}

// The certificates of csv-rs, in its names. Bytes after signatures, which nothing covers and csv-rs calls _reserved, are
// passed over and become zeros, so that one certificate has one form here.
var (
	certMembers = []member{
		{name: "body", inner: []member{
			{name: "ver", at: 0, number: 4},
			{name: "data", inner: []member{
				{name: "firmware", inner: []member{
					{name: "major", at: offFirmware, number: 1},
					{name: "minor", at: offFirmware + 1, number: 1},
				}},
				{name: "reserved1", at: offFirmware + 2, number: 2},
				{name: "pubkey", inner: []member{
					{name: "usage", at: offKeyUsage, number: 4},
					{name: "algo", at: offKeyAlgo, number: 4},
					{name: "key", inner: pointAt(offKey)},
				}},
				{name: "uid_size", at: offKey + offIdentity, number: 2},
				{name: "user_id", at: offKey + offIdentity + 2, octets: maxIdentity},
				{name: "sid", at: offKey + keySize, octets: 16},
				{name: "reserved2", at: offKey + keySize + 16, octets: 608},
			}},
		}},
		{name: "sigs", list: [][]member{entryAt(offSigs), entryAt(offSigs + sigEntrySize)}},
	}
	hskMembers = []member{
		{name: "body", inner: []member{
			{name: "preamble", inner: []member{
				{name: "ver", at: 0, number: 4},
				{name: "data", inner: []member{
					{name: "kid", at: 4, octets: 16},
					{name: "sid", at: 20, octets: 16},
					{name: "usage", at: offHSKUsage, number: 4},
					{name: "reserved", at: offHSKUsage + 4, octets: 24},
				}},
			}},
			{name: "pubkey", inner: pointAt(offHSKKey)},
			{name: "uid_size", at: offHSKKey + offIdentity, number: 2},
			{name: "user_id", at: offHSKKey + offIdentity + 2, octets: maxIdentity},
			{name: "reserved", at: offHSKKey + keySize, octets: 108},
		}},
		{name: "signature", inner: signatureAt(offHSKSig)},
	}
)

func pointAt(at int) []member {
	return []member{
		{name: "g", at: at, number: 4}, {name: "x", at: at + 4, octets: scalarField}, {name: "y", at: at + 4 + scalarField, octets: scalarField},
	}
}

func signatureAt(at int) []member {
	return []member{{name: "r", at: at, octets: scalarField}, {name: "s", at: at + scalarField, octets: scalarField}}
}

func entryAt(at int) []member {
	return []member{{name: "usage", at: at, number: 4}, {name: "algo", at: at + 4, number: 4}, {name: "signature", inner: signatureAt(at + 8)}}
}

// reader reads evidence in one pass.
type reader struct{ *jsonscan.Scanner }

// certificate puts together the certificate that the object which is next was taken apart from. All members must be there,
// each once; others are passed over.
func (r reader) certificate(cert []byte, members []member) {
	var seen uint
	r.Object(func(name []byte) {
		for i := range members {
			if m := &members[i]; string(name) == m.name {
				if seen&(1<<i) != 0 {
					r.Fail("member %s twice", name)
				}
				seen |= 1 << i
				r.member(cert, m)
				return
			}
		}
		r.Skip()
	})
	for i := range members {
		if seen&(1<<i) == 0 {
			r.Fail("no member %s in the object that ends", members[i].name)
		}
	}
}

func (r reader) member(cert []byte, m *member) {
	switch {
	case m.number > 0:
		n := r.Uint(1<<(8*m.number) - 1)
		for i := range m.number {
			cert[m.at+i] = byte(n >> (8 * i))
		}
	case m.octets > 0:
		r.Fill(cert[m.at:][:m.octets])
	case m.inner != nil:
		r.certificate(cert, m.inner)
	default:
		n := 0
		r.Array(func() {
			if n == len(m.list) {
				r.Fail("over %d entries in a list", len(m.list))
				return
			}
			r.certificate(cert, m.list[n])
			n++
		})
		if n < len(m.list) {
			r.Fail("%d entries, not %d, in the list that ends", n, len(m.list))
		}
	}
}

// report reads the page that has the report.
func (r reader) report(magic, page []byte) (flags uint32) {
	var haveMagic, havePage, haveFlags bool
	r.Object(func(name []byte) {
		switch string(name) {
		case "magic":
			r.Once(&haveMagic, name)
			r.Fill(magic)
		case "data":
			r.Once(&havePage, name)
			r.Fill(page)
		case "flags":
			r.Once(&haveFlags, name)
			flags = uint32(r.Uint(math.MaxUint32))
		default:
			r.Skip()
		}
	})
	if !haveMagic || !havePage || !haveFlags {
		r.Fail("no magic, flags or data in the report that ends")
	}
	return flags
}

// chain reads the certificates.
func (r reader) chain(ev *Evidence, authorities []byte) {
	var haveAuthorities, havePEK bool
	r.Object(func(name []byte) {
		switch string(name) {
		case "hsk_cek":
			r.Once(&haveAuthorities, name)
			if !r.Null() {
				ev.HSKCEK = authorities
				r.authorities(authorities)
			}
		case "pek":
			r.Once(&havePEK, name)
			r.certificate(ev.PEK, certMembers)
		default:
			r.Skip()
		}
	})
	if !havePEK {
		r.Fail("no certificate of a PEK in the chain that ends")
	}
}

func (r reader) authorities(hskCEK []byte) {
	var haveHSK, haveCEK bool
	r.Object(func(name []byte) {
		switch string(name) {
		case "hsk":
			r.Once(&haveHSK, name)
			r.certificate(hskCEK[:hskSize], hskMembers)
		case "cek":
			r.Once(&haveCEK, name)
			r.certificate(hskCEK[hskSize:], certMembers)
		default:
			r.Skip()
		}
	})
	if !haveHSK || !haveCEK {
		r.Fail("only one certificate in the pair that ends")
	}
}

// Parse reads evidence. It refuses with CodeTooLarge, CodeMalformed and CodeVersionUnsupported.
func Parse(data []byte) (*Evidence, error) {
	if len(data) > MaxEvidence {
		return nil, attest.Refuse(attest.CodeTooLarge, "evidence of %d bytes: at most %d are read", len(data), MaxEvidence)
	}
	r := reader{jsonscan.New(data)}
	space := make([]byte, len(extended)+pageSize+certSize+hskCEKSize)
	take := func(n int) (part []byte) {
		part, space = space[:n:n], space[n:]
		return part
	}
	magic, page, pek, authorities := take(len(extended)), take(pageSize), take(certSize), take(hskCEKSize)
	ev := &Evidence{PEK: pek}
	var (
		haveReport, haveChain, haveSerial bool
		flags                             uint32
	)
	r.Object(func(name []byte) {
		switch string(name) {
		case "attestation_report":
			r.Once(&haveReport, name)
			flags = r.report(magic, page)
		case "cert_chain":
			r.Once(&haveChain, name)
			r.chain(ev, authorities)
		case "serial_number":
			r.Once(&haveSerial, name)
			ev.Serial = serial(r.Bytes(2 * maxSerial))
		default:
			r.Skip()
		}
	})
	r.End()
	if !haveReport || !haveChain {
		r.Fail("no report or no chain")
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	var err error
	ev.Report, err = parseReport(magic, page, flags)
	return ev, err
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
