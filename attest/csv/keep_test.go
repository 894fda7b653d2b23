package csv

import (
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
)

// TestCheckCollateral: certificates under another root are not kept, whatever they are called. Those of a real chip are not among the test data.
func TestCheckCollateral(t *testing.T) {
	c := newChip(t)
	good := append(c.hsk(t), c.cek(t)...)
	for name, data := range map[string][]byte{
		EndorsementName("KPA1"): good, "amd/crl/Milan": good, EndorsementName("KPA2"): nil, EndorsementName("KPA3"): good[:len(good)-1],
	} {
		if err := CheckCollateral(name, &attest.Endorsement{Data: data}); err == nil {
			t.Errorf("%s of %d bytes passes", name, len(data))
		}
	}
	if _, err := verifyAuthorities(good, c.hrk.public()); err != nil {
		t.Errorf("what was refused is good under its own root: %v", err)
	}
}
