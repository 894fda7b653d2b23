// Package rim reads reference integrity manifests of NVIDIA's: what the firmware of a GPU or switch measures when it is the firmware that
// NVIDIA released. They are XML documents in the form of the TCG Reference Integrity Manifest Information Model, a SoftwareIdentity tag
// (ISO/IEC 19770-2:2015), with an enveloped signature.
//
// # Format
//
//	SoftwareIdentity  name, tagId
//	  Meta            product: the chip; colloquialVersion: of the driver or the firmware
//	  Payload
//	    Resource      type="Measurement" index="7" active="True" alternatives="2" Hash0="…" Hash1="…" name="…" size="48"
//	  Signature
//
// A manifest has at most 256 KiB, 1024 resources and 64 alternatives for each. Resources count from 0, the blocks of a report from 1:
// see [Measurement].
//
// # What is verified
//
// [Open] verifies the signature with package xmlsig, by a signer whose chain (package pki) ends at the pinned root, and then reads the
// bytes that were signed and nothing else. A resource of a type that is not a measurement, one whose attributes are not those above, an
// index twice, and no resource at all are errors: passing over what a manifest asks for would be judging by half of it.
//
// # What is not
//
// Which manifest it is: a caller compares [Manifest.Product] and [Manifest.Version]. The manifests of a chip's firmware name neither
// the board nor its variant, so one of another board with the same firmware version cannot be told apart; its measurements can. Dates:
// [Manifest.Chain] has them. The schema of ISO/IEC 19770-2 beyond what is read.
package rim

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/vouchsafe/vouchsafe/attest/nvidia/pki"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/xmlsig"
)

// Bounds of a manifest. Those there are have 64 resources with up to 4 alternatives.
const (
	maxResources    = 1024
	maxAlternatives = 64
	maxIndex        = 254 // block 255 of a report
)

// The namespaces of a manifest.
const (
	spaceSWID = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
	spaceHash = "http://www.w3.org/2001/04/xmlenc#sha384"
)

// ErrFormat says that a manifest that was validly signed is not of the form that is read here.
var ErrFormat = errors.New("rim: not a manifest of the known form")

// Manifest is a reference manifest whose signature was verified.
type Manifest struct {
	Product string // the chip: "GH100"
	Version string // of the driver or firmware, as NVIDIA spells it: "550.90.07", "96.00.9F.00.01"
	TagID   string // identifies the manifest
	// Measurements are those that must be there, by the index of the block in a report, which is one more than the resource's.
	Measurements map[int]Measurement
	Chain        *pki.Chain // of the signer; valid at no particular time
}

// Measurement is what one block of a report may measure.
type Measurement struct {
	Name         string
	Alternatives [][sha512.Size384]byte // any one of these; never none
}

// Matches reports whether value is one of the alternatives.
func (m Measurement) Matches(value []byte) bool {
	for _, a := range m.Alternatives {
		if string(a[:]) == string(value) {
			return true
		}
	}
	return false
}

// Open verifies and reads a manifest. Errors wrap [xmlsig.ErrSyntax], [xmlsig.ErrSignature], [pki.ErrMalformed], [pki.ErrUntrusted] or
// [ErrFormat].
func Open(document []byte, root *x509.Certificate) (*Manifest, error) {
	m := &Manifest{Measurements: map[int]Measurement{}}
	content, err := xmlsig.Open(document, func(ders [][]byte) (*ecdsa.PublicKey, error) {
		certs, err := pki.Parse(ders)
		if err != nil {
			return nil, err
		}
		if m.Chain, err = pki.Verify(certs, root); err != nil {
			return nil, err
		}
		return m.Chain.Key(), nil
	})
	if err != nil {
		return nil, err
	}
	tag, err := xmlsig.Parse(content)
	if err != nil {
		return nil, err
	}
	return m, m.read(tag)
}

