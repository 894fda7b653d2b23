package doctor

import (
	"errors"
	"fmt"
	"syscall"
)

// hardware is a kind of machine whose reports come through configfs-tsm.
type hardware struct {
	name     string
	provider string  // as the kernel calls the driver
	module   string  // as modprobe takes it
	loaded   string  // as /sys/module has it
	option   string  // that the kernel is built with
	since    version // of the kernel that has the driver behind configfs-tsm
}

var (
	hardwareSNP = hardware{"AMD SEV-SNP", "sev_guest", "sev-guest", "sev_guest", "CONFIG_SEV_GUEST", version{6, 7}}
	hardwareTDX = hardware{"Intel TDX", "tdx_guest", "tdx_guest", "tdx_guest", "CONFIG_TDX_GUEST_DRIVER", version{6, 7}}
	hardwareCCA = hardware{"Arm CCA", "arm_cca_guest", "arm-cca-guest", "arm_cca_guest", "CONFIG_ARM_CCA_GUEST", version{6, 13}}
)

// Where the interface is.
const (
	configfs   = "/sys/kernel/config"
	tsmReports = configfs + "/tsm/report"
)

// tsm asks for the driver behind configfs-tsm. It returns a finding of what is in the way, or ok and what was found.
func (d *diagnosis) tsm(h hardware) (f Finding, ok bool) {
	provider, err := d.Provider(d.ctx)
	switch {
	case err == nil && provider == h.provider:
		return Finding{ID: "tsm.ready", Severity: OK, Title: fmt.Sprintf("the kernel's configfs-tsm gives reports of %s", h.name)}, true
	case err == nil:
		return Finding{
			ID: "tsm.other-driver", Severity: Problem,
			Title:  fmt.Sprintf("the kernel's configfs-tsm gives reports of another driver, %.32q", provider),
			Detail: fmt.Sprintf("This is a machine of %s, whose driver is %s.", h.name, h.provider),
		}, false
	case d.kernel.before(h.since) && !d.has(tsmReports):
		return Finding{
			ID: "kernel.old", Severity: Problem,
			Title:  fmt.Sprintf("Linux %.32q is too old for reports of %s", d.release, h.name),
			Detail: fmt.Sprintf("The kernel's interface for them, configfs-tsm, comes with Linux %s.", h.since),
			Fix:    []string{fmt.Sprintf("Boot Linux %s or later.", h.since)},
		}, false
	case d.container != "" && (!d.has(tsmReports) || denied(err)):
		return Finding{
			ID: "container.configfs", Severity: Problem,
			Title:  "this container has no access to the kernel's configfs-tsm",
			Detail: "The interface is the machine's. A container sees it only when it is mounted there, and may use it only when it can write to it.",
			Fix: []string{
				"Mount it into the container, for writing, and let the container's user be root:",
				"$ podman run --volume " + configfs + ":" + configfs + " …",
				"In Kubernetes, a hostPath volume at " + configfs + ".",
			},
		}, false
	case !d.mounted("configfs", configfs) && !d.has(tsmReports):
		return Finding{
			ID: "configfs.not-mounted", Severity: Problem, Title: "configfs is not mounted",
			Detail: "The kernel's interface for reports is a part of it.",
			Fix:    []string{"$ mount -t configfs none " + configfs, "To have it at each boot: systemctl enable --now sys-kernel-config.mount"},
		}, false
	case denied(err):
		return Finding{
			ID: "tsm.permission", Severity: Problem, Title: "this user may not ask the kernel for reports",
			Detail: "Asking takes the right to make a folder below " + tsmReports + ".", Fix: []string{root},
		}, false
	case d.has("/sys/module/" + h.loaded):
		return Finding{
			ID: "tsm.driver-failed", Severity: Problem, Title: fmt.Sprintf("the module %s is loaded, and gives no reports", h.module),
			Detail: fmt.Sprintf("The kernel says: %v. Its log says why.", plain(err)), Fix: []string{"$ dmesg | grep -iE 'sev|tdx|cca|tsm'"},
		}, false
	case d.config(h.option) == "n":
		return Finding{
			ID: "kernel.config", Severity: Problem, Title: fmt.Sprintf("this kernel was built without the driver for reports of %s", h.name),
			Detail: fmt.Sprintf("Its configuration lacks %s.", h.option), Fix: []string{"Boot a kernel that has it; those of distributions for clouds do."},
		}, false
	case errors.Is(err, errUnknown):
		return Finding{ID: "tsm.unknown", Severity: Problem, Title: "whether the kernel gives reports could not be found out"}, false
	default:
		return Finding{
			ID: "module.missing", Severity: Problem, Title: fmt.Sprintf("the module %s is not loaded", h.module),
			Detail: "It is the driver behind the kernel's interface for reports.",
			Fix:    []string{"$ modprobe " + h.module, "To have it at each boot: echo " + h.module + " > /etc/modules-load.d/vouchsafe.conf"},
		}, false
	}
}

