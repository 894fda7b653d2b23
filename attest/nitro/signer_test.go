package nitro

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"maps"
	"math/big"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/vouchsafe/vouchsafe/attest"
)

// now is when the tests appraise.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// hypervisor signs documents as a Nitro hypervisor does, under a root of its own. It is written against AWS's text, not against what it tests.
type hypervisor struct {
	root    *x509.Certificate
	bundle  [][]byte // the root first
	leaf    []byte
	leafKey *ecdsa.PrivateKey
	keys    []*ecdsa.PrivateKey // of the bundle's certificates
	certs   []*x509.Certificate // the bundle's
}

// link says how one certificate of a chain differs from a good one.
type link func(template *x509.Certificate)

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate for key, signed by parent, or by key itself when parent is nil.
func issue(t testing.TB, template *x509.Certificate, key crypto.Signer, parent *x509.Certificate, parentKey crypto.Signer) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent, parentKey = template, key
	}
	if template.SignatureAlgorithm == 0 {
		template.SignatureAlgorithm = x509.ECDSAWithSHA384
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func authorityTemplate(name string, length int, lifetime time.Duration) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(name))), Subject: pkix.Name{CommonName: name, Organization: []string{"Amazon"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: length, MaxPathLenZero: length == 0, KeyUsage: x509.KeyUsageCertSign,
	}
}

const moduleID = "i-0123456789abcdef0-enc0123456789abcdef"

// newHypervisor makes a chain as AWS has it: root, region, zone, instance, enclave. change alters the template of the certificate at
// a place, 0 the root and 4 the enclave's; it may be nil.
func newHypervisor(t testing.TB, change map[int]link) *hypervisor {
	t.Helper()
	return newHypervisorOn(t, change, nil)
}

// newHypervisorOn is newHypervisor with keys on other curves, by place.
func newHypervisorOn(t testing.TB, change map[int]link, curves map[int]elliptic.Curve) *hypervisor {
	t.Helper()
	h := &hypervisor{}
	var parent *x509.Certificate
	var parentKey crypto.Signer
	for i, template := range []*x509.Certificate{
		authorityTemplate("test.nitro-enclaves", -1, 30*365*24*time.Hour),
		authorityTemplate("region.nitro-enclaves", 2, 20*24*time.Hour),
		authorityTemplate("zone.nitro-enclaves", 1, 5*24*time.Hour),
		authorityTemplate("instance.nitro-enclaves", 0, 24*time.Hour),
		{
			SerialNumber: big.NewInt(99), Subject: pkix.Name{CommonName: moduleID + ".eu-central-1.aws"},
			NotBefore: now.Add(-time.Minute), NotAfter: now.Add(3 * time.Hour),
			BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment,
		},
	} {
		if f := change[i]; f != nil {
			f(template)
		}
		curve := curves[i]
		if curve == nil {
			curve = elliptic.P384()
		}
		key := newKey(t, curve)
		cert := issue(t, template, key, parent, parentKey)
		if i == 0 {
			h.root = cert
		}
		if i < 4 {
			h.bundle, h.keys, h.certs = append(h.bundle, cert.Raw), append(h.keys, key), append(h.certs, cert)
		} else {
			h.leaf, h.leafKey = cert.Raw, key
		}
		parent, parentKey = cert, key
	}
	return h
}

func (h *hypervisor) verifier(t testing.TB) *Verifier {
	t.Helper()
	v, err := newVerifier(Config{}, h.root)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// fill is a register of one byte.
func fill(b byte) []byte {
	r := make([]byte, 48)
	for i := range r {
		r[i] = b
	}
	return r
}

// payload returns the members of a good document with user data.
func (h *hypervisor) payload(userData any) map[string]any {
	pcrs := map[int]any{}
	for i := range 16 {
		pcrs[i] = make([]byte, 48)
	}
	pcrs[0], pcrs[1], pcrs[2], pcrs[4], pcrs[8] = fill(0xa0), fill(0xa1), fill(0xa2), fill(0xa4), fill(0xa8)
	return map[string]any{
		"module_id": moduleID, "digest": "SHA384", "timestamp": now.UnixMilli(), "pcrs": pcrs,
		"certificate": h.leaf, "cabundle": h.bundle, "public_key": nil, "user_data": userData, "nonce": nil,
	}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := cbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sign makes a document of members.
func (h *hypervisor) sign(t testing.TB, members any) []byte {
	t.Helper()
	return h.signRaw(t, encode(t, members))
}

func (h *hypervisor) signRaw(t testing.TB, payload []byte) []byte {
	t.Helper()
	protected := encode(t, map[int]int{1: -35})
	digest := sha512.Sum384(encode(t, []any{"Signature1", protected, []byte{}, payload}))
	r, s, err := ecdsa.Sign(rand.Reader, h.leafKey, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	sig := make([]byte, 96)
	if h.leafKey.Curve == elliptic.P384() {
		r.FillBytes(sig[:48])
		s.FillBytes(sig[48:])
	}
	return encode(t, []any{protected, map[int]int{}, payload, sig})
}

// digest is what the documents of these tests are bound to.
var digest = func() []byte { d := sha512.Sum384([]byte("nonce and key")); return d[:] }()

// document returns a good document, apart from what change does to its members.
func (h *hypervisor) document(t testing.TB, change func(members map[string]any)) []byte {
	t.Helper()
	members := maps.Clone(h.payload(digest))
	if change != nil {
		change(members)
	}
	return h.sign(t, members)
}

func input(evidence []byte) attest.Input {
	return attest.Input{Namespace: "default", Evidence: evidence, Binding: attest.BoundTo(digest), Time: now}
}
