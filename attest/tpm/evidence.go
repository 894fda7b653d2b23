package tpm

import (
	"encoding/hex"
	"encoding/json"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
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

// The JSON form.
type (
	document struct {
		AKPublic       []byte   `json:"ak_public"`
		AKTPMPublic    []byte   `json:"ak_tpm_public,omitempty"`
		AKCertificates [][]byte `json:"ak_certificates,omitempty"`
		Bank           string   `json:"bank,omitempty"`
		Quote          *quote   `json:"tpm_quote"`
		EventLog       []byte   `json:"event_log,omitempty"`
	}
	quote struct {
		Signature []byte   `json:"signature"`
		Message   []byte   `json:"message"`
		PCRs      []string `json:"pcrs"`
	}
)

// ParseEvidence parses the JSON form. Members it does not know are ignored, as KBS servers do; one that is there twice is not.
// Its errors are *attest.Refusal with CodeTooLarge, CodeMalformed or CodePCRSelection.
func ParseEvidence(data []byte) (*Evidence, error) {
	if len(data) > MaxEvidence {
		return nil, attest.Refuse(attest.CodeTooLarge, "%d bytes of TPM evidence; the limit is %d", len(data), MaxEvidence)
	}
	var doc document
	if err := strictjson.UnmarshalNewer(data, &doc); err != nil {
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
		AKPublic: doc.AKPublic, AKTPMPublic: doc.AKTPMPublic, AKCertificates: doc.AKCertificates, Bank: doc.Bank,
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
	return e, nil
}

// MarshalJSON returns the form that [ParseEvidence] reads.
func (e *Evidence) MarshalJSON() ([]byte, error) {
	doc := document{
		AKPublic: e.AKPublic, AKTPMPublic: e.AKTPMPublic, AKCertificates: e.AKCertificates, Bank: e.Bank, EventLog: e.EventLog,
		Quote: &quote{Signature: e.Signature, Message: e.Message},
	}
	for _, value := range e.PCRs {
		doc.Quote.PCRs = append(doc.Quote.PCRs, hex.EncodeToString(value))
	}
	return json.Marshal(doc)
}
