package nitro

import (
	"bytes"
	"context"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/client/nitrodevice"
)

// Exchange makes a hypervisor a Nitro Secure Module, which answers requests for documents and no others.
func (m *module) Exchange(_ context.Context, request []byte) ([]byte, error) {
	var r map[string]struct {
		UserData  []byte `cbor:"user_data"`
		Nonce     []byte `cbor:"nonce"`
		PublicKey []byte `cbor:"public_key"`
	}
	if err := cbor.Unmarshal(request, &r); err != nil {
		return cbor.Marshal(map[string]string{"Error": "InvalidArgument"})
	}
	asked, ok := r["Attestation"]
	if !ok {
		return cbor.Marshal(map[string]string{"Error": "InvalidOperation"})
	}
	document := m.h.document(m.t, func(members map[string]any) {
		members["user_data"], members["nonce"], members["public_key"] = asked.UserData, asked.Nonce, asked.PublicKey
	})
	return cbor.Marshal(map[string]any{"Attestation": map[string]any{"document": document}})
}

type module struct {
	h *hypervisor
	t *testing.T
}

// TestCollector: what the guest's collector makes of a module verifies, and is bound to the digest.
func TestCollector(t *testing.T) {
	h := newHypervisor(t, nil)
	d, err := nitrodevice.New(nitrodevice.Config{Module: &module{h, t}})
	if err != nil {
		t.Fatal(err)
	}
	v := h.verifier(t)
	for _, size := range []int{32, 48, 64} {
		digest := bytes.Repeat([]byte{7}, size)
		document, err := d.Evidence(t.Context(), digest)
		if err != nil {
			t.Fatal(err)
		}
		in := input(document)
		in.Binding = attest.BoundTo(digest)
		if _, err := v.Verify(t.Context(), in); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		in.Binding = attest.BoundTo(bytes.Repeat([]byte{8}, size))
		_, err = v.Verify(t.Context(), in)
		wantCode(t, "another digest", err, attest.CodeBinding)
	}
}