// plain is an error without the paths around it.
func plain(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// snp checks a guest of SEV-SNP, which has two ways to ask.
func (d *diagnosis) snp() {
	const device = "/dev/sev-guest"
	finding, ready := d.tsm(hardwareSNP)
	opened := d.Open(device, true)
	switch {
	case ready:
		d.way = "the kernel's configfs-tsm"
	case opened == nil:
		d.way = device
		d.Add(Finding{ID: "snp.device", Severity: OK, Title: "the device " + device + " gives reports",
			Detail: "It is asked because configfs-tsm is not there: " + finding.Title + "."})
	case finding.ID == "kernel.old" && d.has(device):
		finding = Finding{ID: "snp.device-permission", Severity: Problem, Title: "this user may not open " + device,
			Detail: fmt.Sprintf("Linux %.32q gives reports of AMD SEV-SNP through it.", d.release), Fix: []string{root}}
	case finding.ID == "kernel.old" && d.container != "":
		finding = Finding{ID: "container.device", Severity: Problem, Title: "this container has no access to " + device,
			Detail: fmt.Sprintf("Linux %.32q gives reports of AMD SEV-SNP through it.", d.release), Fix: []string{"Give it the device: --device " + device}}
	case finding.ID == "kernel.old" && !d.kernel.before(version{5, 19}):
		finding = Finding{ID: "module.missing", Severity: Problem, Title: "the module sev-guest is not loaded",
			Detail: fmt.Sprintf("It makes %s, through which Linux %.32q gives reports.", device, d.release), Fix: []string{"$ modprobe sev-guest"}}
	case finding.ID == "container.configfs":
		finding.Fix = append(finding.Fix, "Or give it the device: --device "+device)
	}
	if opened != nil || ready {
		d.Add(finding)
	}
	if vmpl := d.any("/sys/devices/system/cpu/sev/vmpl"); vmpl != "" {
		if level := d.text(vmpl); level != "0" {
			d.add(Warning, "snp.vmpl", fmt.Sprintf("this guest runs at VMPL %.8q, not 0", level),
				"Something with more rights runs below it, an SVSM or a paravisor. The broker's baseline wants VMPL 0; a policy can waive that by name.")
		}
	}
	if d.logged("VMPCK") && d.logged("Disabling") {
		d.add(Warning, "snp.key-given-up", "the kernel has given up a key to talk to the firmware",
			"The host failed a request, or rations them. Requests with that key fail until the guest is restarted.", "$ dmesg | grep -i vmpck")
	}
}

// tdx checks a guest of TDX, with its event log.
func (d *diagnosis) tdx() {
	finding, ready := d.tsm(hardwareTDX)
	d.Add(finding)
	if ready {
		d.way = "the kernel's configfs-tsm"
	}
	const log = "/sys/firmware/acpi/tables/data/CCEL"
	switch err := d.Open(log, false); {
	case err == nil:
		d.add(OK, "ccel.readable", "the firmware's event log can be read", "Claims about boot loader, kernel and command line come from it.")
	case d.has(log) && denied(err):
		d.add(Warning, "ccel.permission", "this user may not read the firmware's event log",
			"Evidence goes without it, and claims about the boot are absent from what it proves.", root)
	case d.container != "":
		d.add(Warning, "ccel.absent", "the firmware's event log is not to be seen in this container",
			"Evidence goes without it, and claims about the boot are absent from what it proves.",
			"Mount /sys/firmware into the container, read-only.")
	case d.has("/sys/firmware/acpi/tables/CCEL"):
		d.add(Warning, "ccel.kernel", "the firmware presents an event log, and this kernel does not show it",
			"Evidence goes without it: a policy can compare registers (RTMR), but knows nothing of what went into them.", "Boot a newer kernel.")
	default:
		d.add(Warning, "ccel.absent", "the firmware presents no event log (ACPI table CCEL)",
			"Evidence goes without it: a policy can compare registers (RTMR), but knows nothing of what went into them.",
			"Have the machine started with a firmware that makes one, such as the TDX build of OVMF.")
	}
}

// cca checks a realm.
func (d *diagnosis) cca() {
	finding, ready := d.tsm(hardwareCCA)
	d.Add(finding)
	if ready {
		d.way = "the kernel's configfs-tsm"
	}
}

// nitro checks an enclave.
func (d *diagnosis) nitro() {
	switch err := d.Open("/dev/nsm", true); {
	case err == nil:
		d.way = "/dev/nsm"
		d.add(OK, "nitro.device", "the security module of the enclave, /dev/nsm, can be used", "")
	case denied(err):
		d.add(Problem, "nitro.permission", "this user may not open /dev/nsm", "", root)
	default:
		d.add(Problem, "nitro.device", fmt.Sprintf("/dev/nsm cannot be opened: %v", plain(err)), "")
	}
}

// launcher is where the launcher of Confidential Space listens.
const launcher = "/run/container_launcher/teeserver.sock"

// confidentialSpace checks a workload of Confidential Space, which sees nothing of the hardware: its launcher asks.
func (d *diagnosis) confidentialSpace() {
	d.way = "the launcher"
	d.add(OK, "space.launcher", "the launcher of Confidential Space gives tokens of Google's verifier",
		"They are made for an audience, which the broker's people configured: --token-audience NAME names it.")
}
