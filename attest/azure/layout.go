package azure

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/jsonscan"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
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

// A member is one that some layout has.
type member uint

const (
	version member = 1 << iota
	quote          // of layout 0 for az-snp-vtpm
	tpmQuote
	report // of layout 0 for az-snp-vtpm
	hclReport
	vcek
	tdQuote
	akPublic // of this project's collector, as is the next
	eventLog
)

// memberNames are the names of the members, in their order.
var memberNames = [...]string{"version", "quote", "tpm_quote", "report", "hcl_report", "vcek", "td_quote", "ak_public", "event_log"}

// layoutOf returns the members that a layout must have and those that it may have besides. The first, which has no number in it, is what a
// Rust program's structures look like in JSON; versions 1 and 2 are the same but for what the guest put into the HCL report.
func layoutOf(kind attest.Kind, number int) (must, may member) {
	switch {
	case number > 0 && kind == attest.AzTDXvTPM:
		return version | tpmQuote | hclReport | tdQuote, akPublic | eventLog
	case number > 0:
		return version | tpmQuote | hclReport, vcek | akPublic | eventLog
	case kind == attest.AzTDXvTPM:
		return tpmQuote | hclReport | tdQuote, 0
	default:
		return quote | report, vcek
	}
}

// ParseEvidence parses the JSON of a kind, az-snp-vtpm or az-tdx-vtpm, in any layout. Its errors are *attest.Refusal: CodeTooLarge,
// CodeVersionUnsupported, CodePCRCount, and CodeMalformed for whatever is not exactly one layout, members that the layout does not have included.
func ParseEvidence(kind attest.Kind, data []byte) (*Evidence, error) {
	return parseInto(make(space, min(spaceSize, len(data))), kind, data)
}

// parseInto parses as ParseEvidence does, and decodes into the space given, which the evidence then is a part of.
func parseInto(decoded space, kind attest.Kind, data []byte) (*Evidence, error) {
	if len(data) > MaxEvidence {
		return nil, attest.Refuse(attest.CodeTooLarge, "%d bytes of evidence; the limit is %d", len(data), MaxEvidence)
	}
	r := reader{Scanner: jsonscan.New(data), e: new(Evidence), decoded: decoded}
	r.TooLong = attest.CodeTooLarge
	r.document()
	r.End()
	if err := r.Err(); err != nil {
		return nil, err
	}
	return r.e, r.check(kind)
}

// reader reads evidence in one pass. The layout is known only when all of it was read, since the version may come last: until then a member is
// taken in the form of any layout, and what there was is noted.
type reader struct {
	*jsonscan.Scanner
	e       *Evidence
	decoded space  // what is written in text is decoded into it
	seen    member // that are there
	present member // that are there and not null
	text    bool   // whether bytes were written in text
	numbers bool   // whether bytes were written in numbers
	pem     bool   // whether the certificate is in PEM
}

func (r *reader) document() {
	r.Object(func(name []byte) {
		for i, known := range memberNames {
			if string(name) != known {
				continue
			}
			m := member(1) << i
			if r.seen&m != 0 {
				r.Fail("member %s twice", name)
			}
			r.seen |= m
			if m != version && r.Null() {
				return // as if it were absent
			}
			r.present |= m
			r.member(m)
			return
		}
		r.Fail("no layout has a member %.40q", name)
	})
}

func (r *reader) member(m member) {
	switch m {
	case version:
		r.version()
	case quote, tpmQuote:
		r.quote()
	case report, hclReport:
		r.e.HCLReport = r.bytes("the HCL report", maxReport, r.decoded.decodeBase64URL)
	case vcek:
		r.e.VCEK = r.certificate()
	case tdQuote:
		r.e.TDQuote = r.bytes("td_quote", maxTDQuote, r.decoded.decodeBase64URL)
	case akPublic:
		r.e.AKPublic = r.bytes("ak_public", maxAKPublic, r.decoded.decodeBase64URL)
	case eventLog:
		r.e.EventLog = r.bytes("event_log", maxEventLog, r.decoded.decodeBase64URL)
	}
}

func (r *reader) version() {
	n := r.Uint(math.MaxUint32)
	if r.Err() == nil && n != 1 && n != 2 {
		r.Refuse(attest.Refuse(attest.CodeVersionUnsupported, "layout %d; 1 and 2 are verified, and the one without a version", n))
	}
	r.e.Version = int(n)
}

