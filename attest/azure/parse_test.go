package azure

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure/azuretest"
	"github.com/vouchsafe/vouchsafe/attest/internal/jsonscan"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// untouched reports whether no check touches a byte of an HCL report of TDX: all of the TD report but its report data.
func untouched(kind attest.Kind, at int) bool {
	return kind == attest.AzTDXvTPM && at >= headerSize && at < headerSize+tdReportSize &&
		(at < headerSize+tdReportData || at >= headerSize+tdReportData+reportDataSize)
}

// thorough reports whether this is the acceptance run.
func thorough() bool { return os.Getenv("VOUCHSAFE_MUTATIONS") != "" }

// masks are how bytes are changed.
func masks() []byte {
	if thorough() {
		return []byte{0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff}
	}
	return []byte{0x01}
}

// certificateStep is how many bytes of a certificate are passed over to the next that is changed. Each costs a chain, and package snp changes all
// of them.
func certificateStep() int {
	if thorough() {
		return 1
	}
	return 29
}

// TestEveryByte changes every byte of what real evidence is made of. The ordinary run has one of each kind.
func TestEveryByte(t *testing.T) {
	list := real[2:]
	if thorough() {
		list = real[1:]
	}
	for _, test := range list {
		t.Run(test.file, func(t *testing.T) {
			v := test.verifier(t)
			kind := v.Kind()
			passes := func(e *Evidence) bool {
				_, err := v.judge(t.Context(), attest.Input{Binding: attest.BoundTo([]byte(test.bound)), Time: recorded}, e)
				return err == nil
			}
			e, err := ParseEvidence(kind, vectors.Read(t, test.file))
			if err != nil {
				t.Fatal(err)
			}
			if !passes(e) {
				t.Fatal("the evidence itself does not pass")
			}
			fields := map[string][]byte{"message": e.Message, "signature": e.Signature, "HCL report": e.HCLReport, "VCEK": e.VCEK}
			for i, value := range e.PCRs {
				fields["PCR "+string(rune('A'+i))] = value
			}
			for name, field := range fields {
				step := mutate.Stride(1)
				if name == "VCEK" {
					step = max(step, certificateStep())
				}
				for at := 0; at < len(field); at += step {
					for _, mask := range masks() {
						if name == "HCL report" && at == 4 && mask != 0x01 {
							continue // its version, 1 or 2
						}
						field[at] ^= mask
						if passed := passes(e); passed != (name == "HCL report" && untouched(kind, at)) {
							t.Errorf("%s: byte %#x of %#x, changed by %#x: passed is %v", name, at, len(field), mask, passed)
						}
						field[at] ^= mask
					}
				}
			}
		})
	}
}

// TestEveryCharacter changes every character of the JSON of real evidence. The ordinary run changes some.
func TestEveryCharacter(t *testing.T) {
	for _, test := range real[:3] {
		text := vectors.Read(t, test.file)
		v := test.verifier(t)
		step := []int{61, 17, 3}[test.version] * mutate.Stride(1)
		if thorough() {
			step = 1
		}
		certificate := bytes.Index(text, []byte(`"vcek"`))
		certificateEnd := certificate + 8 + bytes.IndexByte(text[certificate+10:], '"')
		for at := 0; at < len(text); at += step {
			if at > certificate+10 && at < certificateEnd-certificateStep() {
				at += certificateStep() - 1
			}
			for _, mask := range masks() {
				changed := bytes.Clone(text)
				changed[at] ^= mask
				if bytes.Equal(bytes.TrimSpace(changed), bytes.TrimSpace(text)) {
					continue
				}
				_, err := v.Verify(t.Context(), attest.Input{Evidence: changed, Binding: attest.BoundTo([]byte(test.bound)), Time: recorded})
				if err == nil {
					t.Errorf("%s: character %d of %d, %q changed by %#x, passed", test.file, at, len(text), text[at], mask)
				}
			}
		}
	}
}

