package cca

import (
	"bytes"
	"testing"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/faketsm"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/client/ccadevice"
)

// TestCollector: what the guest's collector makes of a realm's configfs-tsm verifies, and is bound to the digest.
func TestCollector(t *testing.T) {
	m := newMachine(t)
	v := m.verifier(t)
	tsm := faketsm.ReportV7(0)
	fallback := tsm.ReadAttr
	tsm.ReadAttr = func(e *faketsm.ReportEntry, attr string) ([]byte, error) {
		switch attr {
		case "provider":
			return []byte("arm_cca_guest\n"), nil
		case "outblob":
			return m.token(t, func(_, r claimSet) { r[10] = e.InAttrs["inblob"].Value }), nil
		}
		return fallback(e, attr)
	}
	d, err := ccadevice.Open(t.Context(), ccadevice.Config{TSM: &faketsm.Client{Subsystems: map[string]configfsi.Client{"report": tsm}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{32, 48, 64} {
		digest := bytes.Repeat([]byte{7}, size)
		token, err := d.Evidence(t.Context(), digest)
		if err != nil {
			t.Fatal(err)
		}
		in := input(token)
		in.Binding = attest.BoundTo(digest)
		if _, err := v.Verify(t.Context(), in); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		in.Binding = attest.BoundTo(bytes.Repeat([]byte{8}, size))
		_, err = v.Verify(t.Context(), in)
		wantCode(t, "another digest", err, attest.CodeBinding)
	}
}
