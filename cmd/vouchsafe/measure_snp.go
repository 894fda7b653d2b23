package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/measure/snp"
)

// snpBuild is what a build and its deployment say of an SEV-SNP guest.
type snpBuild struct {
	launch
	vcpus                         []int
	vcpuType, signature, features string
	vmm, reference                string
}

func (p *program) measureSNP() *cobra.Command {
	var b snpBuild
	c := &cobra.Command{
		Use:   "snp --ovmf FILE --vcpus N[,N…]",
		Short: "Compute the launch digest of an SEV-SNP guest",
		Long: `Compute the launch digest of an SEV-SNP guest, which its report has as MEASUREMENT and policies as claims.measurement.

It covers the firmware byte for byte; the number of virtual processors, so there is one value for each number that the guest is run
with; the processors' type, where QEMU launches the guest; and kernel, initrd and command line where the hypervisor hands them over
with hashes (QEMU: -kernel and kernel-hashes=on), which needs the build AmdSev of OVMF. It does not cover what is on a disk.

Guest features are what the host turns on for guests: 0x1 on most, 0x21 where Linux had debug swapping on by default. A wrong one gives a
value that no guest has.`,
		Example: `  vouchsafe measure snp --ovmf OVMF.amdsev.fd --kernel vmlinuz --initrd initrd.img \
    --cmdline 'console=ttyS0' --vcpus 1,2,4 --vcpu-type EPYC-Milan
  vouchsafe measure snp --ovmf OVMF.fd --vcpus 8 --vcpu-type EPYC-v4 --reference payments-image`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			result, err := b.predict(p)
			if err != nil {
				return err
			}
			return result.print(p, b.reference)
		},
	}
	b.add(c)
	f := c.Flags()
	f.IntSliceVar(&b.vcpus, "vcpus", nil, "`NUMBERS` of virtual processors, with commas between (required)")
	f.StringVar(&b.vcpuType, "vcpu-type", "", "processor `TYPE` of QEMU: "+strings.Join(snp.VCPUTypes(), ", ")+", or a version of one such as EPYC-v4")
	f.StringVar(&b.signature, "vcpu-signature", "", "in the place of a type, the processor's `NUMBER` as CPUID function 1 returns it in EAX")
	f.StringVar(&b.features, "guest-features", "0x1", "SEV_FEATURES of the guest, as a `NUMBER`")
	f.StringVar(&b.vmm, "vmm", string(snp.QEMU), "`HYPERVISOR` that launches it: qemu, ec2 or gce")
	referenceFlag(c, &b.reference)
	_ = c.MarkFlagRequired("vcpus") // the flag exists
	return c
}

func (b *snpBuild) predict(p *program) (*prediction, error) {
	cfg := snp.Config{VMM: snp.VMM(b.vmm), VCPUType: b.vcpuType}
	var err error
	if cfg.GuestFeatures, err = strconv.ParseUint(b.features, 0, 64); err != nil || cfg.GuestFeatures == 0 {
		return nil, errors.New("--guest-features is not a number like 0x1")
	}
	if b.signature != "" {
		signature, err := strconv.ParseUint(b.signature, 0, 32)
		if err != nil || signature == 0 {
			return nil, errors.New("--vcpu-signature is not a number like 0xa00f11")
		}
		cfg.VCPUSignature = uint32(signature)
	}
	if cfg.VMM == snp.QEMU && b.vcpuType == "" && b.signature == "" {
		return nil, errors.New("--vcpu-type is missing: QEMU puts it into a register that is measured")
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	if cfg.Firmware, err = p.readFirmware(b.firmware); err != nil {
		return nil, err
	}
	if b.kernel != "" {
		kernel, err := os.Open(b.kernel)
		if err != nil {
			return nil, err
		}
		defer kernel.Close()
		cfg.Kernel = &snp.DirectBoot{Kernel: kernel, CommandLine: b.line}
	}
	if b.initrd != "" {
		initrd, err := os.Open(b.initrd)
		if err != nil {
			return nil, err
		}
		defer initrd.Close()
		cfg.Kernel.Initrd = initrd
	}
	launch, err := snp.New(cfg)
	if err != nil {
		return nil, err
	}
	result := &prediction{Kind: attest.SNP}
	for _, n := range b.vcpus {
		value, err := launch.Measurement(n)
		if err != nil {
			return nil, err
		}
		result.Values = append(result.Values, predicted{Claim: "claims.measurement", Value: value, For: plural(n, "processor")})
	}
	return result, nil
}

// plural counts things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
