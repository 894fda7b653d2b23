package main

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/virtual"
)

// TestVerifyVirtualEvidence verifies evidence of the development TEE by the root in its folder, as the command's own message says to.
func TestVerifyVirtualEvidence(t *testing.T) {
	root, err := virtual.NewRoot(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := root.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	device, err := root.NewDevice(rand.Reader, time.Now(), virtual.Config{})
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := device.Evidence(rand.Reader, make([]byte, 48))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	rootFile, evidenceFile := filepath.Join(dir, "virtual-root.pem"), filepath.Join(dir, "evidence.bin")
	for name, content := range map[string][]byte{rootFile: text, evidenceFile: evidence} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errOut bytes.Buffer
	args := []string{"evidence", "verify", "--kind", "virtual", "--virtual-root", rootFile, evidenceFile}
	if code := execute(t.Context(), args, nil, &out, &errOut); code != exitOK || !strings.Contains(out.String(), `"virtual-development"`) {
		t.Errorf("exit code %d, %s%s", code, &out, &errOut)
	}
	errOut.Reset()
	args[5] = evidenceFile
	if code := execute(t.Context(), args, nil, &out, &errOut); code != exitFailed || !strings.Contains(errOut.String(), "no PEM block") {
		t.Errorf("a root that is none: exit code %d, %s", code, &errOut)
	}
}
