package nitro

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"hash/crc32"
	"io"
	"math/big"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// part is a section of an image to build.
type part struct {
	kind uint16
	data []byte
}

// image is an image to build, by the specification and not by what is tested.
type image struct {
	version, flags uint16
	parts          []part
	after          []byte           // follows the last section
	edit           func(raw []byte) // changes the header before the checksum is made
	badCRC         bool
}

func (im image) build() []byte {
	raw := make([]byte, 548)
	copy(raw, ".eif")
	be := binary.BigEndian
	be.PutUint16(raw[4:], im.version)
	be.PutUint16(raw[6:], im.flags)
	be.PutUint64(raw[8:], 1<<30)
	be.PutUint64(raw[16:], 2)
	be.PutUint16(raw[26:], uint16(len(im.parts)))
	for i, p := range im.parts {
		if i < 32 {
			be.PutUint64(raw[28+8*i:], uint64(len(raw)))
			be.PutUint64(raw[284+8*i:], uint64(len(p.data)))
		}
		raw = be.AppendUint16(raw, p.kind)
		raw = be.AppendUint16(raw, 0)
		raw = be.AppendUint64(raw, uint64(len(p.data)))
		raw = append(raw, p.data...)
	}
	raw = append(raw, im.after...)
	if im.edit != nil {
		im.edit(raw)
	}
	sum := crc32.ChecksumIEEE(append(slices.Clone(raw[:544]), raw[548:]...))
	if im.badCRC {
		sum++
	}
	be.PutUint32(raw[544:], sum)
	return raw
}

var (
	kernel   = bytes.Repeat([]byte("kernel"), 1000)
	cmdline  = []byte("reboot=k panic=30 pci=off nomodules console=ttyS0")
	ramdisk  = bytes.Repeat([]byte("init"), 3000)
	ramdisk2 = bytes.Repeat([]byte("application"), 5000)
	metadata = []byte(`{"ImageName":"test"}`)
)

func good() image {
	return image{version: 4, parts: []part{{1, kernel}, {2, cmdline}, {5, metadata}, {3, ramdisk}, {3, ramdisk2}, {3, []byte("third")}}}
}

// pcr is AWS's formula: sha384sum(48 zeros . sha384sum(data)).
func pcr(data ...[]byte) string {
	content := sha512.Sum384(slices.Concat(data...))
	out := sha512.Sum384(append(make([]byte, 48), content[:]...))
	return hex.EncodeToString(out[:])
}

func measure(t testing.TB, raw []byte) (*Result, error) {
	t.Helper()
	return Measure(t.Context(), bytes.NewReader(raw), int64(len(raw)))
}

func TestMeasure(t *testing.T) {
	got, err := measure(t, good().build())
	if err != nil {
		t.Fatal(err)
	}
	want := Result{
		PCR0: pcr(kernel, cmdline, ramdisk, ramdisk2, []byte("third")), PCR1: pcr(kernel, cmdline, ramdisk), PCR2: pcr(ramdisk2, []byte("third")),
		Version: 4, Arch: "x86_64", Ramdisks: 3,
	}
	if *got != want {
		t.Errorf("got %+v\nwant %+v", *got, want)
	}
}

// TestKnownAnswer: every image with a single RAM disk has this PCR2, whatever is in it. It is what nitro-cli prints for images
// that are built of one, for example those of Mysten Labs' Nautilus, whose documentation shows it.
func TestKnownAnswer(t *testing.T) {
	im := good()
	im.parts = im.parts[:4]
	got, err := measure(t, im.build())
	if err != nil {
		t.Fatal(err)
	}
	const published = "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a"
	if got.PCR2 != published {
		t.Errorf("PCR2 is %s, not %s", got.PCR2, published)
	}
	if got.PCR0 != got.PCR1 {
		t.Error("PCR0 and PCR1 differ in an image with a single RAM disk")
	}
}

// TestInstance: PCR4 of a real document (attest/nitro/testdata, where the figure is from) is that of the instance which the document names.
func TestInstance(t *testing.T) {
	const real = "45706d7b621e4620a332e147a5ddb000b049f73d47d3e61f6b03d2069152d4df6a4a786ad1c10102b955799a9dc96b44"
	if got := InstancePCR("i-0a22e5c5f24d22174"); got != real {
		t.Errorf("PCR4 is %s, not %s", got, real)
	}
	if RolePCR("arn:aws:iam::123456789012:role/a") == RolePCR("arn:aws:iam::123456789012:role/b") || CertificatePCR(nil) == InstancePCR("") {
		t.Error("two contents have one register")
	}
}

