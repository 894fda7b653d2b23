package nvidiadevice

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/nvidiatest"
)

var digest = bytes.Repeat([]byte{0x5a, 0x17, 0xc3}, 16)

// script writes a program for the shell.
func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

// printing writes a program that prints data.
func printing(t *testing.T, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return script(t, "cat "+name)
}

func TestEvidence(t *testing.T) {
	w := nvidiatest.NewWorld(t)
	gpu := w.NewDevice("HOPPER", nvidiatest.Shape{})
	good := nvidiatest.Evidence(gpu.Present(digest), w.NewDevice("HOPPER", nvidiatest.Shape{}).Present(digest))
	other := nvidiatest.Evidence(gpu.Present(digest), w.NewDevice("HOPPER", nvidiatest.Shape{}).Present(make([]byte, 32)))
	for name, test := range map[string]struct {
		program string
		timeout time.Duration
		want    []byte
		says    string
	}{
		"good":                 {printing(t, append(good, '\n')), 0, good, ""},
		"about something else": {printing(t, other), 0, nil, "device 1 reports about other data"},
		"nothing":              {script(t, "true"), 0, nil, "printed"},
		"no JSON":              {script(t, "echo x"), 0, nil, "printed"},
		"a failure":            {script(t, "echo the reason >&2; exit 3"), 0, nil, "the reason"},
		"a failure, at length": {script(t, "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 3"), 0, nil, "exit status 3"},
		"no end":               {script(t, "exec sleep 60"), 100 * time.Millisecond, nil, "deadline"},
		"output without end":   {script(t, "exec cat /dev/zero"), 0, nil, ""},
		"a child that stays":   {script(t, "sleep 60 & exit 3"), 0, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := New(Config{Command: []string{test.program}, Timeout: test.timeout})
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			got, err := d.Evidence(t.Context(), digest)
			if (err == nil) != (test.want != nil) || !bytes.Equal(got, test.want) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v: %s", err, got)
			}
			if err != nil && len(err.Error()) > 2*maxError {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestWhatIsRun: the nonce is the last argument, the first 32 bytes of the digest in hex, and nothing of the environment is
// passed on.
func TestWhatIsRun(t *testing.T) {
	t.Setenv("SECRET", "do not tell")
	t.Setenv("LD_LIBRARY_PATH", "/opt/lib")
	t.Setenv("LD_PRELOAD", "")
	d, err := New(Config{Command: []string{script(t, `echo "$@ secret:$SECRET lib:$LD_LIBRARY_PATH preload:${LD_PRELOAD-no}" >&2; exit 1`), "-x"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Evidence(t.Context(), digest)
	want := "-x " + strings.Repeat("5a17c3", 10) + "5a17 secret: lib: preload:no"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v does not have %q", err, want)
	}
	if _, err := d.Evidence(t.Context(), digest[:31]); err == nil {
		t.Error("a digest of 31 bytes is taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Evidence(ctx, digest); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestNew(t *testing.T) {
	good := script(t, "true")
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Config{
		"a program that is not there":    {Command: []string{"/nonexistent"}},
		"a file that cannot be run":      {Command: []string{plain}},
		"a folder":                       {Command: []string{t.TempDir()}},
		"a name":                         {Command: []string{"sh"}},
		"a path that is not whole":       {Command: []string{"./nvidiadevice.test"}},
		"no name":                        {Command: []string{""}},
		"a negative time":                {Command: []string{good}, Timeout: -1},
		"the default, which is not here": {},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	d, err := New(Config{Command: []string{good}})
	if err != nil || d.Kind() != attest.NVIDIA || d.c.Timeout != defaultTimeout {
		t.Errorf("%v, %+v", err, d)
	}
}

// TestDefault: the program is the one beside this, and never one in PATH.
func TestDefault(t *testing.T) {
	beside, err := folder()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	t.Setenv("PATH", elsewhere)
	if err := os.Symlink(script(t, "true"), filepath.Join(elsewhere, Program)); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("the program in PATH is run")
	}
	program := filepath.Join(beside, Program)
	if err := os.Symlink(script(t, "true"), program); err != nil {
		t.Skipf("the test's own folder cannot be written to: %v", err)
	}
	defer os.Remove(program)
	d, err := New(Config{})
	if err != nil || d.c.Command[0] != program {
		t.Errorf("%v, %+v", err, d)
	}
}
