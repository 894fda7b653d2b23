package kbstest

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // linked for crypto.Hash
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
)

var b64 = base64.RawURLEncoding

// Key is the key of a trusted execution environment, and what it sends as tee-pubkey.
type Key struct {
	Extra map[string]any // members to add to the JWK; a server drops them before it hashes

	alg, crv string
	ec       *ecdh.PrivateKey
	rsa      *rsa.PrivateKey
}

// NewKey makes a key: "P-256" or "P-521" for ECDH-ES+A256KW, or "RSA-OAEP-256" or "RSA1_5".
func NewKey(kind string) (*Key, error) {
	var err error
	k := &Key{alg: kind}
	switch kind {
	case "P-256":
		k.alg, k.crv = "ECDH-ES+A256KW", kind
		k.ec, err = ecdh.P256().GenerateKey(rand.Reader)
	case "P-521":
		k.alg, k.crv = "ECDH-ES+A256KW", kind
		k.ec, err = ecdh.P521().GenerateKey(rand.Reader)
	case "RSA-OAEP-256", "RSA1_5":
		k.rsa, err = rsa.GenerateKey(rand.Reader, 2048) // as clients do
	default:
		err = fmt.Errorf("no key of kind %q", kind)
	}
	return k, err
}

// ECKey makes a key of a given private scalar, for known answers.
func ECKey(crv string, d []byte) (*Key, error) {
	curve := map[string]ecdh.Curve{"P-256": ecdh.P256(), "P-521": ecdh.P521()}[crv]
	if curve == nil {
		return nil, fmt.Errorf("no curve %q", crv)
	}
	private, err := curve.NewPrivateKey(d)
	return &Key{alg: "ECDH-ES+A256KW", crv: crv, ec: private}, err
}

// members are those that define the key, which evidence is bound to.
func (k *Key) members() map[string]any {
	if k.rsa != nil {
		return map[string]any{"kty": "RSA", "alg": k.alg, "n": b64.EncodeToString(k.rsa.N.Bytes()),
			"e": b64.EncodeToString(big.NewInt(int64(k.rsa.E)).Bytes())}
	}
	point := k.ec.PublicKey().Bytes()
	half := len(point) / 2
	return map[string]any{"kty": "EC", "crv": k.crv, "alg": k.alg,
		"x": b64.EncodeToString(point[1 : 1+half]), "y": b64.EncodeToString(point[1+half:])}
}

func (k *Key) jwk() map[string]any {
	m := k.members()
	maps.Copy(m, k.Extra)
	return m
}

// digest hashes the canonical JSON of a map. encoding/json sorts the names, and writes the strings that occur here as RFC 8785 does.
func digest(name string, v map[string]any) ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	h := map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}[name].New()
	h.Write(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
	return h.Sum(nil), nil
}

// protectedHeader is serialised again by clients, which keeps these members, in this order, and no others.
type protectedHeader struct {
	Alg string `json:"alg"`
	Enc string `json:"enc"`
	EPK *struct {
		Crv string `json:"crv"`
		Kty string `json:"kty"`
		X   string `json:"x"`
		Y   string `json:"y"`
	} `json:"epk,omitempty"`
}

// Open decrypts a reply.
func (k *Key) Open(reply []byte) ([]byte, error) {
	var jwe struct {
		Protected, IV, Ciphertext, Tag *string
		EncryptedKey                   *string `json:"encrypted_key"`
	}
	dec := json.NewDecoder(bytes.NewReader(reply))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&jwe); err != nil {
		return nil, fmt.Errorf("%w: reply is no flattened JWE: %w", ErrProtocol, err)
	}
	var parts [5][]byte
	for i, text := range []*string{jwe.Protected, jwe.EncryptedKey, jwe.IV, jwe.Ciphertext, jwe.Tag} {
		if text == nil {
			return nil, fmt.Errorf("%w: a member of the JWE is missing", ErrProtocol)
		}
		var err error
		if parts[i], err = b64.DecodeString(*text); err != nil {
			return nil, fmt.Errorf("%w: a member of the JWE: %w", ErrProtocol, err)
		}
	}
	var header protectedHeader
	if err := json.Unmarshal(parts[0], &header); err != nil {
		return nil, fmt.Errorf("%w: protected header: %w", ErrProtocol, err)
	}
	if header.Alg != k.alg || header.Enc != "A256GCM" || len(parts[2]) != 12 || len(parts[4]) != 16 {
		return nil, fmt.Errorf("%w: alg %q, enc %q, iv of %d and tag of %d bytes", ErrProtocol, header.Alg, header.Enc, len(parts[2]), len(parts[4]))
	}
	cek, err := k.contentKey(&header, parts[1])
	if err != nil {
		return nil, err
	}
	// The trap: what is authenticated is the header as this side writes it.
	again, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(cek)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, parts[2], append(parts[3], parts[4]...), []byte(b64.EncodeToString(again)))
}

