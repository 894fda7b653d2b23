package jsonscan

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
)

// TestBytes holds arrays of bytes, with every number of up to four digits in them, against encoding/json.
func TestBytes(t *testing.T) {
	for n := range 10000 {
		for width := range 5 {
			text := fmt.Appendf(nil, "[%0*d,7]", width, n)
			s := New(text)
			got := s.Bytes(2)
			s.End()
			if want := n <= 0xff && json.Valid(text); want != (s.Err() == nil) || want && (got[0] != byte(n) || got[1] != 7) {
				t.Fatalf("%s: %v, %v", text, got, s.Err())
			}
		}
	}
}

// TestTooLong: what is over its limit has a code of its own where the caller wants one.
func TestTooLong(t *testing.T) {
	for _, code := range []attest.Code{"", attest.CodeTooLarge} {
		for text, read := range map[string]func(*Scanner){
			"[1,2,3]": func(s *Scanner) { s.Bytes(2) }, `"000000"`: func(s *Scanner) { s.AppendHex(nil, 2) },
			`"AAAAAA"`: func(s *Scanner) { s.Base64(base64.RawStdEncoding, 2) },
		} {
			s := New([]byte(text))
			s.TooLong = code
			read(s)
			var refusal *attest.Refusal
			if want := cmp.Or(code, attest.CodeMalformed); !errors.As(s.Err(), &refusal) || refusal.Code != want {
				t.Errorf("%s: %v, want %s", text, s.Err(), want)
			}
		}
	}
}
