package cca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/vouchsafe/vouchsafe/attest"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// digest is what the tokens of these tests are bound to.
var digest = func() []byte { d := sha512.Sum384([]byte("nonce and key")); return d[:] }()

func fill(b byte, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode() // or keys would have another encoding each time
	if err != nil {
		t.Fatal(err)
	}
	b, err := mode.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// machine is a CCA platform with a realm on it. It makes tokens by the draft, apart from what is tested.
type machine struct {
	cpak, rak *ecdsa.PrivateKey
	cose      bool // the realm token has a profile, and its key is a COSE_Key
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	return &machine{cpak: newKey(t, elliptic.P384()), rak: newKey(t, elliptic.P384())}
}

func (m *machine) anchor() TrustAnchor {
	a := TrustAnchor{Key: &m.cpak.PublicKey}
	copy(a.ImplementationID[:], fill(0x11, 32))
	copy(a.InstanceID[:], append([]byte{1}, fill(0x22, 32)...))
	return a
}

func (m *machine) verifier(t testing.TB, references ...ReferenceValue) *Verifier {
	t.Helper()
	v, err := New(Config{TrustAnchors: []TrustAnchor{m.anchor()}, ReferenceValues: references})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// rawKey is the realm's key as the token has it.
func (m *machine) rawKey(t testing.TB) []byte {
	t.Helper()
	point, err := m.rak.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if !m.cose {
		return point
	}
	size := (len(point) - 1) / 2
	crv := map[elliptic.Curve]int{elliptic.P256(): 1, elliptic.P384(): 2, elliptic.P521(): 3}[m.rak.Curve]
	return encode(t, map[int]any{1: 2, -1: crv, -2: point[1 : 1+size], -3: point[1+size:]})
}

type claimSet map[any]any

func (m *machine) realm(t testing.TB) claimSet {
	t.Helper()
	challenge := make([]byte, 64)
	copy(challenge, digest)
	c := claimSet{
		10: challenge, 44235: make([]byte, 64), 44238: fill(0x33, 64), 44236: "sha-512", 44237: m.rawKey(t), 44240: "sha-256",
		44239: []any{fill(1, 64), fill(2, 64), fill(3, 64), fill(4, 64)},
	}
	if m.cose {
		c[265] = profileRealm2023
	}
	return c
}

func (m *machine) platform(t testing.TB) claimSet {
	t.Helper()
	challenge := sha256.Sum256(m.rawKey(t))
	return claimSet{
		265: "tag:arm.com,2023:cca_platform#1.0.0", 10: challenge[:], 2396: fill(0x11, 32), 256: append([]byte{1}, fill(0x22, 32)...), 2401: fill(0xcf, 4),
		2395: 0x3003, 2402: "sha-256", 2400: "https://verifier.example",
		2399: []any{
			claimSet{1: "BL", 2: fill(0xaa, 32), 4: "1.2.3", 5: fill(0xbb, 32), 6: "sha-256"},
			claimSet{2: fill(0xcc, 48), 5: fill(0xdd, 64)},
		},
	}
}

// sign makes a COSE_Sign1 message of a payload.
func sign(t testing.TB, key *ecdsa.PrivateKey, payload []byte) []byte {
	t.Helper()
	alg := map[elliptic.Curve]int{elliptic.P256(): -7, elliptic.P384(): -35, elliptic.P521(): -36}[key.Curve]
	protected := encode(t, map[int]int{1: alg})
	signed := encode(t, []any{"Signature1", protected, []byte{}, payload})
	var d []byte
	switch alg {
	case -7:
		h := sha256.Sum256(signed)
		d = h[:]
	case -35:
		h := sha512.Sum384(signed)
		d = h[:]
	default:
		h := sha512.Sum512(signed)
		d = h[:]
	}
	r, s, err := ecdsa.Sign(rand.Reader, key, d)
	if err != nil {
		t.Fatal(err)
	}
	size := (key.Params().N.BitLen() + 7) / 8
	sig := append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	return encode(t, cbor.Tag{Number: 18, Content: []any{protected, map[int]int{}, payload, sig}})
}

func collection(t testing.TB, platform, realm []byte) []byte {
	t.Helper()
	return encode(t, cbor.Tag{Number: 399, Content: map[int]any{44234: platform, 44241: realm}})
}

func wrapper(t testing.TB, platform, realm []byte) []byte {
	t.Helper()
	return encode(t, cbor.Tag{Number: 907, Content: map[int]any{44234: []any{263, platform}, 44241: []any{263, realm}}})
}

func tagged(tag uint64, content any) any { return cbor.Tag{Number: tag, Content: content} }

// token makes a good token, apart from what change does to its claims.
func (m *machine) token(t testing.TB, change func(platform, realm claimSet)) []byte {
	t.Helper()
	p, r := maps.Clone(m.platform(t)), maps.Clone(m.realm(t))
	if change != nil {
		change(p, r)
	}
	return collection(t, sign(t, m.cpak, encode(t, p)), sign(t, m.rak, encode(t, r)))
}

// asJSON writes a token as a KBS client does.
func asJSON(t testing.TB, token []byte) []byte {
	t.Helper()
	list := make([]int, len(token))
	for i, b := range token {
		list[i] = int(b)
	}
	text, err := json.Marshal(map[string]any{"token": list})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func input(evidence []byte) attest.Input {
	return attest.Input{Namespace: "default", Evidence: evidence, Binding: attest.BoundTo(digest), Time: now}
}
