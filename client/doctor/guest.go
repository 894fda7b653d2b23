package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Guest diagnoses a machine that is to attest itself. supported are the kinds of evidence that the caller can collect.
func Guest(ctx context.Context, m Machine, supported ...attest.Kind) *Report {
	d := &diagnosis{machine: newMachine(ctx, m), Report: &Report{Mode: "guest", OK: true}, supported: supported}
	d.surroundings()
	t := d.identify()
	d.Kind = t.kind
	if t.kind == "" {
		d.tpmAlone()
	} else {
		t.check(d)
		d.tpmBeside()
	}
	d.gpus()
	d.collectable()
	d.verdict(t)
	return d.Report
}

// diagnosis is a report that is being made.
type diagnosis struct {
	*machine
	*Report
	supported []attest.Kind
	way       string // by which evidence is made, when it is
	unsure    bool   // whether it may be a confidential machine of Azure, for all this process may see
}

// tee is what a machine was found to be.
type tee struct {
	name  string // as people call it
	kind  attest.Kind
	check func(*diagnosis) // says whether evidence can be made
}

// identify says what kind of machine this is, by what the kernel says of itself before what can be configured.
func (d *diagnosis) identify() tee {
	paravisor := d.paravisor()
	switch {
	case d.has("/dev/nsm"):
		return tee{"an AWS Nitro enclave", attest.Nitro, (*diagnosis).nitro}
	case d.has(launcher):
		return tee{"a workload of Google's Confidential Space", attest.Token, (*diagnosis).confidentialSpace}
	case paravisor == attest.AzSNPvTPM:
		return tee{"an Azure confidential VM on AMD SEV-SNP", attest.AzSNPvTPM, (*diagnosis).azureVM}
	case paravisor == attest.AzTDXvTPM:
		return tee{"an Azure confidential VM on Intel TDX", attest.AzTDXvTPM, (*diagnosis).azureVM}
	case d.any("/sys/devices/platform/sev-guest", "/dev/sev-guest", "/sys/devices/system/cpu/sev/vmpl") != "",
		strings.Contains(d.afterLogged("Memory Encryption Features active: AMD"), "SEV-SNP"):
		return tee{"an AMD SEV-SNP guest", attest.SNP, (*diagnosis).snp}
	case d.cpu["tdx_guest"], d.has("/dev/tdx_guest"), d.logged("tdx: Guest detected"):
		return tee{"an Intel TDX guest", attest.TDX, (*diagnosis).tdx}
	case d.logged("RME: Using RSI version"), d.has("/sys/module/arm_cca_guest"):
		return tee{"an Arm CCA realm", attest.CCA, (*diagnosis).cca}
	}
	// The drivers hide from a container what the interface still says.
	switch provider, _ := d.Provider(d.ctx); provider {
	case hardwareSNP.provider:
		return tee{"an AMD SEV-SNP guest", attest.SNP, (*diagnosis).snp}
	case hardwareTDX.provider:
		return tee{"an Intel TDX guest", attest.TDX, (*diagnosis).tdx}
	case hardwareCCA.provider:
		return tee{"an Arm CCA realm", attest.CCA, (*diagnosis).cca}
	}
	return tee{}
}

// Types of isolation that Hyper-V names in the lower four bits of its group B (HV_ISOLATION_TYPE), and what they make of a machine.
var isolations = map[uint64]attest.Kind{2: attest.AzSNPvTPM, 3: attest.AzTDXvTPM}

// paravisor returns the kind of a machine whose hardware a paravisor keeps from the kernel, "" for others: as the kernel logged it at its
// start, or, on a machine of Azure whose log does not go back that far or cannot be read, as its TPM has it.
func (d *diagnosis) paravisor() attest.Kind {
	var a, b uint64
	if _, err := fmt.Sscanf(d.afterLogged("Hyper-V: Isolation Config:"), "Group A 0x%x, Group B 0x%x", &a, &b); err == nil {
		if a&1 == 0 {
			return ""
		}
		return isolations[b&0xf]
	}
	if d.cloud() != azure {
		return ""
	}
	kind, err := d.Paravisor(d.ctx)
	if err != nil {
		d.unsure = d.logErr != nil && (errors.Is(err, errUnknown) || denied(err))
		return ""
	}
	return kind
}

// surroundings says where this runs, when that matters.
func (d *diagnosis) surroundings() {
	if cloud := d.cloud(); cloud != "" {
		d.add(Note, "cloud", "this is a machine of "+cloud, "")
	}
	if d.container != "" {
		d.add(Note, "container", "this runs in "+d.container,
			"What is found here is what the container may see and use, which is less than what the machine has.")
	}
	if d.has("/run/kata-containers") || d.booted("systemd.unit=kata-containers.target") {
		d.add(Note, "kata", "this is a virtual machine of Kata Containers",
			"Its own components can fetch secrets, without the agent: they speak the KBS protocol, which the broker speaks too.")
	}
	if d.logErr != nil {
		severity, detail := Note, "What only the log says is not known, such as whether this is a confidential VM of Azure."
		if !denied(d.logErr) {
			detail += fmt.Sprintf(" The kernel said: %v.", d.logErr)
		}
		d.add(severity, "log.unreadable", "the kernel's log cannot be read", detail, "Run this as root to know more.")
	}
}

// collectable says when the caller has no collector for what was found.
func (d *diagnosis) collectable() {
	if d.Kind != "" && !slices.Contains(d.supported, d.Kind) {
		d.add(Problem, "agent.kind", fmt.Sprintf("this agent cannot collect evidence of kind %s", d.Kind),
			"The machine may be able to make it; the program is not.")
	}
	d.Devices = slices.DeleteFunc(d.Devices, func(kind attest.Kind) bool {
		if slices.Contains(d.supported, kind) {
			return false
		}
		d.add(Note, "agent.device", fmt.Sprintf("this agent cannot collect evidence of kind %s", kind), "")
		return true
	})
}

// verdict sums up.
func (d *diagnosis) verdict(t tee) {
	problem := d.first()
	switch {
	case d.OK && d.Kind == attest.TPM:
		d.Verdict = "This machine can attest itself with its TPM, by evidence of kind tpm. Its processor does not attest it: whoever runs it must be trusted."
		if d.unsure {
			d.Verdict = "This machine can attest itself with its TPM, by evidence of kind tpm. Whether it is a confidential machine could not be found out."
		}
	case d.OK:
		d.Verdict = fmt.Sprintf("This machine can attest itself: it is %s, and makes evidence of kind %s through %s.", t.name, d.Kind, d.way)
	case d.Kind == attest.TPM:
		d.Verdict = fmt.Sprintf("This machine cannot attest itself yet: %s.", problem.Title)
	case d.Kind == "":
		d.Verdict = fmt.Sprintf("This machine cannot attest itself: %s.", problem.Title)
	default:
		d.Verdict = fmt.Sprintf("This machine cannot attest itself yet: it is %s, but %s.", t.name, problem.Title)
	}
	if d.OK && len(d.Devices) > 0 {
		names := make([]string, len(d.Devices))
		for i, kind := range d.Devices {
			names[i] = string(kind)
		}
		d.Verdict += fmt.Sprintf(" It can present devices with it: %s.", strings.Join(names, ", "))
	}
}

// root is what a command needs before it.
const root = "Run this, and whatever fetches secrets, as root."
