// Package sample verifies the unsigned test evidence of KBS clients: the kinds sample and sampledevice. It proves nothing whatever
// and exists so that unmodified clients can be driven against a development server; a production server has no Verifier of
// this package, and the kinds are their own, so no policy for hardware matches them.
//
// Evidence is JSON, {"svn":"1","report_data":"<base64 of the digest>"}, of at most [MaxEvidence] bytes. report_data is exactly the
// expected digest, without padding. Members that are not known are ignored, as the protocol has it; one that is there twice is
// refused. The claims are sample.svn and report_data.
package sample

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"

	"github.com/vouchsafe/vouchsafe/attest"
)

// MaxEvidence is how large evidence may be, in bytes. Clients send 90.
const MaxEvidence = 4 << 10

// maxSVN is how long svn may be: room for any number, none for a policy's rules to drown in.
const maxSVN = 32

// Verifier "appraises" evidence of kind sample or sampledevice.
type Verifier struct{ kind attest.Kind }

// New returns a Verifier of kind sample.
func New() *Verifier { return &Verifier{attest.Sample} }

// NewDevice returns a Verifier of kind sampledevice.
func NewDevice() *Verifier { return &Verifier{attest.SampleDevice} }

// Kind returns attest.Sample or attest.SampleDevice.
func (v *Verifier) Kind() attest.Kind { return v.kind }

// Verify checks the binding, and nothing else. It refuses with CodeTooLarge, CodeMalformed and CodeBinding.
func (v *Verifier) Verify(_ context.Context, in attest.Input) (*attest.Claims, error) {
	svn, reportData, err := parse(in.Evidence)
	if err != nil {
		return nil, err
	}
	if err := in.Binding.Exact(reportData); err != nil {
		return nil, err
	}
	claims := &attest.Claims{
		Kind:       v.kind,
		Bound:      attest.Ptr(in.Binding.IsBound()),
		ReportData: hex.EncodeToString(reportData),
		Sample:     &attest.SampleClaims{SVN: svn},
	}
	if in.Init != nil {
		// There is no hardware to carry a document's digest.
		claims.InitDataBound = attest.Ptr(false)
	}
	return claims, nil
}

// maxReportData is how long report data may be, in bytes: the longest digest.
const maxReportData = 64

// Evidence returns what a client sends for a digest.
func Evidence(svn string, digest []byte) []byte {
	text, err := json.Marshal(map[string]string{"svn": svn, "report_data": base64.StdEncoding.EncodeToString(digest)})
	if err != nil {
		panic(err) // strings always marshal
	}
	return text
}

func parse(data []byte) (svn string, reportData []byte, err error) {
	if len(data) > MaxEvidence {
		return "", nil, attest.Refuse(attest.CodeTooLarge, "evidence of %d bytes: at most %d are read", len(data), MaxEvidence)
	}
	malformed := func(what string) (string, []byte, error) {
		return "", nil, attest.Refuse(attest.CodeMalformed, "sample evidence: %s", what)
	}
	members := map[string]json.RawMessage{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return malformed("not a JSON object")
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return malformed("a malformed member")
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return malformed("a malformed value")
		}
		if members[name.(string)] != nil {
			return malformed("a member twice")
		}
		members[name.(string)] = value
	}
	if _, err := decoder.Token(); err != nil {
		return malformed("the object has no end")
	}
	if _, err := decoder.Token(); err != io.EOF {
		return malformed("more data after the object")
	}
	var text string
	if members["svn"] != nil && (json.Unmarshal(members["svn"], &svn) != nil || len(svn) > maxSVN) {
		return malformed("svn is not a short string")
	}
	if members["report_data"] == nil || json.Unmarshal(members["report_data"], &text) != nil {
		return malformed("report_data is not a string")
	}
	reportData, err = base64.StdEncoding.DecodeString(text)
	// Decoding passes over line breaks and bits that no byte takes, so that one digest could be written in several ways.
	if err != nil || base64.StdEncoding.EncodeToString(reportData) != text || len(reportData) == 0 || len(reportData) > maxReportData {
		return malformed("report_data is not the standard base64 of 1 to 64 bytes")
	}
	return svn, reportData, nil
}
