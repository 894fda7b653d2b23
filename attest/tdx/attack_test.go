package tdx

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// firstTwo returns the first two certificates in PEM.
func firstTwo(chain []byte) (ders []byte) {
	for range 2 {
		block, rest := pem.Decode(chain)
		if block == nil {
			return nil
		}
		ders, chain = append(ders, block.Bytes...), rest
	}
	return ders
}

// flips changes each byte in turn. What is still accepted must say the same and be in the chain: in a certificate that is not looked at, or in
// characters that PEM passes over.
func flips(t *testing.T, evidence []byte, verify func([]byte) (*attest.Claims, error)) {
	t.Helper()
	good, err := verify(evidence)
	if err != nil {
		t.Fatal(err)
	}
	chain := bytes.Index(evidence, []byte("-----BEGIN"))
	root := bytes.LastIndex(evidence, []byte("-----BEGIN"))
	accepted := 0
	for i := 0; i < len(evidence); i += mutate.Stride(1) {
		changed := bytes.Clone(evidence)
		changed[i] ^= 1
		claims, err := verify(changed)
		if err != nil {
			var refusal *attest.Refusal
			if !errors.As(err, &refusal) {
				t.Errorf("byte %d: %v", i, err)
			}
			continue
		}
		accepted++
		if i < chain || claims.Measurement != good.Measurement || !bytes.Equal(firstTwo(changed[chain:]), firstTwo(evidence[chain:])) {
			t.Errorf("byte %d of %d, %q, changed and accepted; the chain is from %d, its root from %d", i, len(evidence), evidence[i], chain, root)
		}
	}
	if accepted == 0 {
		t.Error("the root in the evidence seems to matter, which nobody relies on")
	}
}

func TestFlips(t *testing.T) {
	s := goodSetup(t)
	for _, layout := range [][2]uint16{{4, dcaptest.BodyTD10}, {5, dcaptest.BodyTD15}} {
		flips(t, s.quote(layout[0], layout[1]).Bytes(), func(b []byte) (*attest.Claims, error) { return s.verify(t, b) })
	}
}

func TestFlipsReal(t *testing.T) {
	v, err := New(Config{Endorsements: dcaptest.Recorded()})
	if err != nil {
		t.Fatal(err)
	}
	verify := func(b []byte) (*attest.Claims, error) {
		return v.Verify(t.Context(), attest.Input{Evidence: b, Binding: attest.Unbound(), Time: dcaptest.RecordedAt})
	}
	t.Run("module", func(t *testing.T) { flips(t, dcaptest.RecordedQuote(), verify) })
	t.Run("vector", func(t *testing.T) { flips(t, vectors.Read(t, "tdx/quote-v4.dat"), verify) })
}

// TestFlipsCollateral changes bytes of what the service sends: all of what is short, every fifth of what is long. Nothing that is signed can change; what is not is white space and
// certificates that are not looked at.
func TestFlipsCollateral(t *testing.T) {
	s := goodSetup(t)
	evidence := s.quote(4, dcaptest.BodyTD10).Bytes()
	for name, item := range s.service.Items {
		for i := 0; i < len(item.Data); i += mutate.Stride(1) * (1 + 4*(len(item.Data)/1000)) {
			changed := bytes.Clone(item.Data)
			changed[i] ^= 1
			s.service.Put(name, changed, item.Chain)
			if _, err := s.verify(t, evidence); err == nil {
				t.Fatalf("%s: byte %d, %q, changed and accepted", name, i, item.Data[i])
			} else {
				wantUnavailable(t, err)
			}
		}
		s.service.Items[name] = item
	}
}

func TestTruncation(t *testing.T) {
	s := goodSetup(t)
	for _, layout := range [][2]uint16{{4, dcaptest.BodyTD10}, {5, dcaptest.BodyTD15}} {
		evidence := s.quote(layout[0], layout[1]).Bytes()
		for n := 0; n < len(evidence); n += mutate.Stride(1) {
			_, err := s.verify(t, evidence[:n])
			dcaptest.WantCode(t, err, attest.CodeMalformed)
		}
	}
	text := kbs(s.quote(4, dcaptest.BodyTD10).Bytes(), "null")
	for n := 0; n < len(text); n += mutate.Stride(1) {
		if _, err := s.verify(t, text[:n]); err == nil {
			t.Fatalf("accepted when cut off at %d of %d", n, len(text))
		}
	}
}

