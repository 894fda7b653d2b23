package tpmdevice

import (
	"bytes"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// TestMutationsCertificate: what is taken for a certificate is what its index begins with.
func TestMutationsCertificate(t *testing.T) {
	long := append([]byte{0x30, 0x82, 1, 0}, make([]byte, 256)...)
	mutate.Run(t, [][]byte{long, append(long, bytes.Repeat([]byte{0xff}, 512)...), {0x30, 0}}, func(t *testing.T, input []byte) {
		got, err := unpadded(input)
		if err == nil && (len(got) < 2 || !bytes.HasPrefix(input, got)) {
			t.Errorf("%x of %x", got, input)
		}
	})
}
