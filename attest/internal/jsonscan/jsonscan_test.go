package jsonscan

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// seeds are texts of the forms that evidence has, and some that no text may have.
var seeds = [][]byte{
	[]byte(`{"a":[1,2,255],"b":"00ff","c":"AAE=","d":null,"e":{"f":true,"g":[[],{}]}}`),
	[]byte(` [ -0.5e+7 , "\u00e9\n" , false ] `), []byte(`{"a":1,"a":2}`), []byte(`[01]`), []byte(`"\ud800"`), []byte("\"\xff\""),
	[]byte(`{"a":}`), []byte(`[1,]`), []byte(`nul`), []byte(``), []byte(`{"a"`), []byte(`"unterminated`),
}

// check holds Skip against encoding/json: what one takes for JSON the other does too, but for the depth and for names with escapes.
func check(t *testing.T, text []byte) {
	s := New(text)
	s.Skip()
	s.End()
	var refusal *attest.Refusal
	if raw := New(text).Raw(); s.Err() == nil && !bytes.Equal(raw, bytes.Trim(text, " \t\r\n")) {
		t.Fatalf("%q: the text of the value is %q", text, raw)
	}
	if s.Err() != nil && (!errors.As(s.Err(), &refusal) || refusal.Code != attest.CodeMalformed) {
		t.Fatalf("%q: %v is not a refusal", text, s.Err())
	}
	switch valid := json.Valid(text); {
	case s.Err() == nil && !valid:
		t.Fatalf("%q passes and is not JSON", text)
	case s.Err() != nil && valid && !strings.Contains(s.Err().Error(), "UTF-8") && !strings.Contains(s.Err().Error(), "nested") &&
		!strings.Contains(s.Err().Error(), "name or type"):
		t.Fatalf("%q is JSON: %v", text, s.Err())
	}
	// The readers of values: they end, whatever is there.
	for _, read := range []func(s *Scanner){
		func(s *Scanner) { s.AppendHex(nil, 8) },
		func(s *Scanner) { s.Base64(base64.StdEncoding, 8) },
		func(s *Scanner) { s.Bytes(8) },
		func(s *Scanner) { s.Bool() },
		func(s *Scanner) { s.Raw() },
		func(s *Scanner) { s.Uint(1 << 40) },
		func(s *Scanner) { s.Object(func([]byte) { s.Skip() }) },
		func(s *Scanner) { s.Array(func() { s.AppendHex(nil, 8) }) },
	} {
		read(New(text))
	}
}

func FuzzScanner(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text []byte) { check(t, text) })
}

func TestMutations(t *testing.T) { mutate.Run(t, seeds, check) }

// TestValues: one spelling of each value is read, and no other.
func TestValues(t *testing.T) {
	read := func(text, form string) ([]byte, error) {
		s := New([]byte(text))
		var out []byte
		switch form {
		case "hex":
			out = s.AppendHex(nil, 3)
		case "std":
			out = s.Base64(base64.StdEncoding, 3)
		case "url":
			out = s.Base64(base64.RawURLEncoding, 3)
		case "bytes":
			out = s.Bytes(3)
		case "bool":
			if s.Bool() {
				out = []byte{1}
			}
		}
		s.End()
		return out, s.Err()
	}
	for _, test := range []struct {
		form, text, want string // want is hex, or "-" for a refusal
	}{
		{"hex", `"00fF7a"`, "00ff7a"}, {"hex", `""`, ""}, {"hex", `"0"`, "-"}, {"hex", `"0g"`, "-"}, {"hex", `"g0"`, "-"}, {"hex", `"00112233"`, "-"},
		{"hex", `"0\u0030"`, "-"}, {"hex", `00`, "-"}, {"hex", `null`, "-"}, {"hex", `"00" 1`, "-"}, {"hex", "\"0\x00\"", "-"}, {"hex", `"0é"`, "-"},
		{"std", `"AAEC"`, "000102"}, {"std", `"AAE="`, "0001"}, {"std", `""`, ""}, {"std", `"AAE"`, "-"}, {"std", `"AAF="`, "-"}, {"std", `"AAECAw=="`, "-"},
		{"std", `"-_8="`, "-"}, {"std", `"+/8="`, "fbff"}, {"std", `"+\/8="`, "fbff"}, {"std", `"+\u002f8="`, "-"}, {"std", `"AA\"`, "-"}, {"std", `"AA\nE="`, "-"}, {"std", "\"AA\nE=\"", "-"}, {"std", `"===="`, "-"},
		{"url", `"-_8"`, "fbff"}, {"url", `"-_8="`, "-"}, {"url", `"+/8"`, "-"}, {"url", `"-_9"`, "-"},
		{"bytes", `[0,1, 255]`, "0001ff"}, {"bytes", `[]`, ""}, {"bytes", `[256]`, "-"}, {"bytes", `[1,2,3,4]`, "-"}, {"bytes", `[1,]`, "-"}, {"bytes", `[00]`, "-"},
		{"bytes", "[ 7 ,\n99\t,100 ]", "076364"}, {"bytes", `[1,2`, "-"}, {"bytes", `[255,0]`, "ff00"}, {"bytes", `[1,1000]`, "-"}, {"bytes", `[1,299 ]`, "-"}, {"bytes", `[1,01,2]`, "-"},
		{"bytes", `[1,1e1,2]`, "-"}, {"bytes", `[1,12.5,2]`, "-"}, {"bytes", `[12a,2]`, "-"}, {"bytes", "[1\x00,2]", "-"}, {"bytes", `[1,,2]`, "-"},
		{"bool", `true`, "01"}, {"bool", ` false`, ""}, {"bool", `"true"`, "-"}, {"bool", `True`, "-"}, {"bool", `tru`, "-"}, {"bool", `null`, "-"}, {"bool", `falsey`, "-"},
		{"bytes", `[1.0]`, "-"}, {"bytes", `[-1]`, "-"}, {"bytes", `[1 2]`, "-"},
	} {
		got, err := read(test.text, test.form)
		if test.want == "-" && err == nil || test.want != "-" && (err != nil || hex.EncodeToString(got) != test.want) {
			t.Errorf("%s %s: %x, %v, want %s", test.form, test.text, got, err, test.want)
		}
	}
}

