package envelope

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest/jcs"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// Limits of what is parsed.
const (
	// MaxJWK is the most bytes of JWK that are looked at: an RSA key of 8192 bits takes 1.4 KiB and an ML-KEM key 1.7 KiB,
	// and there may be dropped members, such as a certificate chain, around them.
	MaxJWK = 16 << 10
	// MaxPlaintext is the most bytes an envelope holds: the size limit of a secret.
	MaxPlaintext = 1 << 20

	minRSABits = 2048 // what NIST SP 800-131A still accepts
	maxRSABits = 8192 // the cost of a public-key operation grows with the square: 16 times that of 2048
)

// Algorithms, as a JWK names them in alg.
const (
	ECDHES    = "ECDH-ES+A256KW"             // RFC 7518, section 4.6, for P-256 and P-521
	RSAOAEP   = "RSA-OAEP-256"               // RFC 7518, section 4.3
	RSA15     = "RSA1_5"                     // RFC 7518, section 4.2: deprecated, refused unless allowed
	HPKEX     = "HPKE-X25519-SHA256-A256GCM" // see the package documentation
	HPKEXWing = "HPKE-XWING-SHA256-A256GCM"  // see the package documentation
)

// ErrRecipient says that a recipient key cannot be used. Its message tells which member is wrong and what was expected, never
// a member's value, and may be shown to the one who sent the key.
var ErrRecipient = errors.New("recipient key refused")

// ErrPlaintext says that a plaintext is over [MaxPlaintext].
var ErrPlaintext = errors.New("plaintext over the size limit of an envelope")

// Options are what an operator may choose about recipient keys. The zero Options is the secure choice.
type Options struct {
	// AllowRSA15 accepts RSA keys that ask for RSA1_5. Its padding has been attacked for a quarter of a century, with the one who
	// decrypts as the oracle: only for guests that know nothing else.
	AllowRSA15 bool
}

// Recipient is a validated public key that secrets are encrypted to. It is immutable and safe for concurrent use.
type Recipient struct {
	algorithm  string
	canonical  []byte
	thumbprint string

	// One of them is set.
	jwe  keyWrapper
	hpke hpke.PublicKey
}

// ParseRecipient validates a JWK (RFC 7517) as a recipient key. Errors wrap [ErrRecipient].
func ParseRecipient(jwk []byte, options Options) (*Recipient, error) {
	r, err := parseRecipient(jwk, options)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecipient, err)
	}
	return r, nil
}

// Canonical returns the key's defining members as RFC 8785 canonical JSON, the form that evidence is bound to.
func (r *Recipient) Canonical() []byte { return append([]byte(nil), r.canonical...) }

// Thumbprint returns the key's RFC 7638 thumbprint: the unpadded base64url SHA-256 of the canonical JSON of the members
// crv, kty, x, y (EC), crv, kty, x (OKP), e, kty, n (RSA) or alg, kty, pub (AKP).
func (r *Recipient) Thumbprint() string { return r.thumbprint }

// Algorithm returns the key's alg.
func (r *Recipient) Algorithm() string { return r.algorithm }

// JWE reports whether envelopes for the key are JWEs, as KBS guests need, and not HPKE.
func (r *Recipient) JWE() bool { return r.jwe != nil }

// Seal encrypts plaintext, of at most [MaxPlaintext] bytes, in the form that the key's type calls for. Only HPKE
// envelopes carry ctx; see the package documentation for what binds a JWE.
func (r *Recipient) Seal(ctx Context, plaintext []byte) ([]byte, error) {
	if r.hpke != nil {
		return r.SealHPKE(ctx, plaintext)
	}
	return r.SealJWE(plaintext)
}

// privateMembers are the members of a JWK that no public key has (RFC 7518, section 6; "priv" is AKP's).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}

