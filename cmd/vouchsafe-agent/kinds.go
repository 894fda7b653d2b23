//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/tpm/swtpm"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/azuredevice"
	"github.com/vouchsafe/vouchsafe/client/ccadevice"
	"github.com/vouchsafe/vouchsafe/client/doctor"
	"github.com/vouchsafe/vouchsafe/client/nitrodevice"
	"github.com/vouchsafe/vouchsafe/client/nvidiadevice"
	"github.com/vouchsafe/vouchsafe/client/snpdevice"
	"github.com/vouchsafe/vouchsafe/client/tdxdevice"
	"github.com/vouchsafe/vouchsafe/client/tokendevice"
	"github.com/vouchsafe/vouchsafe/client/tpmdevice"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
)

// source is a way to collect evidence of some kinds. A kind that is added is an entry in machines or accompanying, and nothing else here:
// flags, help, what is found by itself and what doctor takes for possible are made from these tables.
type source struct {
	kinds []attest.Kind // that its collectors are of; one of them each
	about string        // what this machine has then, for help
	// given returns the flag by which this source was named, or "" when none did; nil when none can.
	given func(*guest) string
	// missing says why this machine has no such thing; nil means that it has. It is asked before open where opening leaves something behind, and
	// may be nil where open says it.
	missing func(context.Context, *guest, system) error
	// open opens it. The caller calls done, unless it is nil, when it is done.
	open func(context.Context, *guest, system) (c client.Collector, done func(), err error)
	// broken reports whether an error of open says that this machine has such a thing all the same, so that nothing else is to be looked for;
	// nil when none does.
	broken func(error) bool
}

// machines are what can attest a machine, in order of preference: what the processor proves comes before what a TPM does, since less can
// be believed of a machine whose owner may read its memory; and what is the processor's own before what a paravisor or another verifier says of it.
func machines() []source {
	return []source{
		{kinds: []attest.Kind{attest.Nitro}, about: "an AWS Nitro enclave: /dev/nsm", open: openNitro},
		{kinds: []attest.Kind{attest.SNP}, about: "an AMD SEV-SNP guest: the kernel's configfs-tsm, or /dev/sev-guest", open: openSNP},
		{kinds: []attest.Kind{attest.TDX}, about: "an Intel TDX guest: the kernel's configfs-tsm", open: openTDX},
		{kinds: []attest.Kind{attest.CCA}, about: "an Arm CCA realm: the kernel's configfs-tsm", open: openCCA},
		{
			kinds: []attest.Kind{attest.AzSNPvTPM, attest.AzTDXvTPM},
			about: "an Azure confidential VM: the paravisor's TPM, /dev/tpmrm0 or --tpm, and\nthe metadata service; the TPM says which",
			given: (*guest).namedTPM, missing: noTPM, open: openAzure,
			broken: func(err error) bool { return errors.Is(err, azuredevice.ErrReport) },
		},
		{
			kinds: []attest.Kind{attest.TPM}, about: "/dev/tpmrm0 is there, or --tpm is given; the host was enrolled before",
			given: (*guest).namedTPM, missing: noTPM, open: openTPM,
		},
		{
			kinds: []attest.Kind{attest.Token},
			about: "only with --token-audience: in a container of Google's Confidential Space,\nwhose launcher gets the word of Google's verifier",
			given: (*guest).namedToken, missing: noToken, open: openToken,
		},
		{
			kinds: []attest.Kind{attest.Virtual}, about: "only with --tee DIR: the pretended TEE of a development broker",
			given: (*guest).namedTEE, missing: noTEE, open: openVirtual,
		},
	}
}

// accompanying are what can be presented beside a machine. When "auto" looks for them, missing is asked, so here it is never nil.
func accompanying() []source {
	return []source{
		{
			kinds: []attest.Kind{attest.TPM}, about: "a TPM beside the processor; with auto, once it was enrolled here",
			missing: noEnrolledTPM, open: openTPM,
		},
		{
			kinds:   []attest.Kind{attest.NVIDIA},
			about:   "all NVIDIA GPUs, asked by the program vouchsafe-nvml beside this one, or --nvml;\nwith auto, when nvidia-smi says that they are in confidential mode",
			missing: noConfidentialGPU, open: openNVIDIA,
		},
	}
}

// explain is a table of sources for help. A source of several kinds has a line about each.
func explain(sources []source) string {
	var b strings.Builder
	for _, s := range sources {
		for i, line := range strings.Split(s.about, "\n") {
			kind := ""
			if i < len(s.kinds) {
				kind = string(s.kinds[i])
			}
			fmt.Fprintf(&b, "  %-11s  %s\n", kind, line)
		}
	}
	return b.String()
}

// kindsOf lists the kinds of sources, in their order.
func kindsOf(sources []source) []attest.Kind {
	var kinds []attest.Kind
	for _, s := range sources {
		kinds = append(kinds, s.kinds...)
	}
	return kinds
}

