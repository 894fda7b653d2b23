// Package nvidiadevice collects evidence of the NVIDIA GPUs of a guest. Their driver's library has to be loaded by a dynamic linker,
// which the project's programs do without, so a program of its own asks it: vouchsafe-nvml, or another that prints the same. It is run
// with the nonce in hex as its last argument, 32 bytes, and prints what KBS clients send, {"device_evidence_list":[…]}, of all GPUs.
//
// The program is looked for beside the one that runs, or named by its whole path, and never found in PATH: who could say what PATH is would have
// a program of theirs run with our rights. For the same reason it is given no environment, which can make a dynamic linker load other libraries.
// Its output is bounded, as is its time, and what it prints on standard error goes into errors.
//
// Nothing is verified here but that the answer is reports about this digest: it is the broker that must not believe the guest.
package nvidiadevice

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia"
)

// Program is the name of the program that is run when Config names none, in the folder of the program that runs.
const Program = "vouchsafe-nvml"

// folder is where this program is, as the kernel knows it, whatever name it was started by.
func folder() (string, error) {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	return filepath.Dir(self), err
}

// defaultTimeout is how long the program may take: a GPU takes about a second to report, and there may be 8.
const defaultTimeout = time.Minute

// maxError bounds how much of what the program prints on standard error is kept, in bytes.
const maxError = 1 << 10

// Config says what to run. The zero Config runs [Program].
type Config struct {
	Command []string      // the program's whole path, and arguments before the nonce
	Timeout time.Duration // a minute when zero
}

// Device collects evidence. It is safe for concurrent use as far as the driver is.
type Device struct{ c Config }

// New returns a Device. A program that is not there or cannot be run, and a negative time, are errors.
func New(c Config) (*Device, error) {
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Timeout < 0 {
		return nil, fmt.Errorf("nvidiadevice: a time of %v", c.Timeout)
	}
	if len(c.Command) == 0 {
		beside, err := folder()
		if err != nil {
			return nil, fmt.Errorf("nvidiadevice: looking for %s: %w", Program, err)
		}
		c.Command = []string{filepath.Join(beside, Program)}
	}
	program := c.Command[0]
	if !filepath.IsAbs(program) {
		return nil, fmt.Errorf("nvidiadevice: the program that asks the GPUs, %q, is not a whole path", program)
	}
	// With a slash in it a name is not looked for in PATH, only whether it can be run.
	if _, err := exec.LookPath(program); err != nil {
		return nil, fmt.Errorf("nvidiadevice: the program that asks the GPUs: %w", err)
	}
	return &Device{c}, nil
}

// Kind returns [attest.NVIDIA].
func (d *Device) Kind() attest.Kind { return attest.NVIDIA }

// Evidence returns the evidence of all GPUs about digest, of which they take the first 32 bytes.
func (d *Device) Evidence(ctx context.Context, digest []byte) ([]byte, error) {
	if len(digest) < nvidia.NonceSize {
		return nil, fmt.Errorf("nvidiadevice: a digest of %d bytes, less than %d", len(digest), nvidia.NonceSize)
	}
	nonce := digest[:nvidia.NonceSize]
	ctx, cancel := context.WithTimeout(ctx, d.c.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.c.Command[0], append(d.c.Command[1:len(d.c.Command):len(d.c.Command)], hex.EncodeToString(nonce))...)
	cmd.Env = []string{"LC_ALL=C"} // not ours, which an empty one would be
	cmd.WaitDelay = time.Second    // for one that left its output to a child
	out, messages := &limited{most: nvidia.MaxEvidence}, &limited{most: maxError, cut: true}
	cmd.Stdout, cmd.Stderr = out, messages
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("nvidiadevice: %s: %w: %s", d.c.Command[0], errors.Join(ctx.Err(), err), strings.TrimSpace(messages.text.String()))
	}
	evidence := bytes.TrimSpace(out.text.Bytes())
	devices, err := nvidia.Parse(evidence)
	if err != nil {
		return nil, fmt.Errorf("nvidiadevice: what %s printed: %w", d.c.Command[0], err)
	}
	for i, device := range devices {
		report, err := nvidia.ParseReport(device.Report)
		if err != nil {
			return nil, fmt.Errorf("nvidiadevice: device %d: %w", i, err)
		}
		if !bytes.Equal(report.Nonce[:], nonce) {
			return nil, fmt.Errorf("nvidiadevice: device %d reports about other data than it was asked for", i)
		}
	}
	return evidence, nil
}

// limited keeps up to most bytes. More is an error, which ends who writes them, or with cut is dropped.
type limited struct {
	text bytes.Buffer
	most int
	cut  bool
}

func (l *limited) Write(b []byte) (int, error) {
	room := l.most - l.text.Len()
	if len(b) > room && !l.cut {
		return 0, fmt.Errorf("more than %d bytes", l.most)
	}
	l.text.Write(b[:min(len(b), room)])
	return len(b), nil
}
