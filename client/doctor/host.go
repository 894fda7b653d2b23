package doctor

import (
	"context"
	"fmt"
	"strings"
)

// Host diagnoses a node that is to run confidential machines.
func Host(ctx context.Context, m Machine) *Report {
	h := &host{machine: newMachine(ctx, m), Report: &Report{Mode: "host", OK: true}}
	if h.container != "" {
		h.add(Note, "container",
			"this runs in "+h.container, "What is found here is what the container may see, which is less than what the node has.")
	}
	if h.logErr != nil {
		h.add(Warning, "log.unreadable", "the kernel's log cannot be read", "What only the log says is not known.", "Run this as root.")
	}
	var name string
	switch {
	case h.cpu["hypervisor"]:
		h.add(Problem, "host.virtual", "this is a virtual machine",
			"Confidential machines are started by the hardware's own host; they do not nest.",
			"Run this on the node itself, or use a cloud's confidential machines.")
	case h.vendor == "AuthenticAMD":
		name = "AMD SEV-SNP"
		h.amd()
	case h.vendor == "GenuineIntel":
		name = "Intel TDX"
		h.intel()
	default:
		h.add(Problem, "host.cpu", fmt.Sprintf("what a processor of %.32q needs is not known here", h.vendor), "AMD EPYC and Intel Xeon are.")
	}
	if name != "" {
		h.virtualisation()
	}
	switch problem := h.first(); {
	case h.OK:
		h.Verdict = fmt.Sprintf("This node can host guests of %s.", name)
	case name == "":
		h.Verdict = fmt.Sprintf("This node cannot host confidential machines: %s.", problem.Title)
	default:
		h.Verdict = fmt.Sprintf("This node cannot host guests of %s yet: %s.", name, problem.Title)
	}
	return h.Report
}

// host is a report on a node that is being made.
type host struct {
	*machine
	*Report
}

// The kernels that have the whole host side in KVM.
var (
	snpHostKernel = version{6, 11}
	tdxHostKernel = version{6, 16}
	snpFirmware   = version{1, 51} // the least that the kernel takes
)

const snpSettings = "In the firmware's settings, on AMD's reference: SMEE on, SEV control on, SEV-ES ASID space limit above 1, SNP memory (RMP table) coverage on, " +
	"SEV-SNP support on, IOMMU on. Then restart."

// amd checks a host of SEV-SNP. What KVM says counts; only where it says no, or nothing, is the cause looked for.
func (h *host) amd() {
	enabled := h.text("/sys/module/kvm_amd/parameters/sev_snp")
	h.snpFirmwareVersion()
	if enabled != "Y" {
		h.whyNoSNP(enabled)
		return
	}
	h.add(OK, "host.snp-ready", "KVM can start guests of SEV-SNP", h.asids())
	if !h.has("/dev/sev") {
		h.add(Problem, "host.sev-device", "/dev/sev is missing, through which the processor's firmware is asked", "", "$ modprobe ccp")
	}
	if len(h.list("/sys/class/iommu")) == 0 {
		h.add(Problem, "host.iommu", "no IOMMU is active", "SEV-SNP takes one.", "Turn it on in the firmware's settings.")
	}
}

