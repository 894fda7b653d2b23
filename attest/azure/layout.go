package azure

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// MaxEvidence bounds evidence, in bytes. Layout 0, which writes a byte in up to four characters, takes 36 KiB; an event log in base64
// may take 350 KiB.
const MaxEvidence = 512 << 10

// Bounds of the members, in bytes.
const (
	maxMessage     = 1 << 10  // TPMS_ATTEST: 161 with a digest of 48 bytes
	maxSignature   = 512      // RSA: 256
	maxPCR         = 64       // SHA-256: 32
	maxReport      = 8 << 10  // the NV index of the HCL report: 2600
	maxCertificate = 4 << 10  // AMD's have up to 1700
	maxTDQuote     = 16 << 10 // with its certificates: 5006
	maxEventLog    = 256 << 10
	maxAKPublic    = 1 << 10
)

// Evidence is what a guest presents, in any layout. Nothing in it is verified.
type Evidence struct {
	Version   int      // 0, 1 or 2
	Message   []byte   // TPMS_ATTEST
	Signature []byte   // by RSASSA and SHA-256, of 256 bytes, without the TPM's header
	PCRs      [][]byte // the values of the SHA-256 bank, PCR 0 first
	HCLReport []byte   // as it is in the TPM
	VCEK      []byte   // SEV-SNP: the certificate in DER, nil where the guest has none
	TDQuote   []byte   // TDX: the quote for the TD report in HCLReport

	// Of this project's own collector, in layouts 1 and 2, nil where they are not presented.
	AKPublic []byte // the key that quoted, DER SubjectPublicKeyInfo
	EventLog []byte // TCG event log, crypto-agile format: see package eventlog
}

// A member of a layout. The name of the quote's is not among them: it is decoded in parts.
type member struct {
	name     string
	decode   decoder
	limit    int
	required bool
	field    func(*Evidence) *[]byte
}

// A layout is the members of one version for one kind.
type layout struct {
	quote   string // name of the quote's member
	bytes   decoder
	members []member
}

func reportOf(e *Evidence) *[]byte { return &e.HCLReport }
func vcekOf(e *Evidence) *[]byte   { return &e.VCEK }
func tdOf(e *Evidence) *[]byte     { return &e.TDQuote }

// own are the members of this project's collector.
var own = []member{
	{"ak_public", base64URL, maxAKPublic, false, func(e *Evidence) *[]byte { return &e.AKPublic }},
	{"event_log", base64URL, maxEventLog, false, func(e *Evidence) *[]byte { return &e.EventLog }},
}

// layoutOf returns the layout of a version. The first, which has no number in it, is what a Rust program's structures look like
// in JSON; versions 1 and 2 are the same but for what the guest put into the HCL report.
func layoutOf(kind attest.Kind, version int) layout {
	hardware := member{"vcek", base64URL, maxCertificate, false, vcekOf}
	if kind == attest.AzTDXvTPM {
		hardware = member{"td_quote", base64URL, maxTDQuote, true, tdOf}
	}
	switch {
	case version > 0:
		return layout{"tpm_quote", lowerHex, append([]member{{"hcl_report", base64URL, maxReport, true, reportOf}, hardware}, own...)}
	case kind == attest.AzTDXvTPM:
		return layout{"tpm_quote", numbers, []member{
			{"hcl_report", numbers, maxReport, true, reportOf}, {"td_quote", numbers, maxTDQuote, true, tdOf},
		}}
	default:
		return layout{"quote", numbers, []member{
			{"report", numbers, maxReport, true, reportOf}, {"vcek", pemCertificate, maxCertificate, false, vcekOf},
		}}
	}
}

