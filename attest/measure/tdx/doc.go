// Package tdx computes MRTD, the launch measurement of an Intel TDX guest, and the registers RTMR 0 to 2 of one, as far as they can be known.
// References are to Intel's TDX Module 1.5 Base Architecture Specification (348549), TDX Virtual Firmware Design Guide (344991) and the UEFI
// Specification 2.10.
//
// # MRTD
//
// MRTD is SHA-384 over what the TDX module does before the guest runs, in blocks of 128 bytes:
//
//	TDH.MEM.PAGE.ADD, for each page of 4096 bytes:  "MEM.PAGE.ADD", 4 zeros, the address in 8 bytes, 104 zeros
//	TDH.MR.EXTEND, for each 256 bytes that count:   "MR.EXTEND", 7 zeros, the address in 8 bytes, 104 zeros; then the 256 bytes
//
// Which pages these are, the firmware lists in its TDX metadata (Design Guide, "TDVF descriptor"): "TDVF", a length, version 1 and a count, of 4
// bytes each; then for each section
//
//	0   4  offset in the image      4   4  bytes there
//	8   8  address in the guest     16  8  bytes there
//	24  4  type                     28  4  attributes: 1 to extend MRTD with the content, 2 to add no page
//
// In most builds only the code (BFV) is extended; the volume with variables (CFV), the hand-off list and working memory are pages without content.
// So MRTD covers the firmware's code and nothing else: not the number of processors, nor memory, nor kernel.
//
// Hypervisors do this in one of two orders, which MRTD shows: Linux's KVM extends each page right after it is added, early ones add a section's
// pages first and extend then. [Order] says which.
//
// # RTMRs
//
// What a boot extends into RTMRs, [github.com/vouchsafe/vouchsafe/attest/measure/boot] builds, event by event. [Sequence] has what is
// particular to EDK II in a TDX guest:
//
//   - RTMR 0 begins with the digest of the hand-off list, which depends on the size of the guest's memory, and of the CFV, which is known.
//     It has the Secure Boot variables, a separator, three ACPI tables that the hypervisor makes, and boot variables, which name devices.
//   - RTMR 1 has the programs that are loaded, and the partition table of the disk they are on.
//   - RTMR 2 has what a boot loader or the kernel measures: command line, initrd, and GRUB's or systemd-stub's own.
//
// So RTMR 1 and 2 can be predicted for a kernel that the hypervisor hands over, RTMR 2 for a unified kernel image. RTMR 0 needs digests from
// a guest of the same shape: policies better ask for the claims that its events prove, the Secure Boot variables and the firmware's digests.
package tdx
