//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/nvidiadevice"
	"github.com/vouchsafe/vouchsafe/client/tdxdevice"
	"github.com/vouchsafe/vouchsafe/client/tokendevice"
	"github.com/vouchsafe/vouchsafe/client/tpmdevice"
	"github.com/vouchsafe/vouchsafe/internal/cli"
)

// Values of flags that name no kind.
const (
	autoKind    = "auto"
	autoDevices = "auto"
	noDevices   = "none"
)

// guest says by what hardware this machine is attested.
type guest struct {
	kind    string
	devices []string
	tee     string
	ccLog   string
	tpm     tpmdevice.Config
	token   tokendevice.Config
	nvml    string
}

// add adds the flags of the TPM, and of all kinds too unless only a TPM will do.
func (g *guest) add(c *cobra.Command, onlyTPM bool) {
	if !onlyTPM {
		c.Flags().StringVar(&g.kind, "kind", autoKind, "`KIND` of the machine's evidence: auto, "+names(kindsOf(machines())))
		c.Flags().StringSliceVar(&g.devices, "device", nil,
			"`KIND` of a device to present beside it: none, auto, "+names(kindsOf(accompanying()))+"; may be repeated (default none)")
		c.Flags().StringVar(&g.tee, "tee", "", "`DIR` with the pretended TEE that a development broker made")
		c.Flags().StringVar(&g.ccLog, "cc-event-log", "",
			"`FILE` with the event log of a TDX machine's firmware, or none (default "+tdxdevice.DefaultEventLog+", where it can be read)")
		c.Flags().StringVar(&g.token.Audience, "token-audience", "",
			"`NAME` for whom Confidential Space is to have a token made: the broker's, as its people configured it")
		c.Flags().StringVar(&g.token.Type, "token-type", tokendevice.OIDC,
			"`TYPE` of the token: OIDC, or PKI for a broker that knows the verifier by a root certificate")
		c.Flags().StringVar(&g.token.Socket, "token-socket", tokendevice.DefaultSocket, "`FILE` where the launcher of Confidential Space listens")
		c.Flags().StringVar(&g.nvml, "nvml", "",
			"`FILE`, a whole path, of the program that asks NVIDIA GPUs (default "+nvidiadevice.Program+" beside this program)")
		c.Flags().StringVar(&g.tpm.Bank, "tpm-bank", "sha256", "`HASH` of the PCRs to quote, for kind tpm: sha256 or sha384")
		c.Flags().StringVar(&g.tpm.EventLog, "tpm-event-log", "",
			"`FILE` with the firmware's event log, or none (default the kernel's, where it can be read)")
	}
	c.Flags().StringVar(&g.tpm.Device, "tpm", "",
		"`DEVICE` of the TPM, or swtpm:unix:PATH, swtpm:HOST:PORT (default "+tpmdevice.DefaultDevice+")")
	c.Flags().StringVar(&g.tpm.StateDir, "tpm-state", tpmdevice.DefaultStateDir,
		"`DIR` that keeps the TPM's attestation key, wrapped by the TPM")
	if !onlyTPM {
		cli.InSection("Flags about this machine", c.Flags(),
			"kind", "device", "tee", "cc-event-log", "tpm", "tpm-state", "tpm-bank", "tpm-event-log",
			"token-audience", "token-type", "token-socket", "nvml")
	}
}

// names lists kinds for people.
func names(kinds []attest.Kind) string {
	list := make([]string, len(kinds))
	for i, kind := range kinds {
		list[i] = string(kind)
	}
	return strings.Join(list, ", ")
}

// collectors are what makes this machine's evidence.
type collectors struct {
	machine client.Collector
	devices []client.Collector
	done    []func()
}

// close lets go of what was opened, the last first.
func (c *collectors) close() {
	for _, done := range slices.Backward(c.done) {
		done()
	}
}

// open opens what attests this machine, and the devices to present with it. The caller closes it.
func (g *guest) open(ctx context.Context, s system) (_ *collectors, err error) {
	c := new(collectors)
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.machine, err = g.openMachine(ctx, s, c); err != nil {
		return nil, err
	}
	if c.devices, err = g.openDevices(ctx, s, c); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *collectors) take(collector client.Collector, done func(), err error) (client.Collector, error) {
	if err != nil {
		return nil, err
	}
	if done != nil {
		c.done = append(c.done, done)
	}
	return collector, nil
}

