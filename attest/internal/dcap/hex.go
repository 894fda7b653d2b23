package dcap

import (
	"encoding/hex"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest/internal/hextext"
)

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
		size += hex.EncodedLen(len(f.From))
	}
	var all strings.Builder
	all.Grow(size)
	var space [128]byte // enough for the longest field
	for _, f := range fields {
		all.Write(hextext.Encode(space[:], f.From))
	}
	text := all.String()
	for _, f := range fields {
		n := hex.EncodedLen(len(f.From))
		*f.To, text = text[:n], text[n:]
	}
}
