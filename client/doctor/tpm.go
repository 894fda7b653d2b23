package doctor

import (
	"fmt"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// tpmDevice is where programs reach the TPM, one after the other.
const tpmDevice = "/dev/tpmrm0"

// tpm looks for a TPM that can be used. Without one it returns what is in the way; found is false when there is nothing at all.
func (d *diagnosis) tpm() (problem Finding, found, usable bool) {
	err := d.Open(tpmDevice, true)
	version := d.text("/sys/class/tpm/tpm0/tpm_version_major")
	switch {
	case err == nil && version != "1":
		return Finding{ID: "tpm.ready", Severity: OK, Title: "the TPM can be used, at " + tpmDevice}, true, true
	case version == "1":
		return Finding{ID: "tpm.version", Severity: Problem, Title: "the TPM is of version 1.2",
			Detail: "Its quotes rest on SHA-1. It takes a TPM 2.0; many can be switched in the firmware's settings."}, true, false
	case d.has(tpmDevice) && denied(err):
		fix := []string{"Run this, and whatever fetches secrets, as root or as a member of the group that owns the device:",
			"$ usermod -aG tss USER"}
		if d.container != "" {
			fix = []string{"Give the container the device: --device " + tpmDevice}
		}
		return Finding{ID: "tpm.permission", Severity: Problem, Title: "this user may not open the TPM, " + tpmDevice, Fix: fix}, true, false
	case d.has(tpmDevice):
		return Finding{ID: "tpm.device", Severity: Problem, Title: fmt.Sprintf("the TPM, %s, cannot be opened: %v", tpmDevice, plain(err))}, true, false
	case d.has("/sys/class/tpm/tpm0") && d.container != "":
		return Finding{ID: "container.tpm", Severity: Problem, Title: "this container has no access to the machine's TPM",
			Fix: []string{"Give it the device: --device " + tpmDevice}}, true, false
	case d.any("/sys/class/tpm/tpm0", "/dev/tpm0") != "":
		return Finding{ID: "tpm.no-resource-manager", Severity: Problem, Title: "there is a TPM, and no " + tpmDevice,
			Detail: "The kernel has had it since Linux 4.12. The device /dev/tpm0 serves one program at a time, and is not used."}, true, false
	case d.has("/sys/firmware/acpi/tables/TPM2"):
		return Finding{ID: "tpm.module", Severity: Problem, Title: "the firmware presents a TPM, and the kernel has no driver for it",
			Fix: []string{"$ modprobe -a tpm_crb tpm_tis"}}, true, false
	}
	return Finding{}, false, false
}

// tpmAlone checks a machine that is no confidential one: its TPM is all it has.
func (d *diagnosis) tpmAlone() {
	finding, found, usable := d.tpm()
	encrypted := strings.Contains(d.afterLogged("Memory Encryption Features active: AMD"), "SEV")
	severity := Note
	if !found {
		severity = Problem
	}
	if encrypted {
		d.add(severity, "sev.no-snp", "memory is encrypted by AMD SEV without SNP, which cannot attest a running machine", "",
			"Have the machine started as a guest of SEV-SNP; on its host, vouchsafe-agent doctor --host says what that takes.")
	}
	if found {
		d.Kind = attest.TPM
		d.Add(finding)
	}
	switch {
	case !found:
	case d.unsure:
		d.add(Warning, "azure.unknown", "this may be a confidential VM of Azure",
			"The kernel's log and the TPM say so, and this user may not ask them.", root)
	case d.cloud() == azure:
		d.add(Note, "azure.ordinary", "nothing says that this is a confidential VM of Azure",
			"In one, the kernel's log names an isolation of AMD SEV-SNP or Intel TDX. It is kept only so far back; a machine just started has it whole.")
	}
	if usable {
		d.way = "its TPM"
		d.bootLog()
		d.enrolment()
		return
	}
	if !found && !encrypted {
		d.nothing()
	}
}

// nothing says that there is nothing, or nothing to be seen.
func (d *diagnosis) nothing() {
	const development = "For development, 'vouchsafe dev' makes a pretended one: vouchsafe-agent fetch --tee DIR/tee"
	if d.container != "" {
		d.add(Problem, "none", "this container sees no trusted execution environment and no TPM", "",
			"Run this on the machine itself, which knows what it is; then give the container what it needs from there.", development)
		return
	}
	title := "it is an ordinary computer, without a TPM"
	if d.cpu["hypervisor"] {
		title = "it is an ordinary virtual machine, without a TPM"
	}
	d.add(Problem, "none", title, "No trusted execution environment was found.",
		"Have the machine started as a confidential one: a guest of AMD SEV-SNP or Intel TDX, a confidential VM of a cloud, or a Nitro enclave. "+
			"Or give it a TPM 2.0 that a policy can rely on: a host's own, or a cloud's.", development)
}

// azureVM checks a confidential VM of Azure, where the paravisor's TPM is what can be asked.
func (d *diagnosis) azureVM() {
	finding, found, usable := d.tpm()
	if !found {
		finding = Finding{ID: "azure.tpm", Severity: Problem, Title: "this confidential VM shows no TPM",
			Detail: "Azure gives each of them one, in which its paravisor keeps the hardware's report. The kernel needs a driver for it.",
			Fix:    []string{"$ modprobe -a tpm_crb tpm_tis"}}
	}
	d.Add(finding)
	if usable {
		d.way = "the paravisor's TPM"
		d.add(Note, "azure.paravisor", "the hardware's own report comes from the paravisor, out of the TPM",
			"Nothing needs to be enrolled: the report vouches for the TPM's key.")
	}
}

// tpmBeside says whether a confidential machine can present its TPM too. What is in the way is no problem of the machine's.
func (d *diagnosis) tpmBeside() {
	if d.Kind == attest.AzSNPvTPM || d.Kind == attest.AzTDXvTPM {
		return // the TPM is what attests it
	}
	finding, found, usable := d.tpm()
	switch {
	case usable:
		d.Devices = append(d.Devices, attest.TPM)
		finding.Detail = "It can be presented beside the machine's own evidence, once it is enrolled: --device tpm"
		d.Add(finding)
	case found:
		finding.Severity = Note
		d.Add(finding)
	}
}

// bootLog looks for the firmware's event log of a machine with a TPM.
func (d *diagnosis) bootLog() {
	const log = "/sys/kernel/security/tpm0/binary_bios_measurements"
	const without = "Evidence goes without it: a policy can compare PCRs, but claims about boot loader, kernel and Secure Boot are absent."
	switch err := d.Open(log, false); {
	case err == nil:
		d.add(OK, "tpm.log-readable", "the firmware's event log can be read", "Claims about the boot come from it.")
	case denied(err):
		d.add(Warning, "tpm.log-permission", "this user may not read the firmware's event log", without, root)
	case !d.mounted("securityfs", "/sys/kernel/security"):
		d.add(Warning, "tpm.log-unmounted", "securityfs is not mounted, where the firmware's event log is", without,
			"$ mount -t securityfs none /sys/kernel/security")
	default:
		d.add(Warning, "tpm.log-absent",
			"the firmware left no event log", without, "A machine started by UEFI firmware, with the TPM on, has one.")
	}
}

// enrolment says what a TPM takes before its evidence counts.
func (d *diagnosis) enrolment() {
	if d.cloud() == google {
		d.add(Note, "tpm.certified", "Google certifies the keys of its machines' TPMs",
			"There is nothing to enrol, where the broker's operator trusts Google's authority.")
		return
	}
	d.add(Note, "tpm.enrol", "a TPM counts only once it is enrolled with the broker",
		"Once for each machine, with a token that an operator gives out:",
		"$ vouchsafe-agent enrol --host NAME --token-file FILE")
}