// TestTruncation cuts everything at every length; the ordinary run cuts the JSON at some.
func TestTruncation(t *testing.T) {
	for _, kind := range kinds {
		m := newMachine(t, kind)
		for _, version := range []int{0, 1, 2} {
			text := m.evidence(func(p *parts) { p.version = version })
			step := []int{37, 17, 3}[version] * mutate.Stride(1)
			if thorough() {
				step = 1
			}
			for n := 0; n < len(text); n += step {
				if _, err := m.verify(text[:n]); err == nil {
					t.Errorf("%s, layout %d: the first %d of %d characters pass", kind, version, n, len(text))
				}
			}
		}
		e, err := ParseEvidence(kind, m.evidence(nil))
		if err != nil {
			t.Fatal(err)
		}
		size := int(binary.LittleEndian.Uint32(e.HCLReport[8:]))
		for n := 0; n < len(e.HCLReport); n += mutate.Stride(1) {
			if _, err := ParseHCLReport(e.HCLReport[:n]); (err == nil) != (n >= size) { // zeros follow
				t.Errorf("%s: an HCL report of %d bytes cut to %d: %v", kind, size, n, err)
			}
		}
	}
}

// TestLengths sets every length in an HCL report to what it cannot be.
func TestLengths(t *testing.T) {
	m := newMachine(t, attest.AzSNPvTPM)
	for _, at := range []int{8, 1216, 1232} {
		for _, n := range []uint32{0, 1, 19, 20, 1 << 16, 1<<31 - 1, 1 << 31, 1<<32 - 1216, 1<<32 - 20, 1<<32 - 1} {
			_, err := m.verify(m.evidence(func(p *parts) { p.hcl = set32(at, n) }))
			wantCode(t, err, attest.CodeMalformed)
		}
	}
	// All three at once, so that they fit each other: the report would have to be longer than it is.
	for _, variable := range []uint32{1 << 16, 1<<32 - 1, 1<<32 - 20, 1<<32 - 1236} {
		_, err := m.verify(m.evidence(func(p *parts) {
			p.hcl = func(b []byte) []byte {
				return set32(8, variableOffset+variable)(set32(1216, dataHeaderSize+variable)(set32(1232, variable)(b)))
			}
		}))
		wantCode(t, err, attest.CodeMalformed)
	}
	// And the variable data shorter than it is, which is then followed by something.
	_, err := m.verify(m.evidence(func(p *parts) {
		p.hcl = func(b []byte) []byte {
			n := binary.LittleEndian.Uint32(b[1232:]) - 1
			return set32(8, variableOffset+n)(set32(1216, dataHeaderSize+n)(set32(1232, n)(b)))
		}
	}))
	wantCode(t, err, attest.CodeMalformed)
}

// TestMemory has evidence as large as it may be, of what costs memory to read.
func TestMemory(t *testing.T) {
	m := newMachine(t, attest.AzSNPvTPM)
	fill := func(head, unit, tail string) []byte {
		return []byte(head + strings.Repeat(unit, (MaxEvidence-len(head)-len(tail))/len(unit)) + tail)
	}
	many := []byte{'{'}
	for i := 0; len(many) < MaxEvidence-20; i++ {
		many = append(many, `"`+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676%26))+string(rune('a'+i/17576%26))+`":1,`...)
	}
	many = append(many, `"z":1}`...)
	for name, text := range map[string][]byte{
		"values":     fill(`{"version":2,"tpm_quote":{"message":"","signature":"","pcrs":[`, `"",`, `""]}}`),
		"numbers":    fill(`{"quote":{"message":[`, `1,`, `1],"signature":[1],"pcrs":[]}}`),
		"hex":        fill(`{"version":2,"tpm_quote":{"message":"`, `ff`, `","signature":"","pcrs":[]}}`),
		"members":    many,
		"nesting":    fill(`{"version":2,"x":`, `[`, ``),
		"an object":  fill(`{"version":2,"x":`, `{"a":`, ``),
		"white":      fill(`{"quote":{"message":[`, ` `, `1],"signature":[1],"pcrs":[]}}`),
		"one byte":   fill(`{`, ` `, ``),
		"too large":  bytes.Repeat([]byte("{"), 16<<20),
		"a long log": fill(`{"version":2,"event_log":"`, `AAAA`, `"}`),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := m.verify(text)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s passes", name)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
			t.Errorf("%s: %d bytes were allocated for %d of evidence", name, used, len(text))
		}
	}
}

