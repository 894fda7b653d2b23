package tpm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// The tests in this package quote with keys made in Go, for speed and for what no TPM would do. Package client/tpmdevice tests the same
// over a software TPM.

// softKey is an attestation key and its TPMT_PUBLIC.
type softKey struct {
	signer crypto.Signer
	public []byte
	spki   []byte
	scheme uint16
}

func u16(n int) []byte       { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
func u32(n uint32) []byte    { return binary.BigEndian.AppendUint32(nil, n) }
func buffer(b []byte) []byte { return append(u16(len(b)), b...) }
func join(b ...[]byte) []byte {
	var all []byte
	for _, part := range b {
		all = append(all, part...)
	}
	return all
}

// attributes of a proper attestation key.
const proper = uint32(FixedTPM | FixedParent | SensitiveDataOrigin | Restricted | Sign | 1<<6)

func newKey(t testing.TB, scheme uint16, attributes uint32) *softKey {
	t.Helper()
	k := &softKey{scheme: scheme}
	if scheme == algECDSA {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := private.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		k.signer = private
		k.public = join(u16(algECC), u16(algSHA256), u32(attributes), buffer(nil), u16(algNull), u16(algECDSA), u16(algSHA256),
			u16(3), u16(algNull), buffer(point[1:33]), buffer(point[33:]))
	} else {
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		k.signer = private
		k.public = join(u16(algRSA), u16(algSHA256), u32(attributes), buffer(nil), u16(algNull), u16(int(scheme)), u16(algSHA256),
			u16(2048), u32(0), buffer(private.N.Bytes()))
	}
	parsed, err := ParsePublic(k.public)
	if err != nil {
		t.Fatal(err)
	}
	if k.spki, err = parsed.SPKI(); err != nil {
		t.Fatal(err)
	}
	return k
}

// sign returns a TPMT_SIGNATURE over message.
func (k *softKey) sign(t testing.TB, message []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(message)
	head := join(u16(int(k.scheme)), u16(algSHA256))
	switch k.scheme {
	case algECDSA:
		r, s, err := ecdsa.Sign(rand.Reader, k.signer.(*ecdsa.PrivateKey), digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return join(head, buffer(r.Bytes()), buffer(s.Bytes()))
	case algRSAPSS:
		signature, err := rsa.SignPSS(rand.Reader, k.signer.(*rsa.PrivateKey), crypto.SHA256, digest[:],
			&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		if err != nil {
			t.Fatal(err)
		}
		return join(head, buffer(signature))
	default:
		signature, err := rsa.SignPKCS1v15(nil, k.signer.(*rsa.PrivateKey), crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return join(head, buffer(signature))
	}
}

// message is a TPMS_ATTEST of type quote over values of SHA-256 PCRs 0 to 23.
func message(extra []byte, pcrs [][]byte) []byte {
	digest := sha256.Sum256(join(pcrs...))
	return join(u32(generatedMagic), u16(attestQuote), buffer(join(u16(algSHA256), make([]byte, 32))), buffer(extra),
		make([]byte, 7), []byte{9}, u32(3), u32(1), []byte{1}, make([]byte, 7), []byte{5},
		u32(1), u16(algSHA256), []byte{3, 0xff, 0xff, 0xff}, buffer(digest[:]))
}

func values() [][]byte {
	pcrs := make([][]byte, NumPCRs)
	for i := range pcrs {
		sum := sha256.Sum256([]byte{byte(i)})
		pcrs[i] = sum[:]
	}
	return pcrs
}

// bound is the digest the tests' evidence is bound to.
var bound = func() []byte { b := make([]byte, 48); b[0], b[47] = 1, 2; return b }()

func (k *softKey) evidence(t testing.TB) *Evidence {
	t.Helper()
	m := message(bound[:32], values())
	return &Evidence{AKPublic: k.spki, AKTPMPublic: k.public, Message: m, Signature: k.sign(t, m), PCRs: values()}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// store is a map of enrolments.
type store map[string]*Enrolment

func (s store) Lookup(_ context.Context, namespace, digest string) (*Enrolment, error) {
	if record := s[namespace+"/"+digest]; record != nil {
		return record, nil
	}
	return nil, ErrNotEnrolled
}

func (s store) enrol(t testing.TB, k *softKey) {
	t.Helper()
	public, err := ParsePublic(k.public)
	if err != nil {
		t.Fatal(err)
	}
	s["default/"+SPKIDigest(k.spki)] = &Enrolment{
		AKName: hex.EncodeToString(public.Name()), AKPublic: k.public, AKSPKIDigest: SPKIDigest(k.spki),
		EKExpires: at.AddDate(10, 0, 0), Host: "host-1",
	}
}

// at is when the tests appraise.
var at = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func input(evidence []byte) attest.Input {
	return attest.Input{Namespace: "default", Evidence: evidence, Binding: attest.BoundTo(bound), Time: at}
}

func newVerifier(t testing.TB, config Config) *Verifier {
	t.Helper()
	v, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func refused(t testing.TB, err error, code attest.Code) {
	t.Helper()
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("got %v, want a refusal with %s", err, code)
	}
}