// TestLengths sets each length and count to what breaks parsers, and sees that no memory is taken for it.
func TestLengths(t *testing.T) {
	s := goodSetup(t)
	evidence := s.quote(5, dcaptest.BodyTD15).Bytes()
	body := dcaptest.HeaderSize + 6 + 648
	le := binary.LittleEndian
	for name, field := range map[string]struct{ at, size int }{
		"body":                {dcaptest.HeaderSize + 2, 4},
		"signature data":      {body, 4},
		"certification data":  {body + 4 + 128 + 2, 4},
		"authentication data": {body + 4 + 128 + 6 + 384 + 64, 2},
		"chain":               {body + 4 + 128 + 6 + 384 + 64 + 2 + 32 + 2, 4},
	} {
		var now uint64
		if now = uint64(le.Uint16(evidence[field.at:])); field.size == 4 {
			now = uint64(le.Uint32(evidence[field.at:]))
		}
		if now == 0 || now > uint64(len(evidence)) {
			t.Fatalf("%s: %d is not its length", name, now)
		}
		for _, value := range []uint64{0, 1, now - 1, now + 1, 1 << 15, 1<<16 - 1, 1 << 31, 1<<32 - 1} {
			changed := bytes.Clone(evidence)
			if field.size == 2 {
				le.PutUint16(changed[field.at:], uint16(value))
			} else {
				le.PutUint32(changed[field.at:], uint32(value))
			}
			if bytes.Equal(changed, evidence) {
				continue
			}
			grown := allocated(func() {
				_, err := s.verify(t, changed)
				dcaptest.WantCode(t, err, attest.CodeMalformed)
			})
			if grown > 1<<20 {
				t.Errorf("%s of %d: %d bytes were allocated", name, value, grown)
			}
		}
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestForms: the ways evidence can be written.
func TestForms(t *testing.T) {
	s := goodSetup(t)
	quote := s.quote(4, dcaptest.BodyTD10).Bytes()
	b64 := base64.StdEncoding.EncodeToString(quote)
	for name, test := range map[string]struct {
		text string
		want attest.Code
	}{
		"as clients write it":     {`{"cc_eventlog":null,"quote":"` + b64 + `"}`, ""},
		"without a log":           {`{"quote":"` + b64 + `"}`, ""},
		"with white space":        {" \r\n\t{ \"quote\" : \"" + b64 + "\" ,\n\"cc_eventlog\":\tnull } \n", ""},
		"with another member":     {`{"quote":"` + b64 + `","aa_eventlog":{"a":[1,"}"]}}`, ""},
		"with an escaped slash":   {`{"quote":"` + strings.ReplaceAll(b64, "/", `\/`) + `"}`, ""},
		"with a name in escapes":  {`{"\u0071uote":"` + b64 + `"}`, ""},
		"no quote":                {`{"cc_eventlog":null}`, attest.CodeMalformed},
		"a null quote":            {`{"quote":null}`, attest.CodeMalformed},
		"an empty quote":          {`{"quote":""}`, attest.CodeMalformed},
		"a quote in numbers":      {`{"quote":[4,0]}`, attest.CodeMalformed},
		"a quote twice":           {`{"quote":"` + b64 + `","quote":"` + b64 + `"}`, attest.CodeMalformed},
		"a quote and a null":      {`{"quote":"` + b64 + `","quote":null}`, attest.CodeMalformed},
		"a null and a quote":      {`{"quote":null,"quote":"` + b64 + `"}`, attest.CodeMalformed},
		"a quote twice, escaped":  {`{"quote":"` + b64 + `","\u0071uote":"` + b64 + `"}`, attest.CodeMalformed},
		"a line break in it":      {`{"quote":"` + b64[:100] + `\n` + b64[100:] + `"}`, attest.CodeMalformed},
		"a raw line break in it":  {`{"quote":"` + b64[:100] + "\n" + b64[100:] + `"}`, attest.CodeMalformed},
		"URL-safe":                {`{"quote":"` + base64.URLEncoding.EncodeToString(append(quote, 0, 0, 0)) + `"}`, ""},
		"no padding":              {`{"quote":"` + strings.TrimRight(base64.StdEncoding.EncodeToString(append(quote, make([]byte, 3-(len(quote)+2)%3)...)), "=") + `"}`, attest.CodeMalformed},
		"an empty log":            {`{"quote":"` + b64 + `","cc_eventlog":""}`, attest.CodeMalformed},
		"a log that is not":       {`{"quote":"` + b64 + `","cc_eventlog":"?"}`, attest.CodeMalformed},
		"a log in an array":       {`{"quote":"` + b64 + `","cc_eventlog":["AAAA"]}`, attest.CodeMalformed},
		"a log that is false":     {`{"quote":"` + b64 + `","cc_eventlog":false}`, attest.CodeMalformed},
		"a log":                   {`{"quote":"` + b64 + `","cc_eventlog":"AAAA"}`, attest.CodeMalformed},
		"a log, escaped":          {`{"quote":"` + b64 + `","cc\u005feventlog":"AAAA"}`, attest.CodeMalformed},
		"a log twice":             {`{"quote":"` + b64 + `","cc_eventlog":null,"cc_eventlog":"AAAA"}`, attest.CodeMalformed},
		"something after it":      {`{"quote":"` + b64 + `"}{}`, attest.CodeMalformed},
		"a comma at the end":      {`{"quote":"` + b64 + `",}`, attest.CodeMalformed},
		"a comma at the start":    {`{,"quote":"` + b64 + `"}`, attest.CodeMalformed},
		"no braces":               {`"quote":"` + b64 + `"`, attest.CodeVersionUnsupported},
		"an array":                {`[{"quote":"` + b64 + `"}]`, attest.CodeVersionUnsupported},
		"an empty object":         {`{}`, attest.CodeMalformed},
		"base64 alone":            {b64, attest.CodeVersionUnsupported},
		"over the limit":          {`{"quote":"` + b64 + `"` + strings.Repeat(" ", MaxEvidence) + `}`, attest.CodeTooLarge},
		"a quote over its limit":  {`{"quote":"` + base64.StdEncoding.EncodeToString(make([]byte, dcap.MaxQuote+1)) + `"}`, attest.CodeTooLarge},
		"a quote within a string": {`{"a":"{\"quote\":\"` + b64 + `\"}"}`, attest.CodeMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.verify(t, []byte(test.text))
			switch {
			case name == "URL-safe" && strings.ContainsAny(test.text, "-_"):
				dcaptest.WantCode(t, err, attest.CodeMalformed)
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "":
				dcaptest.WantCode(t, err, test.want)
			}
		})
	}
}

// TestBinding: a quote is good for its own nonce and key.
func TestBinding(t *testing.T) {
	s := goodSetup(t)
	mine, theirs := s.quote(4, dcaptest.BodyTD10), s.quote(4, dcaptest.BodyTD10)
	copy(theirs.Body[dcaptest.TDReportData:], "the digest of somebody else's nonce and key, of 48 b")
	relayed := theirs.Bytes()
	for name, test := range map[string]struct {
		evidence []byte
		binding  attest.Binding
		want     attest.Code
	}{
		"mine":              {mine.Bytes(), attest.BoundTo(dcaptest.Binding), ""},
		"relayed":           {relayed, attest.BoundTo(dcaptest.Binding), attest.CodeBinding},
		"no binding":        {mine.Bytes(), attest.Binding{}, attest.CodeBinding},
		"an empty binding":  {mine.Bytes(), attest.BoundTo(nil), attest.CodeBinding},
		"a shorter binding": {mine.Bytes(), attest.BoundTo(dcaptest.Binding[:47]), attest.CodeBinding},
		"too long":          {mine.Bytes(), attest.BoundTo(make([]byte, 65)), attest.CodeBinding},
		"unbound":           {relayed, attest.Unbound(), ""},
	} {
		claims, err := s.verifier.Verify(t.Context(), attest.Input{Evidence: test.evidence, Binding: test.binding, Time: dcaptest.Now})
		if test.want != "" {
			dcaptest.WantCode(t, err, test.want)
		} else if err != nil || *claims.Bound != (name == "mine") {
			t.Errorf("%s: %+v, %v", name, claims, err)
		}
	}
	// The body of one quote with the signature of another, by the same key and by another.
	swapped := append(bytes.Clone(mine.Signed()), relayed[len(mine.Signed()):]...)
	_, err := s.verify(t, swapped)
	dcaptest.WantCode(t, err, attest.CodeSignature)
	theirs.Key = mine.Key
	relayed = theirs.Bytes()
	_, err = s.verify(t, append(bytes.Clone(mine.Signed()), relayed[len(mine.Signed()):]...))
	dcaptest.WantCode(t, err, attest.CodeSignature)
}

// checkVerify holds what Verify promises of any input: claims or an error of one of the two types.
func checkVerify(v *Verifier) func(t *testing.T, input []byte) {
	return func(t *testing.T, input []byte) {
		claims := dcaptest.VerifyAny(t, v, input)
		if claims != nil && claims.TDX.QuoteVersion == 0 {
			t.Fatalf("accepted without claims: %x", input)
		}
	}
}

func seeds(tb testing.TB, s *setup) [][]byte {
	tb.Helper()
	quote := s.quote(4, dcaptest.BodyTD10).Bytes()
	return [][]byte{
		quote, s.quote(5, dcaptest.BodyTD10).Bytes(), s.quote(5, dcaptest.BodyTD15).Bytes(), kbs(quote, "null"), kbs(quote, `"AAAA"`), dcaptest.RecordedQuote(), cosQuote(tb),
	}
}

func FuzzVerify(f *testing.F) {
	s := goodSetup(f)
	for _, seed := range seeds(f, s) {
		f.Add(seed)
	}
	f.Fuzz(checkVerify(s.verifier))
}

// TestMutations gives the verifier damaged quotes of every form. None of them may be accepted but as what it was made from.
func TestMutations(t *testing.T) {
	s := goodSetup(t)
	all := seeds(t, s)
	signed := map[string]bool{}
	for _, seed := range all {
		if ev, err := dcap.ParseEvidence(seed, MaxEvidence); err == nil {
			signed[string(ev.Quote.ReportData())+string(ev.Quote.TD.MRTD[:])] = true
		}
	}
	check := checkVerify(s.verifier)
	mutate.Run(t, all, func(t *testing.T, input []byte) {
		check(t, input)
		claims, err := s.verifier.Verify(t.Context(), attest.Input{Evidence: input, Binding: attest.Unbound(), Time: dcaptest.Now})
		if err != nil {
			return
		}
		ev, err := dcap.ParseEvidence(input, MaxEvidence)
		if err != nil || !signed[string(ev.Quote.ReportData())+string(ev.Quote.TD.MRTD[:])] || claims.TCBStatus != "up-to-date" {
			t.Fatalf("accepted what nobody signed: %x", input)
		}
	})
}
