// Package tpmtest gives a test a software TPM of its own.
package tpmtest

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"os"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/vouchsafe/vouchsafe/attest/tpm/swtpm"
)

// TPM is a software TPM that lives as long as a test.
type TPM struct {
	tb      testing.TB
	dir     string
	process *swtpm.Process
}

// Start makes and runs a TPM, with an authority of its own. Where swtpm is not installed the test is skipped.
func Start(tb testing.TB) *TPM {
	tb.Helper()
	// Not tb.TempDir, whose path has the test's name in it: the path of a socket is limited to 107 bytes.
	dir, err := os.MkdirTemp("", "tpm")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	t := &TPM{tb: tb, dir: dir}
	t.start()
	tb.Cleanup(func() { t.process.Stop() })
	return t
}

func (t *TPM) start() {
	t.tb.Helper()
	process, err := swtpm.Start(context.Background(), t.dir)
	if errors.Is(err, swtpm.ErrAbsent) {
		t.tb.Skipf("%v: install swtpm and swtpm-tools to run this test", err)
	}
	if err != nil {
		t.tb.Fatal(err)
	}
	t.process = process
}

// Addr returns the TPM's address, as the agent and tpmdevice.Open take it.
func (t *TPM) Addr() string { return t.process.Addr() }

// Reboot restarts the TPM: PCRs go back to their reset values, keys and certificates stay.
func (t *TPM) Reboot() {
	t.tb.Helper()
	t.process.Stop()
	t.start()
}

// Authority returns the root and intermediate certificates of its endorsement keys.
func (t *TPM) Authority() (roots, intermediates []*x509.Certificate) {
	t.tb.Helper()
	roots, intermediates, err := t.process.Authority()
	if err != nil {
		t.tb.Fatal(err)
	}
	return roots, intermediates
}

// Process returns the process, for the names of its files.
func (t *TPM) Process() *swtpm.Process { return t.process }

var banks = map[crypto.Hash]tpm2.TPMAlgID{crypto.SHA256: tpm2.TPMAlgSHA256, crypto.SHA384: tpm2.TPMAlgSHA384}

// Extend extends a PCR of one bank with digests, in order. Nothing else may be connected to the TPM.
func (t *TPM) Extend(bank crypto.Hash, pcr int, digests ...[]byte) {
	t.tb.Helper()
	device, err := swtpm.Dial(t.tb.Context(), t.Addr())
	if err != nil {
		t.tb.Fatal(err)
	}
	defer device.Close()
	for _, digest := range digests {
		_, err := tpm2.PCRExtend{
			PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
			Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{
				{HashAlg: banks[bank], Digest: digest},
			}},
		}.Execute(device)
		if err != nil {
			t.tb.Fatalf("extending PCR %d: %v", pcr, err)
		}
	}
}
