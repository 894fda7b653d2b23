package csv

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm2"

	"github.com/vouchsafe/vouchsafe/attest"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// digest is what the reports of these tests are bound to.
var digest = func() []byte { d := sha512.Sum384([]byte("nonce and key")); return d[:] }()

// owner has a key of SM2 and the identity it signs under.
type owner struct {
	key      *sm2.PrivateKey
	identity string
}

func newOwner(t testing.TB, identity string) *owner {
	t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &owner{key, identity}
}

func (o *owner) public() *publicKey {
	key, err := newKey(elliptic.Marshal(o.key.Curve, o.key.X, o.key.Y), []byte(o.identity))
	if err != nil {
		panic(err)
	}
	return key
}

// reversed returns 32 bytes, little-endian in a field of 72.
func reversed(b []byte) []byte {
	out := make([]byte, 72)
	for i, c := range b {
		out[len(b)-1-i] = c
	}
	return out
}

// sign returns r and s in their fields.
func (o *owner) sign(t testing.TB, message []byte) []byte {
	t.Helper()
	r, s, err := sm2.SignWithSM2(rand.Reader, &o.key.PrivateKey, []byte(o.identity), message)
	if err != nil {
		t.Fatal(err)
	}
	return append(reversed(r.FillBytes(make([]byte, 32))), reversed(s.FillBytes(make([]byte, 32)))...)
}

// point returns the key as a certificate has it, 404 bytes.
func (o *owner) point() []byte {
	b := le.AppendUint32(nil, 3)
	b = append(b, reversed(o.key.X.FillBytes(make([]byte, 32)))...)
	b = append(b, reversed(o.key.Y.FillBytes(make([]byte, 32)))...)
	b = le.AppendUint16(b, uint16(len(o.identity)))
	return append(b, append([]byte(o.identity), make([]byte, 254-len(o.identity))...)...)
}

// hsk returns the certificate of o by issuer, 832 bytes, by Hygon's layout. usage is 0x13 in a good one.
func (o *owner) hsk(t testing.TB, issuer *owner, usage uint32) []byte {
	t.Helper()
	b := le.AppendUint32(nil, 1)
	b = append(b, make([]byte, 32)...)
	b = le.AppendUint32(b, usage)
	b = append(b, make([]byte, 24)...)
	b = append(b, o.point()...)
	b = append(b, make([]byte, 108)...)
	b = append(b, issuer.sign(t, b)...)
	return append(b, make([]byte, 112)...)
}

// cert returns the certificate of o by issuer, 2084 bytes.
func (o *owner) cert(t testing.TB, usage uint32, issuer *owner, issuerUsage uint32) []byte {
	t.Helper()
	b := le.AppendUint32(nil, 1)
	b = append(b, 1, 3, 0, 0)
	b = le.AppendUint32(b, usage)
	b = le.AppendUint32(b, 4)
	b = append(b, o.point()...)
	b = append(b, make([]byte, 16+608)...)
	sig := issuer.sign(t, b)
	b = le.AppendUint32(b, issuerUsage)
	b = le.AppendUint32(b, 4)
	b = append(b, sig...)
	b = append(b, make([]byte, 368)...)
	b = le.AppendUint32(b, 0x1000)
	return append(b, make([]byte, 2084-len(b))...)
}

// chip is a Hygon processor with firmware, under a root of its own.
type chip struct{ hrk, hskKey, cekKey, pekKey *owner }

func newChip(t testing.TB) *chip {
	t.Helper()
	return &chip{newOwner(t, "HYGON-SSD-HRK"), newOwner(t, "HYGON-SSD-HSK"), newOwner(t, "HYGON-SSD-CEK"), newOwner(t, "HYGON-SSD-PEK")}
}

func (c *chip) hsk(t testing.TB) []byte { t.Helper(); return c.hskKey.hsk(t, c.hrk, 0x13) }
func (c *chip) cek(t testing.TB) []byte { t.Helper(); return c.cekKey.cert(t, 0x1004, c.hskKey, 0x13) }
func (c *chip) pek(t testing.TB) []byte {
	t.Helper()
	return c.pekKey.cert(t, 0x1002, c.cekKey, 0x1004)
}

