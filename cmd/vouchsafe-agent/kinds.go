//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/snpdevice"
	"github.com/vouchsafe/vouchsafe/client/tdxdevice"
	"github.com/vouchsafe/vouchsafe/client/tpmdevice"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
)

// source is a way to collect evidence of some kinds. A kind that is added is an entry in machines or accompanying, and nothing else here:
// flags, help, what is found by itself and what doctor takes for possible are made from these tables.
type source struct {
	kinds []attest.Kind // that its collectors are of; one of them each
	about string        // what this machine has then, for help
	// given reports whether flags name this source, when nothing else says which it is; nil when none do.
	given func(*guest) bool
	// missing says why this machine has no such thing; nil means that it has. It is asked before open where opening leaves something behind, and
	// may be nil where open says it.
	missing func(*guest, system) error
	// open opens it. The caller calls done, unless it is nil, when it is done.
	open func(context.Context, *guest, system) (c client.Collector, done func(), err error)
}

// machines are what can attest a machine, in order of preference: what the processor proves comes before what a TPM does, since less can
// be believed of a machine whose owner may read its memory.
func machines() []source {
	return []source{
		{kinds: []attest.Kind{attest.SNP}, about: "an AMD SEV-SNP guest: the kernel's configfs-tsm, or /dev/sev-guest", open: openSNP},
		{kinds: []attest.Kind{attest.TDX}, about: "an Intel TDX guest: the kernel's configfs-tsm", open: openTDX},
		{
			kinds: []attest.Kind{attest.TPM}, about: "/dev/tpmrm0 is there, or --tpm is given; the host was enrolled before",
			given: (*guest).hasTPM, missing: noTPM, open: openTPM,
		},
		{
			kinds: []attest.Kind{attest.Virtual}, about: "only with --tee DIR: the pretended TEE of a development broker",
			given: (*guest).hasTEE, missing: noTEE, open: openVirtual,
		},
	}
}

// accompanying are what can be presented beside a machine. When "auto" looks for them, missing is asked, so here it is never nil.
func accompanying() []source {
	return []source{
		{kinds: []attest.Kind{attest.TPM}, about: "a TPM beside the processor; with auto, once it was enrolled here", missing: noEnrolledTPM, open: openTPM},
	}
}

// explain is a table of sources for help.
func explain(sources []source) string {
	var b strings.Builder
	for _, s := range sources {
		fmt.Fprintf(&b, "  %-8s %s\n", names(s.kinds), s.about)
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

func (g *guest) hasTEE() bool { return g.tee != "" }

// hasTPM: a TPM that is named is the machine's evidence, unless it is to accompany some.
func (g *guest) hasTPM() bool {
	return g.tpm.Device != "" && !slices.Contains(g.devices, string(attest.TPM)) && !slices.Contains(g.devices, autoDevices)
}

func noTEE(g *guest, _ system) error {
	if g.tee == "" {
		return errors.New("--tee DIR is not given; for development, it is the folder that 'vouchsafe dev' made: DIR/tee")
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
func noTPM(g *guest, s system) error {
	if g.tpm.Device != "" {
		return nil
	}
	_, err := os.Stat(s.tpm)
	return err
}

// noEnrolledTPM: evidence of a TPM that no broker knows has all of it refused, so that only one which has a key here counts.
func noEnrolledTPM(g *guest, s system) error {
	if err := noTPM(g, s); err != nil {
		return err
	}
	_, err := os.Stat(filepath.Join(g.tpm.StateDir, tpmdevice.KeyFile))
	return err
}
