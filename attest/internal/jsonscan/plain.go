package jsonscan

import "math/bits"

// Eight bytes of one value, to be looked at as many at a time.
const (
	ones   = 0x0101010101010101
	tops   = ones * 0x80
	spaces = ones * ' '
	quotes = ones * '"'
	slants = ones * '\\'
)

// Plain returns how many bytes text begins with that stand for themselves in a string: the one after them, if there is any, is a quote, a backslash or a
// control character. Most of what evidence is made of is long strings, so bytes are looked at eight at a time: of x-n, where all bytes of n are one
// value, a byte has its top bit set when the one in x is below that value, and of x^n-1 when it is that value, unless it has the bit set to begin with. A
// borrow makes this wrong for bytes above one that was found, and the lowest is all that counts.
func Plain[T string | []byte](text T) (n int) {
	for ; len(text)-n >= 8; n += 8 {
		t := text[n : n+8]
		x := uint64(t[0]) | uint64(t[1])<<8 | uint64(t[2])<<16 | uint64(t[3])<<24 | uint64(t[4])<<32 | uint64(t[5])<<40 | uint64(t[6])<<48 | uint64(t[7])<<56
		quote, slant := x^quotes, x^slants
		if found := ((x-spaces)&^x | (quote-ones)&^quote | (slant-ones)&^slant) & tops; found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for ; n < len(text); n++ {
		if c := text[n]; c < ' ' || c == '"' || c == '\\' {
			break
		}
	}
	return n
}
