// Package measure is where the packages live that say, from what a build made, what evidence will measure once it runs:
//
//   - [github.com/vouchsafe/vouchsafe/attest/measure/snp]: the launch digest of an SEV-SNP guest
//   - [github.com/vouchsafe/vouchsafe/attest/measure/tdx]: MRTD of a TDX guest, and what of its RTMRs can be known
//   - [github.com/vouchsafe/vouchsafe/attest/measure/boot]: what a boot measures, event by event, for PCRs and RTMRs
//   - [github.com/vouchsafe/vouchsafe/attest/measure/pe]: programs of UEFI: their sections, and their Authenticode digest
//   - [github.com/vouchsafe/vouchsafe/attest/measure/ovmf]: the table at the end of a virtual machine's firmware
//
// Nothing here judges evidence, and no verifier imports it: a reference value that is computed wrongly refuses the guest, and one that is
// computed from the wrong files admits what these files are. They are for whoever states the values, on the machine that built the image.
// All are pure: bytes and readers go in, lower-case hex comes out.
package measure
