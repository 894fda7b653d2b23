package provenance

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// The limits of documents.
const (
	// MaxDocument is the largest envelope or other document in bytes. Provenance of large builds, with all that they fetched, has some hundred KiB.
	MaxDocument = 1 << 20
	// MaxSignatures bounds the signatures of an envelope, each of which is tried with every key.
	MaxSignatures = 16
	// maxSignature is the size of a signature of the largest RSA key in bytes.
	maxSignature = maxRSA / 8
)

// PayloadType is that of an in-toto Statement in an envelope.
const PayloadType = "application/vnd.in-toto+json"

type envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     string              `json:"payload"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	KeyID string `json:"keyid"` // a hint, not looked at
	Sig   string `json:"sig"`
}

// opened is an envelope with its parts decoded.
type opened struct {
	payload    []byte
	signatures [][]byte
}

// open reads a DSSE envelope, strictly: nothing in it is unknown, there twice or too long.
func open(document []byte) (opened, *Refusal) {
	if len(document) > MaxDocument {
		return opened{}, malformed("the envelope has %d bytes, more than %d", len(document), MaxDocument)
	}
	var e envelope
	if err := strictjson.Unmarshal(document, &e); err != nil {
		return opened{}, malformed("not a DSSE envelope: %v", err)
	}
	if e.PayloadType != PayloadType {
		return opened{}, malformed("the payload type is %.64q, not %q", e.PayloadType, PayloadType)
	}
	if len(e.Signatures) == 0 || len(e.Signatures) > MaxSignatures {
		return opened{}, malformed("the envelope has %d signatures, not 1 to %d", len(e.Signatures), MaxSignatures)
	}
	var o opened
	var err error
	if o.payload, err = decodeBase64(e.Payload); err != nil || len(o.payload) == 0 {
		return opened{}, malformed("the payload is not base64")
	}
	for i, s := range e.Signatures {
		sig, err := decodeBase64(s.Sig)
		if err != nil || len(sig) == 0 || len(sig) > maxSignature {
			return opened{}, malformed("signature %d is not base64 of 1 to %d bytes", i+1, maxSignature)
		}
		o.signatures = append(o.signatures, sig)
	}
	return o, nil
}

// decodeBase64 reads base64 with padding in either alphabet, as DSSE asks of verifiers, and in one spelling only.
func decodeBase64(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, base64.CorruptInputError(strings.IndexAny(text, "\r\n"))
	}
	if strings.ContainsAny(text, "-_") {
		return base64.URLEncoding.Strict().DecodeString(text)
	}
	return base64.StdEncoding.Strict().DecodeString(text)
}

// pae is what a DSSE signature is over: DSSEv1's pre-authentication encoding.
func pae(payloadType string, payload []byte) []byte {
	return append(fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(payloadType), payloadType, len(payload)), payload...)
}
