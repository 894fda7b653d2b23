package csv

import (
	"fmt"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// CheckCollateral says whether an item of Hygon's collateral, hygon/hsk_cek/{serial}, has the certificates of a HSK that the pinned root signed and of a CEK
// that the HSK signed, so that it may be kept. Of which chip they are they do not say: that a report's platform key was signed by that CEK shows it, at each
// appraisal.
func CheckCollateral(name string, e *attest.Endorsement) error {
	if !strings.HasPrefix(name, EndorsementName("")) {
		return fmt.Errorf("csv: %.100q is no collateral of Hygon's", name)
	}
	root, err := hygonRoot()
	if err != nil {
		return err
	}
	_, err = verifyAuthorities(e.Data, root)
	return err
}
