package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Of PCI: NVIDIA's number, and the classes of its GPUs.
const (
	pciNVIDIA    = "0x10de"
	classVGA     = "0x0300"
	class3D      = "0x0302"
	pciDevices   = "/sys/bus/pci/devices"
	nvidiaSMI    = "nvidia-smi"
	nvidiaDriver = "/proc/driver/nvidia/version"
)

// modeArguments ask nvidia-smi for the mode, and modeOn is in its answer when it is the confidential one.
const modeOn = "CC status: ON"

func modeArguments() []string { return []string{"conf-compute", "-f"} }

// ConfidentialGPUs returns nil when the machine has NVIDIA GPUs in confidential mode, which can give evidence, and else says why it has none.
func ConfidentialGPUs(ctx context.Context, machine Machine) error {
	m := newMachine(ctx, machine)
	if m.text(nvidiaDriver) == "" {
		return errors.New("no driver of NVIDIA's is loaded")
	}
	mode, err := m.Run(ctx, nvidiaSMI, modeArguments()...)
	switch {
	case err != nil:
		return fmt.Errorf("%s does not say whether GPUs are in confidential mode: %w", nvidiaSMI, err)
	case !strings.Contains(mode, modeOn):
		return errors.New("the GPUs are not in confidential mode")
	}
	return nil
}

// gpus says whether the GPUs of the machine can attest themselves beside it. None of it is a problem of the machine's: it can go without.
func (d *diagnosis) gpus() {
	count := 0
	for _, name := range d.list(pciDevices) {
		class := d.text(pciDevices + "/" + name + "/class")
		if d.text(pciDevices+"/"+name+"/vendor") == pciNVIDIA && (strings.HasPrefix(class, classVGA) || strings.HasPrefix(class, class3D)) {
			count++
		}
	}
	if count == 0 {
		return
	}
	const pointless = "They cannot be presented as they are."
	driver := d.text(nvidiaDriver)
	if driver == "" {
		d.add(Warning, "gpu.driver", fmt.Sprintf("%d NVIDIA GPUs are here, and their driver is not loaded", count), pointless, "$ modprobe nvidia")
		return
	}
	if !strings.Contains(driver, "Open Kernel Module") {
		d.add(Warning, "gpu.closed-driver", "the NVIDIA driver is the closed one",
			"Confidential mode takes the open kernel modules, of the same version.",
			"Install the driver's package with -open in its name, and restart.")
	}
	mode, err := d.Run(d.ctx, nvidiaSMI, modeArguments()...)
	switch {
	case err != nil:
		d.add(Warning, "gpu.nvidia-smi", "nvidia-smi does not say whether the GPUs are in confidential mode",
			fmt.Sprintf("It said: %.200q. A driver before 535 does not know of it.", plain(err).Error()), "$ nvidia-smi conf-compute -f")
		return
	case !strings.Contains(mode, modeOn):
		d.add(Warning, "gpu.cc-off", fmt.Sprintf("%d NVIDIA GPUs are here, and confidential mode is off", count), pointless,
			"Have it turned on by the host, for GPUs that have it (Hopper and later), with NVIDIA's gpu-admin-tools, while no machine uses them:",
			"$ nvidia_gpu_tools.py --devices gpus --set-cc-mode=on --reset-after-cc-mode-switch")
		return
	}
	if tools, err := d.Run(d.ctx, nvidiaSMI, "conf-compute", "-d"); err == nil && strings.Contains(tools, "DevTools Mode: ON") {
		d.add(Warning, "gpu.devtools", "the GPUs are in the confidential mode for developers",
			"It lets the host debug them, and a policy should refuse that.",
			"On the host:", "$ nvidia_gpu_tools.py --devices gpus --set-cc-mode=on --reset-after-cc-mode-switch")
	}
	if ready, err := d.Run(d.ctx, nvidiaSMI, "conf-compute", "-grs"); err == nil && !strings.Contains(ready, "state: ready") {
		d.add(Note, "gpu.not-ready", "the GPUs take no work yet", "In confidential mode they wait for a word that they were attested.",
			"After a broker has released the secrets for them:", "$ nvidia-smi conf-compute -srs 1")
	}
	if d.any("/run/nvidia-persistenced/socket", "/var/run/nvidia-persistenced/socket") == "" {
		d.add(Warning, "gpu.persistence", "nvidia-persistenced does not run",
			"Without it the driver closes its encrypted session with a GPU whenever the last program is done, and the next one finds it reset.",
			"$ systemctl enable --now nvidia-persistenced")
	}
	if d.Kind.CPU() {
		if err := d.GPUProgram(); err != nil && slices.Contains(d.supported, attest.NVIDIA) {
			d.add(Warning, "gpu.program", fmt.Sprintf("%d NVIDIA GPUs are in confidential mode, and what asks them for evidence is not here", count),
				fmt.Sprintf("It is a program of its own, because the driver's library has to be loaded: %.300q.", err.Error()),
				"Install vouchsafe-nvml beside this program, from the same release; or say where it is when secrets are fetched: --nvml FILE")
			return
		}
		d.Devices = append(d.Devices, attest.NVIDIA)
		detail := ""
		if slices.Contains(d.supported, attest.NVIDIA) {
			detail = "They can be presented beside the machine's own evidence: --device nvidia"
		}
		d.add(OK, "gpu.ready", fmt.Sprintf("%d NVIDIA GPUs are in confidential mode", count), detail)
		return
	}
	d.add(Warning, "gpu.alone", fmt.Sprintf("%d NVIDIA GPUs are in confidential mode, in a machine that is not confidential", count),
		"What they prove counts beside evidence of the machine's processor.")
}
