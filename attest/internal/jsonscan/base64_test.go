package jsonscan

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

var encodings = []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding}

// checkDecode holds both forms of DecodeBase64 against the standard library's strict decoder, which differs in that it passes over line breaks.
func checkDecode(t *testing.T, text []byte) {
	for i, encoding := range encodings {
		have, err := DecodeBase64(encoding, text)
		if str, strErr := DecodeBase64Text(encoding, text); (err == nil) != (strErr == nil) || str != string(have) {
			t.Fatalf("%d, %q: %x, %v, but %q, %v, as a string", i, text, have, err, str, strErr)
		}
		want, wantErr := encoding.Strict().DecodeString(string(text))
		if bytes.ContainsAny(text, "\r\n") {
			if err == nil {
				t.Fatalf("%d, %q: line breaks were read", i, text)
			}
			continue
		}
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(have, want) {
			t.Fatalf("%d, %q: %x, %v, want %x, %v", i, text, have, err, want, wantErr)
		}
	}
}

// base64Seeds are texts of every length up to some groups, in each encoding, and spellings that no encoder writes.
func base64Seeds() (out [][]byte) {
	random := rand.New(rand.NewPCG(3, 4))
	lengths := []int{766, 767, 768, 769, 1536, 2000} // around those that are decoded at once
	for n := range 20 {
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		for _, encoding := range encodings {
			out = append(out, []byte(encoding.EncodeToString(b)))
		}
	}
	for _, text := range []string{"AA==AAAA", "AAA=\n", "AA\n==", "AAAA\nAAA", "AAB=", "AB==", "====", "A===", "AAAAAAAAA", "-_-_+/+/", "\nAAAAAAAAAAA"} {
		out = append(out, []byte(text))
	}
	for _, part := range []string{"AA==", "AAA=", "AAA\n", "AA", "A"} { // where the parts meet
		out = append(out, []byte(strings.Repeat("A", 1020)+part+strings.Repeat("A", 20)))
	}
	return out
}

// TestBase64 has, besides the seeds, every byte at every place of texts that are decoded in groups and by the standard library.
func TestBase64(t *testing.T) {
	for _, seed := range base64Seeds() {
		checkDecode(t, seed)
	}
	for length := 1; length <= 24; length++ {
		text := bytes.Repeat([]byte{'A'}, length)
		for at := range text {
			for c := range 256 {
				text[at] = byte(c)
				checkDecode(t, text)
			}
			text[at] = 'A'
		}
	}
}

func TestMutationsBase64(t *testing.T) { mutate.Run(t, base64Seeds(), checkDecode) }

func FuzzBase64(f *testing.F) {
	for _, seed := range base64Seeds() {
		f.Add(seed)
	}
	f.Fuzz(checkDecode)
}
