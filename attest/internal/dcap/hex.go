package dcap

import "encoding/hex"

// HexField is a claim to write: the hex of bytes.
type HexField struct {
	To   *string
	From []byte
}

// WriteHex writes claims. They share one string, since a report has some twenty fields, and a string of its own for each takes a tenth of
// the time that the signature's check does.
func WriteHex(fields ...HexField) {
	size := 0
	for _, f := range fields {
		size += len(f.From)
	}
	all := make([]byte, 0, size)
	for _, f := range fields {
		all = append(all, f.From...)
	}
	text := hex.EncodeToString(all)
	for _, f := range fields {
		n := hex.EncodedLen(len(f.From))
		*f.To, text = text[:n], text[n:]
	}
}
