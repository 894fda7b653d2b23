package nvidia

import (
	"bytes"
	"crypto/sha512"
	"crypto/x509"
	encoding_asn1 "encoding/asn1"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// fwidSize is the size of a firmware identifier, a SHA-384, in bytes.
const fwidSize = sha512.Size384

// Identifiers in attestation certificates. The first two are both in use for the same: Hopper and LS10 have the structure of an early draft
// under the first, Blackwell has DiceTcbInfo under the second.
var (
	oidComposite = encoding_asn1.ObjectIdentifier{2, 23, 133, 5, 4, 1}
	oidTCBInfo   = encoding_asn1.ObjectIdentifier{2, 23, 133, 5, 4, 1, 1}
	oidSHA384    = encoding_asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSAN       = encoding_asn1.ObjectIdentifier{2, 5, 29, 17}
	oidDMTFName  = encoding_asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 412, 274, 1}
)

// tcbInfoDebug is the flag of DiceTcbInfo that says that the device can be debugged: bit 3.
const tcbInfoDebug = 3

// layer is what an attestation certificate says of the firmware that has its key (TCG "DICE Attestation Architecture", section 6.1).
type layer struct {
	fwid     []byte // SHA-384 of the firmware, as the boot ROM measured it
	deviceID []byte // SubjectPublicKeyInfo of the device's identity key, nil where it is not said
	debug    *bool  // nil where it is not said
}

var errDICE = errors.New("its DICE extension is not of the known form")

// readLayer finds and reads the extension of an attestation certificate that identifies the firmware. A certificate with both
// extensions must say the same in both.
func readLayer(cert *x509.Certificate) (*layer, error) {
	var found *layer
	for _, e := range cert.Extensions {
		var l *layer
		var err error
		switch {
		case e.Id.Equal(oidComposite):
			l, err = parseComposite(e.Value)
		case e.Id.Equal(oidTCBInfo):
			l, err = parseTCBInfo(e.Value)
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		if found != nil {
			if !bytes.Equal(found.fwid, l.fwid) {
				return nil, fmt.Errorf("%w: it identifies two firmwares", errDICE)
			}
			if l.debug == nil {
				l.debug = found.debug
			}
			if l.deviceID == nil {
				l.deviceID = found.deviceID
			}
		}
		found = l
	}
	if found == nil {
		return nil, errors.New("it does not identify the device's firmware")
	}
	return found, nil
}

// parseComposite reads SEQUENCE { version INTEGER, deviceID SubjectPublicKeyInfo, fwid FWID }, or DiceTcbInfo where that is there instead.
func parseComposite(der []byte) (*layer, error) {
	in := cryptobyte.String(der)
	var body, deviceID cryptobyte.String
	if !in.ReadASN1(&body, asn1.SEQUENCE) || !in.Empty() {
		return nil, errDICE
	}
	if !body.PeekASN1Tag(asn1.INTEGER) {
		return parseTCBInfo(der)
	}
	if !body.SkipASN1(asn1.INTEGER) || !body.ReadASN1Element(&deviceID, asn1.SEQUENCE) {
		return nil, errDICE
	}
	fwid, ok := readFWID(&body)
	if !ok || !body.Empty() {
		return nil, errDICE
	}
	return &layer{fwid: fwid, deviceID: deviceID}, nil
}

// readFWID reads FWID ::= SEQUENCE { hashAlg OBJECT IDENTIFIER, digest OCTET STRING }, of SHA-384.
func readFWID(in *cryptobyte.String) ([]byte, bool) {
	var fwid, digest cryptobyte.String
	var algorithm encoding_asn1.ObjectIdentifier
	ok := in.ReadASN1(&fwid, asn1.SEQUENCE) && fwid.ReadASN1ObjectIdentifier(&algorithm) && fwid.ReadASN1(&digest, asn1.OCTET_STRING) && fwid.Empty()
	return digest, ok && algorithm.Equal(oidSHA384) && len(digest) == fwidSize
}

// parseTCBInfo reads DiceTcbInfo, a SEQUENCE of optional members with rising context tags, of which 6 are the FWIDs and 7 the flags.
// The first FWID is the firmware's.
func parseTCBInfo(der []byte) (*layer, error) {
	in := cryptobyte.String(der)
	var body cryptobyte.String
	if !in.ReadASN1(&body, asn1.SEQUENCE) || !in.Empty() {
		return nil, errDICE
	}
	l := new(layer)
	for last := -1; !body.Empty(); {
		var value cryptobyte.String
		var tag asn1.Tag
		if !body.ReadAnyASN1(&value, &tag) {
			return nil, errDICE
		}
		number := int(tag & 0x1f)
		if tag&0x80 == 0 || tag&0x40 != 0 || number <= last {
			return nil, errDICE
		}
		last = number
		switch tag {
		case asn1.Tag(6).ContextSpecific().Constructed():
			var ok bool
			if l.fwid, ok = readFWID(&value); !ok {
				return nil, errDICE
			}
		case asn1.Tag(7).ContextSpecific():
			if len(value) == 0 || value[0] > 7 {
				return nil, errDICE
			}
			l.debug = new(bool)
			*l.debug = len(value) > 1 && value[1]&(0x80>>tcbInfoDebug) != 0
		}
	}
	if l.fwid == nil {
		return nil, errDICE
	}
	return l, nil
}

// dmtfName is a device's name in its certificate (DSP0274, "Subject alternative name").
type dmtfName struct{ manufacturer, product, serial string }

// readName reads the name manufacturer:product:serial in a certificate's subject alternative names; nil where there is none.
func readName(cert *x509.Certificate) (*dmtfName, error) {
	malformed := errors.New("its DMTF name is not of the form manufacturer:product:serial")
	for _, e := range cert.Extensions {
		if !e.Id.Equal(oidSAN) {
			continue
		}
		in := cryptobyte.String(e.Value)
		var names cryptobyte.String
		if !in.ReadASN1(&names, asn1.SEQUENCE) || !in.Empty() {
			return nil, malformed
		}
		for !names.Empty() {
			var name, value, text cryptobyte.String
			var tag asn1.Tag
			var id encoding_asn1.ObjectIdentifier
			if !names.ReadAnyASN1(&name, &tag) {
				return nil, malformed
			}
			if tag != asn1.Tag(0).ContextSpecific().Constructed() || !name.ReadASN1ObjectIdentifier(&id) || !id.Equal(oidDMTFName) {
				continue
			}
			if !name.ReadASN1(&value, asn1.Tag(0).ContextSpecific().Constructed()) || !name.Empty() ||
				!value.ReadASN1(&text, asn1.UTF8String) || !value.Empty() || !printable(string(text), 128) {
				return nil, malformed
			}
			parts := strings.Split(string(text), ":")
			if len(parts) != 3 {
				return nil, malformed
			}
			return &dmtfName{parts[0], parts[1], parts[2]}, nil
		}
	}
	return nil, nil
}
