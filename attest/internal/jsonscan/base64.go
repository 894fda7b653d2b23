package jsonscan

import "encoding/base64"

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
	tables, strict := standard, strictly[encoding]
	if encoding == base64.URLEncoding || encoding == base64.RawURLEncoding {
		tables = forURLs
	}
	out := make([]byte, encoding.DecodedLen(len(text)))
	n, at := 0, 0
	// The last group, which may be padded or short, is the standard library's.
	for ; at+8 <= len(text); at += 4 {
		group := text[at : at+4 : at+4]
		bits := tables[0][group[0]] | tables[1][group[1]] | tables[2][group[2]] | tables[3][group[3]]
		if bits >= notBase64 {
			return nil, base64.CorruptInputError(at)
		}
		to := out[n : n+3 : n+3]
		to[0], to[1], to[2] = byte(bits>>16), byte(bits>>8), byte(bits)
		n += 3
	}
	last, err := strict.Decode(out[n:], text[at:])
	if n += last; err == nil && encoding.EncodedLen(n) != len(text) { // the decoder passes over line breaks
		err = base64.CorruptInputError(at)
	}
	if err != nil {
		return nil, err
	}
	return out[:n:n], nil
}
