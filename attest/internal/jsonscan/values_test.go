package jsonscan

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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

// TestZeros: long runs of zeros, which are read many at a time, are as many as they are, and what is in between them counts.
func TestZeros(t *testing.T) {
	for _, n := range []int{1, 3, 4, 5, 8, 63, 64, 65, 67, 127, 128, 129, 133, 200} {
		zeros := strings.Repeat("0,", n)
		for _, size := range []int{n - 1, n, n + 1, n + 2} {
			dst := bytes.Repeat([]byte{0xff}, size)
			s := New([]byte("[" + zeros + "7]"))
			s.Fill(dst)
			s.End()
			if good := size == n+1; good != (s.Err() == nil) {
				t.Fatalf("%d zeros and one more into %d: %v", n, size, s.Err())
			} else if good && !bytes.Equal(dst, append(make([]byte, n), 7)) {
				t.Fatalf("%d zeros are read as %v", n, dst)
			}
		}
		for at := range 2 * n {
			text := []byte("[" + zeros + "0]")
			for _, other := range []byte("1 ;,x") {
				text[1+at] = other
				s := New(text)
				s.Fill(make([]byte, n+1))
				s.End()
				if want := json.Valid(text); want && other != ' ' && s.Err() != nil || !want && s.Err() == nil {
					t.Fatalf("%s: %v", text, s.Err())
				}
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
