package audit

import (
	"encoding/binary"
	"fmt"
)

// lengthSize is the bytes of the length before each entry of a bundle.
const lengthSize = 2

// appendEntry appends an entry of at most MaxEntry bytes as c2sp.org/tlog-tiles has it in entry bundles.
func appendEntry(bundle, entry []byte) []byte {
	bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(entry)))
	return append(bundle, entry...)
}

// parseBundle splits a bundle, or a part of one, into at most most entries; they share its memory. Errors wrap ErrMalformed.
func parseBundle(bundle []byte, most int) ([][]byte, error) {
	var entries [][]byte
	for rest := bundle; len(rest) > 0; {
		if len(entries) == most {
			return nil, fmt.Errorf("%w entry bundle: more than %d entries", ErrMalformed, most)
		}
		if len(rest) < lengthSize {
			return nil, fmt.Errorf("%w entry bundle: entry %d has half a length", ErrMalformed, len(entries))
		}
		length := int(binary.BigEndian.Uint16(rest))
		rest = rest[lengthSize:]
		if length > len(rest) {
			return nil, fmt.Errorf("%w entry bundle: entry %d is %d bytes of which %d are there",
				ErrMalformed, len(entries), length, len(rest))
		}
		entries = append(entries, rest[:length:length])
		rest = rest[length:]
	}
	return entries, nil
}