// whyNoSNP says why KVM starts no guests of SEV-SNP. enabled is its parameter, "" where there is none. The first cause counts: others may
// follow from it.
func (h *host) whyNoSNP(enabled string) {
	switch {
	case h.logged("RMP table has not been reserved by BIOS"):
		h.add(Problem, "host.snp-firmware-off", "SEV-SNP is off in the firmware: no memory was reserved for the RMP table", "", snpSettings)
	case h.logged("IOMMU disabled or configured in passthrough mode"), h.logged("IOMMU SNP feature not enabled"), h.booted("iommu=pt"), h.booted("amd_iommu=off"):
		h.add(Problem, "host.iommu", "the IOMMU is off or in passthrough mode, which excludes SEV-SNP", "",
			"Turn it on in the firmware's settings, and take iommu=pt and amd_iommu=off from the kernel's command line.")
	case !h.cpu["sev"]:
		h.add(Problem, "host.sev-off", "the processor offers no SEV", "It is older than EPYC, or SEV is off in the firmware.", snpSettings)
	case h.kernel.before(snpHostKernel) && enabled == "":
		h.add(Problem, "kernel.old", fmt.Sprintf("Linux %.32q cannot host guests of SEV-SNP", h.release), "",
			fmt.Sprintf("Boot Linux %s or later, built with CONFIG_KVM_AMD_SEV.", snpHostKernel))
	case h.config("CONFIG_KVM_AMD_SEV") == "n":
		h.add(Problem, "kernel.config", "this kernel was built without CONFIG_KVM_AMD_SEV", "", "Boot one that has it.")
	case !h.has("/sys/module/kvm_amd"):
		h.add(Problem, "host.kvm-module", "the module kvm_amd is not loaded", "", "$ modprobe kvm_amd")
	case enabled == "":
		h.add(Problem, "host.snp-parameter", "KVM does not say whether it can start guests of SEV-SNP",
			"The parameter sev_snp of kvm_amd is not there.", "Boot a kernel that has it.")
	case !h.cpu["sev_snp"] && !h.kernel.before(version{6, 9}): // earlier kernels did not list it
		h.add(Problem, "host.snp-firmware-off", "the processor offers SEV and no SEV-SNP",
			"It is older than the third generation of EPYC, or SEV-SNP is off in the firmware.", snpSettings)
	default:
		h.add(Problem, "host.snp-parameter", "SEV-SNP is off in KVM",
			"The parameter sev_snp of kvm_amd is N: it was set so, or the processor's firmware did not start; the log says which.",
			"$ dmesg | grep -iE 'sev|snp|ccp'",
			"$ echo 'options kvm_amd sev=1 sev_es=1 sev_snp=1' > /etc/modprobe.d/vouchsafe-snp.conf", "Then restart the node.")
	}
}

// asids says how many guests there can be.
func (h *host) asids() string {
	if rest := h.afterLogged("SEV-SNP enabled (ASIDs"); rest != "" {
		low, high, _ := strings.Cut(strings.TrimSuffix(rest, ")"), "-")
		return fmt.Sprintf("It has ASIDs %.8q to %.8q, one for each guest.", strings.TrimSpace(low), strings.TrimSpace(high))
	}
	return ""
}

// snpFirmwareVersion looks at the processor's firmware.
func (h *host) snpFirmwareVersion() {
	found := h.afterLogged("SEV-SNP API:")
	if found == "" {
		return
	}
	if v := parseVersion(found); v.before(snpFirmware) {
		h.add(Problem, "host.snp-firmware-old", fmt.Sprintf("the processor's firmware is too old, SEV-SNP API %s", v), "",
			fmt.Sprintf("Update the node's firmware: it takes API %s or later.", snpFirmware))
		return
	}
	h.add(Note, "host.snp-firmware", fmt.Sprintf("the processor's firmware has SEV-SNP API %.32q", found),
		"What evidence claims as TCB comes from it, and policies ask for a least one. AMD's security bulletins say what is current.",
		"$ snphost show tcb")
}

const tdxSettings = "In the firmware's settings: TME and TME-MT (multiple keys) on, TDX on, a TME-MT/TDX key split above 0, SEAM loader on, SGX on. Then restart."

// intel checks a host of TDX. What KVM says counts, as for AMD.
func (h *host) intel() {
	enabled := h.text("/sys/module/kvm_intel/parameters/tdx")
	if enabled != "Y" {
		h.whyNoTDX(enabled)
		return
	}
	detail := ""
	if found := h.afterLogged("virt/tdx: TDX module version:"); found != "" {
		detail = fmt.Sprintf("The TDX module has version %.16q; Intel's releases say what is current.", found)
	}
	h.add(OK, "host.tdx-ready", "KVM can start guests of TDX", detail)
	h.quoting()
}