// openMachine opens what was asked for, what flags name, or what is found, in this order.
func (g *guest) openMachine(ctx context.Context, s system, c *collectors) (client.Collector, error) {
	candidates, err := g.named()
	if err != nil {
		return nil, err
	}
	if g.kind != autoKind {
		return g.openKind(ctx, s, c, candidates)
	}
	reasons := []error{errors.New("nothing here attests this machine; 'vouchsafe-agent doctor' says what is missing, and how to get it:")}
	if len(candidates) == 0 {
		candidates = machines()
	} else {
		reasons[0] = fmt.Errorf("what %s names does not attest this machine:", candidates[0].given(g))
	}
	for _, m := range candidates {
		collector, err := c.open(ctx, g, s, m)
		if err == nil {
			return collector, nil
		}
		if m.broken != nil && m.broken(err) {
			return nil, err
		}
		reasons = append(reasons, fmt.Errorf("%s: %w", names(m.kinds), err))
	}
	return nil, errors.Join(reasons...)
}

// named returns the machines that flags name, all by the same flag.
func (g *guest) named() (named []source, err error) {
	var flags []string
	for _, m := range machines() {
		if m.given == nil || m.given(g) == "" {
			continue
		}
		named = append(named, m)
		if flag := m.given(g); !slices.Contains(flags, flag) {
			flags = append(flags, flag)
		}
	}
	if len(flags) > 1 {
		return nil, fmt.Errorf("%s are two machines: give one of them, or --device tpm to present the TPM beside the other", strings.Join(flags, " and "))
	}
	return named, nil
}

// openKind opens a machine of the kind that was asked for.
func (g *guest) openKind(ctx context.Context, s system, c *collectors, named []source) (client.Collector, error) {
	kind := attest.Kind(g.kind)
	ofKind := func(m source) bool { return slices.Contains(m.kinds, kind) }
	all := machines()
	at := slices.IndexFunc(all, ofKind)
	if at < 0 {
		return nil, fmt.Errorf("--kind is %.32q, not auto, %s", g.kind, names(kindsOf(all)))
	}
	if len(named) > 0 && !slices.ContainsFunc(named, ofKind) {
		return nil, fmt.Errorf("--kind is %s, and %s names a machine of kind %s", kind, named[0].given(g), names(kindsOf(named)))
	}
	collector, err := c.open(ctx, g, s, all[at])
	if err != nil {
		return nil, fmt.Errorf("--kind is %s: %w", kind, err)
	}
	if collector.Kind() != kind {
		return nil, fmt.Errorf("--kind is %s, and this machine's evidence is of kind %s", kind, collector.Kind())
	}
	return collector, nil
}

// open opens a source, unless it is missing.
func (c *collectors) open(ctx context.Context, g *guest, s system, from source) (client.Collector, error) {
	if from.missing != nil {
		if err := from.missing(ctx, g, s); err != nil {
			return nil, err
		}
	}
	return c.take(from.open(ctx, g, s))
}

// openDevices opens the devices that were asked for, or those that are found.
func (g *guest) openDevices(ctx context.Context, s system, c *collectors) ([]client.Collector, error) {
	if len(g.devices) > 1 && (slices.Contains(g.devices, noDevices) || slices.Contains(g.devices, autoDevices)) {
		return nil, errors.New("--device none and --device auto go with no other")
	}
	all := accompanying()
	var devices []client.Collector
	for _, name := range g.devices {
		switch name {
		case noDevices:
			return nil, nil
		case autoDevices:
			for _, d := range all {
				if slices.Contains(d.kinds, c.machine.Kind()) || d.missing(ctx, g, s) != nil {
					continue
				}
				collector, err := c.take(d.open(ctx, g, s))
				if err != nil {
					return nil, err
				}
				devices = append(devices, collector)
			}
			return devices, nil
		}
		at := slices.IndexFunc(all, func(d source) bool { return slices.Contains(d.kinds, attest.Kind(name)) })
		if at < 0 {
			return nil, fmt.Errorf("--device is %.32q, not none, auto, %s", name, names(kindsOf(all)))
		}
		if attest.Kind(name) == c.machine.Kind() {
			return nil, fmt.Errorf("--device is %s, which is the machine's own evidence already", name)
		}
		collector, err := c.take(all[at].open(ctx, g, s))
		if err != nil {
			return nil, err
		}
		devices = append(devices, collector)
	}
	return devices, nil
}
