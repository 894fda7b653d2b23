package tdx

import (
	"crypto"
	"errors"

	"github.com/vouchsafe/vouchsafe/attest/measure/boot"
)

// pcrConfiguration is the PCR whose events of a PC go to RTMR 0.
const pcrConfiguration = 1

// Platform is what a TDX guest's firmware measures of its machine. All digests are SHA-384, 48 bytes: those of the hand-off list and of the
// tables are in the event log of a guest of the same shape, for the hypervisor makes them from its memory, its processors and its devices.
type Platform struct {
	HandOff    []byte // digest of the hand-off list ("TdxTable")
	Volume     []byte // digest of the volume of variables: of what [Firmware.Volume] returns, as it is launched
	SecureBoot boot.SecureBoot
	Tables     [][]byte        // digests of what ACPI tables come from ("ACPI DATA"), three with QEMU
	Variables  []boot.Variable // BootOrder and then each boot option

	// LateSeparator says that the separator which is measured before the first boot option goes to RTMR 0, as older builds of EDK II have
	// it, and not to RTMR 1.
	LateSeparator bool
}

// Sequence returns what a guest has measured when its firmware starts to boot. What follows is added to it: programs, and what these
// measure. A kernel that the hypervisor hands over is loaded before the boot options, so kernel, its Authenticode digest, is given here; nil
// for none.
func (p *Platform) Sequence(kernel []byte) (*boot.Sequence, error) {
	if p.SecureBoot.Enabled && p.SecureBoot.Unsupported {
		return nil, errors.New("Secure Boot is both enabled and not supported")
	}
	s, err := boot.New(crypto.SHA384)
	if err != nil {
		return nil, err
	}
	if err := s.Digest(pcrConfiguration, "hand-off list", p.HandOff); err != nil {
		return nil, err
	}
	if err := s.Digest(pcrConfiguration, "volume of variables", p.Volume); err != nil {
		return nil, err
	}
	s.SecureBoot(p.SecureBoot)
	for _, table := range p.Tables {
		if err := s.Digest(pcrConfiguration, "ACPI tables", table); err != nil {
			return nil, err
		}
	}
	if kernel != nil {
		if err := s.ApplicationDigest("kernel", kernel); err != nil {
			return nil, err
		}
	}
	for _, v := range p.Variables {
		s.BootVariable(v)
	}
	s.Calling()
	if p.LateSeparator {
		s.Separator(pcrConfiguration)
	} else {
		s.Separator(pcrApplications)
	}
	return s, nil
}

// pcrApplications is the PCR whose events of a PC go to RTMR 1.
const pcrApplications = 4

// DirectBoot returns RTMR 1 and RTMR 2, in hex, of a guest whose kernel, initrd and command line the hypervisor hands over, which do not
// depend on the machine. The digests are SHA-384: kernel is the Authenticode digest, initrd that of the file, nil for none. The command line
// is what the kernel is given: EDK II adds "initrd=initrd" to it, see [Line].
func DirectBoot(kernel, initrd []byte, line string, late bool) (rtmr1, rtmr2 string, err error) {
	zero := make([]byte, crypto.SHA384.Size())
	s, err := (&Platform{HandOff: zero, Volume: zero, LateSeparator: late}).Sequence(kernel)
	if err != nil {
		return "", "", err
	}
	if err := s.LinuxStub(line, nil); err != nil {
		return "", "", err
	}
	if initrd != nil {
		const pcrFiles = 9
		if err := s.Digest(pcrFiles, "initrd of the kernel", initrd); err != nil {
			return "", "", err
		}
	}
	s.ExitBootServices()
	values, err := s.RTMRs()
	if err != nil {
		return "", "", err
	}
	return values[1], values[2], nil
}

// Line returns a command line as EDK II gives it to a kernel that the hypervisor handed over with an initrd: older builds put
// "initrd=initrd" after it, newer ones before it.
func Line(line string, before bool) string {
	switch {
	case before:
		return "initrd=initrd " + line
	case line == "":
		return "initrd=initrd"
	}
	return line + " initrd=initrd"
}
