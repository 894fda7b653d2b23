package hextext

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// check holds Decode and DecodeLower against the standard library's decoder, and Encode against its encoder.
func check(t *testing.T, text []byte) {
	want, err := hex.DecodeString(string(text))
	have := make([]byte, len(text)/2)
	if Decode(have, text) != (err == nil) || err == nil && !bytes.Equal(have, want) {
		t.Fatalf("%q: %x, want %x, %v", text, have, want, err)
	}
	clear(have)
	lower := err == nil && bytes.Equal(text, bytes.ToLower(text))
	if DecodeLower(have, text) != lower || lower && !bytes.Equal(have, want) {
		t.Fatalf("%q, in lower case only: %x, want %x: %v", text, have, want, lower)
	}
	if written := String(text); written != hex.EncodeToString(text) {
		t.Fatalf("%q is written as %q", text, written)
	}
	if written := Encode(make([]byte, 2*len(text)+1), text); string(written) != hex.EncodeToString(text) {
		t.Fatalf("%q is written as %q", text, written)
	}
}

// seeds are hex of every length up to some groups, in either case, and characters next to the digits.
func seeds() (out [][]byte) {
	value := []byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xff, 0x00, 0xa0}
	for n := range len(value) + 1 {
		text := []byte(hex.EncodeToString(value[:n]))
		out = append(out, text, bytes.ToUpper(text))
	}
	for _, text := range []string{"0", "000", "0123456", "0x00", "/0", "0:", "@a", "a`", "G0", "0g", "0123456/", "0123\xff567", "01234567G0", " 00"} {
		out = append(out, []byte(text))
	}
	return out
}

func TestHex(t *testing.T) {
	for _, seed := range seeds() {
		check(t, seed)
	}
	for c := range 256 { // at each place of a group and behind it
		for place := range 10 {
			text := []byte("0000000000")
			text[place] = byte(c)
			check(t, text)
		}
	}
}

func TestMutationsHex(t *testing.T) { mutate.Run(t, seeds(), check) }

func FuzzHex(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(check)
}

// TestLength: what does not fill the destination exactly is refused.
func TestLength(t *testing.T) {
	for _, size := range []int{0, 3, 5, 8} {
		if Decode(make([]byte, size), []byte("00112233")) || DecodeLower(make([]byte, size), []byte("00112233")) {
			t.Errorf("hex of 4 bytes was read as %d", size)
		}
	}
}