func (c *chip) verifier(t testing.TB, endorsements attest.Endorsements) *Verifier {
	t.Helper()
	v, err := newVerifier(Config{Endorsements: endorsements}, c.hrk.public())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// report is a report to make.
type report struct {
	version                 int
	data                    []byte
	policy, usage, algo     uint32
	mask                    [4]byte // version 1 only
	signer                  *owner
	measure, userKey, nonce byte
}

func (c *chip) report(version int) report {
	data := make([]byte, 64)
	copy(data, digest)
	return report{version: version, data: data, policy: 0x0102_3400 | 0x4d, usage: 0x1002, algo: 4, mask: [4]byte{1, 2, 3, 4}, signer: c.pekKey, measure: 0xee, nonce: 7}
}

func fill(b byte, n int) []byte { return slices.Repeat([]byte{b}, n) }

// page makes a page by Hygon's layout.
func (r report) page(t testing.TB) []byte {
	t.Helper()
	b := slices.Concat(fill(r.userKey, 32), fill(0x11, 16), fill(0x22, 16), r.data, fill(r.nonce, 16), fill(r.measure, 32))
	b = le.AppendUint32(b, r.policy)
	b = le.AppendUint32(b, r.usage)
	b = le.AppendUint32(b, r.algo)
	if r.version == 1 {
		for i := range b {
			b[i] ^= r.mask[i%4]
		}
		b = append(b, r.mask[:]...)
		b = append(b, r.signer.sign(t, b[:180])...)
	} else {
		b = le.AppendUint32(b, 2400)
		b = append(b, 1, 0)
		b = append(b, make([]byte, 14)...)
		for i := range 5 {
			b = append(b, fill(byte(i), 32)...)
		}
		b = append(b, make([]byte, 656)...)
		b = append(b, r.signer.sign(t, b)...)
	}
	return append(b, make([]byte, 4096-len(b))...)
}

// ints is bytes as a client's JSON has them.
func ints(b []byte) []int {
	out := make([]int, len(b))
	for i, c := range b {
		out[i] = int(c)
	}
	return out
}

type object = map[string]any

func jsonPoint(b []byte) object {
	return object{"g": le.Uint32(b), "x": ints(b[4:76]), "y": ints(b[76:148])}
}

// asCert takes a certificate apart as csv-rs does.
func asCert(b []byte) object {
	sigs := []any{}
	for i := range 2 {
		s := b[1044+520*i:][:520]
		sigs = append(sigs, object{"usage": le.Uint32(s), "algo": le.Uint32(s[4:]), "signature": object{"r": ints(s[8:80]), "s": ints(s[80:152])}, "_reserved": ints(s[152:])})
	}
	return object{"body": object{"ver": le.Uint32(b), "data": object{
		"firmware": object{"major": b[4], "minor": b[5]}, "reserved1": 0, "pubkey": object{"usage": le.Uint32(b[8:]), "algo": le.Uint32(b[12:]), "key": jsonPoint(b[16:])},
		"uid_size": le.Uint16(b[164:]), "user_id": ints(b[166:420]), "sid": ints(b[420:436]), "reserved2": ints(b[436:1044]),
	}}, "sigs": sigs}
}

func asHSK(b []byte) object {
	return object{"body": object{
		"preamble": object{"ver": le.Uint32(b), "data": object{"kid": ints(b[4:20]), "sid": ints(b[20:36]), "usage": le.Uint32(b[36:]), "reserved": ints(b[40:64])}},
		"pubkey":   jsonPoint(b[64:]), "uid_size": le.Uint16(b[212:]), "user_id": ints(b[214:468]), "reserved": ints(b[468:576]),
	}, "signature": object{"r": ints(b[576:648]), "s": ints(b[648:720])}, "_reserved": ints(b[720:])}
}

// evidence is evidence to make: the parts of it, to be changed.
type evidence struct {
	magic         []byte
	flags         int
	page          []byte
	hsk, cek, pek []byte // hsk nil: without both
	serial        []byte
}

func (c *chip) evidence(t testing.TB, version int) evidence {
	t.Helper()
	e := evidence{magic: make([]byte, 16), page: c.report(version).page(t), hsk: c.hsk(t), cek: c.cek(t), pek: c.pek(t), serial: append([]byte("KPA6491124005007"), make([]byte, 48)...)}
	if version == 2 {
		e.magic, e.flags = []byte(extended), 1
	}
	return e
}

func (e evidence) json(t testing.TB) []byte {
	t.Helper()
	chain := object{"pek": asCert(e.pek)}
	if e.hsk != nil {
		chain["hsk_cek"] = object{"hsk": asHSK(e.hsk), "cek": asCert(e.cek)}
	}
	return marshal(t, object{
		"attestation_report": object{"magic": ints(e.magic), "flags": e.flags, "data": ints(e.page)}, "cert_chain": chain, "serial_number": ints(e.serial), "cc_eventlog": nil,
	})
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func input(evidence []byte) attest.Input {
	return attest.Input{Namespace: "default", Evidence: evidence, Binding: attest.BoundTo(digest), Time: now}
}
