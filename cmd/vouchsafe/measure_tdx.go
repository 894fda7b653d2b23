package main

import (
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/measure/boot"
	"github.com/vouchsafe/vouchsafe/attest/measure/pe"
	"github.com/vouchsafe/vouchsafe/attest/measure/tdx"
)

// tdxBuild is what a build and its deployment say of a TDX guest.
type tdxBuild struct {
	launch
	uki                 string
	order               string
	separator, position string
	reference           string
}

func (p *program) measureTDX() *cobra.Command {
	var b tdxBuild
	c := &cobra.Command{
		Use:   "tdx --ovmf FILE",
		Short: "Compute MRTD of a TDX guest, and what is known of its RTMRs",
		Long: `Compute MRTD of a TDX guest, which policies have as claims.measurement, and what of its RTMRs can be known.

MRTD covers the firmware's code, and nothing else. What the firmware boots is in RTMR 1 and 2. They are computed for a kernel that the
hypervisor hands over; builds of the firmware differ in two details of it, and without --separator and --initrd-option there is a value
for each. For a unified kernel image and for any other boot, ask for the claims that the guest's event log proves: the digests of the
programs, which --uki and --kernel print too.

RTMR 0 depends on the machine: memory, devices, ACPI tables. Take it from a guest of the same shape, or ask for the claims
secure_boot_variables and firmware, whose second digest, that of the firmware's volume of variables, is printed.`,
		Example: `  vouchsafe measure tdx --ovmf OVMF.inteltdx.fd --kernel vmlinuz --initrd initrd.img \
    --cmdline 'console=ttyS0' --separator rtmr1 --initrd-option before
  vouchsafe measure tdx --ovmf OVMF.inteltdx.fd --uki linux.efi --reference payments-image`,
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
	f.StringVar(&b.uki, "uki", "", "unified kernel image `FILE` that the firmware boots")
	f.StringVar(&b.order, "order", string(tdx.PageByPage), "`ORDER` in which the host measures: page-by-page as Linux 6.16 and later do, or section-by-section")
	f.StringVar(&b.separator, "separator", "", "`REGISTER` that takes the firmware's separator before it boots: rtmr1, or rtmr0 in older builds")
	f.StringVar(&b.position, "initrd-option", "", "`WHERE` the firmware puts initrd=initrd into the command line: before, or after in older builds")
	referenceFlag(c, &b.reference)
	return c
}

func (b *tdxBuild) predict(p *program) (*prediction, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	switch {
	case b.kernel != "" && b.uki != "":
		return nil, errors.New("--kernel and --uki are two ways to boot: one of them")
	case b.separator != "" && b.separator != "rtmr0" && b.separator != "rtmr1":
		return nil, fmt.Errorf("--separator is %q, not rtmr1 or rtmr0", b.separator)
	case b.position != "" && b.position != "before" && b.position != "after":
		return nil, fmt.Errorf("--initrd-option is %q, not before or after", b.position)
	}
	image, err := p.readFirmware(b.firmware)
	if err != nil {
		return nil, err
	}
	firmware, err := tdx.ParseFirmware(image)
	if err != nil {
		return nil, err
	}
	mrtd, err := firmware.MRTD(tdx.Order(b.order))
	if err != nil {
		return nil, err
	}
	result := &prediction{Kind: attest.TDX, Values: []predicted{{Claim: "claims.measurement", Value: mrtd}}}
	if volume, has := firmware.Volume(); has {
		h := crypto.SHA384.New()
		h.Write(volume)
		result.Values = append(result.Values, predicted{
			Claim: "claims.boot.firmware[1]", Value: hex.EncodeToString(h.Sum(nil)),
			For: "the volume of variables as it is in the image", set: "-variables",
		})
	}
	result.Unknown = append(result.Unknown, unknown{"claims.tdx.rtmr0", "it depends on the machine's memory, devices and ACPI tables"})
	switch {
	case b.kernel != "":
		err = b.direct(result)
	case b.uki != "":
		result.Unknown = append(result.Unknown,
			unknown{"claims.tdx.rtmr1", "it has the disk's partition table and the boot options that were tried; ask for claims.boot.boot_loaders"},
			unknown{"claims.tdx.rtmr2", "what a stub and a kernel measure without a TPM depends on their versions; the image's digest covers its sections"})
		err = withUKI(b.uki, func(u *boot.UKI) error { return result.addPrograms(u, crypto.SHA384) })
	}
	return result, err
}

// direct adds what a kernel that the hypervisor hands over makes of RTMR 1 and 2.
func (b *tdxBuild) direct(result *prediction) error {
	var kernel, initrd []byte
	err := withProgram(b.kernel, func(program *pe.File) (err error) {
		kernel, err = program.Authenticode(crypto.SHA384)
		return err
	})
	if err != nil {
		return err
	}
	if b.initrd != "" {
		err := withFile(b.initrd, func(file *os.File, _ int64) (err error) {
			initrd, err = boot.Sum(crypto.SHA384, file)
			return err
		})
		if err != nil {
			return err
		}
		result.Values = append(result.Values, predicted{Claim: "claims.boot.initrd", Value: hex.EncodeToString(initrd), set: "-initrd"})
	}
	result.Values = append(result.Values, predicted{Claim: "claims.boot.boot_loaders", Value: hex.EncodeToString(kernel), For: "the kernel", set: "-boot-loaders"})
	for _, separator := range []string{"rtmr1", "rtmr0"} {
		if b.separator != "" && b.separator != separator {
			continue
		}
		rtmr1, _, err := tdx.DirectBoot(kernel, initrd, b.line, separator == "rtmr0")
		if err != nil {
			return err
		}
		result.Values = append(result.Values, predicted{Claim: "claims.tdx.rtmr1", Value: rtmr1, For: "firmware with its separator in " + separator, set: "-rtmr1"})
	}
	for _, position := range []string{"before", "after"} {
		line, circumstance := b.line, "firmware that puts initrd=initrd "+position+" the command line"
		switch {
		case initrd == nil && position == "after":
			continue
		case initrd == nil:
			circumstance = ""
		case b.position != "" && b.position != position:
			continue
		default:
			line = tdx.Line(b.line, position == "before")
		}
		_, rtmr2, err := tdx.DirectBoot(kernel, initrd, line, false)
		if err != nil {
			return err
		}
		digest, err := boot.LineDigest(crypto.SHA384, line)
		if err != nil {
			return err
		}
		result.Values = append(result.Values,
			predicted{Claim: "claims.tdx.rtmr2", Value: rtmr2, For: circumstance, set: "-rtmr2"},
			predicted{Claim: "claims.boot.command_line_digest", Value: hex.EncodeToString(digest), For: circumstance, set: "-command-line"})
	}
	return nil
}
