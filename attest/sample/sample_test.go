package sample

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

var digest = []byte("0123456789abcdef0123456789abcdef0123456789abcdef")

func verify(t *testing.T, v *Verifier, evidence []byte) (*attest.Claims, error) {
	return v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.BoundTo(digest), Time: time.Now()})
}

func TestVerify(t *testing.T) {
	for _, v := range []*Verifier{New(), NewDevice()} {
		claims, err := verify(t, v, Evidence("1", digest))
		if err != nil {
			t.Fatal(err)
		}
		if claims.Kind != v.Kind() || !*claims.Bound || claims.Sample.SVN != "1" || claims.Debug != nil || claims.HardwareRoot != "" {
			t.Errorf("claims %+v", claims)
		}
	}
	in := attest.Input{Evidence: Evidence("1", digest), Binding: attest.BoundTo(digest), Init: &attest.InitData{}}
	claims, err := New().Verify(t.Context(), in)
	if err != nil || *claims.InitDataBound {
		t.Errorf("init-data that nothing carries: %+v, %v", claims, err)
	}
}

func TestRefusals(t *testing.T) {
	const b64 = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm"
	for name, test := range map[string]struct {
		evidence string
		want     attest.Code
	}{
		"good":             {`{"svn":"1","report_data":"` + b64 + `","more":{"a":[1]}}`, ""},
		"no svn":           {`{"report_data":"` + b64 + `"}`, ""},
		"padded digest":    {string(Evidence("1", append(digest, make([]byte, 16)...))), attest.CodeBinding},
		"digest cut off":   {string(Evidence("1", digest[:32])), attest.CodeBinding},
		"other":            {string(Evidence("1", make([]byte, 48))), attest.CodeBinding},
		"empty":            {``, attest.CodeMalformed},
		"list":             {`[]`, attest.CodeMalformed},
		"no report data":   {`{"svn":"1"}`, attest.CodeMalformed},
		"null":             {`{"report_data":null}`, attest.CodeMalformed},
		"empty digest":     {`{"report_data":""}`, attest.CodeMalformed},
		"twice":            {`{"report_data":"` + b64 + `","report_data":"` + b64 + `"}`, attest.CodeMalformed},
		"svn a number":     {`{"svn":1,"report_data":"` + b64 + `"}`, attest.CodeMalformed},
		"svn endless":      {`{"svn":"` + strings.Repeat("1", 33) + `","report_data":"` + b64 + `"}`, attest.CodeMalformed},
		"more":             {`{"report_data":"` + b64 + `"}{}`, attest.CodeMalformed},
		"unfinished":       {`{"report_data":"` + b64 + `"`, attest.CodeMalformed},
		"base64url":        {`{"report_data":"__8="}`, attest.CodeMalformed},
		"base64 with line": {`{"report_data":"` + b64[:8] + `\n` + b64[8:] + `"}`, attest.CodeMalformed},
		"too long":         {`{"report_data":"` + b64 + `"}` + strings.Repeat(" ", MaxEvidence), attest.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := verify(t, New(), []byte(test.evidence))
			var refusal *attest.Refusal
			if test.want == "" && err != nil || test.want != "" && (!errors.As(err, &refusal) || refusal.Code != test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
	_, err := New().Verify(t.Context(), attest.Input{Evidence: Evidence("1", digest)})
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != attest.CodeBinding {
		t.Errorf("without a binding: %v", err)
	}
}

// check holds that nothing passes that does not carry the digest, whatever it looks like.
func check(t *testing.T, input []byte) {
	claims, err := verify(t, New(), input)
	var refusal *attest.Refusal
	if err != nil && !errors.As(err, &refusal) {
		t.Fatalf("an error of another kind: %v", err)
	}
	if err == nil && (!strings.Contains(string(input), "report_data") || len(claims.Sample.SVN) > maxSVN) {
		t.Fatalf("accepted %q", input)
	}
}

func seeds() [][]byte {
	return [][]byte{Evidence("1", digest), []byte(`{ "x" : [ 1, {"y":null} ], "svn":"é","report_data":"AA==" }`)}
}

func FuzzVerify(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(check)
}

func TestMutations(t *testing.T) { mutate.Run(t, seeds(), check) }
