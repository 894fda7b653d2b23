package boot

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"unicode/utf16"

	"github.com/vouchsafe/vouchsafe/attest/measure/pe"
)

// PCRs by what is measured into them (PFP 2.3.4; the documentation of GRUB and systemd).
const (
	pcrConfiguration = 1
	pcrApplications  = 4
	pcrPartitions    = 5
	pcrSecureBoot    = 7
	pcrGRUBCommands  = 8
	pcrFiles         = 9
	pcrSections      = 11
	pcrCommandLine   = 12
)

// Strings that firmware measures (PFP 10.4.4).
const (
	calling   = "Calling EFI Application from Boot Option"
	returning = "Returning from EFI Application from Boot Option"
	exiting   = "Exit Boot Services Invocation"
	exited    = "Exit Boot Services Returned with Success"
)

// Variable is a variable of UEFI.
type Variable struct {
	GUID [16]byte // of its owner, as it lies in memory
	Name string
	Data []byte
}

// Owners of variables, as they lie in memory: 8be4df61-93ca-11d2-aa0d-00e098032b8c and d719b2cb-3d3a-4596-a3bc-dad00e67656f.
var (
	GlobalVariable = [16]byte{0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c}
	ImageSecurity  = [16]byte{0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f}
)

// measured returns the variable as a UEFI_VARIABLE_DATA (PFP 10.2.6).
func (v *Variable) measured() []byte {
	name := encodeUTF16(v.Name)
	b := append([]byte(nil), v.GUID[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(name)/2))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(v.Data)))
	return append(append(b, name...), v.Data...)
}

func encodeUTF16(text string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}

// SecureBoot is the state of Secure Boot: the content of its variables, nil for one that is not set.
type SecureBoot struct {
	Enabled          bool
	Unsupported      bool   // whether the firmware was built without Secure Boot, so that even the variable SecureBoot is not set
	PK, KEK, DB, DBX []byte // lists of signatures (EFI_SIGNATURE_LIST), as the variables hold them
}

// SecureBoot adds what firmware measures of Secure Boot when it starts, and its separator.
func (s *Sequence) SecureBoot(state SecureBoot) {
	on := []byte{0}
	switch {
	case state.Unsupported:
		on = nil
	case state.Enabled:
		on[0] = 1
	}
	s.variables([]Variable{
		{GlobalVariable, "SecureBoot", on},
		{GlobalVariable, "PK", state.PK},
		{GlobalVariable, "KEK", state.KEK},
		{ImageSecurity, "db", state.DB},
		{ImageSecurity, "dbx", state.DBX},
	})
	s.Separator(pcrSecureBoot)
}

func (s *Sequence) variables(list []Variable) {
	for _, v := range list {
		s.Data(pcrSecureBoot, "Secure Boot variable "+v.Name, v.measured())
	}
}

// Authority adds what admitted a program: of firmware, an entry of db, which is its owner's GUID and the certificate; of shim, what it
// measures of its lists.
func (s *Sequence) Authority(v Variable) {
	s.Data(pcrSecureBoot, "Secure Boot authority "+v.Name, v.measured())
}

// BootVariable adds a variable that configures the boot, BootOrder or Boot0000, of which firmware measures the content alone.
func (s *Sequence) BootVariable(v Variable) {
	s.Data(pcrConfiguration, "variable "+v.Name, v.Data)
}

// Separator adds the event that ends what firmware measures before it starts to boot.
func (s *Sequence) Separator(pcr int) { s.Data(pcr, "separator", []byte{0, 0, 0, 0}) }

// ReadyToBoot adds what firmware measures before its first boot option: a string into PCR 4, and separators into PCRs 0 to 6.
func (s *Sequence) ReadyToBoot() {
	s.Calling()
	for pcr := range pcrSecureBoot {
		s.Separator(pcr)
	}
}

// Calling adds the string of a boot option that firmware tries.
func (s *Sequence) Calling() { s.Data(pcrApplications, calling, []byte(calling)) }

// NextOption adds the strings of a boot option that returned, and of the next.
func (s *Sequence) NextOption() {
	s.Data(pcrApplications, returning, []byte(returning))
	s.Calling()
}

// Application adds a program that is loaded.
func (s *Sequence) Application(name string, program *pe.File) error {
	digest, err := program.Authenticode(s.hash)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return s.Digest(pcrApplications, "program "+name, digest)
}

// ApplicationDigest adds a program that is loaded, by its Authenticode digest.
func (s *Sequence) ApplicationDigest(name string, digest []byte) error {
	return s.Digest(pcrApplications, "program "+name, digest)
}

// Partitions adds the partition table that firmware measures when it boots from a disk, as a UEFI_GPT_DATA (PFP 10.2.7).
func (s *Sequence) Partitions(table []byte) { s.Data(pcrPartitions, "partition table", table) }

// ExitBootServices adds what firmware measures when the kernel takes over.
func (s *Sequence) ExitBootServices() {
	s.Data(pcrPartitions, exiting, []byte(exiting))
	s.Data(pcrPartitions, exited, []byte(exited))
}

// Programs returns the digests of the programs, in hex and in order: the claim boot.boot_loaders.
func (s *Sequence) Programs() []string {
	var digests []string
	for _, e := range s.Events {
		if e.PCR == pcrApplications && e.What != calling && e.What != returning && e.What != "separator" {
			digests = append(digests, hex.EncodeToString(e.Digest))
		}
	}
	return digests
}
