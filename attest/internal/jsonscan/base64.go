package jsonscan

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// groups give the bits of each character at each of the four places of a group, and notBase64 for what is no character of the alphabet. The
// standard library's decoder takes a fifth of the time that the check of a quote's signature does; with these it is a twentieth.
type groups [4][256]uint32

// notBase64 is above the 24 bits of a group.
const notBase64 = 1 << 24

// lettersAndDigits begin both alphabets, which differ in the two last characters.
const lettersAndDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

var standard, forURLs = groupsOf(lettersAndDigits + "+/"), groupsOf(lettersAndDigits + "-_")

// strictly has the strict form of each encoding, which to make takes as long as to decode a digest.
var strictly = map[*base64.Encoding]*base64.Encoding{
	base64.StdEncoding: base64.StdEncoding.Strict(), base64.RawStdEncoding: base64.RawStdEncoding.Strict(),
	base64.URLEncoding: base64.URLEncoding.Strict(), base64.RawURLEncoding: base64.RawURLEncoding.Strict(),
}

func groupsOf(alphabet string) *groups {
	tables := new(groups)
	for place := range tables {
		for c := range tables[place] {
			tables[place][c] = notBase64
		}
		for value, c := range []byte(alphabet) {
			tables[place][c] = uint32(value) << (18 - 6*place)
		}
	}
	return tables
}

// DecodeBase64 decodes text as its encoder writes it: with padding or without, as the encoding has it, without line breaks, and without
// bits that no byte takes. The encoding is one of the four of package base64.
func DecodeBase64(encoding *base64.Encoding, text []byte) ([]byte, error) {
	return DecodeBase64Into(make([]byte, encoding.DecodedLen(len(text))), encoding, text)
}

// DecodeBase64Into is DecodeBase64 into memory of the caller's, of at least encoding.DecodedLen(len(text)) bytes. What it returns is the start of
// that memory; the rest may have been written to.
func DecodeBase64Into(out []byte, encoding *base64.Encoding, text []byte) ([]byte, error) {
	n, err := decode(out, encoding, text)
	if err != nil {
		return nil, err
	}
	return out[:n:n], nil
}

// DecodeBase64Text is DecodeBase64 for what is wanted as a string: a document of JSON, which it saves a copy of.
func DecodeBase64Text(encoding *base64.Encoding, text []byte) (string, error) {
	var out strings.Builder
	out.Grow(encoding.DecodedLen(len(text)))
	var part [768]byte
	for {
		next := text[:min(len(text), len(part)/3*4)]
		n, err := decode(part[:], encoding, next)
		if err != nil {
			return "", err
		}
		out.Write(part[:n])
		text = text[len(next):]
		if len(text) == 0 {
			return out.String(), nil
		}
		if n < len(part) {
			return "", base64.CorruptInputError(len(next)) // padding, and more after it
		}
	}
}

// decode decodes text into out, which is long enough for it.
func decode(out []byte, encoding *base64.Encoding, text []byte) (int, error) {
	tables, strict := standard, strictly[encoding]
	if encoding == base64.URLEncoding || encoding == base64.RawURLEncoding {
		tables = forURLs
	}
	// Four groups at a time, which are written with two bytes of what comes after them. The last ones, which may be padded or short, are the
	// standard library's.
	one, two, three, four := &tables[0], &tables[1], &tables[2], &tables[3]
	in, to := text, out
	for len(in) >= 20 && len(to) >= 14 {
		next, after := binary.LittleEndian.Uint64(in), binary.LittleEndian.Uint64(in[8:])
		a := one[byte(next)] | two[byte(next>>8)] | three[byte(next>>16)] | four[byte(next>>24)]
		b := one[byte(next>>32)] | two[byte(next>>40)] | three[byte(next>>48)] | four[byte(next>>56)]
		c := one[byte(after)] | two[byte(after>>8)] | three[byte(after>>16)] | four[byte(after>>24)]
		d := one[byte(after>>32)] | two[byte(after>>40)] | three[byte(after>>48)] | four[byte(after>>56)]
		if a|b|c|d >= notBase64 {
			return 0, base64.CorruptInputError(len(text) - len(in))
		}
		binary.BigEndian.PutUint64(to, uint64(a)<<40|uint64(b)<<16)
		binary.BigEndian.PutUint64(to[6:], uint64(c)<<40|uint64(d)<<16)
		in, to = in[16:], to[12:]
	}
	n, at := len(out)-len(to), len(text)-len(in)
	last, err := strict.Decode(out[n:], text[at:])
	if n += last; err == nil && encoding.EncodedLen(n) != len(text) { // the decoder passes over line breaks
		err = base64.CorruptInputError(at)
	}
	return n, err
}
