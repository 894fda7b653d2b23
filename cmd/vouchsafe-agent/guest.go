//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/snpdevice"
	"github.com/vouchsafe/vouchsafe/client/tpmdevice"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
	"github.com/vouchsafe/vouchsafe/internal/cli"
)

// guest says by what hardware this machine is attested.
type guest struct {
	kind string
	tee  string
	tpm  tpmdevice.Config
}

// add adds the flags of the TPM, and of all kinds too unless only a TPM will do.
func (g *guest) add(c *cobra.Command, onlyTPM bool) {
	if !onlyTPM {
		c.Flags().StringVar(&g.kind, "kind", "auto", "`KIND` of evidence: auto, snp, tpm or virtual")
		c.Flags().StringVar(&g.tee, "tee", "", "`DIR` with the pretended TEE that a development broker made")
		c.Flags().StringVar(&g.tpm.Bank, "tpm-bank", "sha256", "`HASH` of the PCRs to quote: sha256 or sha384")
		c.Flags().StringVar(&g.tpm.EventLog, "tpm-event-log", "",
			"`FILE` with the firmware's event log, or none (default the kernel's, where it can be read)")
	}
	c.Flags().StringVar(&g.tpm.Device, "tpm", "",
		"`DEVICE` of the TPM, or swtpm:unix:PATH, swtpm:HOST:PORT (default "+tpmdevice.DefaultDevice+")")
	c.Flags().StringVar(&g.tpm.StateDir, "tpm-state", tpmdevice.DefaultStateDir,
		"`DIR` that keeps the TPM's attestation key, wrapped by the TPM")
	if !onlyTPM {
		cli.InSection("Flags about this machine", c.Flags(), "kind", "tee", "tpm", "tpm-state", "tpm-bank", "tpm-event-log")
	}
}

// collector opens what attests this machine. The caller calls the function it returns when it is done.
func (g *guest) collector(ctx context.Context, s system) (_ client.Collector, done func(), err error) {
	kind, err := g.resolve(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	none := func() {}
	switch kind {
	case attest.SNP:
		d, err := snpdevice.Open(ctx, snpdevice.Config{TSM: s.tsm})
		return d, none, err
	case attest.TPM:
		d, err := g.openTPM(ctx, s)
		if err != nil {
			return nil, nil, err
		}
		return d, func() { _ = d.Close() }, nil // what the TPM keeps of us, its resource manager clears
	default:
		d, err := virtualdevice.Load(g.tee)
		return d, none, err
	}
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

// resolve says which kind it is.
func (g *guest) resolve(ctx context.Context, s system) (attest.Kind, error) {
	if g.tee != "" && g.tpm.Device != "" {
		return "", errors.New("--tee and --tpm are two machines: give one of them")
	}
	switch kind := attest.Kind(g.kind); kind {
	case attest.SNP, attest.TPM, attest.Virtual:
		if g.tee != "" != (kind == attest.Virtual) {
			return "", fmt.Errorf("--kind is %s: --tee DIR goes with --kind virtual, and only with that", kind)
		}
		if g.tpm.Device != "" && kind != attest.TPM {
			return "", fmt.Errorf("--kind is %s, and --tpm has no place there", kind)
		}
		return kind, nil
	case "auto":
		return g.detect(ctx, s)
	default:
		return "", fmt.Errorf("--kind is %q, not auto, snp, tpm or virtual", g.kind)
	}
}

func (g *guest) detect(ctx context.Context, s system) (attest.Kind, error) {
	switch {
	case g.tee != "":
		return attest.Virtual, nil
	case g.tpm.Device != "":
		return attest.TPM, nil
	}
	_, noSNP := snpdevice.Open(ctx, snpdevice.Config{TSM: s.tsm})
	if noSNP == nil {
		return attest.SNP, nil
	}
	_, noTPM := os.Stat(s.tpm)
	if noTPM == nil {
		return attest.TPM, nil
	}
	return "", fmt.Errorf("nothing here attests this machine:\nsnp: %w\ntpm: %w\n"+
		"For development, give the folder that 'vouchsafe dev' made: --tee DIR/tee", noSNP, noTPM)
}
