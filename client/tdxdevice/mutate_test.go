package tdxdevice

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-tdx-guest/testing/testdata"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// TestMutationsQuote: a quote that passes has what was asked for where its version has the report data.
func TestMutationsQuote(t *testing.T) {
	four := bytes.Clone(testdata.RawQuote)
	data := bytes.Clone(four[headerSize+reportDataOffset:][:reportDataSize])
	five := append(append(bytes.Clone(four[:headerSize]), 2, 0, 0x48, 2, 0, 0), four[headerSize:]...)
	five[0] = 5
	for version, quote := range map[int][]byte{4: four, 5: five} {
		if err := check(quote, data); err != nil {
			t.Errorf("version %d: %v", version, err)
		}
	}
	short := four[:headerSize+bodyHeaderSize+bodySize]
	mutate.Run(t, [][]byte{four, five, short}, func(t *testing.T, input []byte) {
		if check(input, data) != nil {
			return
		}
		at := headerSize + reportDataOffset
		if binary.LittleEndian.Uint16(input) == 5 {
			at += bodyHeaderSize
		}
		if len(input) > maxQuote || !bytes.Equal(input[at:at+reportDataSize], data) {
			t.Errorf("%d bytes pass", len(input))
		}
	})
}
