package tpm

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/vouchsafe/vouchsafe/attest"
)

// MaxEvidence bounds a TPM's evidence, in bytes. All of it is the event log, in base64: the longest logs seen are 75 KB, and
// firmware commonly reserves 64 or 256 KiB.
const MaxEvidence = 512 << 10

// maxCertificates bounds ak_certificates: a leaf and two intermediates, and one to spare.
const maxCertificates = 4

// Evidence is a TPM's evidence as JSON; the package documentation has its members.
type Evidence struct {
	AKPublic       []byte   // DER SubjectPublicKeyInfo
	AKTPMPublic    []byte   // TPMT_PUBLIC, or nil
	AKCertificates [][]byte // DER, leaf first, or nil
	Bank           string   // "sha256", "sha384", or "" for sha256
	Signature      []byte   // TPMT_SIGNATURE
	Message        []byte   // TPMS_ATTEST
	PCRs           [][]byte // values of PCRs 0 to 23
	EventLog       []byte   // TCG event log, or nil
}

// The JSON form. blob and list refuse a member that is there twice, which encoding/json would let win silently.
type (
	document struct {
		AKPublic       blob   `json:"ak_public"`
		AKTPMPublic    blob   `json:"ak_tpm_public,omitempty"`
		AKCertificates list   `json:"ak_certificates,omitempty"`
		Bank           text   `json:"bank,omitempty"`
		Quote          *quote `json:"tpm_quote"`
		EventLog       blob   `json:"event_log,omitempty"`
	}
	quote struct {
		Signature blob `json:"signature"`
		Message   blob `json:"message"`
		PCRs      list `json:"pcrs"`
	}
	blob []byte
	list []string
	text string
)

var errTwice = errors.New("a member is there twice")

func isNull(raw []byte) bool { return bytes.Equal(raw, []byte("null")) }

func (b *blob) UnmarshalJSON(raw []byte) error {
	if *b != nil {
		return errTwice
	}
	if isNull(raw) {
		return nil
	}
	if len(raw) < 2 || raw[0] != '"' {
		return errors.New("not a string of base64")
	}
	body := raw[1 : len(raw)-1]
	if bytes.IndexByte(body, '\\') >= 0 { // some writers escape the solidus
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		body = []byte(s)
	}
	var err error
	*b, err = decodeBase64(body)
	return err
}

// decodeBase64 decodes standard base64 with padding. encoding/base64 skips line breaks, which have no place in JSON.
func decodeBase64(text []byte) ([]byte, error) {
	if bytes.ContainsAny(text, "\r\n") {
		return nil, errors.New("base64 with line breaks")
	}
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(decoded, text)
	return decoded[:n], err
}

func (b blob) MarshalJSON() ([]byte, error) { return json.Marshal([]byte(b)) }

func (l *list) UnmarshalJSON(raw []byte) error {
	if *l != nil {
		return errTwice
	}
	return json.Unmarshal(raw, (*[]string)(l))
}

func (t *text) UnmarshalJSON(raw []byte) error {
	if *t != "" {
		return errTwice
	}
	return json.Unmarshal(raw, (*string)(t))
}

// ParseEvidence parses the JSON form. Members it does not know are ignored, as KBS servers do; one that is there twice is not.
// Its errors are *attest.Refusal with CodeTooLarge, CodeMalformed or CodePCRSelection.
func ParseEvidence(data []byte) (*Evidence, error) {
	if len(data) > MaxEvidence {
		return nil, attest.Refuse(attest.CodeTooLarge, "%d bytes of TPM evidence; the limit is %d", len(data), MaxEvidence)
	}
	var doc document
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "TPM evidence: %w", err)
	}
	if doc.Quote == nil || len(doc.AKPublic) == 0 || len(doc.Quote.Message) == 0 || len(doc.Quote.Signature) == 0 {
		return nil, attest.Refuse(attest.CodeMalformed, "TPM evidence without ak_public, tpm_quote.message or tpm_quote.signature")
	}
	if len(doc.Quote.PCRs) != NumPCRs {
		return nil, attest.Refuse(attest.CodePCRSelection, "%d PCR values are presented; %d are expected", len(doc.Quote.PCRs), NumPCRs)
	}
	if len(doc.AKCertificates) > maxCertificates {
		return nil, attest.Refuse(attest.CodeTooLarge, "%d certificates; the limit is %d", len(doc.AKCertificates), maxCertificates)
	}
	e := &Evidence{
		AKPublic: doc.AKPublic, AKTPMPublic: doc.AKTPMPublic, Bank: string(doc.Bank),
		Signature: doc.Quote.Signature, Message: doc.Quote.Message, EventLog: doc.EventLog,
		PCRs: make([][]byte, NumPCRs),
	}
	for i, text := range doc.Quote.PCRs {
		value, err := hex.DecodeString(text)
		if err != nil {
			return nil, attest.Refuse(attest.CodeMalformed, "PCR %d is not hex: %w", i, err)
		}
		e.PCRs[i] = value
	}
	for i, text := range doc.AKCertificates {
		der, err := decodeBase64([]byte(text))
		if err != nil {
			return nil, attest.Refuse(attest.CodeMalformed, "ak_certificates[%d] is not base64: %w", i, err)
		}
		e.AKCertificates = append(e.AKCertificates, der)
	}
	return e, nil
}

// MarshalJSON returns the form that [ParseEvidence] reads.
func (e *Evidence) MarshalJSON() ([]byte, error) {
	doc := document{
		AKPublic: e.AKPublic, AKTPMPublic: e.AKTPMPublic, Bank: text(e.Bank), EventLog: e.EventLog,
		Quote: &quote{Signature: e.Signature, Message: e.Message},
	}
	for _, value := range e.PCRs {
		doc.Quote.PCRs = append(doc.Quote.PCRs, hex.EncodeToString(value))
	}
	for _, der := range e.AKCertificates {
		doc.AKCertificates = append(doc.AKCertificates, base64.StdEncoding.EncodeToString(der))
	}
	return json.Marshal(doc)
}
