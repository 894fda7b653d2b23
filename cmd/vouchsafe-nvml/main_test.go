package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/nvidia"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/nvidiatest"
	"github.com/vouchsafe/vouchsafe/client/nvidiadevice"
)

// digest is what reports are asked for; a nonce is its first 32 bytes.
var digest = bytes.Repeat([]byte{0x5a, 0x17, 0xc3}, 16)

// build compiles the program, and returns how to compile a driver's library that answers with the report and chain of a device.
func build(t *testing.T) (program string, library func(defines ...string) string, report, chain []byte) {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc is absent, which compiles the driver's library that this test needs")
	}
	dir := t.TempDir()
	command := func(name string, args ...string) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	program = filepath.Join(dir, "vouchsafe-nvml")
	command("go", "build", "-o", program, ".")

	d := nvidiatest.NewWorld(t).NewDevice("HOPPER", nvidiatest.Shape{})
	report, chain = d.Report(make([]byte, 32), nil), nvidiatest.PEM(d.Certificates()...)
	var figures strings.Builder
	for name, value := range map[string][]byte{"report": report, "chain": chain} {
		fmt.Fprintf(&figures, "static const unsigned char figure_%s[] = {", name)
		for _, b := range value {
			fmt.Fprintf(&figures, "%d,", b)
		}
		figures.WriteString("};\n")
	}
	if err := os.WriteFile(filepath.Join(dir, "figures.h"), []byte(figures.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	libraries := 0
	return program, func(defines ...string) string {
		libraries++
		so := filepath.Join(dir, fmt.Sprintf("lib%d.so", libraries))
		command(gcc, append([]string{"-shared", "-fPIC", "-o", so, "-I", dir, "testdata/nvml.c"}, defines...)...)
		return so
	}, report, chain
}

func TestCollecting(t *testing.T) {
	program, library, report, chain := build(t)
	collector := func(t *testing.T, defines ...string) *nvidiadevice.Device {
		d, err := nvidiadevice.New(nvidiadevice.Config{Command: []string{program, "-library", library(defines...)}, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, arch := range []struct {
		number string
		is     nvidia.Architecture
	}{{"9", nvidia.Hopper}, {"10", nvidia.Blackwell}} {
		t.Run(string(arch.is), func(t *testing.T) {
			evidence, err := collector(t, "-DARCH="+arch.number).Evidence(t.Context(), digest)
			if err != nil {
				t.Fatal(err)
			}
			devices, err := nvidia.Parse(evidence)
			if err != nil || len(devices) != 2 {
				t.Fatalf("%v: %s", err, evidence)
			}
			want := slices.Concat(report[:4], digest[:32], report[36:])
			for i, d := range devices {
				if d.Architecture != arch.is || d.UUID != fmt.Sprintf("GPU-00000000-0000-0000-0000-00000000000%c", 'a'+i) ||
					!bytes.Equal(d.Report, want) || !bytes.Equal(d.Chain, chain) {
					t.Errorf("device %d: %+v", i, d)
				}
			}
		})
	}
	t.Run("a zero after the chain", func(t *testing.T) {
		evidence, err := collector(t, "-DCHAIN_SIZE=sizeof figure_chain+1").Evidence(t.Context(), digest)
		devices, errParse := nvidia.Parse(evidence)
		if err != nil || errParse != nil || !bytes.Equal(devices[0].Chain, chain) {
			t.Errorf("%v, %v", err, errParse)
		}
	})
	for name, test := range map[string]struct{ define, says string }{
		"no GPU":                     {"-DGPUS=0", "0 GPUs"},
		"17 GPUs":                    {"-DGPUS=17", "17 GPUs"},
		"an architecture unknown":    {"-DARCH=13", "neither Hopper nor Blackwell"},
		"one without reports":        {"-DFAIL=3", "GPU 1: asking for a report: Not Supported (3)"},
		"a driver that is too old":   {"-DOLD", "too old"},
		"a report of nothing":        {"-DREPORT_SIZE=0", "a report of 0"},
		"a report over its buffer":   {"-DREPORT_SIZE=0x2001", "a report of 8193"},
		"a chain over its buffer":    {"-DCHAIN_SIZE=0x7fffffff", "certificates of 2147483647"},
		"a report that is too short": {"-DREPORT_SIZE=100", "too few"},
	} {
		t.Run(name, func(t *testing.T) {
			evidence, err := collector(t, test.define).Evidence(t.Context(), digest)
			if err == nil || !strings.Contains(err.Error(), test.says) || evidence != nil {
				t.Errorf("%v, %s", err, evidence)
			}
		})
	}
	t.Run("no library", func(t *testing.T) {
		d, err := nvidiadevice.New(nvidiadevice.Config{Command: []string{program, "-library", "/nonexistent.so"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Evidence(t.Context(), digest); err == nil || !strings.Contains(err.Error(), "cannot be loaded") {
			t.Error(err)
		}
	})
}

func TestArguments(t *testing.T) {
	nonce := hex.EncodeToString(digest[:32])
	for _, args := range [][]string{nil, {""}, {nonce[2:]}, {nonce + "00"}, {nonce, nonce}, {"zz" + nonce[2:]}, {"-x", nonce}} {
		var out bytes.Buffer
		if err := run(args, &out, &bytes.Buffer{}); err == nil || out.Len() > 0 {
			t.Errorf("%q: %v, %s", args, err, out.String())
		}
	}
}
