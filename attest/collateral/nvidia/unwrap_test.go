package nvidia

import (
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// TestMutationsAnswer: what is taken from the service's answer is of the manifest that was asked for, and no larger than the answer.
func TestMutationsAnswer(t *testing.T) {
	const id = "NV_GPU_DRIVER_GH100_535.86.09"
	rim := base64.StdEncoding.EncodeToString([]byte(`<SoftwareIdentity name="x"/>`))
	seeds := [][]byte{
		fmt.Appendf(nil, `{"id":%q,"rim":%q,"sha256":"00","last_updated":"2024"}`, id, rim),
		fmt.Appendf(nil, `{"rim":%q}`, rim),
		fmt.Appendf(nil, `{"id":"another","rim":%q}`, rim),
	}
	if got, err := unwrap(seeds[0], id); err != nil || string(got) != `<SoftwareIdentity name="x"/>` {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := unwrap(seeds[2], id); err == nil {
		t.Error("another manifest was taken")
	}
	mutate.Run(t, seeds, func(t *testing.T, input []byte) {
		if got, err := unwrap(input, id); err == nil && len(got) > len(input) {
			t.Errorf("%d bytes of %d", len(got), len(input))
		}
	})
}
