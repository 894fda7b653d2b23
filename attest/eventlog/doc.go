// Package eventlog parses the event log that firmware and boot loaders keep, replays it to quoted PCR values, and says what it
// proves of the boot. References are to the TCG PC Client Platform Firmware Profile (PFP) 1.06.
//
// # Format
//
// The crypto-agile format only (PFP 10.2.2), little-endian: a first event in the old layout, EV_NO_ACTION with the signature
// "Spec ID Event03", which names the hash banks; then events, each with a digest for every one of these banks. Nothing may
// follow but padding, all bytes zero or all 0xff, as ACPI tables have it. A log of TPM 1.2 is refused with CodeVersionUnsupported. A
// CCEL table of a TDX guest has the same format, its register indexes being 0 for MRTD and 1 to 4 for RTMR 0 to 3 (UEFI 2.10, 38.4.1), and its only
// bank SHA-384. [Boot] and [BootGuest] judge the first, [BootRTMR] the second.
//
// # What a replay proves
//
// A log is a claim by whoever presents it. A PCR is covered when its events, replayed from its reset value, give exactly the value quoted:
// then the log has every digest that was extended, in order, and no other. Events of PCRs that are not covered are not looked at. For PCRs
// that only firmware and boot loaders extend (0 to 9, 14) a log that has events but gives another value is refused with CodeEventLog. A
// running system goes on extending the others (10 by IMA, 11 to 13 and 15 by systemd, 16 and up by anyone), so there a difference only means
// that the PCR is not covered. A log that covers no PCR is refused: it proves nothing.
//
// Of a trust domain's registers, only firmware extends RTMR 0 and 1: a log that has events of one but gives another value is refused. RTMR 2 and 3
// are extended by running systems too, without an entry, so there a difference means not covered. Events under MRTD's index are not
// looked at: the quote has MRTD itself, and no software extends it.
//
// # What a covered event proves
//
// Only its digest. Neither its type nor its data nor the order of events of different PCRs is protected, so nothing is read
// from them until the digest of the data was recomputed, and what would be hidden by giving an event another label is
// looked for by content:
//
//   - secure_boot: the value of the variable SecureBoot measured into PCR 7 before its separator, which is before any boot application
//     ran. Measured there twice: refused.
//   - secure_boot_authorities: every db, MokList or shim certificate or hash measured into PCR 7 by which an image was admitted. If PCR 7
//     has an event whose data is not what was measured, it could be one more, and the claim is absent.
//   - secure_boot_variables: the content of PK, KEK, db and dbx as measured into PCR 7 before its separator, if every event there has the data
//     that was measured.
//   - firmware: every digest in PCR 0 before its separator.
//   - boot_loaders: every digest in PCR 4 that is not one of the strings and separators which the PFP puts there, whatever its label.
//   - command_line: GRUB's "kernel_cmdline: " in PCR 8, or the only measurement of systemd-stub in PCR 12, data checked against
//     the digest.
//   - kernel, initrd: GRUB's measurement in PCR 9 of the files that its command line and initrd command name; or the PE
//     sections .linux and .initrd that systemd-stub measures into PCR 11 after their names; or the initrd that Linux's EFI stub says in PCR 9 it
//     took. Where two of these differ, the claim is absent.
//   - command_line_digest: what Linux's EFI stub says in PCR 9 it took, when it is the first event there; its log has no text.
//
// # What differs in a trust domain
//
// The host controls disks, and so what a boot loader is configured to do. And one register has what a PC keeps in several: PCRs 0, 1 and 7
// are RTMR 0; 2 to 6 are RTMR 1; 8 to 15 are RTMR 2. So what would tell events apart by their PCR must be told by content, and what a
// boot loader's configuration can forge is not claimed:
//
//   - RTMR 0 begins with two digests that no log has the data of, the hand-off list and the configuration volume of the firmware, and after
//     the first separator up to three of ACPI tables. These are let pass there and nowhere else; the first two are claimed as firmware.
//   - boot_loaders are all digests in RTMR 1 but the known strings, separators, and what is logged in full and does not start as a program
//     does, such as a partition table. A driver on a device is one of them, which a PC measures into PCR 2.
//   - RTMR 2 is read from its start, and only as far as no event can be another one behind a label: systemd-stub's sections, each after its
//     name, a command line that was passed to it, then what the kernel took. So kernel, initrd, command_line and command_line_digest are
//     proved for a unified kernel image, and the last two digests for a kernel that the hypervisor hands over. A kernel that is given neither
//     command line nor initrd measures nothing, and leaves room for whoever controls the running system to append both: compare both,
//     and boot_loaders.
//   - Of any other boot loader, loader_says has what its labels say. It is good for finding out; nothing proves it. Compare RTMR 2 by value.
//
// # What differs in a guest
//
// The host controls the disks of a confidential virtual machine with a TPM too, and [BootGuest] is for these. Its registers are a PC's, so all but Linux
// is as above. GRUB measures the files it opens into PCR 9, and what it starts can append to PCRs 11 and 12. So:
//
//   - command_line, command_line_digest, kernel and initrd are claimed only where PCR 9 is known to have no events, or just those of the kernel's EFI
//     stub: then no boot loader ran that measures what its disk says. They are those of systemd-stub, its sections being the first events of PCR 11, and
//     of what the kernel took; command_line only if the kernel took that line, or measured nothing. As in a trust domain, compare both what the
//     kernel took and boot_loaders.
//   - Otherwise loader_says has what the labels say. Compare PCRs 8 and 9 by value, or start a unified kernel image without GRUB.
//
// # Limits of that
//
// GRUB's digests do not cover its own labels: who can run GRUB commands could have measured any line as a command and relabel it. So the
// claims command_line, kernel and initrd of [Boot] are as good as the boot loader's configuration is under control: ask for secure_boot and
// boot_loaders besides, or pin PCRs 8 and 9 by value. And who controls the running system can append to any PCR, though never remove.
package eventlog
