package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// maxPublic bounds a TPMT_PUBLIC, in bytes. One of an RSA-4096 key is about 570.
const maxPublic = 1024

// Attributes are a TPMA_OBJECT (part 2, 8.3): what the TPM promises about a key.
type Attributes uint32

// The attributes that are looked at here.
const (
	FixedTPM            Attributes = 1 << 1  // cannot leave the TPM
	FixedParent         Attributes = 1 << 4  // cannot be given another parent
	SensitiveDataOrigin Attributes = 1 << 5  // made inside the TPM
	Restricted          Attributes = 1 << 16 // signs or decrypts only what the TPM itself made
	Decrypt             Attributes = 1 << 17
	Sign                Attributes = 1 << 18
)

// names of the attributes, for messages.
var attributeNames = []struct {
	bit  Attributes
	name string
}{
	{FixedTPM, "fixedTPM"}, {FixedParent, "fixedParent"}, {SensitiveDataOrigin, "sensitiveDataOrigin"},
	{Restricted, "restricted"}, {Decrypt, "decrypt"}, {Sign, "sign"},
}

func (a Attributes) String() string {
	var set []string
	for _, known := range attributeNames {
		if a&known.bit != 0 {
			set = append(set, known.name)
		}
	}
	return strings.Join(set, "+")
}

// Public is a parsed TPMT_PUBLIC (part 2, 12.2.4) of an RSA or elliptic-curve key.
type Public struct {
	Raw        []byte           // exactly what was parsed
	Attributes Attributes       //
	Key        crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey
	NameAlg    crypto.Hash      // SHA-256, SHA-384 or SHA-512
	nameAlg    uint16

	wrapsWithAES bool // protects what it wraps with AES-128 or AES-256 in CFB mode
}

// ParsePublic parses a TPMT_PUBLIC and nothing after it. Its errors are plain: the caller knows whose key it was.
func ParsePublic(data []byte) (*Public, error) {
	if len(data) > maxPublic {
		return nil, fmt.Errorf("a TPMT_PUBLIC of %d bytes; the limit is %d", len(data), maxPublic)
	}
	r := newReader(data)
	kind := r.U16()
	p := &Public{Raw: data, nameAlg: r.U16(), Attributes: Attributes(r.U32())}
	r.sized() // authPolicy: who may use the key, not what it is
	if symmetric := r.U16(); symmetric != algNull {
		bits, mode := r.U16(), r.U16()
		p.wrapsWithAES = symmetric == algAES && mode == algCFB && (bits == 128 || bits == 256)
	}
	var err error
	switch kind {
	case algRSA:
		p.Key, err = rsaPublic(r)
	case algECC:
		p.Key, err = eccPublic(r)
	default:
		err = fmt.Errorf("key type %#x is neither RSA nor an elliptic curve's", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("TPMT_PUBLIC: %w", err)
	}
	var known bool
	if p.NameAlg, known = hashes[p.nameAlg]; !known {
		return nil, fmt.Errorf("TPMT_PUBLIC: name algorithm %#x is not SHA-256, SHA-384 or SHA-512", p.nameAlg)
	}
	return p, nil
}

// skipScheme reads a TPMT_RSA_SCHEME, TPMT_ECC_SCHEME or TPMT_KDF_SCHEME: an algorithm and, unless that is null or RSAES, its hash.
func skipScheme(r reader) error {
	const algRSAES, algECDAA = 0x0015, 0x001a
	switch scheme := r.U16(); scheme {
	case algNull, algRSAES:
	case algECDAA:
		return errors.New("the key is for ECDAA")
	default:
		r.U16()
	}
	return nil
}

func rsaPublic(r reader) (crypto.PublicKey, error) {
	if err := skipScheme(r); err != nil {
		return nil, err
	}
	bits, exponent, modulus := r.U16(), r.U32(), r.sized()
	if err := r.done(); err != nil {
		return nil, err
	}
	if exponent == 0 {
		exponent = 65537 // the default, which TPMs write as zero
	}
	n := new(big.Int).SetBytes(modulus)
	if n.BitLen() != int(bits) || exponent > 1<<31-1 || exponent < 3 || exponent%2 == 0 {
		return nil, fmt.Errorf("an RSA modulus of %d bits with exponent %d, said to be of %d bits", n.BitLen(), exponent, bits)
	}
	return &rsa.PublicKey{N: n, E: int(exponent)}, nil
}

func eccPublic(r reader) (crypto.PublicKey, error) {
	if err := skipScheme(r); err != nil {
		return nil, err
	}
	id := r.U16()
	if err := skipScheme(r); err != nil { // the key derivation function
		return nil, err
	}
	x, y := r.sized(), r.sized()
	if err := r.done(); err != nil {
		return nil, err
	}
	curve := map[uint16]elliptic.Curve{3: elliptic.P256(), 4: elliptic.P384(), 5: elliptic.P521()}[id]
	if curve == nil {
		return nil, fmt.Errorf("curve %#x is not NIST P-256, P-384 or P-521", id)
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(x) > size || len(y) > size {
		return nil, fmt.Errorf("coordinates of %d and %d bytes on a curve of %d", len(x), len(y), size)
	}
	point := make([]byte, 1+2*size)
	point[0] = 4
	copy(point[1+size-len(x):], x)
	copy(point[1+2*size-len(y):], y)
	return ecdsa.ParseUncompressedPublicKey(curve, point)
}

// Name returns the key's TPM2B_NAME content: the name algorithm and the hash of the public area by it (part 1, 16).
func (p *Public) Name() []byte {
	h := p.NameAlg.New()
	h.Write(p.Raw)
	return h.Sum(binary.BigEndian.AppendUint16(nil, p.nameAlg))
}

// SPKI returns the key as DER SubjectPublicKeyInfo.
func (p *Public) SPKI() ([]byte, error) { return x509.MarshalPKIXPublicKey(p.Key) }

// CheckAttestationKey refuses a key that could sign a forged quote: it must be a restricted signing key, made in this TPM,
// that cannot leave it and cannot decrypt. Its errors are *attest.Refusal with CodeKeyAttributes or CodeAlgorithm.
func (p *Public) CheckAttestationKey() error {
	const must = FixedTPM | FixedParent | SensitiveDataOrigin | Restricted | Sign
	if missing := must &^ p.Attributes; missing != 0 {
		return attest.Refuse(attest.CodeKeyAttributes, "the attestation key lacks %v", missing)
	}
	if p.Attributes&Decrypt != 0 {
		return attest.Refuse(attest.CodeKeyAttributes, "the attestation key can decrypt too")
	}
	return checkKey(p.Key)
}
