// Package snp computes the launch digest of an SEV-SNP guest: the MEASUREMENT of its attestation report. References are to AMD's SEV Secure
// Nested Paging Firmware ABI Specification (publication 56860) and AMD64 Architecture Programmer's Manual, volume 2 (APM, 24593).
//
// # What is measured
//
// The firmware of the secure processor keeps a digest of 48 bytes, all zero at first. For every page that the hypervisor has it load before
// launch, it becomes SHA-384 over a PAGE_INFO of 112 bytes (ABI 8.17.2):
//
//	0    48  the digest so far
//	48   48  SHA-384 of the page's content; zero for a page whose content is not measured
//	96    2  0x70, the length of this
//	98    1  type: 1 normal, 2 VMSA, 3 zero, 4 unmeasured, 5 secrets, 6 CPUID
//	99    5  zero: not an initial migration image, no permissions of other privilege levels, reserved
//	104   8  the page's guest-physical address
//
// The pages, in the order that hypervisors load them:
//
//  1. The firmware image, so that it ends at 4 GiB.
//  2. What its SEV metadata lists (OvmfPkg/ResetVector, OvmfSevMetadata): pages of zeros for its working memory, the secrets page, the CPUID page,
//     and, for a kernel that is booted directly, the page with the table of the SHA-256 of command line, initrd and kernel.
//  3. For each virtual processor, its save area (VMSA, APM table B-4): the registers it starts with, at the address that the ABI gives these.
//
// So the digest covers the firmware byte for byte, kernel, initrd and command line where they are booted directly, how many processors there
// are, and their model as the hypervisor puts it into a register. It does not cover the guest's memory size, devices, disks, or a boot
// loader that firmware finds on one: for these, see init-data, or a measured boot with a vTPM.
//
// # Hypervisors
//
// QEMU, Amazon EC2 and Google Compute Engine differ in registers that have no meaning for the guest, in the order of CPUID, and in whether
// working memory is measured. Guest features (SEV_FEATURES) are a register too: 0x1 is SNP alone; hosts with Linux before 6.10 set 0x21
// where debug swap is on by default.
//
// # Limits
//
// Firmware that another layer starts (an SVSM, an IGVM file) is not measured here. The reports of guests whose firmware is measured by another
// service, as in Azure, hold that service's measurement.
package snp
