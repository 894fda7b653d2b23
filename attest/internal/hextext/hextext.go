// Package hextext writes and reads hex, for what does little else: the values of 24 PCRs, which come as hex in evidence and go as hex into claims, take
// the standard library a tenth of the time that the check of a quote's signature does, each way. With tables it is a third of that.
package hextext

import (
	"encoding/binary"
	"encoding/hex"
)

// pairs have the two lower-case digits of each byte, the first one in the lower half.
var pairs = func() (table [256]uint16) {
	const digits = "0123456789abcdef"
	for value := range table {
		table[value] = uint16(digits[value>>4]) | uint16(digits[value&15])<<8
	}
	return table
}()

// Encode writes src in lower-case digits to dst, which must have room for two of each byte, and returns what it wrote.
func Encode(dst, src []byte) []byte {
	dst = dst[:2*len(src)]
	rest := dst
	// Four bytes at a time: a processor that reads what was written in smaller pieces, as whoever copies it does, waits for them.
	for len(src) >= 4 && len(rest) >= 8 {
		first, second := uint64(pairs[src[0]])|uint64(pairs[src[1]])<<16, uint64(pairs[src[2]])|uint64(pairs[src[3]])<<16
		binary.LittleEndian.PutUint64(rest, first|second<<32)
		src, rest = src[4:], rest[8:]
	}
	for i, value := range src {
		binary.LittleEndian.PutUint16(rest[2*i:], pairs[value])
	}
	return dst
}

// String returns src in lower-case digits.
func String(src []byte) string {
	var space [128]byte
	if 2*len(src) > len(space) {
		return hex.EncodeToString(src)
	}
	return string(Encode(space[:], src))
}

// groups give the bits of each digit at each of the four places of two bytes, and notHex for what is no digit.
type groups [4][256]uint32

// notHex is above the 16 bits of a group.
const notHex = 1 << 16

var lowerCase, eitherCase = groupsOf("0123456789abcdef"), groupsOf("0123456789abcdef", "0123456789ABCDEF")

func groupsOf(alphabets ...string) *groups {
	tables := new(groups)
	for place := range tables {
		for c := range tables[place] {
			tables[place][c] = notHex
		}
		for _, alphabet := range alphabets {
			for value, c := range []byte(alphabet) {
				tables[place][c] = uint32(value) << (12 - 4*place)
			}
		}
	}
	return tables
}

// Decode reads text, in digits of either case, into dst. It returns false, with whatever in dst, unless text is hex of exactly len(dst) bytes.
func Decode(dst, text []byte) bool { return eitherCase.decode(dst, text) }

// DecodeLower is Decode of text that must be in lower-case digits.
func DecodeLower(dst, text []byte) bool { return lowerCase.decode(dst, text) }

func (g *groups) decode(dst, text []byte) bool {
	if len(text)%2 != 0 || len(text)/2 != len(dst) {
		return false
	}
	for len(text) >= 8 && len(dst) >= 4 {
		next := binary.LittleEndian.Uint64(text)
		first := g[0][byte(next)] | g[1][byte(next>>8)] | g[2][byte(next>>16)] | g[3][byte(next>>24)]
		second := g[0][byte(next>>32)] | g[1][byte(next>>40)] | g[2][byte(next>>48)] | g[3][byte(next>>56)]
		if first|second >= notHex {
			return false
		}
		binary.BigEndian.PutUint32(dst, first<<16|second)
		text, dst = text[8:], dst[4:]
	}
	for i := range dst {
		value := g[2][text[2*i]] | g[3][text[2*i+1]]
		if value >= notHex {
			return false
		}
		dst[i] = byte(value)
	}
	return true
}