// ParseEvidence parses the JSON of a kind, az-snp-vtpm or az-tdx-vtpm, in any layout. Its errors are *attest.Refusal: CodeTooLarge,
// CodeVersionUnsupported, and CodeMalformed for whatever is not exactly one layout, members that the layout does not have included.
func ParseEvidence(kind attest.Kind, data []byte) (*Evidence, error) {
	if len(data) > MaxEvidence {
		return nil, attest.Refuse(attest.CodeTooLarge, "%d bytes of evidence; the limit is %d", len(data), MaxEvidence)
	}
	members, err := strictjson.Object(data)
	if err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "the evidence: %w", err)
	}
	e := new(Evidence)
	if e.Version, err = versionOf(members); err != nil {
		return nil, err
	}
	l := layoutOf(kind, e.Version)
	known := map[string]bool{"version": true, l.quote: true}
	if err := e.parseQuote(l, members[l.quote]); err != nil {
		return nil, err
	}
	for _, m := range l.members {
		known[m.name] = true
		value, there := members[m.name]
		if absent := !there || string(value) == "null"; absent && m.required {
			return nil, attest.Refuse(attest.CodeMalformed, "layout %d without %s", e.Version, m.name)
		} else if absent {
			continue
		}
		b, err := m.decode(value, m.limit)
		if err != nil {
			return nil, undecodable(m.name, err)
		}
		if len(b) == 0 && m.required {
			return nil, attest.Refuse(attest.CodeMalformed, "layout %d with an empty %s", e.Version, m.name)
		}
		if len(b) > 0 {
			*m.field(e) = b
		}
	}
	for name := range members {
		if !known[name] {
			return nil, attest.Refuse(attest.CodeMalformed, "layout %d of %s has no member %.40q", e.Version, kind, name)
		}
	}
	return e, nil
}

// versionOf returns the version, 0 where the evidence has none.
func versionOf(members map[string]json.RawMessage) (int, error) {
	value, there := members["version"]
	if !there {
		return 0, nil
	}
	n, err := strconv.ParseUint(string(value), 10, 32)
	if err != nil {
		return 0, attest.Refuse(attest.CodeMalformed, "the layout's version is not a number")
	}
	if n != 1 && n != 2 {
		return 0, attest.Refuse(attest.CodeVersionUnsupported, "layout %d; 1 and 2 are verified, and the one without a version", n)
	}
	return int(n), nil
}

func (e *Evidence) parseQuote(l layout, value json.RawMessage) error {
	members, err := strictjson.Object(value)
	if err != nil {
		return attest.Refuse(attest.CodeMalformed, "layout %d without %s, an object", e.Version, l.quote)
	}
	if len(members) != 3 {
		return attest.Refuse(attest.CodeMalformed, "%s has %d members, not message, signature and pcrs", l.quote, len(members))
	}
	if e.Message, err = l.bytes(members["message"], maxMessage); err != nil {
		return undecodable(l.quote+".message", err)
	}
	if e.Signature, err = l.bytes(members["signature"], maxSignature); err != nil {
		return undecodable(l.quote+".signature", err)
	}
	values, err := list(members["pcrs"])
	if err != nil {
		return undecodable(l.quote+".pcrs", err)
	}
	if len(values) != tpm.NumPCRs {
		return attest.Refuse(attest.CodePCRCount, "%d PCR values are presented; all %d are needed", len(values), tpm.NumPCRs)
	}
	e.PCRs = make([][]byte, len(values))
	for i, value := range values {
		if e.PCRs[i], err = l.bytes(value, maxPCR); err != nil {
			return undecodable(l.quote+".pcrs", err)
		}
	}
	return nil
}

func undecodable(name string, err error) error {
	if errors.Is(err, errSize) {
		return attest.Refuse(attest.CodeTooLarge, "%s: %w", name, err)
	}
	return attest.Refuse(attest.CodeMalformed, "%s: %w", name, err)
}

// Marshal returns the JSON of the kind that [ParseEvidence] reads, of layout 1 or 2.
func (e *Evidence) Marshal(kind attest.Kind) ([]byte, error) {
	if e.Version != 1 && e.Version != 2 {
		return nil, errors.New("azure: only layouts 1 and 2 are written")
	}
	pcrs := make([]string, len(e.PCRs))
	for i, value := range e.PCRs {
		pcrs[i] = hex.EncodeToString(value)
	}
	document := map[string]any{
		"version": e.Version,
		"tpm_quote": map[string]any{
			"message": hex.EncodeToString(e.Message), "signature": hex.EncodeToString(e.Signature), "pcrs": pcrs,
		},
	}
	for _, m := range layoutOf(kind, e.Version).members {
		if value := *m.field(e); len(value) > 0 || m.required {
			document[m.name] = base64.URLEncoding.EncodeToString(value)
		}
	}
	return json.Marshal(document)
}
