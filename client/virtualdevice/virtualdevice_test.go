package virtualdevice

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
)

// TestEvidence: what a loaded device gives verifies by its root, bound to the digest and nothing else.
func TestEvidence(t *testing.T) {
	root, err := virtual.NewRoot(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	made, err := root.NewDevice(rand.Reader, time.Now(), virtual.Config{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := made.Save(dir); err != nil {
		t.Fatal(err)
	}
	d, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	digest := make([]byte, 48)
	digest[0] = 1
	evidence, err := d.Evidence(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := virtual.NewVerifier(root.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	in := attest.Input{Namespace: "default", Evidence: evidence, Binding: attest.BoundTo(digest), Time: time.Now()}
	claims, err := verifier.Verify(t.Context(), in)
	if err != nil || claims.Kind != d.Kind() {
		t.Fatalf("%+v, %v", claims, err)
	}
	in.Binding = attest.BoundTo(make([]byte, 48))
	var refusal *attest.Refusal
	if _, err := verifier.Verify(t.Context(), in); !errors.As(err, &refusal) || refusal.Code != attest.CodeBinding {
		t.Errorf("another digest: %v", err)
	}

	if _, err := d.Evidence(t.Context(), make([]byte, 65)); err == nil {
		t.Error("a digest of 65 bytes passed")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Evidence(cancelled, digest); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("loaded nothing")
	}
}
