package nvidia

import (
	"bytes"
	"errors"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
)

// TestCheckCollateral: NVIDIA's manifests pass as what they are, and nothing that was changed, misnamed or is unverifiable does.
func TestCheckCollateral(t *testing.T) {
	items := realManifests(t)
	for name, data := range items {
		if err := CheckCollateral(name, &attest.Endorsement{Data: data}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for other := range items {
			if other != name && CheckCollateral(other, &attest.Endorsement{Data: data}) == nil {
				t.Errorf("%s passes as %s", name, other)
			}
		}
		changed := bytes.Replace(data, []byte("Hash0=\""), []byte("Hash0=\"0"), 1)
		if bytes.Equal(changed, data) {
			t.Fatal("nothing was changed")
		}
		if CheckCollateral(name, &attest.Endorsement{Data: changed}) == nil {
			t.Errorf("%s, changed, passes", name)
		}
		if CheckCollateral("nvidia/other/x", &attest.Endorsement{Data: data}) == nil {
			t.Error("another name passes")
		}
	}
	if err := CheckCollateral("nvidia/ocsp/00", new(attest.Endorsement)); !errors.Is(err, ErrOCSP) {
		t.Error(err)
	}
}