// quote reads the TPM's quote and the PCR values, each there exactly once.
func (r *reader) quote() {
	var message, signature, pcrs bool
	r.Object(func(name []byte) {
		switch string(name) {
		case "message":
			r.Once(&message, name)
			r.e.Message = r.bytes("message", maxMessage, r.decoded.decodeHex)
		case "signature":
			r.Once(&signature, name)
			r.e.Signature = r.bytes("signature", maxSignature, r.decoded.decodeHex)
		case "pcrs":
			r.Once(&pcrs, name)
			r.pcrs()
		default:
			r.Fail("a quote has no member %.40q", name)
		}
	})
	if !message || !signature || !pcrs {
		r.Fail("a quote without message, signature or pcrs ends")
	}
}

func (r *reader) pcrs() {
	values := make([][]byte, 0, tpm.NumPCRs)
	r.Array(func() {
		if len(values) == tpm.NumPCRs {
			r.Refuse(attest.Refuse(attest.CodePCRCount, "over %d PCR values are presented", tpm.NumPCRs))
			return
		}
		values = append(values, r.bytes("a PCR value", maxPCR, r.decoded.decodeHex))
	})
	r.e.PCRs = values
}

// bytes reads at most limit bytes, in numbers or in text of an encoding. What is empty is nil.
func (r *reader) bytes(what string, limit int, decode func(text []byte, limit int) ([]byte, error)) []byte {
	if r.Peek() == '[' {
		r.numbers = true
		return emptyIsNil(r.Bytes(limit))
	}
	r.text = true
	b, err := decode(r.Text(), limit)
	if err != nil {
		r.refuse(what, err)
	}
	return emptyIsNil(b)
}

// certificate reads the VCEK's certificate, in base64url or in PEM.
func (r *reader) certificate() []byte {
	raw := r.Raw()
	if r.Err() != nil {
		return nil
	}
	decode := r.decoded.base64URL
	if bytes.HasPrefix(raw, []byte(`"-----`)) {
		r.pem = true
		decode = pemCertificate
	}
	der, err := decode(raw, maxCertificate)
	if err != nil {
		r.refuse("vcek", err)
	}
	return emptyIsNil(der)
}

func (r *reader) refuse(what string, err error) {
	code := attest.CodeMalformed
	if errors.Is(err, errSize) {
		code = attest.CodeTooLarge
	}
	r.Refuse(attest.Refuse(code, "%s: %w", what, err))
}

func emptyIsNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// check holds what was read against the layout that it says it has.
func (r *reader) check(kind attest.Kind) error {
	must, may := layoutOf(kind, r.e.Version)
	if missing := must &^ r.present; missing != 0 {
		return attest.Refuse(attest.CodeMalformed, "layout %d of %s without %s", r.e.Version, kind, missing)
	}
	if more := r.seen &^ (must | may); more != 0 {
		return attest.Refuse(attest.CodeMalformed, "layout %d of %s has no member %s", r.e.Version, kind, more)
	}
	if r.e.HCLReport == nil || must&tdQuote != 0 && r.e.TDQuote == nil {
		return attest.Refuse(attest.CodeMalformed, "an HCL report or td_quote that is empty")
	}
	if len(r.e.PCRs) != tpm.NumPCRs {
		return attest.Refuse(attest.CodePCRCount, "%d PCR values are presented; all %d are needed", len(r.e.PCRs), tpm.NumPCRs)
	}
	first := r.e.Version == 0
	if r.text && first || r.numbers && !first || r.e.VCEK != nil && r.pem != first {
		return attest.Refuse(attest.CodeMalformed, "bytes in another encoding than layout %d has", r.e.Version)
	}
	return nil
}

// String returns the names of members.
func (m member) String() string {
	var names []string
	for i, name := range memberNames {
		if m&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
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
	text := base64.URLEncoding.EncodeToString
	document["hcl_report"] = text(e.HCLReport)
	if kind == attest.AzTDXvTPM {
		document["td_quote"] = text(e.TDQuote)
	}
	_, may := layoutOf(kind, e.Version)
	for m, value := range map[member][]byte{vcek: e.VCEK, akPublic: e.AKPublic, eventLog: e.EventLog} {
		if may&m != 0 && len(value) > 0 {
			document[m.String()] = text(value)
		}
	}
	return json.Marshal(document)
}