// TestAfterFailure: nothing is read, and no member seen, after the first failure.
func TestAfterFailure(t *testing.T) {
	s := New([]byte(`{"a":"zz","b":"00"}`))
	names := 0
	s.Object(func([]byte) { names++; s.AppendHex(nil, 1) })
	first := s.Err()
	s.Fail("another")
	s.Refuse(errors.New("another"))
	if names != 1 || first == nil || s.Err() != first || s.Peek() != 0 || s.AppendHex(nil, 1) != nil || s.Base64(base64.StdEncoding, 1) != nil {
		t.Errorf("%d members, %v then %v", names, first, s.Err())
	}
	twice := New([]byte(`{"a":1,"a":1}`))
	var seen bool
	twice.Object(func(name []byte) { twice.Once(&seen, name); twice.Skip() })
	if twice.Err() == nil {
		t.Error("a member twice passes")
	}
}

// TestOctets: arrays of bytes are read as encoding/json reads them, wherever the reader that takes only plain spellings stops.
func TestOctets(t *testing.T) {
	for value := range 300 {
		for _, text := range []string{
			fmt.Sprintf("[%d]", value), fmt.Sprintf("[%d,1,2,3]", value), fmt.Sprintf("[0,0,0,0,0,%d,0,0,0,0,0,0,0]", value), fmt.Sprintf("[7,%d ,8,9,10]", value),
			fmt.Sprintf("[0,0,0, %d,0,0,0]", value),
		} {
			var want []int
			if err := json.Unmarshal([]byte(text), &want); err != nil {
				t.Fatal(err)
			}
			for limit := range 16 {
				s := New([]byte(text))
				got := s.Bytes(limit)
				s.End()
				if fits := value <= 0xff && len(want) <= limit; fits != (s.Err() == nil) {
					t.Fatalf("%s in %d bytes: %v", text, limit, s.Err())
				}
				for i := range got {
					if s.Err() == nil && (len(got) != len(want) || int(got[i]) != want[i]) {
						t.Fatalf("%s: %d", text, got)
					}
				}
			}
		}
	}
	for _, text := range []string{"[00,1,2,3,4]", "[01,1,2,3,4]", "[0,0,0,0,]", "[1,2,3,4,", "[0,0,0,0", "[0,0,0,0;0]", "[-1,0,0,0,0]", "[1.0,0,0,0,0]", "[1e1,0,0,0,0]", "[,0,0,0,0]", "[0,0,,0,0]", "[007,0,0,0]"} {
		s := New([]byte(text))
		s.Bytes(16)
		s.End()
		skip := New([]byte(text))
		skip.Skip()
		skip.End()
		if s.Err() == nil || (skip.Err() == nil) != json.Valid([]byte(text)) {
			t.Errorf("%s: %v, skipped %v", text, s.Err(), skip.Err())
		}
	}
}
