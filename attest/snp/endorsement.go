package snp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Common names of the certificates of the keys that sign reports.
const (
	commonNameVCEK = "SEV-VCEK"
	commonNameVLEK = "SEV-VLEK"
)

// The extensions of VCEK and VLEK certificates are under this arc (AMD publication 57230, "VCEK Certificate").
var amdArc = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}

// Members of amdArc.
const (
	extStructVersion = 1
	extProduct       = 2
	extTCB           = 3 // and one number more: the part
	extHWID          = 4
	extCSP           = 5
)

// Parts of the TCB under extTCB. 4 to 7 are reserved and certified as zero before Turin.
const (
	partBootloader = 1
	partTEE        = 2
	partSNP        = 3
	partMicrocode  = 8
	partFMC        = 9
)

// Endorsement is what a VCEK or VLEK certificate says of its key.
type Endorsement struct {
	SigningKey SigningKey
	Product    string // "Milan", or with a stepping "Milan-B0"
	TCB        TCB
	HasFMC     bool
	HWID       []byte // of the chip, VCEK only: 64 bytes, 8 on Turin
	CSP        string // who loaded the key, VLEK only
	Key        *ecdsa.PublicKey
}

// ParseEndorsement reads a VCEK or VLEK certificate. It verifies neither its signature nor its dates. It
// refuses with CodeCertMalformed what lacks, has twice, or misspells something it must state.
func ParseEndorsement(cert *x509.Certificate) (*Endorsement, error) {
	e := new(Endorsement)
	malformed := func(format string, args ...any) (*Endorsement, error) {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the certificate of the signing key "+format, args...)
	}
	switch cert.Subject.CommonName {
	case commonNameVCEK:
		e.SigningKey = VCEK
	case commonNameVLEK:
		e.SigningKey = VLEK
	default:
		return malformed("has the common name %.40q, not %s or %s", cert.Subject.CommonName, commonNameVCEK, commonNameVLEK)
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P384() {
		return malformed("has a key that is not on P-384")
	}
	e.Key = key
	if cert.IsCA {
		return malformed("is for a certificate authority")
	}
	if len(cert.UnhandledCriticalExtensions) > 0 {
		return malformed("has the critical extension %v, which is not known", cert.UnhandledCriticalExtensions[0])
	}
	seen := map[int]bool{}
	for _, ext := range cert.Extensions {
		member, part, ok := amdExtension(ext.Id)
		if !ok {
			continue
		}
		if id := member<<8 | part; seen[id] {
			return malformed("has the extension %v twice", ext.Id)
		} else {
			seen[id] = true
		}
		if !e.extension(member, part, ext.Value) {
			return malformed("has the extension %v with a value it cannot have: %.80x", ext.Id, ext.Value)
		}
	}
	for _, id := range []int{
		extStructVersion << 8, extProduct << 8, extTCB<<8 | partBootloader, extTCB<<8 | partTEE, extTCB<<8 | partSNP,
		extTCB<<8 | partMicrocode,
	} {
		if !seen[id] {
			return malformed("lacks the extension %v.%d (part %d)", amdArc, id>>8, id&0xff)
		}
	}
	e.HasFMC = seen[extTCB<<8|partFMC]
	switch e.SigningKey {
	case VCEK:
		if e.HWID == nil || seen[extCSP<<8] {
			return malformed("is a VCEK's and must name a chip and no cloud")
		}
	case VLEK:
		if e.HWID != nil || e.CSP == "" {
			return malformed("is a VLEK's and must name a cloud and no chip")
		}
	}
	return e, nil
}

// amdExtension splits an object identifier under amdArc.
func amdExtension(id asn1.ObjectIdentifier) (member, part int, ok bool) {
	n := len(amdArc)
	if len(id) <= n || len(id) > n+2 || !id[:n].Equal(amdArc) {
		return 0, 0, false
	}
	if len(id) == n+2 {
		part = id[n+1]
		if part <= 0 || part > 0xff {
			return 0, 0, false
		}
	}
	return id[n], part, id[n] > 0 && id[n] < 1<<16
}

// extension takes one extension in; false when its value is wrong. Extensions not known here say nothing that is relied on.
func (e *Endorsement) extension(member, part int, value []byte) bool {
	switch {
	case member == extProduct && part == 0:
		text, ok := ia5(value)
		e.Product = text
		return ok
	case member == extCSP && part == 0:
		text, ok := ia5(value)
		e.CSP = text
		return ok
	case member == extHWID && part == 0:
		hwid, ok := hwid(value)
		e.HWID = hwid
		return ok
	case member == extTCB:
		n, ok := byteInteger(value)
		switch part {
		case partBootloader:
			e.TCB.Bootloader = n
		case partTEE:
			e.TCB.TEE = n
		case partSNP:
			e.TCB.SNP = n
		case partMicrocode:
			e.TCB.Microcode = n
		case partFMC:
			e.TCB.FMC = n
		case 4, 5, 6, 7:
			// Reserved parts have no place in a TCB as it is read here, so one that counts could not be held
			// against the report.
			return ok && n == 0
		}
		return ok
	}
	return true
}

// byteInteger reads a DER INTEGER from 0 to 255.
func byteInteger(value []byte) (uint8, bool) {
	var n int
	rest, err := asn1.Unmarshal(value, &n)
	return uint8(n), err == nil && len(rest) == 0 && n >= 0 && n <= 0xff
}

// ia5 reads a DER IA5String.
func ia5(value []byte) (string, bool) {
	var text string
	rest, err := asn1.UnmarshalWithParams(value, &text, "ia5")
	return text, err == nil && len(rest) == 0 && len(value) > 0 && value[0] == asn1.TagIA5String && text != ""
}

// hwid reads the chip's identifier, which AMD writes without an ASN.1 tag, though a tagged OCTET STRING has been
// seen too. No length of one is a length of the other.
func hwid(value []byte) ([]byte, bool) {
	if len(value) == Turin.hwidSize() || len(value) == ChipIDSize {
		return bytes.Clone(value), true
	}
	var octets []byte
	rest, err := asn1.Unmarshal(value, &octets)
	return octets, err == nil && len(rest) == 0 && (len(octets) == Turin.hwidSize() || len(octets) == ChipIDSize)
}

// Matches checks that the certificate is that of the key which signed r on a processor of p: the kind of key, the product, the TCB the
// key is derived from, and the chip. A CHIP_ID of all zeros is a host's choice to hide it (MASK_CHIP_ID), and then
// nothing in the report is held against the certificate's: the signature alone ties the report to the chip, as it does anyway, and
// no claim names a chip. It refuses with CodeCertMismatch, or CodeMalformed for a TCB with reserved bytes.
func (e *Endorsement) Matches(r *Report, p Product) error {
	mismatch := func(format string, args ...any) error {
		return attest.Refuse(attest.CodeCertMismatch, format, args...)
	}
	if e.SigningKey != r.SigningKey() {
		return mismatch("the report was signed by a %v and the certificate is of a %v", r.SigningKey(), e.SigningKey)
	}
	name, _, stepping := strings.Cut(e.Product, "-")
	if name != string(p) || stepping && e.SigningKey == VLEK {
		return mismatch("the certificate is for %.40q and its root for %s", e.Product, p)
	}
	reported, err := r.ReportedTCB.Decode(p)
	if err != nil {
		return err
	}
	if e.TCB != reported || e.HasFMC != (p == Turin) {
		return mismatch("the certificate is for the TCB %+v and the report says %+v", e.TCB, reported)
	}
	if e.SigningKey == VLEK || r.ChipID == ([ChipIDSize]byte{}) {
		return nil
	}
	if n := p.hwidSize(); len(e.HWID) != n || !bytes.Equal(e.HWID, r.ChipID[:n]) || !allZero(r.ChipID[n:]) {
		return mismatch("the certificate is of the chip %x and the report of %x", e.HWID, r.ChipID)
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

// Extensions returns the extensions ParseEndorsement reads, for the development TEE and for tests. Key is not looked at.
func (e *Endorsement) Extensions() ([]pkix.Extension, error) {
	var (
		exts []pkix.Extension
		fail error
	)
	add := func(value any, params string, members ...int) {
		der, err := asn1.MarshalWithParams(value, params)
		if err != nil && fail == nil {
			fail = err
		}
		id := append(append(asn1.ObjectIdentifier{}, amdArc...), members...)
		exts = append(exts, pkix.Extension{Id: id, Value: der})
	}
	structVersion := 0
	if e.HasFMC {
		structVersion = 1
	}
	add(structVersion, "", extStructVersion)
	add(e.Product, "ia5", extProduct)
	add(int(e.TCB.Bootloader), "", extTCB, partBootloader)
	add(int(e.TCB.TEE), "", extTCB, partTEE)
	add(int(e.TCB.SNP), "", extTCB, partSNP)
	add(int(e.TCB.Microcode), "", extTCB, partMicrocode)
	if e.HasFMC {
		add(int(e.TCB.FMC), "", extTCB, partFMC)
	}
	if e.SigningKey == VLEK {
		add(e.CSP, "ia5", extCSP)
	} else {
		id := append(append(asn1.ObjectIdentifier{}, amdArc...), extHWID)
		exts = append(exts, pkix.Extension{Id: id, Value: bytes.Clone(e.HWID)})
	}
	return exts, fail
}
