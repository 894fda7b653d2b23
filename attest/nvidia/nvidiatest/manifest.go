package nvidiatest

import (
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// Namespaces in the order of canonical form, which is how manifests are written here: so what is signed is what stands there, and
// nothing that makes the canonical form takes part.
const (
	tagStart = `<SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd"` +
		` xmlns:ns0="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384"` +
		` name="%s" tagId="tag-%s" version="1.0">`
	inherited = ` xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:ds="http://www.w3.org/2000/09/xmldsig#"` +
		` xmlns:ns0="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384"`
	signedInfo = `<ds:SignedInfo%s><ds:CanonicalizationMethod Algorithm="http://www.w3.org/2006/12/xml-c14n11"></ds:CanonicalizationMethod>` +
		`<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"></ds:SignatureMethod><ds:Reference URI=""><ds:Transforms>` +
		`<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"></ds:Transform>` +
		`<ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"></ds:Transform></ds:Transforms>` +
		`<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#sha384"></ds:DigestMethod>` +
		`<ds:DigestValue>%s</ds:DigestValue></ds:Reference></ds:SignedInfo>`
)

// Golden is what a manifest says of one block of reports.
type Golden struct {
	Block    int
	Values   [][]byte
	Inactive bool
}

// Golden returns what d measures in its blocks from first to last, 1 to 8.
func (d *Device) Golden(first, last int) []Golden {
	var out []Golden
	for _, b := range d.Blocks {
		if int(b.Index) >= first && int(b.Index) <= last {
			out = append(out, Golden{Block: int(b.Index), Values: [][]byte{make([]byte, 48), b.Value}})
		}
	}
	return out
}

// Resource writes a measurement as a manifest has it.
func Resource(g Golden) string {
	var hashes strings.Builder
	for i, v := range g.Values {
		fmt.Fprintf(&hashes, ` ns2:Hash%d="%s"`, i, hex.EncodeToString(v))
	}
	active := "True"
	if g.Inactive {
		active = "False"
	}
	return fmt.Sprintf(`<ns0:Resource active="%s" alternatives="%d" index="%d" name="Measurement_%[3]d" size="48" type="Measurement"%s></ns0:Resource>`,
		active, len(g.Values), g.Block-1, hashes.String())
}

// Body writes an unsigned manifest in canonical form, without its end tag.
func Body(product, version string, resources ...string) string {
	return fmt.Sprintf(tagStart, product, version) +
		fmt.Sprintf(`<ns0:Meta colloquialVersion="%s" product="%s"></ns0:Meta><ns0:Payload>`, version, product) +
		strings.Join(resources, "\n") + `</ns0:Payload>`
}

// Manifest returns a signed manifest.
func (w *World) Manifest(product, version string, golden ...Golden) []byte {
	var resources []string
	for _, g := range golden {
		resources = append(resources, Resource(g))
	}
	return w.SignManifest(Body(product, version, resources...), "</SoftwareIdentity>")
}

// SignManifest signs the document of body and end, both in canonical form, and returns it with the signature between them.
func (w *World) SignManifest(body, end string) []byte {
	return []byte(body + w.Signature(body+end, w.ManifestSigner, w.ManifestCertificates()...) + end)
}

// ManifestCertificates is the chain of who signs manifests, the root last.
func (w *World) ManifestCertificates() []*x509.Certificate {
	return []*x509.Certificate{w.ManifestSigner.Certificate, w.ManifestCA.Certificate, w.ManifestRoot.Certificate}
}

// Signature returns an enveloped signature over content, a document in canonical form.
func (w *World) Signature(content string, by Authority, certs ...*x509.Certificate) string {
	digest := sha512.Sum384([]byte(content))
	value := base64.StdEncoding.EncodeToString(digest[:])
	signed := Sign(by.Key, fmt.Appendf(nil, signedInfo, inherited, value))
	var data strings.Builder
	for _, c := range certs {
		data.WriteString("<ds:X509Certificate>" + base64.StdEncoding.EncodeToString(c.Raw) + "</ds:X509Certificate>")
	}
	return `<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">` + fmt.Sprintf(signedInfo, "", value) +
		"<ds:SignatureValue>" + base64.StdEncoding.EncodeToString(signed) + "</ds:SignatureValue><ds:KeyInfo><ds:X509Data>" + data.String() +
		"</ds:X509Data></ds:KeyInfo></ds:Signature>"
}