// TestOrder: data counts in the order of the file, so a command line before the kernel is another image.
func TestOrder(t *testing.T) {
	im := image{version: 3, flags: 1, parts: []part{{2, cmdline}, {1, kernel}, {3, ramdisk}}}
	got, err := measure(t, im.build())
	if err != nil {
		t.Fatal(err)
	}
	if want := pcr(cmdline, kernel, ramdisk); got.PCR0 != want || got.PCR1 != want || got.Arch != "aarch64" {
		t.Errorf("%+v", got)
	}
}

// signer signs images as AWS's builder does: all bytes as arrays of numbers.
type signer struct {
	key  *ecdsa.PrivateKey
	cert []byte
}

func newSigner(t testing.TB, curve elliptic.Curve) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "image signer"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{key, der}
}

func numbers(b []byte) []int {
	out := make([]int, len(b))
	for i, c := range b {
		out[i] = int(c)
	}
	return out
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := cbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *signer) entry(t testing.TB, index int, value []byte) map[string]any {
	t.Helper()
	alg := map[elliptic.Curve]int{elliptic.P256(): -7, elliptic.P384(): -35, elliptic.P521(): -36}[s.key.Curve]
	protected := encode(t, map[int]int{1: alg})
	payload := encode(t, map[string]any{"register_index": index, "register_value": numbers(value)})
	tbs := encode(t, []any{"Signature1", protected, []byte{}, payload})
	digest := digestOf(alg, tbs)
	r, sv, err := ecdsa.Sign(rand.Reader, s.key, digest)
	if err != nil {
		t.Fatal(err)
	}
	size := (s.key.Params().N.BitLen() + 7) / 8
	sig := append(r.FillBytes(make([]byte, size)), sv.FillBytes(make([]byte, size))...)
	message := encode(t, []any{protected, map[int]int{}, payload, sig})
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert})
	return map[string]any{"signing_certificate": numbers(text), "signature": numbers(message)}
}

func digestOf(alg int, data []byte) []byte {
	switch alg {
	case -7:
		d := sha256.Sum256(data)
		return d[:]
	case -35:
		d := sha512.Sum384(data)
		return d[:]
	}
	d := sha512.Sum512(data)
	return d[:]
}

func signed(t testing.TB, s *signer, change func(entry map[string]any) any) image {
	t.Helper()
	im := good()
	value, err := hex.DecodeString(pcr(kernel, cmdline, ramdisk, ramdisk2, []byte("third")))
	if err != nil {
		t.Fatal(err)
	}
	var section any = []any{s.entry(t, 0, value)}
	if change != nil {
		section = change(s.entry(t, 0, value))
	}
	im.parts = append(im.parts, part{4, encode(t, section)})
	return im
}

