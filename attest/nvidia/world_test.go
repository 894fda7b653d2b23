package nvidia

import (
	"bytes"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/nvidiatest"
)

// now is when synthetic evidence is judged.
var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// digest is what evidence has to cover: a nonce is its first 32 bytes.
var digest = bytes.Repeat([]byte{0x5a, 0x17, 0xc3}, 16)

// fleet is a world with its verifier's roots and its manifests.
type fleet struct {
	*nvidiatest.World
	manifests memory
}

func newFleet(tb testing.TB) *fleet {
	w := nvidiatest.NewWorld(tb)
	f := &fleet{w, memory{}}
	hopper, blackwell, ls10 := w.NewDevice("HOPPER", nvidiatest.Shape{}), w.NewDevice("BLACKWELL", nvidiatest.Shape{}), w.NewDevice("LS10", nvidiatest.Shape{})
	f.manifests["nvidia/rim/NV_GPU_DRIVER_GH100_580.10.01"] = w.Manifest("GH100", "580.10.01", hopper.Golden(1, 4)...)
	f.manifests["nvidia/rim/NV_GPU_CC_DRIVER_GB100_580.10.01"] = w.Manifest("GB100", "580.10.01", blackwell.Golden(1, 4)...)
	f.manifests["nvidia/rim/NV_GPU_VBIOS_1010_0200_882_96009F0001"] = w.Manifest("GH100", "96.00.9F.00.01", hopper.Golden(5, 7)...)
	f.manifests["nvidia/rim/NV_SWITCH_BIOS_5612_0002_890_96106D0001"] = w.Manifest("LS10", "96.10.6D.00.01", ls10.Golden(1, 8)...)
	return f
}

// blackwellVBIOS puts the VBIOS manifest of a Blackwell in the place of that of a Hopper, since devices of this world have one board.
func (f *fleet) blackwellVBIOS() {
	d := f.NewDevice("BLACKWELL", nvidiatest.Shape{})
	f.manifests["nvidia/rim/NV_GPU_VBIOS_1010_0200_882_96009F0001"] = f.Manifest("GB100", "96.00.9F.00.01", d.Golden(5, 7)...)
}

func (f *fleet) trust() trustRoots {
	return trustRoots{f.DeviceRoot.Certificate, f.ManifestRoot.Certificate}
}

// verifier returns one that finds the fleet's manifests, or with more than those in place of some.
func (f *fleet) verifier(tb testing.TB, more memory, change func(*Config)) *Verifier {
	tb.Helper()
	all := maps.Clone(f.manifests)
	for name, data := range more {
		if all[name] = data; data == nil {
			delete(all, name)
		}
	}
	cfg := Config{Endorsements: all}
	if change != nil {
		change(&cfg)
	}
	v, err := newVerifier(cfg, f.trust())
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func input(evidence []byte) attest.Input {
	return attest.Input{Evidence: evidence, Binding: attest.BoundTo(digest), Time: now}
}

// wantCode fails unless err is a refusal with that code.
func wantCode(tb testing.TB, err error, code attest.Code) {
	tb.Helper()
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		tb.Errorf("%v, not a refusal with %s", err, code)
	}
}

// wantUnavailable fails unless err is an *attest.Unavailable.
func wantUnavailable(tb testing.TB, err error) *attest.Unavailable {
	tb.Helper()
	var u *attest.Unavailable
	if !errors.As(err, &u) {
		tb.Fatalf("%v, not an Unavailable", err)
	}
	return u
}
