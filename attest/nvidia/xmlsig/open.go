package xmlsig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// ErrSignature says that a document is not signed as it must be. Errors of the caller's own come back as they are.
var ErrSignature = errors.New("xmlsig: not validly signed")

// The namespace of XML signatures, and the algorithms that are accepted.
const (
	space          = "http://www.w3.org/2000/09/xmldsig#"
	canonicalXML   = "http://www.w3.org/2006/12/xml-c14n11"
	enveloped      = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
	ecdsaSHA384    = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
	digestSHA384   = "http://www.w3.org/2001/04/xmldsig-more#sha384"
	scalarSize     = 48 // of P-384, in bytes
	maxCerts       = 8  // manifests have 4: signer, two authorities, root
	maxCertificate = 8 << 10
)

// Open verifies a document's enveloped signature and returns the canonical form of the document without it, which is exactly what was
// signed. trust is given the certificates of the signature, DER, in the order of the document, and returns the signer's key, on P-384,
// or an error, which Open returns. Other errors wrap [ErrSyntax] or [ErrSignature].
func Open(document []byte, trust func(certificates [][]byte) (*ecdsa.PublicKey, error)) ([]byte, error) {
	root, err := Parse(document)
	if err != nil {
		return nil, err
	}
	signature, err := findSignature(root)
	if err != nil {
		return nil, err
	}
	s, err := parseSignature(signature)
	if err != nil {
		return nil, err
	}
	content := canonical(root, nil, signature)
	if digest := sha512.Sum384(content); subtle.ConstantTimeCompare(digest[:], s.digest) != 1 {
		return nil, fmt.Errorf("%w: the document is not the one whose digest is signed", ErrSignature)
	}
	key, err := trust(s.certificates)
	if err != nil {
		return nil, err
	}
	if key == nil || key.Curve != elliptic.P384() {
		return nil, fmt.Errorf("%w: the signer's key is not on P-384", ErrSignature)
	}
	around := append(root.declarations[:len(root.declarations):len(root.declarations)], signature.declarations...)
	digest := sha512.Sum384(canonical(s.signedInfo, around, nil))
	if !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(s.value[:scalarSize]), new(big.Int).SetBytes(s.value[scalarSize:])) {
		return nil, fmt.Errorf("%w: the signature does not verify", ErrSignature)
	}
	return content, nil
}

// findSignature returns the one signature of a document, a child of its root element.
func findSignature(root *Element) (*Element, error) {
	var found *Element
	for _, child := range root.Children {
		if child.Element != nil && child.Element.Space == space && child.Element.Name == "Signature" {
			if found != nil {
				return nil, fmt.Errorf("%w: two signatures", ErrSignature)
			}
			found = child.Element
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%w: the root element has no signature", ErrSignature)
	}
	if count(root) != 1 {
		return nil, fmt.Errorf("%w: more than one signature", ErrSignature)
	}
	return found, nil
}

// count returns how many signatures e is or has.
func count(e *Element) int {
	n := 0
	if e.Space == space && e.Name == "Signature" {
		n++
	}
	for _, child := range e.Children {
		if child.Element != nil {
			n += count(child.Element)
		}
	}
	return n
}

// parsedSignature is what a ds:Signature says.
type parsedSignature struct {
	signedInfo   *Element
	digest       []byte // 48 bytes
	value        []byte // r and s
	certificates [][]byte
}

func parseSignature(signature *Element) (*parsedSignature, error) {
	top, err := members(signature, "SignedInfo", "SignatureValue", "KeyInfo")
	if err != nil {
		return nil, err
	}
	s := &parsedSignature{signedInfo: top[0]}
	info, err := members(top[0], "CanonicalizationMethod", "SignatureMethod", "Reference")
	if err != nil {
		return nil, err
	}
	reference, err := membersOf(info[2], []string{"URI", ""}, "Transforms", "DigestMethod", "DigestValue")
	if err != nil {
		return nil, err
	}
	transforms, err := members(reference[0], "Transform", "Transform")
	if err != nil {
		return nil, err
	}
	for _, method := range []struct {
		element *Element
		is      string
	}{
		{info[0], canonicalXML}, {info[1], ecdsaSHA384}, {transforms[0], enveloped}, {transforms[1], canonicalXML}, {reference[1], digestSHA384},
	} {
		if _, err := membersOf(method.element, []string{"Algorithm", method.is}); err != nil {
			return nil, err
		}
	}
	if s.digest, err = binary(reference[2], sha512.Size384, sha512.Size384); err != nil {
		return nil, err
	}
	if s.value, err = binary(top[1], 2*scalarSize, 2*scalarSize); err != nil {
		return nil, err
	}
	data, err := members(top[2], "X509Data")
	if err != nil {
		return nil, err
	}
	certificates, err := data[0].Elements()
	if err != nil {
		return nil, err
	}
	if len(certificates) == 0 || len(certificates) > maxCerts || len(data[0].Attributes) > 0 {
		return nil, fmt.Errorf("%w: X509Data has not 1 to %d certificates", ErrSignature, maxCerts)
	}
	for _, c := range certificates {
		if c.Space != space || c.Name != "X509Certificate" {
			return nil, fmt.Errorf("%w: X509Data has a %s", ErrSignature, c.Name)
		}
		der, err := binary(c, 1, maxCertificate)
		if err != nil {
			return nil, err
		}
		s.certificates = append(s.certificates, der)
	}
	return s, nil
}

// members returns the children of e, which must be those elements of the signature's namespace and nothing else; e has no attributes.
func members(e *Element, names ...string) ([]*Element, error) { return membersOf(e, nil, names...) }

// membersOf is members for an e that has exactly the attribute of that name and value.
func membersOf(e *Element, attribute []string, names ...string) ([]*Element, error) {
	wrong := fmt.Errorf("%w: %s is not of the accepted shape", ErrSignature, e.Name)
	switch {
	case attribute == nil && len(e.Attributes) != 0:
		return nil, wrong
	case attribute != nil:
		if value, ok := e.Attr("", attribute[0]); !ok || len(e.Attributes) != 1 || value != attribute[1] {
			return nil, wrong
		}
	}
	children, err := e.Elements()
	if err != nil {
		return nil, err
	}
	if len(children) != len(names) {
		return nil, wrong
	}
	for i, child := range children {
		if child.Space != space || child.Name != names[i] {
			return nil, wrong
		}
	}
	return children, nil
}

// binary decodes an element's base64, which may be broken into lines, of least to most bytes.
func binary(e *Element, least, most int) ([]byte, error) {
	text, err := e.Content()
	if err != nil {
		return nil, err
	}
	if len(e.Attributes) > 0 {
		return nil, fmt.Errorf("%w: %s has attributes", ErrSignature, e.Name)
	}
	value, err := base64.StdEncoding.Strict().DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil || len(value) < least || len(value) > most {
		return nil, fmt.Errorf("%w: %s is not base64 of %d to %d bytes", ErrSignature, e.Name, least, most)
	}
	return value, nil
}
