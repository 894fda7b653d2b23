package dcap

import "encoding/base64"

// decodeTables give the bits of each character at each of the four places of a group, and notBase64 for what is no character of base64. The
// standard library's decoder takes a fifth of the time that the signature's check does for a quote; with these it is a twentieth.
var decodeTables = func() (tables [4][256]uint32) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for place := range tables {
		for c := range tables[place] {
			tables[place][c] = notBase64
		}
		for value, c := range []byte(alphabet) {
			tables[place][c] = uint32(value) << (18 - 6*place)
		}
	}
	return tables
}()

// notBase64 is above the 24 bits of a group.
const notBase64 = 1 << 24

// decode reads standard base64 as an encoder writes it: padded, without line breaks, and without bits that no byte takes.
func decode(text []byte) ([]byte, error) {
	if len(text)%4 != 0 {
		return nil, base64.CorruptInputError(len(text))
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, at := 0, 0
	// The last group, which may be padded, is the standard library's.
	for ; at+8 <= len(text); at += 4 {
		group := text[at : at+4 : at+4]
		bits := decodeTables[0][group[0]] | decodeTables[1][group[1]] | decodeTables[2][group[2]] | decodeTables[3][group[3]]
		if bits >= notBase64 {
			return nil, base64.CorruptInputError(at)
		}
		to := out[n : n+3 : n+3]
		to[0], to[1], to[2] = byte(bits>>16), byte(bits>>8), byte(bits)
		n += 3
	}
	for _, c := range text[at:] {
		if c == '\r' || c == '\n' { // which the standard library passes over
			return nil, base64.CorruptInputError(at)
		}
	}
	last, err := base64.StdEncoding.Strict().Decode(out[n:], text[at:])
	return out[:n+last], err
}
