// Package doctor says in plain words what can attest the machine it runs on, what is missing, and how to get it: [Guest] for a machine
// that fetches secrets, [Host] for a node that is to run confidential machines.
//
// It is a function from facts to findings. The facts are files, looked at through a file system rooted at /, and what is no file: whether
// this process may open one, the driver behind configfs-tsm, a paravisor's TPM, the kernel's log, and the output of nvidia-smi. [Machine]
// holds them all, so that tests lay out whole machines, and so that nothing else is looked at. It changes nothing, loads no module, asks
// no firmware for a report and no network for anything. What the caller's Machine does to answer is the caller's: the driver behind
// configfs-tsm is learnt by beginning a request and giving it up.
//
// # What it looks at
//
//	/proc/cpuinfo, /proc/sys/kernel/osrelease,     processor, kernel, how it was booted and built
//	/proc/cmdline, /boot/config-*
//	/sys/class/dmi/id                              whose machine it is: Azure, Google, Amazon
//	/proc/self/mounts, /.dockerenv, …              configfs; whether this is a container
//	/sys/devices/platform/sev-guest, /dev, the log which kind of guest it is
//	/sys/kernel/config/tsm/report                  the interface to reports: what stands behind it, and whether this process may ask
//	/sys/firmware/acpi/tables, securityfs          event logs
//	/sys/class/tpm, /dev/tpmrm0                    TPM
//	/run/container_launcher                        whether this is a workload of Confidential Space
//	/sys/bus/pci, /proc/driver/nvidia, nvidia-smi  GPUs, and whether they are in confidential mode
//	/sys/module/kvm_*, /dev/sev, /dev/kvm,         what a host needs
//	/sys/class/iommu
//
// # What it says
//
// A [Report]: a verdict of one sentence and findings, the most important first. A finding has an id that stays the same between versions,
// for scripts, such as "configfs.not-mounted"; a severity; what was found; and what to do. [Problem] means that attestation, or hosting,
// fails for this reason; [Warning] that it works and proves less than it could; [Note] what is good to know; [OK] what was looked for and
// is there.
//
// # What it does not say
//
// Whether a broker will accept the evidence: that takes the broker's policies. Nor is it proof of anything: everything it reads can be
// made up by whoever runs the machine. Text that came from the machine is quoted and shortened in what it prints, so that it cannot steer a
// terminal. Nothing it reads is secret, and it prints no serial numbers.
package doctor
