package snp

import (
	"fmt"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Product is a line of processors with one AMD root key.
type Product string

// The products whose roots are pinned. Genoa's root vouches for Bergamo and Siena too.
const (
	Milan Product = "Milan"
	Genoa Product = "Genoa"
	Turin Product = "Turin"
)

// Products returns every product, oldest first.
func Products() []Product { return []Product{Milan, Genoa, Turin} }

// hwidSize is how many bytes of CHIP_ID a VCEK certificate names: all of them before Turin, eight since (AMD publication 57230).
func (p Product) hwidSize() int {
	if p == Turin {
		return 8
	}
	return ChipIDSize
}

// CPUID identifies a processor, its extended and base family and model added up as CPUID leaf 1 has them.
type CPUID struct{ Family, Model, Stepping uint8 }

func (c CPUID) String() string {
	return fmt.Sprintf("family %#x model %#x stepping %d", c.Family, c.Model, c.Stepping)
}

// Product returns whose root vouches for processors of c, false when it is none that is known here.
func (c CPUID) Product() (Product, bool) {
	switch {
	case c.Family == 0x19 && c.Model <= 0x0F:
		return Milan, true
	case c.Family == 0x19 && (c.Model >= 0x10 && c.Model <= 0x1F || c.Model >= 0xA0 && c.Model <= 0xAF):
		return Genoa, true
	case c.Family == 0x1A && c.Model <= 0x11:
		return Turin, true
	}
	return "", false
}

// TCBVersion is a TCB_VERSION as it stands in a report, bytes in the order of the report.
type TCBVersion [8]byte

// TCB is a trusted computing base: the security version numbers of the platform's firmware. The zero TCB is the lowest.
type TCB struct {
	FMC        uint8 // firmware management controller, Turin only
	Bootloader uint8
	TEE        uint8
	SNP        uint8
	Microcode  uint8
}

// Decode reads v as processors of p write it: boot loader, TEE, four reserved bytes, SNP, microcode; on Turin FMC, boot loader,
// TEE, SNP, three reserved bytes, microcode. It refuses with CodeMalformed when a reserved byte is not zero.
func (v TCBVersion) Decode(p Product) (TCB, error) {
	if p == Turin {
		if v[4]|v[5]|v[6] != 0 {
			return TCB{}, attest.Refuse(attest.CodeMalformed, "TCB version %x has reserved bytes that are not zero", v)
		}
		return TCB{FMC: v[0], Bootloader: v[1], TEE: v[2], SNP: v[3], Microcode: v[7]}, nil
	}
	if v[2]|v[3]|v[4]|v[5] != 0 {
		return TCB{}, attest.Refuse(attest.CodeMalformed, "TCB version %x has reserved bytes that are not zero", v)
	}
	return TCB{Bootloader: v[0], TEE: v[1], SNP: v[6], Microcode: v[7]}, nil
}

// Encode writes t as processors of p do. FMC is left out where p has none.
func (t TCB) Encode(p Product) TCBVersion {
	if p == Turin {
		return TCBVersion{t.FMC, t.Bootloader, t.TEE, t.SNP, 0, 0, 0, t.Microcode}
	}
	return TCBVersion{t.Bootloader, t.TEE, 0, 0, 0, 0, t.SNP, t.Microcode}
}

// AtLeast reports whether no part of t is lower than in least.
func (t TCB) AtLeast(least TCB) bool {
	return t.FMC >= least.FMC && t.Bootloader >= least.Bootloader && t.TEE >= least.TEE &&
		t.SNP >= least.SNP && t.Microcode >= least.Microcode
}

func (t TCB) claims(p Product) attest.TCBVersion {
	c := attest.TCBVersion{
		Bootloader: int(t.Bootloader), TEE: int(t.TEE), SNP: int(t.SNP), Microcode: int(t.Microcode),
	}
	if p == Turin {
		c.FMC = attest.Ptr(int(t.FMC))
	}
	return c
}