// whyNoTDX says why KVM starts no guests of TDX.
func (h *host) whyNoTDX(enabled string) {
	switch {
	case h.logged("initialization failed: Hibernation support is enabled"):
		h.add(Problem, "host.hibernation", "TDX is off, because the node could hibernate", "The kernel has only one of the two.",
			"Add nohibernate to the kernel's command line, and restart.")
	case h.logged("virt/tdx: module not loaded"), h.logged("TDX Module not loaded"):
		h.add(Problem, "host.tdx-module", "the firmware has not loaded the TDX module", "",
			"Turn the SEAM loader on in the firmware's settings, or update the firmware, and restart.")
	case h.kernel.before(tdxHostKernel) && enabled == "":
		h.add(Problem, "kernel.old", fmt.Sprintf("Linux %.32q cannot host guests of TDX", h.release), "",
			fmt.Sprintf("Boot Linux %s or later, built with CONFIG_INTEL_TDX_HOST.", tdxHostKernel))
	case !h.cpu["tdx_host_platform"] && !h.logged("virt/tdx: BIOS enabled"):
		h.add(Problem, "host.tdx-firmware-off", "TDX is off in the firmware, or the processor has none",
			"The kernel found no key that is kept for it.", tdxSettings)
	case h.config("CONFIG_INTEL_TDX_HOST") == "n":
		h.add(Problem, "kernel.config", "this kernel was built without CONFIG_INTEL_TDX_HOST", "", "Boot one that has it.")
	case !h.has("/sys/module/kvm_intel"):
		h.add(Problem, "host.kvm-module", "the module kvm_intel is not loaded", "", "$ modprobe kvm_intel tdx=1")
	default:
		h.add(Problem, "host.tdx-parameter", "TDX is off in KVM",
			"The parameter tdx of kvm_intel is not Y: it was not set, or the TDX module did not start; the log says which.",
			"$ dmesg | grep -i tdx",
			"$ echo 'options kvm_intel tdx=1' > /etc/modprobe.d/vouchsafe-tdx.conf", "Then restart the node.")
	}
}

// quoting checks what makes quotes of reports: an enclave of SGX on the host.
func (h *host) quoting() {
	if !h.has("/dev/sgx_enclave") || !h.has("/dev/sgx_provision") {
		h.add(Problem, "host.sgx", "SGX is off, so that guests start and get no quotes", "Quotes are made by an enclave on the host.",
			"Turn SGX on in the firmware's settings, and restart.")
	}
	if h.any("/var/run/tdx-qgs/qgs.socket", "/run/tdx-qgs/qgs.socket", "/etc/qgs.conf", "/opt/intel/tdx-qgs/qgs", "/usr/bin/qgs") == "" {
		h.add(Warning, "host.qgs", "no quote generation service was found",
			"Guests ask it for quotes. It may run elsewhere than Intel's packages put it.",
			"Install Intel's tdx-qgs, or your distribution's, and register the node with Intel (PCCS or the registration agent).")
	}
}

// virtualisation looks for what starts the machines.
func (h *host) virtualisation() {
	switch err := h.Open("/dev/kvm", true); {
	case !h.has("/dev/kvm"):
		h.add(Problem, "host.kvm", "/dev/kvm is missing", "Virtualisation is off in the firmware, or KVM is not loaded.")
	case err != nil && denied(err):
		h.add(Note, "host.kvm-permission", "this user may not open /dev/kvm", "Whatever starts the machines must.")
	}
	qemu := h.any("/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm", "/usr/local/bin/qemu-system-x86_64",
		"/opt/kata/bin/qemu-system-x86_64",
		"/opt/kata/bin/qemu-system-x86_64-snp-experimental", "/opt/kata/bin/qemu-system-x86_64-tdx-experimental")
	kata := h.any("/opt/kata/bin/containerd-shim-kata-v2", "/usr/local/bin/containerd-shim-kata-v2", "/usr/bin/containerd-shim-kata-v2")
	if kata != "" {
		h.add(OK, "host.kata", "Kata Containers is here", "At "+kata+".")
	}
	if qemu != "" {
		h.add(OK, "host.qemu", "QEMU is here",
			"At "+qemu+". It takes 9.1 or later for SEV-SNP, 10.1 for TDX, or a distribution's with these patches.")
	}
	if qemu == "" && kata == "" {
		h.add(Note, "host.no-vmm", "neither QEMU nor Kata Containers was found where packages put them", "Something must start the machines.")
	}
}
