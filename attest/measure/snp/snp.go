package snp

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/vouchsafe/vouchsafe/attest/measure/ovmf"
)

// Size is the length of a launch digest, in bytes.
const Size = sha512.Size384

// MaxVCPUs bounds the number of virtual processors. No hypervisor that launches SNP guests has more.
const MaxVCPUs = 4096

const pageSize = 4096

// Config is what a guest is launched with.
type Config struct {
	Firmware []byte // the whole image of OVMF, of up to ovmf.MaxImage bytes

	// FirmwareDigest is the launch digest after the firmware's pages, where it was computed before. Firmware can then be the end of the image, with
	// its tables. Nil: it is computed from Firmware.
	FirmwareDigest []byte

	Kernel        *DirectBoot // nil: the firmware finds what to boot, which the digest does not cover
	VMM           VMM         // QEMU when empty
	VCPUType      string      // a model of QEMU's, as [Signature] knows it; needed for QEMU unless VCPUSignature is given
	VCPUSignature uint32      // family, model and stepping as CPUID function 1 returns them in EAX; 0: that of VCPUType
	GuestFeatures uint64      // SEV_FEATURES; 0: [FeatureSNP] alone
}

// DirectBoot is a kernel that the hypervisor hands to the firmware (QEMU's -kernel with kernel-hashes=on).
type DirectBoot struct {
	Kernel      io.Reader
	Initrd      io.Reader // nil: none
	CommandLine string    // without a final zero
}

// FeatureSNP is the bit of SEV_FEATURES that every SNP guest has.
const FeatureSNP = 1

// VMM is a hypervisor that launches guests.
type VMM string

// The hypervisors whose ways of launching are known.
const (
	QEMU VMM = "qemu"
	EC2  VMM = "ec2"
	GCE  VMM = "gce"
)

// Launch is a guest whose every part but the number of its processors is known.
type Launch struct {
	context launchContext // after all but the save areas
	boot    [pageSize]byte
	others  [pageSize]byte
	reset   bool // whether the firmware says where the other processors start
}

// New measures everything but the processors. It reads Kernel's readers to their ends. Errors wrap [ovmf.ErrImage], or say which setting is wrong.
func New(cfg Config) (*Launch, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	image, err := ovmf.Parse(cfg.Firmware)
	if err != nil {
		return nil, err
	}
	launch := &Launch{}
	if cfg.FirmwareDigest != nil {
		copy(launch.context.digest[:], cfg.FirmwareDigest)
	} else {
		launch.context.normal(image.Base(), image.Data)
	}
	if err := launch.context.metadata(image, &cfg); err != nil {
		return nil, err
	}
	launch.boot = saveArea(resetAddress, &cfg)
	if reset, err := image.Number(resetBlock); err == nil && reset != 0 {
		launch.others, launch.reset = saveArea(reset, &cfg), true
	}
	return launch, nil
}

// complete checks a configuration and fills in its defaults.
func (cfg *Config) complete() error {
	if cfg.VMM == "" {
		cfg.VMM = QEMU
	}
	if cfg.VMM != QEMU && cfg.VMM != EC2 && cfg.VMM != GCE {
		return fmt.Errorf("unknown hypervisor %q: it is qemu, ec2 or gce", cfg.VMM)
	}
	if cfg.GuestFeatures == 0 {
		cfg.GuestFeatures = FeatureSNP
	}
	if cfg.GuestFeatures&FeatureSNP == 0 {
		return fmt.Errorf("guest features %#x are not those of an SNP guest: bit 0 is not set", cfg.GuestFeatures)
	}
	if cfg.FirmwareDigest != nil && len(cfg.FirmwareDigest) != Size {
		return fmt.Errorf("a firmware digest of %d bytes; it has %d", len(cfg.FirmwareDigest), Size)
	}
	if cfg.Kernel != nil && cfg.Kernel.Kernel == nil {
		return errors.New("a command line or an initrd without a kernel")
	}
	switch {
	case cfg.VCPUSignature != 0 && cfg.VCPUType != "":
		return errors.New("both a processor's type and its signature: one of them is enough")
	case cfg.VCPUType != "":
		signature, known := Signature(cfg.VCPUType)
		if !known {
			return fmt.Errorf("unknown processor type %q", cfg.VCPUType)
		}
		cfg.VCPUSignature = signature
	case cfg.VCPUSignature == 0 && cfg.VMM == QEMU:
		return errors.New("the processor's type is missing: QEMU puts its signature into a register")
	}
	return nil
}

// Measurement returns the launch digest of a guest with a number of virtual processors, in hex.
func (l *Launch) Measurement(vcpus int) (string, error) {
	switch {
	case vcpus < 1 || vcpus > MaxVCPUs:
		return "", fmt.Errorf("%d virtual processors; 1 to %d can be measured", vcpus, MaxVCPUs)
	case vcpus > 1 && !l.reset:
		return "", fmt.Errorf("%w: it does not say where processors after the first start, so it has one only", ovmf.ErrImage)
	}
	context := l.context
	context.vmsa(&l.boot)
	for range vcpus - 1 {
		context.vmsa(&l.others)
	}
	return hex.EncodeToString(context.digest[:]), nil
}

// FirmwareDigest returns the launch digest after the pages of a firmware image, in hex: what Config.FirmwareDigest is.
func FirmwareDigest(firmware []byte) (string, error) {
	image, err := ovmf.Parse(firmware)
	if err != nil {
		return "", err
	}
	var context launchContext
	context.normal(image.Base(), image.Data)
	return hex.EncodeToString(context.digest[:]), nil
}

// Types of pages (ABI, table "PAGE_TYPE").
const (
	pageNormal     = 1
	pageVMSA       = 2
	pageZero       = 3
	pageUnmeasured = 4
	pageSecrets    = 5
	pageCPUID      = 6
)

// vmsaAddress is the address that save areas are measured at: -1, to the bits that an address has and to a page.
const vmsaAddress = 0xfffffffff000

// launchContext is the secure processor's state of a launch.
type launchContext struct{ digest [Size]byte }

// update takes in a page (ABI 8.17.2, PAGE_INFO).
func (c *launchContext) update(kind byte, address uint64, content [Size]byte) {
	const length = 0x70
	var info [length]byte
	copy(info[:], c.digest[:])
	copy(info[48:], content[:])
	binary.LittleEndian.PutUint16(info[96:], length)
	info[98] = kind
	binary.LittleEndian.PutUint64(info[104:], address)
	c.digest = sha512.Sum384(info[:])
}

// normal takes in pages with their content. The length of data is a multiple of a page's.
func (c *launchContext) normal(address uint64, data []byte) {
	for offset := 0; offset < len(data); offset += pageSize {
		c.update(pageNormal, address+uint64(offset), sha512.Sum384(data[offset:offset+pageSize]))
	}
}

// blank takes in pages without content, of a number of bytes.
func (c *launchContext) blank(kind byte, address, size uint64) {
	for offset := uint64(0); offset < size; offset += pageSize {
		c.update(kind, address+offset, [Size]byte{})
	}
}

func (c *launchContext) vmsa(area *[pageSize]byte) {
	c.update(pageVMSA, vmsaAddress, sha512.Sum384(area[:]))
}

// digest returns the SHA-256 of what a reader has, the empty string's for nil.
func digest(r io.Reader) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	if r != nil {
		if _, err := io.Copy(h, r); err != nil {
			return sum, err
		}
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
