package nitro

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/ratio"
)

// recorded is when the real documents of testdata were valid.
var recorded = time.Date(2024, 9, 7, 15, 0, 0, 0, time.UTC)

// realData is the user data of the real documents.
var realData = bytes.Repeat([]byte{1}, 1024)

func real(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func realInput(data []byte) attest.Input {
	return attest.Input{Namespace: "default", Evidence: data, Binding: attest.BoundTo(realData), Time: recorded}
}

// TestRealDocuments: documents of a real enclave hold against the root that is built in.
func TestRealDocuments(t *testing.T) {
	v, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	const zeros = "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	for name, want := range map[string]struct {
		pcr0, module string
		debug        bool
	}{
		"document.cbor":       {"e72a46ca80a260fb044a125442f0c7e331813bcbaf9724d9f3857758992766f2d65710a27aa94ae3949dd54e7c9fe86a", "i-0a22e5c5f24d22174-enc0191cceb4289903f", false},
		"document-debug.cbor": {zeros, "i-0a22e5c5f24d22174-enc0191ccebaf8feaba", true},
	} {
		data := real(t, name)
		got, err := v.Verify(t.Context(), realInput(data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		n := got.Nitro
		if got.Measurement != want.pcr0 || *got.Debug != want.debug || n.ModuleID != want.module || n.Signed || n.Region != "us-east-1" ||
			n.InstanceID != "i-0a22e5c5f24d22174" || len(n.PCRs) != 16 || !*got.Bound || n.Timestamp.Truncate(time.Hour) != recorded.Add(-time.Hour) ||
			n.PCRs[4][:8] != "45706d7b" || got.HardwareRoot != attest.RootNitro {
			t.Errorf("%s: %+v %+v", name, got, n)
		}
		// Three hours later it is worth nothing.
		in := realInput(data)
		in.Time = recorded.Add(3 * time.Hour)
		_, err = v.Verify(t.Context(), in)
		wantCode(t, name+", later", err, attest.CodeCertExpired)
	}
}

// refuses fails when v takes evidence, and when an error is of neither kind.
func refuses(t *testing.T, v *Verifier, in attest.Input, what string, i int) {
	t.Helper()
	_, err := v.Verify(t.Context(), in)
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) {
		t.Errorf("%s %d: %v", what, i, err)
	}
}

// TestEveryByte: no byte of a real document can change, in either way that a flip can be, and none can be missing. Every byte counts: the payload is
// signed, and what is around it has one encoding.
func TestEveryByte(t *testing.T) {
	v, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	data := real(t, "document.cbor")
	// Unbound, or nearly every flip would end at the binding of user data, and signatures be checked by none.
	in := realInput(nil)
	in.Binding = attest.Unbound()
	for i := 0; i < len(data); i += mutate.Stride(7) {
		if i%16 != 0 && i > 0 && i+1 < len(data) && data[i-1] == 1 && data[i] == 1 && data[i+1] == 1 {
			continue // in the three kilobytes of ones, one in sixteen is enough
		}
		bad := slices.Clone(data)
		bad[i] ^= 1 << (i % 8)
		in.Evidence = bad
		refuses(t, v, in, "byte", i)
		in.Evidence = data[:i]
		refuses(t, v, in, "length", i)
	}
	for _, after := range [][]byte{{0}, {0xff}, data} {
		in.Evidence = append(slices.Clone(data), after...)
		refuses(t, v, in, "followed by", len(after))
	}
}

// TestTampered: what a document says cannot be changed by somebody who re-encodes it.
func TestTampered(t *testing.T) {
	v, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	var parts []any
	if err := cbor.Unmarshal(real(t, "document.cbor"), &parts); err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := cbor.Unmarshal(parts[2].([]byte), &members); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(){
		"nothing":   func() {}, // only the order of its members
		"user data": func() { members["user_data"] = digest },
		"image":     func() { members["pcrs"].(map[any]any)[uint64(0)] = fill(7) },
	} {
		change()
		forged := encode(t, []any{parts[0], parts[1], encode(t, members), parts[3]})
		in := realInput(forged)
		in.Binding = attest.Unbound()
		_, err := v.Verify(t.Context(), in)
		wantCode(t, name, err, attest.CodeSignature)
	}
}

// TestLengths: every head of a real document with another length.
func TestLengths(t *testing.T) {
	v, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	data := real(t, "document.cbor")
	in := realInput(nil)
	in.Binding = attest.Unbound()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	runs := uint64(0)
	for i := 0; i < len(data); i += mutate.Stride(7) {
		// A head with a length of one, two, four or eight bytes, and everything after it left as it is.
		for _, head := range [][]byte{{0}, {1}, {0x17}, {0x18, 0xff}, {0x19, 0xff, 0xff}, {0x1a, 0xff, 0xff, 0xff, 0xff}, {0x1b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
			if i > 100 && i%37 != 0 { // the members' heads are at the beginning and here and there
				continue
			}
			bad := slices.Clone(data)
			kind := bad[i] & 0xe0
			copy(bad[i:], head)
			bad[i] |= kind
			if bytes.Equal(bad, data) {
				continue
			}
			in.Evidence = bad
			refuses(t, v, in, "head", i)
			runs++
		}
	}
	runtime.ReadMemStats(&after)
	if mean := (after.TotalAlloc - before.TotalAlloc) / runs; mean > 1<<20 {
		t.Errorf("%d bytes are allocated for a document on average", mean)
	}
}

// TestAllocation: the worst that fits into the size limit does not make much more of it.
func TestAllocation(t *testing.T) {
	h := newHypervisor(t, nil)
	v := h.verifier(t)
	worst := [][]byte{
		encode(t, []any{encode(t, map[int]int{1: -35}), map[int]int{}, append([]byte{0x99, 0x3f, 0xf0}, bytes.Repeat([]byte{0x80}, 0x3ff0)...), make([]byte, 96)}),
		append([]byte{0x99, 0x5f, 0xf0}, bytes.Repeat([]byte{0x80}, 0x5ff0)...),
		append([]byte{0x84}, bytes.Repeat([]byte{0x81}, 20000)...),
		{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0x84, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	}
	for i, data := range worst {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		refuses(t, v, input(data), "worst", i)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("worst %d: %d bytes were allocated", i, n)
		}
	}
}

func TestMutatedDocuments(t *testing.T) {
	h := newHypervisor(t, nil)
	v := h.verifier(t)
	good := h.document(t, nil)
	wrapped := []byte(`{"document":"` + base64.StdEncoding.EncodeToString(good) + `"}`)
	in := input(good)
	in.Binding = attest.Unbound()
	want, err := v.Verify(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	mutate.Run(t, [][]byte{good, wrapped, real(t, "document.cbor")}, func(t *testing.T, data []byte) {
		in := input(data)
		in.Binding = attest.Unbound()
		claims, err := v.Verify(t.Context(), in)
		var refusal *attest.Refusal
		if err != nil && !errors.As(err, &refusal) {
			t.Errorf("neither claims nor a refusal: %v", err)
		}
		if err == nil && !cmp.Equal(claims, want) {
			t.Errorf("a changed document verifies: %+v", claims)
		}
	})
}

func FuzzParse(f *testing.F) {
	h := newHypervisor(f, nil)
	good := h.document(f, nil)
	f.Add(good)
	f.Add([]byte(`{"document":"` + base64.StdEncoding.EncodeToString(good) + `"}`))
	f.Add(real(f, "document.cbor"))
	f.Add(real(f, "document-debug.cbor"))
	v := h.verifier(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if d, err := Parse(data); err == nil && (d.ModuleID == "" || len(d.PCRs) == 0 || len(d.CABundle) == 0 || len(d.Certificate) == 0) {
			t.Errorf("%+v", d)
		}
		in := input(data)
		if _, err := v.Verify(t.Context(), in); err == nil && !bytes.Contains(data, []byte("document")) &&
			!bytes.Equal(bytes.TrimPrefix(data, []byte{0xd2}), good) {
			t.Error("another document verifies")
		}
	})
}

// BenchmarkVerify measures an appraisal against the bare checks of the document's signatures: warm, with a known enclave, of the document's alone;
// known-instance, with another enclave on an instance that is known, and cold, of those of the certificates that are not known besides.
func BenchmarkVerify(b *testing.B) {
	data := real(b, "document.cbor")
	d, err := Parse(data)
	if err != nil {
		b.Fatal(err)
	}
	wrapped, err := json.Marshal(map[string][]byte{"document": data})
	if err != nil {
		b.Fatal(err)
	}
	in := realInput(data)
	known := newVerifierCaches(b)
	v := known
	verify := func() {
		if _, err := v.Verify(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
	verify()
	c, err := v.chain(d)
	if err != nil {
		b.Fatal(err)
	}
	x, y := new(big.Int).SetBytes(d.message.Signature[:48]), new(big.Int).SetBytes(d.message.Signature[48:])
	signed := encode(b, []any{"Signature1", encode(b, map[int]int{1: -35}), []byte{}, d.message.Payload})
	floor := func(signatures int) func() {
		return func() {
			for range signatures {
				digest := sha512.Sum384(signed)
				if !ecdsa.Verify(c.key, digest[:], x, y) {
					b.Fatal("the signature does not verify")
				}
			}
		}
	}
	for _, of := range []struct {
		name       string
		evidence   []byte
		signatures int
		prepare    func()
		budget     float64
	}{
		{"warm", data, 1, nil, 1.3},
		{"warm-json", wrapped, 1, nil, 1.3},
		{"known-instance", data, 2, func() { v.chains = newVerifierCaches(b).chains }, 0},
		{"cold", data, 1 + len(d.CABundle), func() { v = newVerifierCaches(b) }, 0},
	} {
		v, in = known, realInput(of.evidence)
		b.Run(of.name, func(b *testing.B) {
			ratio.Measure(b, ratio.Work{Prepare: of.prepare, Run: verify, Floor: floor(of.signatures), Budget: of.budget})
		})
	}
}

func newVerifierCaches(b *testing.B) *Verifier {
	b.Helper()
	v, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	return v
}
