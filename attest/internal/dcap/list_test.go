package dcap

import (
	"bytes"
	"testing"

	"github.com/google/go-tdx-guest/testing/testdata"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// TestMutationsList: of Intel's own revocation list no change counts, nor anything after it.
func TestMutationsList(t *testing.T) {
	roots, err := IntelRoots()
	if err != nil {
		t.Fatal(err)
	}
	list := testdata.RootCrlBody
	if _, err := verifyList(list, roots.Platform); err != nil {
		t.Fatal(err)
	}
	if _, err := verifyList(append(bytes.Clone(list), 0), roots.Platform); err == nil {
		t.Error("a list with a byte behind it was taken")
	}
	mutate.Run(t, [][]byte{list}, func(t *testing.T, input []byte) {
		if _, err := verifyList(input, roots.Platform); err == nil && !bytes.Equal(input, list) {
			t.Errorf("%x was taken", input)
		}
	})
}