// TestMarshal writes what was parsed, and parses it again.
func TestMarshal(t *testing.T) {
	for _, kind := range kinds {
		m := newMachine(t, kind)
		for _, version := range []int{1, 2} {
			e, err := ParseEvidence(kind, m.evidence(func(p *parts) { p.version = version }))
			if err != nil {
				t.Fatal(err)
			}
			text, err := e.Marshal(kind)
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseEvidence(kind, text)
			if err != nil || !reflect.DeepEqual(e, again) {
				t.Errorf("%s, layout %d: %v", kind, version, err)
			}
		}
		if _, err := (&Evidence{}).Marshal(kind); err == nil {
			t.Error("the first layout is written")
		}
	}
}

// TestEncodings has spellings of bytes that decoders take and encoders do not write.
func TestEncodings(t *testing.T) {
	read := func(text string, decode func([]byte, int) ([]byte, error)) ([]byte, error) {
		r := reader{Scanner: jsonscan.New([]byte(text)), e: new(Evidence)}
		b := r.bytes("a value", 2, func(text []byte, limit int) ([]byte, error) {
			if decode == nil {
				return nil, errString
			}
			return decode(text, limit)
		})
		r.End()
		if r.numbers != (decode == nil) {
			r.Fail("another encoding")
		}
		return b, r.Err()
	}
	for _, test := range []struct {
		name   string
		decode func(text []byte, limit int) ([]byte, error) // nil: numbers
		good   []string                                     // all of which are the same bytes
		bad    []string
	}{
		{"hex", new(space).decodeHex, []string{`"00ff"`}, []string{`"00FF"`, `"0ff"`, `"0xff"`, `" 00ff"`, `"\u00300ff"`, `[0,255]`, `null`, `00`, ``, `"00ff00"`}},
		{"base64url", new(space).decodeBase64URL, []string{`"AP8="`, `"AP8"`}, []string{`"AP8=="`, `"AP9="`, `"AP9"`, `"AP8=\n"`, `"AP\n8="`, `"AP_/"`, `"AP8AP8"`, `"A"`, `7`, ``}},
		{"numbers", nil, []string{`[0,255]`, "[ 0 ,\n255\t]"}, []string{
			`[0,256]`, `[00,255]`, `[0,-1]`, `[0,1.0]`, `[0,1e1]`, `[0,255,]`, `[,0]`, `[0,255,1]`, `[0 255]`, `[null,1]`, `["0",1]`, `[[0],1]`, `[0,255`, `[`, `"AP8="`, ``,
			`[0,2555]`, `[0,999999999999999999999]`,
		}},
	} {
		for _, text := range test.good {
			if b, err := read(text, test.decode); err != nil || !bytes.Equal(b, []byte{0, 255}) {
				t.Errorf("%s: %s is %x, %v", test.name, text, b, err)
			}
		}
		for _, text := range test.bad {
			if b, err := read(text, test.decode); err == nil {
				t.Errorf("%s: %s is %x", test.name, text, b)
			}
		}
	}
	for _, text := range []string{
		"x", "-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----\nAAEC\n-----END PUBLIC KEY-----\n", "a\n-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n",
		"-----BEGIN CERTIFICATE-----\nAA\nEC\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nA: b\n\nAAEC\n-----END CERTIFICATE-----\n",
		strings.Repeat("-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n", 2),
		"-----BEGIN CERTIFICATE-----\n" + strings.Repeat("A", 64) + "\n-----END CERTIFICATE-----\n",
	} {
		value, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := pemCertificate(value, 16); err == nil {
			t.Errorf("%q is %x", text, b)
		}
	}
}

