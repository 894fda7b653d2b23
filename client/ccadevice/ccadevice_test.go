package ccadevice

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/faketsm"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/client/tsm"
)

// realm is a configfs-tsm that gives what a function makes of a challenge. That a token which is signed verifies is tested where the verifier is:
// in package attest/cca.
func realm(t *testing.T, token func(challenge []byte) []byte) (*Device, *faketsm.ReportSubsystem) {
	t.Helper()
	d, m, err := open(t, tsm.ProviderCCA, token)
	if err != nil {
		t.Fatal(err)
	}
	return d, m
}

// open opens a configfs-tsm of a provider.
func open(t *testing.T, provider string, token func(challenge []byte) []byte) (*Device, *faketsm.ReportSubsystem, error) {
	t.Helper()
	m := faketsm.ReportV7(0)
	fallback := m.ReadAttr
	m.ReadAttr = func(e *faketsm.ReportEntry, attr string) ([]byte, error) {
		switch attr {
		case "provider":
			return []byte(provider + "\n"), nil
		case "outblob":
			return token(e.InAttrs["inblob"].Value), nil
		}
		return fallback(e, attr)
	}
	d, err := Open(t.Context(), Config{TSM: &faketsm.Client{Subsystems: map[string]configfsi.Client{"report": m}}})
	return d, m, err
}

func TestEvidence(t *testing.T) {
	digest := bytes.Repeat([]byte{7}, 48)
	var asked []byte
	d, m := realm(t, func(challenge []byte) []byte {
		asked = slices.Clone(challenge)
		return append([]byte{0xd9}, challenge...)
	})
	if d.Kind() != attest.CCA {
		t.Errorf("kind %q", d.Kind())
	}
	got, err := d.Evidence(t.Context(), digest)
	want := append(slices.Clone(digest), make([]byte, 16)...)
	if err != nil || !bytes.Equal(asked, want) || !bytes.Equal(got, append([]byte{0xd9}, want...)) {
		t.Errorf("asked for %x, got %x, %v", asked, got, err)
	}
	if len(m.Entries) != 0 {
		t.Errorf("%d directories were left behind", len(m.Entries))
	}
}

func TestFailures(t *testing.T) {
	digest := bytes.Repeat([]byte{7}, 48)
	echo := func(challenge []byte) []byte { return challenge }
	for name, c := range map[string]struct {
		token func([]byte) []byte
		say   string
	}{
		"no token":        {func([]byte) []byte { return nil }, "0 bytes"},
		"a long token":    {func(c []byte) []byte { return append(slices.Clone(c), make([]byte, maxToken)...) }, "bytes"},
		"another's token": {func([]byte) []byte { return make([]byte, 100) }, "other data"},
	} {
		d, m := realm(t, c.token)
		if _, err := d.Evidence(t.Context(), digest); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
		}
		if len(m.Entries) != 0 {
			t.Errorf("%s: %d directories were left behind", name, len(m.Entries))
		}
	}
	d, _ := realm(t, echo)
	for _, size := range []int{0, 65} {
		if _, err := d.Evidence(t.Context(), make([]byte, size)); err == nil {
			t.Errorf("a digest of %d bytes", size)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Evidence(ctx, digest); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestAnotherMachine: the interface alone makes no realm.
func TestAnotherMachine(t *testing.T) {
	if _, m, err := open(t, tsm.ProviderSNP, nil); err == nil || !strings.Contains(err.Error(), tsm.ProviderSNP) || len(m.Entries) != 0 {
		t.Errorf("%v, with %d directories left behind", err, len(m.Entries))
	}
}
