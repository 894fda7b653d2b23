package cose

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"math/big"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// message signs payload, apart from what is tested.
func message(t testing.TB, key *ecdsa.PrivateKey, alg Algorithm, payload []byte) []byte {
	t.Helper()
	enc := func(v any) []byte {
		b, err := cbor.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	protected := enc(map[int]int64{1: int64(alg)})
	r, s, err := ecdsa.Sign(rand.Reader, key, alg.digest(enc([]any{"Signature1", protected, []byte{}, payload})))
	if err != nil {
		t.Fatal(err)
	}
	size := (key.Params().N.BitLen() + 7) / 8
	return enc([]any{protected, map[int]int{}, payload, append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)})
}

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestVerify(t *testing.T) {
	keys := map[Algorithm]*ecdsa.PrivateKey{
		ES256: newKey(t, elliptic.P256()), ES384: newKey(t, elliptic.P384()), ES512: newKey(t, elliptic.P521()),
	}
	for alg, key := range keys {
		for _, size := range []int{0, 1, 23, 24, 255, 256, 65535, 65536} {
			raw := message(t, key, alg, bytes.Repeat([]byte{7}, size))
			for _, form := range [][]byte{raw, append([]byte{tagSign1}, raw...)} {
				m, err := Parse(form)
				if err != nil {
					t.Fatalf("%v, %d bytes: %v", alg, size, err)
				}
				if err := m.Verify(&key.PublicKey); err != nil {
					t.Errorf("%v, %d bytes: %v", alg, size, err)
				}
				if err := m.Verify(&newKey(t, key.Curve).PublicKey); !errors.Is(err, ErrSignature) {
					t.Errorf("%v, another's key: %v", alg, err)
				}
			}
		}
		for other, k := range keys {
			m, err := Parse(message(t, key, alg, []byte{}))
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Verify(&k.PublicKey); (err == nil) != (other == alg) || other != alg && !errors.Is(err, ErrAlgorithm) {
				t.Errorf("%v by a key of %v: %v", alg, other, err)
			}
		}
	}
	// A signature of zeros, and one with leading zeros more.
	m, err := Parse(message(t, keys[ES256], ES256, []byte{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, sig := range [][]byte{make([]byte, 64), make([]byte, 63), append(make([]byte, 1), m.Signature...), nil} {
		bad := *m
		bad.Signature = sig
		if err := bad.Verify(&keys[ES256].PublicKey); !errors.Is(err, ErrSignature) {
			t.Errorf("signature %x: %v", sig, err)
		}
	}
	n := keys[ES256].Params().N
	tooBig := append(new(big.Int).Set(n).FillBytes(make([]byte, 32)), m.Signature[32:]...)
	bad := *m
	bad.Signature = tooBig
	if err := bad.Verify(&keys[ES256].PublicKey); !errors.Is(err, ErrSignature) {
		t.Errorf("r = n: %v", err)
	}
}

func TestMalformed(t *testing.T) {
	key := newKey(t, elliptic.P256())
	raw := message(t, key, ES256, []byte("payload"))
	enc := func(v any) []byte {
		b, err := cbor.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	protected, none := enc(map[int]int{1: -7}), map[int]int{}
	for name, bad := range map[string][]byte{
		"nothing":                    nil,
		"a tag":                      {0xd2},
		"two tags":                   append([]byte{0xd2, 0xd2}, raw...),
		"another tag":                append([]byte{0xd1}, raw...),
		"a tag in two bytes":         append([]byte{0xd8, 18}, raw...),
		"bytes after":                append(slices.Clone(raw), 0),
		"array of three":             enc([]any{protected, none, []byte{}}),
		"array of five":              enc([]any{protected, none, []byte{}, []byte{}, []byte{}}),
		"a map":                      enc(map[int]int{1: 2}),
		"indefinite array":           slices.Concat([]byte{0x9f}, raw[1:], []byte{0xff}),
		"array head in two bytes":    slices.Concat([]byte{0x98, 4}, raw[1:]),
		"payload null":               enc([]any{protected, none, nil, []byte{1}}),
		"payload an array":           enc([]any{protected, none, []int{1}, []byte{1}}),
		"payload text":               enc([]any{protected, none, "x", []byte{1}}),
		"protected text":             enc([]any{string(protected), none, []byte{}, []byte{1}}),
		"protected empty":            enc([]any{[]byte{}, none, []byte{}, []byte{1}}),
		"protected with key id":      enc([]any{enc(map[int]any{1: -7, 4: []byte{1}}), none, []byte{}, []byte{1}}),
		"protected without alg":      enc([]any{enc(map[int]int{2: -7}), none, []byte{}, []byte{1}}),
		"protected alg text":         enc([]any{enc(map[int]string{1: "ES256"}), none, []byte{}, []byte{1}}),
		"protected alg twice":        enc([]any{[]byte{0xa2, 1, 0x26, 1, 0x26}, none, []byte{}, []byte{1}}),
		"unprotected with algorithm": enc([]any{protected, map[int]int{1: -7}, []byte{}, []byte{1}}),
		"unprotected null":           enc([]any{protected, nil, []byte{}, []byte{1}}),
	} {
		if _, err := Parse(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range raw {
		if _, err := Parse(raw[:i]); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %v", i, err)
		}
	}
}

func TestItems(t *testing.T) {
	if _, err := Bytes(cbor.RawMessage{0x82, 1, 2}); err == nil {
		t.Error("an array of numbers is a string of bytes")
	}
	if _, err := Bytes(cbor.RawMessage{0xf6}); err == nil {
		t.Error("null is a string of bytes")
	}
	if _, err := Text(cbor.RawMessage{0x41, 'a'}); err == nil {
		t.Error("bytes are text")
	}
	if _, err := Text(cbor.RawMessage{0x61, 0xff}); err == nil {
		t.Error("text that is not UTF-8")
	}
	for _, bad := range []cbor.RawMessage{{0x20}, {0xf9, 0x3c, 0}, {0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0}, {0xf6}, nil, {0xc1, 0x01}} {
		if n, err := Uint(bad); err == nil {
			t.Errorf("%x is %d", []byte(bad), n)
		}
	}
	if n, err := Uint(cbor.RawMessage{0x1b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}); err != nil || n != 1<<63-1 {
		t.Error(n, err)
	}
	if _, err := IntMap(cbor.RawMessage{0xa2, 1, 1, 1, 2}); err == nil {
		t.Error("a member twice")
	}
	// The same number in two encodings, and as a float.
	if _, err := IntMap(cbor.RawMessage{0xa2, 1, 1, 0x18, 1, 2}); err == nil {
		t.Error("a member twice in two encodings")
	}
	if _, err := IntMap(cbor.RawMessage{0xa1, 0xf9, 0x3c, 0, 1}); err == nil {
		t.Error("a float is a whole number")
	}
	if _, err := TextMap(cbor.RawMessage{0xa1, 0x41, 'a', 1}); err == nil {
		t.Error("bytes are a key of text")
	}
	if _, err := Array(cbor.RawMessage{0x83, 1, 2, 3}, 2); err == nil {
		t.Error("an array longer than the limit")
	}
	claims, err := ClaimMap(cbor.RawMessage{0xa3, 1, 2, 0x20, 3, 0x61, 'a', 4})
	if err != nil || len(claims) != 2 || claims[1] == nil || claims[-1] == nil {
		t.Error(claims, err)
	}
	for _, bad := range []cbor.RawMessage{{0xa2, 1, 1, 1, 2}, {0xa1, 0x41, 'a', 1}, {0xa1, 0xf6, 1}, {0xa1, 0xf9, 0x3c, 0, 1}, {0xa1, 0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, {0x80}, nil} {
		if claims, err := ClaimMap(bad); err == nil {
			t.Errorf("%x: %v", []byte(bad), claims)
		}
	}
	deep := append(bytes.Repeat([]byte{0x81}, 64), 0x80)
	var v any
	if err := Unmarshal(deep, &v); err == nil {
		t.Error("64 levels deep")
	}
	if err := Unmarshal([]byte{0x9a, 0xff, 0xff, 0xff, 0xff}, &v); err == nil {
		t.Error("four thousand million elements in five bytes")
	}
}

func TestMutatedMessages(t *testing.T) {
	key := newKey(t, elliptic.P256())
	payload := []byte("payload of the message")
	seed := message(t, key, ES256, payload)
	mutate.Run(t, [][]byte{seed, append([]byte{tagSign1}, seed...)}, func(t *testing.T, input []byte) {
		m, err := Parse(input)
		if err == nil && m.Verify(&key.PublicKey) == nil && !bytes.Equal(bytes.TrimPrefix(input, []byte{tagSign1}), seed) {
			t.Errorf("a changed message verifies: %x", input)
		}
	})
}

func FuzzParse(f *testing.F) {
	key := newKey(f, elliptic.P256())
	f.Add(message(f, key, ES256, []byte("payload")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if m, err := Parse(raw); err == nil && !bytes.Equal(m.encode(), bytes.TrimPrefix(raw, []byte{tagSign1})) {
			t.Error("a message in two encodings")
		}
	})
}
