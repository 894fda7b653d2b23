package jsonscan

import (
	"bytes"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// checkPlain holds Plain against a look at each byte.
func checkPlain(t *testing.T, text []byte) {
	want := bytes.IndexFunc(text, func(c rune) bool { return c < ' ' || c == '"' || c == '\\' })
	if want < 0 {
		want = len(text)
	}
	if n := Plain(text); n != want {
		t.Fatalf("%q: %d, not %d", text, n, want)
	}
	if n := Plain(string(text)); n != want {
		t.Fatalf("%q as a string: %d, not %d", text, n, want)
	}
}

// TestPlain has every two bytes beside each other, at every place and in texts of every length around those of the steps.
func TestPlain(t *testing.T) {
	for length := 2; length <= 18; length++ {
		text := bytes.Repeat([]byte{'x'}, length)
		for at := 0; at+2 <= length; at++ {
			for pair := range 1 << 16 {
				text[at], text[at+1] = byte(pair>>8), byte(pair)
				checkPlain(t, text)
			}
			text[at], text[at+1] = 'x', 'x'
		}
	}
	checkPlain(t, nil)
}

func TestMutationsPlain(t *testing.T) {
	mutate.Run(t, [][]byte{[]byte(`00112233445566778899aabbccddeeff"rest of it`), []byte("!!!!!!!!\x7f\x80\xff\"\\\n      \x1f")}, checkPlain)
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte("a string\nof two lines, \"quoted\""))
	f.Fuzz(checkPlain)
}
