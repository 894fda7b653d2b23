package nitrodevice

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"unsafe"

	"github.com/fxamacker/cbor/v2"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// answering is a module that answers with what a function makes of the request. That what it gives verifies, with a module that signs, is
// tested where the verifier is: in package attest/nitro.
type answering func(request []byte) ([]byte, error)

func (f answering) Exchange(_ context.Context, request []byte) ([]byte, error) { return f(request) }

// encode sorts the keys of maps, so that what is made twice is the same twice.
func encode(t testing.TB, v any) []byte {
	t.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := mode.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// document is an unsigned document about user data.
func document(t testing.TB, userData any) []byte {
	t.Helper()
	return encode(t, []any{[]byte{0xa1, 1, 0x38, 0x22}, map[int]int{}, encode(t, map[string]any{"user_data": userData, "nonce": nil}), make([]byte, 96)})
}

func answer(t testing.TB, document []byte) []byte {
	t.Helper()
	return encode(t, map[string]any{"Attestation": map[string]any{"document": document}})
}

func TestEvidence(t *testing.T) {
	digest := bytes.Repeat([]byte{7}, 48)
	var asked []byte
	d, err := New(Config{Module: answering(func(request []byte) ([]byte, error) {
		asked = bytes.Clone(request)
		return answer(t, document(t, digest)), nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	if d.Kind() != attest.Nitro {
		t.Errorf("kind %q", d.Kind())
	}
	got, err := d.Evidence(t.Context(), digest)
	if err != nil || !bytes.Equal(got, document(t, digest)) {
		t.Errorf("%x, %v", got, err)
	}
	var request map[string]map[string]any
	if err := cbor.Unmarshal(asked, &request); err != nil {
		t.Fatal(err)
	}
	inner := request["Attestation"]
	if len(request) != 1 || len(inner) != 3 || !bytes.Equal(inner["user_data"].([]byte), digest) || inner["nonce"] != nil || inner["public_key"] != nil {
		t.Errorf("the request is %v", request)
	}
}

func TestFailures(t *testing.T) {
	digest := bytes.Repeat([]byte{7}, 48)
	fail := errors.New("no such device")
	for name, c := range map[string]struct {
		answer []byte
		err    error
		say    string
	}{
		"an error of the device": {nil, fail, "no such device"},
		"an error of the module": {encode(t, map[string]any{"Error": "InputTooLarge"}), nil, "InputTooLarge"},
		"nothing":                {nil, nil, "answer"},
		"another answer":         {encode(t, map[string]any{"GetRandom": 1}), nil, "no document"},
		"a short text":           {encode(t, "InvalidResponse"), nil, "answer"},
		"no document":            {answer(t, nil), nil, "document"},
		"garbage":                {answer(t, []byte{1, 2}), nil, "document"},
		"an array of three":      {answer(t, encode(t, []int{1, 2, 3})), nil, "array of 3"},
		"other user data":        {answer(t, document(t, bytes.Repeat([]byte{8}, 48))), nil, "other data"},
		"longer user data":       {answer(t, document(t, bytes.Repeat([]byte{7}, 49))), nil, "other data"},
		"no user data":           {answer(t, document(t, nil)), nil, "other data"},
		"text as user data":      {answer(t, document(t, "x")), nil, "document"},
	} {
		d, err := New(Config{Module: answering(func([]byte) ([]byte, error) { return c.answer, c.err })})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Evidence(t.Context(), digest); err == nil || !strings.Contains(err.Error(), c.say) || c.err != nil && !errors.Is(err, c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d, err := New(Config{Module: answering(func([]byte) ([]byte, error) { t.Error("the module was asked"); return nil, nil })})
	if err != nil {
		t.Fatal(err)
	}
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

func TestMutatedAnswers(t *testing.T) {
	digest := bytes.Repeat([]byte{7}, 48)
	mutate.Run(t, [][]byte{answer(t, document(t, digest)), answer(t, append([]byte{0xd2}, document(t, digest)...))}, func(t *testing.T, input []byte) {
		d, err := New(Config{Module: answering(func([]byte) ([]byte, error) { return input, nil })})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.Evidence(t.Context(), digest); err == nil && !bytes.Contains(got, digest) {
			t.Errorf("%x", got)
		}
	})
}

// TestDriver holds what is passed to the kernel against its header.
func TestDriver(t *testing.T) {
	if ioctlRaw != 0xc0200a00 || unsafe.Sizeof(raw{}) != 32 || unsafe.Offsetof(raw{}.response) != 16 {
		t.Errorf("ioctl %#x, %d bytes", uint(ioctlRaw), unsafe.Sizeof(raw{}))
	}
	m := module{t.TempDir() + "/nsm"}
	if _, err := m.Exchange(t.Context(), []byte{0xa0}); err == nil {
		t.Error("a device that is not there answers")
	}
	for _, size := range []int{0, maxRequest + 1} {
		if _, err := m.Exchange(t.Context(), make([]byte, size)); err == nil || !strings.Contains(err.Error(), "a request of") {
			t.Errorf("a request of %d bytes: %v", size, err)
		}
	}
	// A file that is no such device says so.
	if _, err := (module{"/dev/null"}).Exchange(t.Context(), []byte{0xa0}); err == nil || !strings.Contains(err.Error(), "ioctl") {
		t.Errorf("/dev/null: %v", err)
	}
}
