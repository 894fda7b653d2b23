package tpm

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/jsonscan"
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

// The JSON form, as it is written.
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

// ParseEvidence parses the JSON form. Members it does not know are passed over, as KBS servers do; one that is there twice is not, and neither
// is base64 in another spelling than an encoder's. Its errors are *attest.Refusal with CodeTooLarge, CodeMalformed or CodePCRSelection.
func ParseEvidence(data []byte) (*Evidence, error) {
	if len(data) > MaxEvidence {
		return nil, attest.Refuse(attest.CodeTooLarge, "%d bytes of TPM evidence; the limit is %d", len(data), MaxEvidence)
	}
	r := evidenceReader{Scanner: jsonscan.New(data), e: &Evidence{}}
	r.Members([]string{"ak_public", "tpm_quote", "event_log", "ak_tpm_public", "ak_certificates", "bank"}, func(i int) {
		switch i {
		case 0:
			r.e.AKPublic = r.bytes()
		case 1:
			r.quote()
		case 2:
			r.e.EventLog = r.bytes()
		case 3:
			r.e.AKTPMPublic = r.bytes()
		case 4:
			r.certificates()
		case 5:
			r.e.Bank = string(r.String())
		}
	})
	r.End()
	if err := r.Err(); err != nil {
		return nil, err
	}
	if len(r.e.AKPublic) == 0 || len(r.e.Message) == 0 || len(r.e.Signature) == 0 {
		return nil, attest.Refuse(attest.CodeMalformed, "TPM evidence without ak_public, tpm_quote.message or tpm_quote.signature")
	}
	if len(r.e.PCRs) != NumPCRs {
		return nil, attest.Refuse(attest.CodePCRSelection, "%d PCR values are presented; %d are expected", len(r.e.PCRs), NumPCRs)
	}
	return r.e, nil
}

// maxPCR bounds a PCR's value, in bytes: that of SHA-512.
const maxPCR = 64

// evidenceReader reads the JSON form.
type evidenceReader struct {
	*jsonscan.Scanner
	e *Evidence
}

// bytes reads base64. The evidence as a whole is bounded, and each structure by its parser.
func (r *evidenceReader) bytes() []byte { return r.Base64(base64.StdEncoding, MaxEvidence) }

func (r *evidenceReader) certificates() {
	r.Array(func() {
		if len(r.e.AKCertificates) == maxCertificates {
			r.Refuse(attest.Refuse(attest.CodeTooLarge, "over %d certificates", maxCertificates))
			return
		}
		r.e.AKCertificates = append(r.e.AKCertificates, r.bytes())
	})
}

func (r *evidenceReader) quote() {
	r.Members([]string{"signature", "message", "pcrs"}, func(i int) {
		switch i {
		case 0:
			r.e.Signature = r.bytes()
		case 1:
			r.e.Message = r.bytes()
		case 2:
			r.e.PCRs = r.pcrs()
		}
	})
}

func (r *evidenceReader) pcrs() [][]byte {
	values := make([][]byte, 0, NumPCRs)
	all := make([]byte, 0, NumPCRs*sha256.Size)
	r.Array(func() {
		if len(values) == NumPCRs {
			r.Refuse(attest.Refuse(attest.CodePCRSelection, "over %d PCR values are presented", NumPCRs))
			return
		}
		start := len(all)
		all = r.AppendHex(all, maxPCR)
		values = append(values, all[start:len(all):len(all)])
	})
	return values
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