// seedsOf returns evidence of one machine in all layouts.
func (m *machine) seedsOf() [][]byte {
	var seeds [][]byte
	for version := range 3 {
		seeds = append(seeds, m.evidence(func(p *parts) { p.version, p.userData = version, digest }))
	}
	return seeds
}

// checkEvidence demands that evidence which passes says of the TPM and of the guest what the machine's own does.
func checkEvidence(t *testing.T, m *machine, want *attest.Claims, text []byte) {
	claims, err := m.verify(text)
	if err != nil {
		return
	}
	if !reflect.DeepEqual(claims.TPM, want.TPM) || claims.Azure.UserData != want.Azure.UserData || claims.Azure.VMUniqueID != want.Azure.VMUniqueID ||
		claims.ReportData != want.ReportData || claims.Measurement != want.Measurement {
		t.Errorf("evidence that was changed passes and says something else: %+v\n%s", claims, text)
	}
}

func TestMutations(t *testing.T) {
	for _, kind := range kinds {
		m := newMachine(t, kind)
		seeds := m.seedsOf()
		want, err := m.verify(seeds[2])
		if err != nil {
			t.Fatal(err)
		}
		mutate.Run(t, seeds, func(t *testing.T, input []byte) {
			if kind == attest.AzTDXvTPM {
				input = withoutTDX(input)
			}
			checkEvidence(t, m, want, input)
		})
	}
}

// withoutTDX passes evidence on whose TD quote is as it was made: there is no signature on it here, and its measurement is claimed.
func withoutTDX(input []byte) []byte {
	e, err := ParseEvidence(attest.AzTDXvTPM, input)
	if err != nil || len(e.TDQuote) < azuretest.QuoteBodyEnd || allZero(e.TDQuote[48:azuretest.QuoteReportData]) {
		return input
	}
	return nil
}

func TestMutationsOfHCLReport(t *testing.T) {
	var seeds [][]byte
	for _, kind := range kinds {
		e, err := ParseEvidence(kind, newMachine(t, kind).evidence(nil))
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, e.HCLReport)
	}
	mutate.Run(t, seeds, func(t *testing.T, input []byte) { checkHCLReport(t, input) })
}

// checkHCLReport demands of a report that parses what its package documentation says.
func checkHCLReport(t *testing.T, input []byte) {
	report, err := ParseHCLReport(input)
	if err != nil {
		return
	}
	digest := sha256.Sum256(report.Variable)
	area := input[headerSize:][:hardwareSize]
	at := map[ReportType]int{TypeSNP: snpReportData, TypeTDX: tdReportData}[report.Type]
	if at == 0 || !bytes.Equal(area[at:at+32], digest[:]) || !allZero(area[at+32:at+64]) || report.Runtime.AK.N.BitLen() != 2048 ||
		!bytes.HasPrefix(input[variableOffset:], report.Variable) || !allZero(input[variableOffset+len(report.Variable):]) {
		t.Errorf("a report that is not one parses: %x", input)
	}
}

func FuzzEvidence(f *testing.F) {
	m := newMachine(f, attest.AzSNPvTPM)
	seeds := m.seedsOf()
	want, err := m.verify(seeds[2])
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	for _, test := range real {
		if text, err := os.ReadFile(vectors.Folder() + "/" + test.file); err == nil {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, input []byte) { checkEvidence(t, m, want, input) })
}

func FuzzHCLReport(f *testing.F) {
	for _, kind := range kinds {
		e, err := ParseEvidence(kind, newMachine(f, kind).evidence(nil))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(e.HCLReport)
	}
	for _, test := range real {
		text, err := os.ReadFile(vectors.Folder() + "/" + test.file)
		if err != nil {
			continue
		}
		var members struct {
			Report string `json:"hcl_report"`
		}
		if json.Unmarshal(text, &members) == nil {
			if b, err := base64.URLEncoding.DecodeString(members.Report); err == nil {
				f.Add(b)
			}
		}
	}
	f.Fuzz(checkHCLReport)
}
