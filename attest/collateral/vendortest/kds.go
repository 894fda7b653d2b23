package vendortest

import (
	"fmt"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/amd"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/snp/snptest"
)

// KDS is AMD's service for a vendor of package snptest.
type KDS struct {
	*Server
	Vendor *snptest.Vendor
}

// StartKDS starts one that has a revocation list of each product, good for a month, and no chips yet.
func StartKDS(tb testing.TB, v *snptest.Vendor, now time.Time) *KDS {
	tb.Helper()
	k := &KDS{Start(tb), v}
	for _, p := range snp.Products() {
		k.SetList(p, v.RevocationList(p, now.Add(-time.Hour), now.AddDate(0, 1, 0)))
	}
	return k
}

// ChipPath is what a chip's certificate is asked for by.
func ChipPath(c *snptest.Chip) string {
	fmc := ""
	if c.Product == snp.Turin {
		fmc = fmt.Sprintf("fmcSPL=%d&", c.TCB.FMC)
	}
	return fmt.Sprintf("/vcek/v1/%s/%x?%sblSPL=%d&teeSPL=%d&snpSPL=%d&ucodeSPL=%d",
		c.Product, c.HWID, fmc, c.TCB.Bootloader, c.TCB.TEE, c.TCB.SNP, c.TCB.Microcode)
}

// Add has it answer with a chip's certificate.
func (k *KDS) Add(c *snptest.Chip) { k.Set(ChipPath(c), Answer{Body: c.VCEK()}) }

// SetList has it answer with a product's revocation list.
func (k *KDS) SetList(p snp.Product, der []byte) {
	k.Set(fmt.Sprintf("/vcek/v1/%s/crl", p), Answer{Body: der})
}

// Publisher returns what fetches from it, with requests that far apart. Nothing is fetched where client is nil.
func (k *KDS) Publisher(tb testing.TB, client *collateral.Client, interval time.Duration) collateral.Publisher {
	tb.Helper()
	p, err := amd.New(amd.Config{Checker: k.Vendor.Collateral(), Client: client, Base: k.URL, Interval: interval})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}