func parseRecipient(jwk []byte, options Options) (*Recipient, error) {
	if len(jwk) > MaxJWK {
		return nil, fmt.Errorf("a JWK of %d bytes, at most %d are read", len(jwk), MaxJWK)
	}
	members, err := strictjson.Object(jwk)
	if err != nil {
		return nil, fmt.Errorf("JWK: %w", err)
	}
	for _, name := range privateMembers {
		if _, there := members[name]; there {
			return nil, fmt.Errorf("the JWK holds %q, a private member: send the public key only, and make a new key", name)
		}
	}
	key := jwkMembers{all: members, defining: map[string]string{}}
	kty := key.text("kty")
	alg := key.text("alg")
	if key.err != nil {
		return nil, key.err
	}
	r := &Recipient{algorithm: alg}
	var identifying []string // RFC 7638's members
	switch kty {
	case "EC":
		identifying = []string{"crv", "kty", "x", "y"}
		r.jwe, err = key.ec(alg)
	case "RSA":
		identifying = []string{"e", "kty", "n"}
		r.jwe, err = key.rsa(alg, options)
	case "OKP":
		identifying = []string{"crv", "kty", "x"}
		r.hpke, err = key.okp(alg)
	case "AKP":
		identifying = []string{"alg", "kty", "pub"}
		r.hpke, err = key.akp(alg)
	default:
		err = fmt.Errorf("kty %s is not one of EC, RSA, OKP, AKP", show(kty))
	}
	if err = errors.Join(key.err, err); err != nil {
		return nil, err
	}
	if r.canonical, err = jcs.Marshal(key.defining); err != nil {
		return nil, err
	}
	identity := make(map[string]string, len(identifying))
	for _, name := range identifying {
		identity[name] = key.defining[name]
	}
	text, err := jcs.Marshal(identity)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(text)
	r.thumbprint = base64.RawURLEncoding.EncodeToString(digest[:])
	return r, nil
}

// jwkMembers reads the members of a JWK and remembers those it was asked for, which are the defining ones. The first
// error sticks; what is read after it is empty.
type jwkMembers struct {
	all      map[string]json.RawMessage
	defining map[string]string
	err      error
}

func (k *jwkMembers) text(name string) string {
	value, there := k.all[name]
	if !there {
		k.fail("member %q is missing", name)
		return ""
	}
	s, err := strictjson.String(value)
	if err != nil {
		k.fail("member %q is %w", name, err)
		return ""
	}
	k.defining[name] = s
	return s
}

func (k *jwkMembers) bytes(name string) []byte {
	s := k.text(name)
	if k.err != nil {
		return nil
	}
	b, err := decode64(s)
	if err != nil {
		k.fail("member %q is %w", name, err)
	}
	return b
}

func (k *jwkMembers) fail(format string, args ...any) {
	if k.err == nil {
		k.err = fmt.Errorf(format, args...)
	}
}

func (k *jwkMembers) ec(alg string) (keyWrapper, error) {
	crv, x, y := k.text("crv"), k.bytes("x"), k.bytes("y")
	if k.err != nil {
		return nil, k.err
	}
	curve, ok := curves[crv]
	if !ok {
		return nil, fmt.Errorf("crv %s is not one of P-256, P-521", show(crv))
	}
	if alg != ECDHES {
		return nil, fmt.Errorf("alg %s of an EC key is not %s", show(alg), ECDHES)
	}
	key, err := ecPoint(curve, x, y)
	if err != nil {
		return nil, err
	}
	return &ecdhWrapper{curve: curve, key: key}, nil
}

// namedCurve is a curve of RFC 7518, section 6.2.1.1.
type namedCurve struct {
	ecdh.Curve
	name string
	size int // bytes of a coordinate
}

var curves = map[string]namedCurve{
	"P-256": {ecdh.P256(), "P-256", 32},
	"P-521": {ecdh.P521(), "P-521", 66},
}

