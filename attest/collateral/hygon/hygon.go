// Package hygon checks Hygon's collateral for CSV: hygon/hsk_cek/{serial}, the certificates of HSK and CEK of the chip with a serial number, one after the
// other, 2916 bytes, as Hygon gives them for a chip. Nothing is fetched: they come from a file or a bundle, unless the evidence has them.
package hygon

import (
	"errors"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
)

// New returns the publisher of Hygon's collateral. verify holds an item against Hygon's root, as csv.CheckCollateral does; it is needed. The certificates have
// no dates.
func New(verify func(name string, e *attest.Endorsement) error) (collateral.Publisher, error) {
	if verify == nil {
		return collateral.Publisher{}, errors.New("hygon: nothing would verify the signatures of what is imported")
	}
	return collateral.Publisher{
		Vendor: collateral.Hygon,
		Check: func(name collateral.Name, e *attest.Endorsement, _ time.Time) (collateral.Validity, error) {
			return collateral.Validity{}, verify(name.String(), e)
		},
	}, nil
}
