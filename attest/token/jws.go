package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/jsonscan"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
)

// Limits of a token in bytes, checked before anything is decoded.
const (
	// MaxToken bounds one token in compact form: the claims of a large init-data document and of eight GPUs are within it.
	MaxToken = 384 << 10
	// MaxEvidence bounds evidence: a set of tokens of NVIDIA's service has one for each device.
	MaxEvidence = 768 << 10
	// maxHeader bounds the encoded protected header: a chain of maxChain certificates is most of it.
	maxHeader = 48 << 10
	// maxSignature bounds the encoded signature: RSA of 8192 bits.
	maxSignature = 1368
	maxKeyID     = 512
)

// algorithm is a signature algorithm of RFC 7518 that a format may pin.
type algorithm struct {
	name  string
	hash  crypto.Hash
	curve elliptic.Curve // of ECDSA; nil for RSA
	pss   bool
}

// The algorithms, by their names. There is no "none" and nothing symmetric: a token names one of those that its format pins, or is refused.
var (
	es256 = algorithm{name: "ES256", hash: crypto.SHA256, curve: elliptic.P256()}
	es384 = algorithm{name: "ES384", hash: crypto.SHA384, curve: elliptic.P384()}
	rs256 = algorithm{name: "RS256", hash: crypto.SHA256}
	ps384 = algorithm{name: "PS384", hash: crypto.SHA384, pss: true}
)

// suits reports whether a key can be one of the algorithm.
func (a *algorithm) suits(key crypto.PublicKey) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return a.curve != nil && key.Curve == a.curve
	case *rsa.PublicKey:
		return a.curve == nil
	}
	return false
}

// verify checks a signature over input. ECDSA signatures are r and s, each as long as the curve's order (RFC 7518, section 3.4); the salt of
// PSS is as long as the hash (section 3.5).
func (a *algorithm) verify(key crypto.PublicKey, input, signature []byte) bool {
	h := a.hash.New()
	h.Write(input)
	digest := h.Sum(nil)
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		size := (key.Curve.Params().BitSize + 7) / 8
		if len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(key, digest, r, s)
	case *rsa.PublicKey:
		if a.pss {
			return rsa.VerifyPSS(key, a.hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(key, a.hash, digest, signature) == nil
	}
	return false
}

// jws is a token taken apart. Nothing of it is verified.
type jws struct {
	header    *header
	payload   object
	input     []byte // what is signed: the first two parts as they came
	signature []byte
}

// header is what counts of a protected header. It does not change once it was read. Addresses in it (jku, x5u) are never looked at, and a key or chain in it is believed only as far as
// the configured keys and roots vouch for it.
type header struct {
	alg   string
	kid   string
	jwk   object   // "jwk"; without members when there is none
	chain []string // "x5c", or "x5c" within "jwk" as Confidential Containers' Attestation Service writes it: base64 of DER, leaf first

	chainKey verified.Key // names chain in a cache; zero where there is none
	encoded  []byte       // what it was read from, in base64url, where it is kept for the next token; nil otherwise
}

// parseJWS takes a compact JWS apart (RFC 7515, section 7.1). Every part must be base64url without padding in the one spelling that an encoder
// writes, so that no two texts are one token. known returns a header that was read before from its encoded form, nil for one that was not; it may be
// nil itself.
func parseJWS(compact []byte, known func(encoded []byte) *header) (*jws, error) {
	if len(compact) > MaxToken {
		return nil, attest.Refuse(attest.CodeTooLarge, "a token of %d bytes: at most %d are read", len(compact), MaxToken)
	}
	malformed := func(what string) (*jws, error) {
		return nil, attest.Refuse(attest.CodeMalformed, "the token %s", what)
	}
	protected, rest, _ := bytes.Cut(compact, []byte{'.'})
	payload, signature, ok := bytes.Cut(rest, []byte{'.'})
	if !ok || len(protected) == 0 || len(payload) == 0 || bytes.IndexByte(signature, '.') >= 0 {
		return malformed("is not a signed JWT in compact form: three parts with dots between them")
	}
	if len(protected) > maxHeader || len(signature) > maxSignature {
		return malformed("has a header or signature of more bytes than one has")
	}
	t := &jws{input: compact[:len(protected)+1+len(payload)]}
	if known != nil {
		t.header = known(protected)
	}
	var headerText string
	if t.header == nil {
		if headerText, ok = decodeText(protected); !ok {
			return malformed("has a header that is not base64url")
		}
	}
	payloadText, ok := decodeText(payload)
	if !ok {
		return malformed("has a payload that is not base64url")
	}
	if t.signature, ok = decodeURL(signature); !ok || len(t.signature) == 0 {
		return malformed("has no signature, or one that is not base64url")
	}
	var err error
	if t.header == nil {
		if t.header, err = parseHeader(headerText); err != nil {
			return nil, err
		}
	}
	if t.payload, err = parseObject(payloadText); err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "the token's payload: %w", err)
	}
	return t, nil
}

// parseHeader reads a protected header. What would change the meaning of the token is refused; what is not known has none (RFC 7515, section 4).
func parseHeader(text string) (*header, error) {
	refuse := func(format string, args ...any) (*header, error) {
		return nil, attest.Refuse(attest.CodeMalformed, "the token's header "+format, args...)
	}
	o, err := parseObject(text)
	if err != nil {
		return refuse("is not JSON that can be read: %w", err)
	}
	for _, name := range [...]string{"crit", "b64", "enc", "zip", "cty"} {
		if o.find(name) != 0 {
			return refuse("has a member %q, and tokens that need it are not read", name)
		}
	}
	switch typ := o.text("typ"); strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case "", "jwt", "eat+jwt", "ear+jwt":
	default:
		return refuse("says the type %.40q", typ)
	}
	h := &header{alg: o.text("alg"), kid: o.text("kid")}
	if len(h.kid) > maxKeyID {
		return refuse("has a key id of over %d bytes", maxKeyID)
	}
	h.chain, h.jwk = o.list("x5c"), o.inner("jwk")
	// Confidential Containers' Attestation Service puts the chain into the key, in base64url.
	if within := h.jwk.list("x5c"); len(within) > 0 {
		if len(h.chain) > 0 {
			return refuse("has two certificate chains")
		}
		h.chain = within
	}
	if len(h.chain) > 0 {
		parts := make([][]byte, len(h.chain))
		for i, text := range h.chain {
			parts[i] = []byte(text)
		}
		h.chainKey = verified.KeyOf(parts...)
	}
	return h, o.err()
}

// decodeURL decodes base64url without padding, in one spelling: as an encoder writes it.
func decodeURL(text []byte) ([]byte, bool) {
	out, err := jsonscan.DecodeBase64(base64.RawURLEncoding, text)
	return out, err == nil
}

// decodeText is decodeURL for text.
func decodeText(text []byte) (string, bool) {
	out, err := jsonscan.DecodeBase64Text(base64.RawURLEncoding, text)
	return out, err == nil
}

// decodeStd decodes base64 with padding, in one spelling.
func decodeStd(text string) ([]byte, bool) {
	out, err := jsonscan.DecodeBase64(base64.StdEncoding, []byte(text))
	return out, err == nil
}
