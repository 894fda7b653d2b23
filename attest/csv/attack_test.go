package csv

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// inspect is input that is bound to nothing, so that what is damaged gets as far as the signatures.
func inspect(evidence []byte) attest.Input {
	in := input(evidence)
	in.Binding = attest.Unbound()
	return in
}

func refuses(t *testing.T, v *Verifier, text []byte, what string, i int) {
	t.Helper()
	_, err := v.Verify(t.Context(), inspect(text))
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) {
		t.Errorf("%s %d: %v", what, i, err)
	}
}

// TestEveryByte: no byte that a signature covers, and none of a signature, can change. The package comment names those that no check touches.
func TestEveryByte(t *testing.T) {
	c := newChip(t)
	v := c.verifier(t, nil)
	check := func(what string, i int, e evidence) {
		t.Helper()
		// What would take the JSON apart and put it together again is tested elsewhere; here it would be most of the time.
		_, err := v.judge(e)
		var refusal *attest.Refusal
		if !errors.As(err, &refusal) {
			t.Errorf("%s, byte %d: %v", what, i, err)
		}
	}
	flip := func(b []byte, i int) []byte {
		b = slices.Clone(b)
		b[i] ^= 1 << (i % 8)
		return b
	}
	for version, end := range map[int]int{1: offSignature1 + sigSize, 2: offSignature2 + sigSize} {
		e := c.evidence(t, version)
		if _, err := v.judge(e); err != nil {
			t.Fatal(err)
		}
		for i := range end {
			bad := e
			bad.page = flip(e.page, i)
			check("page", i, bad)
		}
	}
	e := c.evidence(t, 2)
	for i := range offHSKSig + sigSize {
		bad := e
		bad.hsk = flip(e.hsk, i)
		check("HSK", i, bad)
	}
	for i := range offSigs + 8 + sigSize {
		bad := e
		bad.cek = flip(e.cek, i)
		check("CEK", i, bad)
		bad = e
		bad.pek = flip(e.pek, i)
		check("PEK", i, bad)
	}
}

// judge does what Verify does with evidence that was parsed.
func (v *Verifier) judge(e evidence) (*attest.Claims, error) {
	report, err := parseReport(e.magic, e.page, uint32(e.flags))
	if err != nil {
		return nil, err
	}
	pek, err := parsePEK(e.pek)
	if err != nil {
		return nil, err
	}
	if err := report.verify(pek.key); err != nil {
		return nil, err
	}
	cek, err := v.authorities(append(slices.Clone(e.hsk), e.cek...))
	if err != nil {
		return nil, err
	}
	if !signedBy(e.pek, cek, usageCEK) {
		return nil, attest.Refuse(attest.CodeCertUntrusted, "the chip's key did not sign the PEK's certificate")
	}
	return report.claims(), nil
}

// TestParts: each array of the JSON one element shorter and one longer, and the text cut off.
func TestParts(t *testing.T) {
	c := newChip(t)
	v := c.verifier(t, nil)
	text := c.evidence(t, 1).json(t)
	cuts := 0
	for i := 0; i < len(text); i++ {
		if text[i] != '[' || text[i+1] == '{' {
			continue
		}
		end := i + bytes.IndexByte(text[i:], ']')
		if name := text[max(0, i-17):i]; bytes.Contains(name, []byte("_reserved")) || bytes.Contains(name, []byte("serial_number")) {
			continue // not read, or of any length
		}
		comma := bytes.IndexByte(text[i:end], ',')
		refuses(t, v, slices.Concat(text[:i+1], text[i+comma+1:]), "shorter array at", i)
		refuses(t, v, slices.Concat(text[:end], []byte(",0"), text[end:]), "longer array at", i)
		refuses(t, v, slices.Concat(text[:i], []byte("[]"), text[end+1:]), "empty array at", i)
		cuts++
	}
	if cuts < 20 {
		t.Fatalf("%d arrays were found", cuts)
	}
	for i := 0; i < len(text); i += 211 {
		refuses(t, v, text[:i], "length", i)
	}
}

func TestAllocation(t *testing.T) {
	c := newChip(t)
	v := c.verifier(t, nil)
	for i, text := range [][]byte{
		[]byte(`{"attestation_report":{"data":[` + strings.Repeat("0,", MaxEvidence/2-50) + `0]}}`),
		bytes.Repeat([]byte("["), MaxEvidence),
		[]byte(`{"serial_number":` + strings.Repeat(" ", MaxEvidence-100) + `[]}`),
		[]byte(`{"cert_chain":{"pek":{"sigs":[` + strings.Repeat("{},", MaxEvidence/3-50) + `{}]}}}`),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		refuses(t, v, text, "worst", i)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Errorf("worst %d: %d bytes were allocated", i, n)
		}
	}
}

func TestMutatedEvidence(t *testing.T) {
	c := newChip(t)
	v := c.verifier(t, nil)
	mutate.Run(t, [][]byte{c.evidence(t, 1).json(t), c.evidence(t, 2).json(t)}, func(t *testing.T, data []byte) {
		claims, err := v.Verify(t.Context(), inspect(data))
		var refusal *attest.Refusal
		var unavailable *attest.Unavailable
		if err != nil && !errors.As(err, &refusal) && !errors.As(err, &unavailable) {
			t.Errorf("neither claims nor a refusal: %v", err)
		}
		if err == nil && (claims.Measurement != repeat(0xee, 32) || *claims.Debug) {
			t.Errorf("a changed report verifies: %+v", claims)
		}
	})
}

func FuzzParse(f *testing.F) {
	c := newChip(f)
	f.Add(c.evidence(f, 1).json(f))
	f.Add(c.evidence(f, 2).json(f))
	e := c.evidence(f, 1)
	e.hsk = nil
	f.Add(e.json(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		ev, err := Parse(data)
		if err != nil {
			return
		}
		if len(ev.PEK) != certSize || ev.HSKCEK != nil && len(ev.HSKCEK) != hskCEKSize {
			t.Errorf("%+v", ev)
		}
		_, _ = parsePEK(ev.PEK)
		_, _ = verifyAuthorities(append(ev.HSKCEK, make([]byte, hskCEKSize-len(ev.HSKCEK))...), c.hrk.public())
	})
}

// FuzzCertificates is the parser of what Hygon publishes, which comes from outside too.
func FuzzCertificates(f *testing.F) {
	c := newChip(f)
	f.Add(append(c.hsk(f), c.cek(f)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := verifyAuthorities(data, c.hskKey.public()); err == nil {
			t.Error("certificates of another root are taken")
		}
	})
}

// BenchmarkVerify prints, as x-floor, how many times the bare check of a report's signature an appraisal costs, measured in the same run: warm, with a
// known platform, and cold. The budget of warm is 1.3, and that of reading the JSON of 20 KiB is beside it.