func TestSigned(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		s := newSigner(t, curve)
		got, err := measure(t, signed(t, s, nil).build())
		if err != nil {
			t.Fatalf("%s: %v", curve.Params().Name, err)
		}
		if want := pcr(s.cert); got.PCR8 != want {
			t.Errorf("%s: PCR8 is %s, not %s", curve.Params().Name, got.PCR8, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	s, other := newSigner(t, elliptic.P384()), newSigner(t, elliptic.P384())
	put64 := func(at int, n uint64) func([]byte) {
		return func(raw []byte) { binary.BigEndian.PutUint64(raw[at:], n) }
	}
	parts := func(p ...part) image { return image{version: 4, parts: p} }
	with := func(change func(*image)) image { im := good(); change(&im); return im }
	zero := make([]byte, 48)
	for name, c := range map[string]struct {
		raw []byte
		say string
	}{
		"nothing":              {nil, "bytes"},
		"a header's half":      {good().build()[:300], "bytes"},
		"another magic":        {with(func(im *image) { im.edit = func(raw []byte) { raw[0] = 'E' } }).build(), ".eif"},
		"version 1":            {with(func(im *image) { im.version = 1 }).build(), "version 1"},
		"version 5":            {with(func(im *image) { im.version = 5 }).build(), "version 5"},
		"no sections":          {parts().build(), "0 sections"},
		"one section":          {parts(part{1, kernel}).build(), "1 sections"},
		"33 sections":          {with(func(im *image) { im.parts = append(im.parts, make([]part, 27)...) }).build(), "33 sections"},
		"65535 sections":       {with(func(im *image) { im.edit = func(raw []byte) { raw[26], raw[27] = 0xff, 0xff } }).build(), "65535 sections"},
		"wrong checksum":       {with(func(im *image) { im.badCRC = true }).build(), "checksum"},
		"bytes after":          {with(func(im *image) { im.after = []byte{0} }).build(), "follow"},
		"a gap":                {with(func(im *image) { im.edit = put64(28+8, 7000) }).build(), "where the one before it ends"},
		"offset zero":          {with(func(im *image) { im.edit = put64(28, 0) }).build(), "where the one before it ends"},
		"size huge":            {with(func(im *image) { im.edit = put64(284, 1<<63) }).build(), "more than are left"},
		"size largest":         {with(func(im *image) { im.edit = put64(284, 1<<64-1) }).build(), "more than are left"},
		"size that wraps":      {with(func(im *image) { im.edit = put64(284, 1<<64-12) }).build(), "more than are left"},
		"sizes that differ":    {with(func(im *image) { im.edit = put64(284, 5999) }).build(), "by its own header"},
		"section of type 0":    {with(func(im *image) { im.parts[5].kind = 0 }).build(), "type 0"},
		"section of type 6":    {with(func(im *image) { im.parts[5].kind = 6 }).build(), "type 6"},
		"two kernels":          {with(func(im *image) { im.parts[5].kind = 1 }).build(), "second one of type 1"},
		"two command lines":    {with(func(im *image) { im.parts[5].kind = 2 }).build(), "second one of type 2"},
		"two metadata":         {with(func(im *image) { im.parts[5].kind = 5 }).build(), "second one of type 5"},
		"RAM disk first":       {parts(part{3, ramdisk}, part{1, kernel}, part{2, cmdline}, part{5, metadata}).build(), "before the kernel"},
		"no kernel":            {parts(part{2, cmdline}, part{5, metadata}).build(), "no kernel"},
		"no command line":      {parts(part{1, kernel}, part{5, metadata}).build(), "no command line"},
		"no metadata":          {parts(part{1, kernel}, part{2, cmdline}).build(), "no metadata"},
		"signature too long":   {with(func(im *image) { im.parts = append(im.parts, part{4, make([]byte, 32769)}) }).build(), "at most 32768"},
		"signature of nothing": {with(func(im *image) { im.parts = append(im.parts, part{4, nil}) }).build(), "signature"},
		"no signer":            {signed(t, s, func(map[string]any) any { return []any{} }).build(), "none"},
		"signature over PCR1":  {signed(t, s, func(map[string]any) any { return []any{s.entry(t, 1, zero)} }).build(), "not over PCR0"},
		"signature over other": {signed(t, s, func(map[string]any) any { return []any{s.entry(t, 0, zero)} }).build(), "measures to"},
		"another's signature": {signed(t, s, func(e map[string]any) any {
			e["signing_certificate"] = other.entry(t, 0, zero)["signing_certificate"]
			return []any{e}
		}).build(), "does not verify"},
		"a member more":    {signed(t, s, func(e map[string]any) any { e["x"] = 1; return []any{e} }).build(), "3 members"},
		"another member":   {signed(t, s, func(e map[string]any) any { e["x"] = 1; delete(e, "signature"); return []any{e} }).build(), "missing"},
		"no certificate":   {signed(t, s, func(e map[string]any) any { e["signing_certificate"] = []int{1}; return []any{e} }).build(), "PEM"},
		"certificate null": {signed(t, s, func(e map[string]any) any { e["signing_certificate"] = nil; return []any{e} }).build(), "null"},
		"two certificates": {signed(t, s, func(e map[string]any) any {
			e["signing_certificate"] = append(slices.Clone(e["signing_certificate"].([]int)), e["signing_certificate"].([]int)...)
			return []any{e}
		}).build(), "more than one"},
	} {
		_, err := measure(t, c.raw)
		if !errors.Is(err, ErrImage) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryByte: the checksum covers all, so no byte can change; and no length of it is an image.
func TestEveryByte(t *testing.T) {
	s := newSigner(t, elliptic.P384())
	im := signed(t, s, nil)
	for i := range im.parts { // short, or this takes long
		if im.parts[i].kind != 4 {
			im.parts[i].data = im.parts[i].data[:5]
		}
	}
	im.parts = im.parts[:6]
	raw := im.build()
	if _, err := measure(t, raw); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(raw); i += mutate.Stride(1) {
		bad := slices.Clone(raw)
		bad[i] ^= 1
		if _, err := measure(t, bad); !errors.Is(err, ErrImage) {
			t.Errorf("byte %d: %v", i, err)
		}
		if _, err := measure(t, raw[:i]); !errors.Is(err, ErrImage) {
			t.Errorf("%d bytes: %v", i, err)
		}
	}
}

// zeros is an image of many bytes that are nowhere: a header, and the rest is made.
type zeros struct {
	raw  []byte
	size int64
}

func (z zeros) ReadAt(b []byte, at int64) (int, error) {
	clear(b)
	if at < int64(len(z.raw)) {
		copy(b, z.raw[at:])
	}
	if at+int64(len(b)) > z.size {
		return int(z.size - at), io.EOF
	}
	return len(b), nil
}

// TestMemory: an image of a gigabyte needs no memory to speak of, whether it is good or not.
func TestMemory(t *testing.T) {
	const size = 256 << 20
	raw := image{version: 3, parts: []part{{1, nil}, {2, nil}}}.build()
	binary.BigEndian.PutUint64(raw[284:], size)
	binary.BigEndian.PutUint64(raw[552:], size)
	binary.BigEndian.PutUint64(raw[36:], 560+size)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Measure(t.Context(), zeros{raw[:560], 548 + 24 + size}, 548+24+size)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrImage) {
		t.Error(err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
}

func TestStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	raw := good().build()
	if _, err := Measure(ctx, bytes.NewReader(raw), int64(len(raw))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// A file that is shorter than it was said to be is an error of reading, not of the image.
	if _, err := Measure(t.Context(), bytes.NewReader(raw[:len(raw)-1]), int64(len(raw))); !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrImage) {
		t.Error(err)
	}
}

// check holds what is true of every input: an error or three registers.
func check(t *testing.T, raw []byte) {
	got, err := Measure(t.Context(), bytes.NewReader(raw), int64(len(raw)))
	if err == nil && (len(got.PCR0) != 96 || len(got.PCR1) != 96 || len(got.PCR2) != 96) {
		t.Errorf("%+v", got)
	}
	if err != nil && !errors.Is(err, ErrImage) {
		t.Errorf("an error that is not of the image: %v", err)
	}
}

func TestMutatedImages(t *testing.T) {
	small := image{version: 4, parts: []part{{1, []byte("k")}, {2, []byte("c")}, {5, []byte("{}")}, {3, []byte("r")}}}
	mutate.Run(t, [][]byte{small.build(), signed(t, newSigner(t, elliptic.P256()), nil).build()}, func(t *testing.T, input []byte) {
		check(t, input)
		if len(input) >= headerSize { // past the checksum
			sum := crc32.ChecksumIEEE(append(slices.Clone(input[:544]), input[548:]...))
			binary.BigEndian.PutUint32(input[544:], sum)
			check(t, input)
		}
	})
}

func FuzzMeasure(f *testing.F) {
	f.Add(image{version: 4, parts: []part{{1, []byte("k")}, {2, []byte("c")}, {5, []byte("{}")}, {3, []byte("r")}}}.build())
	f.Add(signed(f, newSigner(f, elliptic.P256()), nil).build())
	f.Fuzz(func(t *testing.T, raw []byte) { check(t, raw) })
}

func BenchmarkMeasure(b *testing.B) {
	im := good()
	im.parts[3].data = make([]byte, 32<<20)
	raw := im.build()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := Measure(b.Context(), bytes.NewReader(raw), int64(len(raw))); err != nil {
			b.Fatal(err)
		}
	}
}
