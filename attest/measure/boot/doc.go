// Package boot says what a boot measures, event by event, from what a build made: for the PCRs of a TPM and the RTMRs of a TDX guest.
// References are to the TCG PC Client Platform Firmware Profile (PFP) 1.06, and to what EDK II, systemd-stub, GRUB and Linux's EFI stub do.
//
// # What extends what
//
// A register starts at zero, and an event with digest D makes it H(register || D). For a TDX guest, H is SHA-384, and RTMR 0 takes what a PC extends
// into PCRs 1 and 7, RTMR 1 what goes into 2 to 6, RTMR 2 what goes into 8 to 15 (UEFI 2.10, 38.4.1). The events here, by PCR:
//
//	4   firmware: a string before each boot option it tries and after each that returns, a separator before the first, and the
//	    Authenticode digest of each program that is loaded: shim, GRUB, a unified kernel image, the kernel in it
//	5   firmware: a partition table, which is the disk's; a string when the kernel takes over
//	7   firmware: the variables SecureBoot, PK, KEK, db, dbx and a separator; then each certificate or hash that admitted a program, by firmware or shim
//	8   GRUB: each command it runs, and the kernel's command line
//	9   GRUB: each file it reads. Linux's EFI stub: the command line and the initrd that it was given
//	11  systemd-stub: name and content of each section of a unified kernel image, in a fixed order. Later systemd: the phases of the boot
//	12  systemd-stub: a command line that was passed to it and that it uses
//
// # What can be predicted
//
// PCRs 8, 9, 11 and 12, and so RTMR 2, are made of what the image's author controls. PCR 4 is too, but for how many boot options the
// firmware tries in vain before the right one. PCR 7 is when the owner of the machine sets its variables. PCRs 0, 1, 2, 3, 5 and 6 depend on
// the machine: take them from one that is known to be good.
//
// # Limits
//
// systemd-stub of version 252 measures no .uname and .sbat, 254 and later do; a stub's version is read from its section .sdmagic. Only 252
// was run for the tests here; which sections later ones measure, and in which order, is from systemd's source (src/fundamental/uki.c).
// Version 253 is refused. Add-ons, credentials and system extensions beside an image change PCRs 9, 12 and 13, and are not predicted. An
// image of several profiles is refused.
package boot