func (k *Key) contentKey(header *protectedHeader, encrypted []byte) ([]byte, error) {
	switch k.alg {
	case "RSA-OAEP-256":
		return rsa.DecryptOAEP(sha256.New(), nil, k.rsa, encrypted, nil)
	case "RSA1_5":
		return rsa.DecryptPKCS1v15(nil, k.rsa, encrypted) //nolint:staticcheck // what the protocol has
	}
	if header.EPK == nil || header.EPK.Crv != k.crv || header.EPK.Kty != "EC" {
		return nil, fmt.Errorf("%w: epk %+v for a %s key", ErrProtocol, header.EPK, k.crv)
	}
	x, err1 := b64.DecodeString(header.EPK.X)
	y, err2 := b64.DecodeString(header.EPK.Y)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	peer, err := k.ec.Curve().NewPublicKey(bytes.Join([][]byte{{4}, x, y}, nil))
	if err != nil {
		return nil, err
	}
	z, err := k.ec.ECDH(peer)
	if err != nil {
		return nil, err
	}
	return aesUnwrap(concatKDF(z, "ECDH-ES+A256KW", 256), encrypted)
}

// concatKDF is that of RFC 7518, section 4.6.2, for keys of up to 256 bits.
func concatKDF(z []byte, algorithm string, bits uint32) []byte {
	var in bytes.Buffer
	word := func(n uint32) { binary.Write(&in, binary.BigEndian, n) }
	word(1)
	in.Write(z)
	word(uint32(len(algorithm)))
	in.WriteString(algorithm)
	word(0)
	word(0)
	word(bits)
	sum := sha256.Sum256(in.Bytes())
	return sum[:bits/8]
}

// aesUnwrap is RFC 3394, section 2.2.2, written as the RFC's loops are.
func aesUnwrap(kek, c []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	n := len(c)/8 - 1
	if n < 2 || len(c)%8 != 0 {
		return nil, errors.New("wrapped key of a wrong length")
	}
	a := binary.BigEndian.Uint64(c)
	r := make([][]byte, n+1)
	for i := 1; i <= n; i++ {
		r[i] = bytes.Clone(c[8*i : 8*i+8])
	}
	for j := 5; j >= 0; j-- {
		for i := n; i >= 1; i-- {
			b := binary.BigEndian.AppendUint64(nil, a^uint64(n*j+i))
			b = append(b, r[i]...)
			block.Decrypt(b, b)
			a, r[i] = binary.BigEndian.Uint64(b), b[8:]
		}
	}
	if a != 0xa6a6a6a6a6a6a6a6 {
		return nil, errors.New("wrapped key does not verify")
	}
	return bytes.Join(r[1:], nil), nil
}

// TokenClaims checks a token's ES256 signature by the key in its own header, and returns header and claims. Whether that key is
// to be trusted is for the caller to know.
func TokenClaims(token string) (header, claims map[string]any, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, nil, fmt.Errorf("%w: a token of %d parts", ErrProtocol, len(parts))
	}
	var raw [3][]byte
	for i := range parts {
		if raw[i], err = b64.DecodeString(parts[i]); err != nil {
			return nil, nil, fmt.Errorf("%w: token: %w", ErrProtocol, err)
		}
	}
	if err := errors.Join(json.Unmarshal(raw[0], &header), json.Unmarshal(raw[1], &claims)); err != nil {
		return nil, nil, fmt.Errorf("%w: token: %w", ErrProtocol, err)
	}
	var h struct {
		Alg string
		JWK struct{ Kty, Crv, X, Y string }
	}
	if err := json.Unmarshal(raw[0], &h); err != nil || h.Alg != "ES256" || h.JWK.Kty != "EC" || h.JWK.Crv != "P-256" || len(raw[2]) != 64 {
		return nil, nil, fmt.Errorf("%w: token is not signed by ES256 with a jwk: %s", ErrProtocol, raw[0])
	}
	x, err1 := b64.DecodeString(h.JWK.X)
	y, err2 := b64.DecodeString(h.JWK.Y)
	if err := errors.Join(err1, err2); err != nil {
		return nil, nil, fmt.Errorf("%w: token: %w", ErrProtocol, err)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), bytes.Join([][]byte{{4}, x, y}, nil))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: token: %w", ErrProtocol, err)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(raw[2][:32]), new(big.Int).SetBytes(raw[2][32:])) {
		return nil, nil, fmt.Errorf("%w: the token's signature does not verify", ErrProtocol)
	}
	return header, claims, nil
}