// collectable lists what can be collected at all, without what proves nothing.
func collectable() []attest.Kind {
	var kinds []attest.Kind
	for _, kind := range kindsOf(slices.Concat(machines(), accompanying())) {
		if !kind.Development() && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

func (g *guest) namedTEE() string { return flagWhen("--tee", g.tee != "") }

func (g *guest) namedToken() string { return flagWhen("--token-audience", g.token.Audience != "") }

// namedTPM: a TPM that is named is the machine's evidence, unless it is to accompany some.
func (g *guest) namedTPM() string {
	return flagWhen("--tpm", g.tpm.Device != "" && !slices.Contains(g.devices, string(attest.TPM)) && !slices.Contains(g.devices, autoDevices))
}

func flagWhen(flag string, given bool) string {
	if !given {
		return ""
	}
	return flag
}

func noTEE(_ context.Context, g *guest, _ system) error {
	if g.tee == "" {
		return errors.New("--tee DIR is not given; for development, it is the folder that 'vouchsafe dev' made: DIR/tee")
	}
	return nil
}

func noToken(_ context.Context, g *guest, _ system) error {
	if g.token.Audience == "" {
		return errors.New("--token-audience is not given, for whom another verifier's token would be made")
	}
	return nil
}

func openVirtual(_ context.Context, g *guest, _ system) (client.Collector, func(), error) {
	d, err := virtualdevice.Load(g.tee)
	return d, nil, err
}

func openSNP(ctx context.Context, _ *guest, s system) (client.Collector, func(), error) {
	d, err := snpdevice.Open(ctx, snpdevice.Config{TSM: s.tsm})
	return d, nil, err
}

func openTDX(ctx context.Context, g *guest, s system) (client.Collector, func(), error) {
	d, err := tdxdevice.Open(ctx, tdxdevice.Config{TSM: s.tsm, EventLog: g.ccLog})
	return d, nil, err
}

func openCCA(ctx context.Context, _ *guest, s system) (client.Collector, func(), error) {
	d, err := ccadevice.Open(ctx, ccadevice.Config{TSM: s.tsm})
	return d, nil, err
}

func openNitro(_ context.Context, _ *guest, s system) (client.Collector, func(), error) {
	d, err := nitrodevice.New(nitrodevice.Config{Module: s.nsm})
	return d, nil, err
}

func openToken(_ context.Context, g *guest, _ system) (client.Collector, func(), error) {
	d, err := tokendevice.Open(g.token)
	return d, nil, err
}

func openNVIDIA(_ context.Context, g *guest, _ system) (client.Collector, func(), error) {
	d, err := g.openNVIDIA()
	return d, nil, err
}

// openNVIDIA finds the program that asks GPUs.
func (g *guest) openNVIDIA() (*nvidiadevice.Device, error) {
	var c nvidiadevice.Config
	if g.nvml != "" {
		c.Command = []string{g.nvml}
	}
	d, err := nvidiadevice.New(c)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w\nInstall %s beside this program, from the same release, or say --nvml FILE", err, nvidiadevice.Program)
	}
	return d, err
}

func openAzure(ctx context.Context, g *guest, s system) (client.Collector, func(), error) {
	c := azuredevice.Config{Device: g.tpm.Device, EventLog: g.tpm.EventLog, Metadata: s.azure}
	if c.Device == "" {
		c.Device = s.tpm
	}
	if c.Metadata == nil {
		imds, err := azuredevice.NewIMDS(azuredevice.IMDSConfig{})
		if err != nil {
			return nil, nil, err
		}
		c.Metadata = imds
	}
	d, err := azuredevice.Open(ctx, c)
	if errors.Is(err, azuredevice.ErrReport) {
		err = fmt.Errorf("%w\nIf this is no confidential VM of Azure's, its TPM is used with --kind tpm", err)
	}
	if err != nil {
		return nil, nil, err
	}
	return d, func() { _ = d.Close() }, nil
}

func openTPM(ctx context.Context, g *guest, s system) (client.Collector, func(), error) {
	d, err := g.openTPM(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	return d, func() { _ = d.Close() }, nil // what the TPM keeps of us, its resource manager clears
}

// openTPM opens the TPM that was named or is this machine's.
func (g *guest) openTPM(ctx context.Context, s system) (*tpmdevice.Device, error) {
	c := g.tpm
	if c.Device == "" {
		c.Device = s.tpm
	}
	d, err := tpmdevice.Open(ctx, c)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w\nRun as root, or as a member of the group that owns %s, usually tss, "+
			"with a --tpm-state that it may write", err, c.Device)
	}
	return d, err
}

// noTPM looks before a TPM is opened, because that makes a key.
func noTPM(_ context.Context, g *guest, s system) error {
	if g.tpm.Device != "" || strings.HasPrefix(s.tpm, swtpm.Prefix) { // a software TPM is no file
		return nil
	}
	if _, err := os.Stat(s.tpm); err != nil {
		return fmt.Errorf("no TPM: %w", err)
	}
	return nil
}

// noEnrolledTPM: evidence of a TPM that no broker knows has all of it refused, so that only one which has a key here counts.
func noEnrolledTPM(ctx context.Context, g *guest, s system) error {
	if err := noTPM(ctx, g, s); err != nil {
		return err
	}
	_, err := os.Stat(filepath.Join(g.tpm.StateDir, tpmdevice.KeyFile))
	return err
}

// noConfidentialGPU: GPUs in another mode give no evidence, and are in many machines for other reasons.
func noConfidentialGPU(ctx context.Context, _ *guest, s system) error {
	return doctor.ConfidentialGPUs(ctx, s.machine)
}