// ecPoint makes a public key of affine coordinates. Both must have the curve's full length (RFC 7518, section 6.2.1.2), and
// the point must be on the curve, which crypto/ecdh checks.
func ecPoint(curve namedCurve, x, y []byte) (*ecdh.PublicKey, error) {
	if len(x) != curve.size || len(y) != curve.size {
		return nil, fmt.Errorf("coordinates of %d and %d bytes, those of %s have %d", len(x), len(y), curve.name, curve.size)
	}
	point := append([]byte{4}, x...) // SEC 1, section 2.3.3: uncompressed
	key, err := curve.NewPublicKey(append(point, y...))
	if err != nil {
		return nil, fmt.Errorf("x and y are not a point of %s", curve.name)
	}
	return key, nil
}

func (k *jwkMembers) rsa(alg string, options Options) (keyWrapper, error) {
	n, e := k.bytes("n"), k.bytes("e")
	if k.err != nil {
		return nil, k.err
	}
	switch {
	case alg == RSAOAEP:
	case alg == RSA15 && options.AllowRSA15:
	case alg == RSA15:
		return nil, fmt.Errorf("alg %s is deprecated and not turned on here: use %s", RSA15, RSAOAEP)
	default:
		return nil, fmt.Errorf("alg %s of an RSA key is not %s", show(alg), RSAOAEP)
	}
	if len(n) == 0 || n[0] == 0 || len(e) == 0 || e[0] == 0 {
		return nil, errors.New("n or e is empty or starts with a zero byte") // RFC 7518, section 2, Base64urlUInt
	}
	modulus := new(big.Int).SetBytes(n)
	if bits := modulus.BitLen(); bits < minRSABits || bits > maxRSABits {
		return nil, fmt.Errorf("a modulus of %d bits, %d to %d are accepted", bits, minRSABits, maxRSABits)
	}
	if modulus.Bit(0) == 0 {
		return nil, errors.New("an even modulus")
	}
	const most = 1<<31 - 1 // what crypto/rsa and most others take
	exponent := new(big.Int).SetBytes(e)
	if !exponent.IsInt64() || exponent.Int64() > most || exponent.Int64() < 3 || exponent.Bit(0) == 0 {
		return nil, errors.New("e is not an odd number from 3 to 2^31-1")
	}
	return &rsaWrapper{alg: alg, key: &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}}, nil
}

func (k *jwkMembers) okp(alg string) (hpke.PublicKey, error) {
	crv, x := k.text("crv"), k.bytes("x")
	if k.err != nil {
		return nil, k.err
	}
	if crv != "X25519" || alg != HPKEX {
		return nil, fmt.Errorf("crv %s and alg %s of an OKP key are not X25519 and %s", show(crv), show(alg), HPKEX)
	}
	key, err := suites[HPKEX].kem.NewPublicKey(x)
	if err != nil {
		return nil, errors.New("x is not an X25519 public key of 32 bytes")
	}
	if smallOrder(x) {
		return nil, errors.New("x is a point of small order")
	}
	return key, nil
}

func (k *jwkMembers) akp(alg string) (hpke.PublicKey, error) {
	pub := k.bytes("pub")
	if k.err != nil {
		return nil, k.err
	}
	if alg != HPKEXWing {
		return nil, fmt.Errorf("alg %s of an AKP key is not %s", show(alg), HPKEXWing)
	}
	key, err := suites[HPKEXWing].kem.NewPublicKey(pub)
	if err != nil {
		return nil, errors.New("pub is not an ML-KEM-768 key of 1184 bytes and an X25519 key of 32")
	}
	if smallOrder(pub[len(pub)-32:]) {
		return nil, errors.New("pub holds an X25519 point of small order")
	}
	return key, nil
}

// decode64 decodes unpadded base64url of which there is only one spelling: encoding/base64 alone skips line breaks.
func decode64(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("not unpadded base64url")
	}
	return b, nil
}

// show quotes a short public word that came from outside, so that an error stays a line.
func show(word string) string {
	const most = 32
	if len(word) > most {
		word = word[:most] + "…"
	}
	return fmt.Sprintf("%q", word)
}