// read fills in what the signed document says.
func (m *Manifest) read(tag *xmlsig.Element) error {
	if tag.Space != spaceSWID || tag.Name != "SoftwareIdentity" {
		return fmt.Errorf("%w: the root element is %s", ErrFormat, tag.Name)
	}
	m.TagID, _ = tag.Attr("", "tagId")
	children, err := tag.Elements()
	if err != nil {
		return err
	}
	seen := map[string]*xmlsig.Element{}
	for _, child := range children {
		if child.Space != spaceSWID || seen[child.Name] != nil {
			return fmt.Errorf("%w: %s is there twice, or of another namespace", ErrFormat, child.Name)
		}
		seen[child.Name] = child
	}
	meta, payload := seen["Meta"], seen["Payload"]
	if meta == nil || payload == nil {
		return fmt.Errorf("%w: no Meta or no Payload", ErrFormat)
	}
	m.Product, _ = meta.Attr("", "product")
	m.Version, _ = meta.Attr("", "colloquialVersion")
	if m.Product == "" || m.Version == "" {
		return fmt.Errorf("%w: it does not say of which product and version it is", ErrFormat)
	}
	return m.readPayload(payload)
}

func (m *Manifest) readPayload(payload *xmlsig.Element) error {
	resources, err := payload.Elements()
	if err != nil {
		return err
	}
	if len(resources) == 0 || len(resources) > maxResources {
		return fmt.Errorf("%w: %d resources, not 1 to %d", ErrFormat, len(resources), maxResources)
	}
	seen := map[int]bool{}
	for _, r := range resources {
		index, active, measurement, err := readResource(r)
		if err != nil {
			return err
		}
		if seen[index] {
			return fmt.Errorf("%w: two measurements with the index %d", ErrFormat, index)
		}
		seen[index] = true
		if active {
			m.Measurements[index+1] = measurement
		}
	}
	if len(m.Measurements) == 0 {
		return fmt.Errorf("%w: no active measurement", ErrFormat)
	}
	return nil
}

// readResource reads one measurement with its index, from 0, and whether it is to be compared at all.
func readResource(r *xmlsig.Element) (index int, active bool, m Measurement, err error) {
	wrong := func(format string, args ...any) (int, bool, Measurement, error) {
		return 0, false, Measurement{}, fmt.Errorf("%w: a resource with "+format, append([]any{ErrFormat}, args...)...)
	}
	if children, err := r.Elements(); err != nil || len(children) > 0 || r.Space != spaceSWID || r.Name != "Resource" {
		return wrong("the name %s, or with elements in it", r.Name)
	}
	values := map[string]string{}
	hashes := map[string]string{}
	for _, a := range r.Attributes {
		switch {
		case a.Space == spaceHash:
			hashes[a.Name] = a.Value
		case a.Space == "":
			values[a.Name] = a.Value
		default:
			return wrong("an attribute %s of another namespace", a.Name)
		}
	}
	if values["type"] != "Measurement" || values["size"] != strconv.Itoa(sha512.Size384) || len(values) != 6 {
		return wrong("the type %.32q and size %.8q, or attributes that are not known", values["type"], values["size"])
	}
	m.Name = values["name"]
	switch values["active"] {
	case "True":
		active = true
	case "False":
	default:
		return wrong("active %.8q", values["active"])
	}
	if index, err = number(values["index"], maxIndex); err != nil {
		return wrong("the index %.8q", values["index"])
	}
	alternatives, err := number(values["alternatives"], maxAlternatives)
	if err != nil || alternatives == 0 || alternatives != len(hashes) {
		return wrong("%.8q alternatives and %d values", values["alternatives"], len(hashes))
	}
	for i := range alternatives {
		value, err := hex.DecodeString(hashes["Hash"+strconv.Itoa(i)])
		if err != nil || len(value) != sha512.Size384 {
			return wrong("a value %d that is not %d bytes in hex", i, sha512.Size384)
		}
		m.Alternatives = append(m.Alternatives, [sha512.Size384]byte(value))
	}
	return index, active, m, nil
}

// number reads a decimal number in its one spelling, 0 to most.
func number(text string, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most || strconv.Itoa(n) != text {
		return 0, ErrFormat
	}
	return n, nil
}
