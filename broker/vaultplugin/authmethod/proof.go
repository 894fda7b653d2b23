package authmethod

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// ProofType is the "typ" of a proof: a signature for something else, by the same key, is none.
const ProofType = "vouchsafe-login+jws"

// maxProof bounds a proof, in characters.
const maxProof = 8 << 10

// The uses of a proof.
const (
	UseLogin    = "login"
	UseReattest = "reattest"
)

// Proof is what a workload signs to show that it has the key that its evidence covers.
type Proof struct {
	Use      string `json:"use"`      // login or reattest
	Audience string `json:"aud"`      // the issuer of the mount that the workload means to log in to
	Role     string `json:"role"`     // the role
	Nonce    string `json:"nonce"`    // the challenge's
	Evidence string `json:"evidence"` // digest of the evidence presented, as a reply to a release names it
}

// Sign makes a proof by the key that the evidence covers. It is what a client does; the mount only verifies.
func (p Proof) Sign(key *ecdsa.PrivateKey) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType(ProofType))
	if err != nil {
		return "", fmt.Errorf("authmethod: %w", err)
	}
	payload, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("authmethod: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("authmethod: %w", err)
	}
	return signed.CompactSerialize()
}

var errProof = errors.New("the proof is not a signature over this login by the key that the evidence covers")

// verify holds a compact JWS against what it must sign.
func (p Proof) verify(compact string, key *ecdsa.PublicKey) error {
	if len(compact) > maxProof {
		return errProof
	}
	signed, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return fmt.Errorf("%w: %w", errProof, err)
	}
	if typ, _ := signed.Signatures[0].Protected.ExtraHeaders[jose.HeaderType].(string); typ != ProofType {
		return fmt.Errorf("%w: its typ is not %s", errProof, ProofType)
	}
	payload, err := signed.Verify(key)
	if err != nil {
		return fmt.Errorf("%w: %w", errProof, err)
	}
	var said Proof
	if err := strictjson.Unmarshal(payload, &said); err != nil {
		return fmt.Errorf("%w: %w", errProof, err)
	}
	if said != p {
		return fmt.Errorf("%w: it is for something else", errProof)
	}
	return nil
}

// recipientKey reads the key of a JWK that can sign as well as be encrypted to: one of P-256.
func recipientKey(jwk []byte) (*ecdsa.PublicKey, error) {
	fail := errors.New("the recipient of a login is a JWK of P-256: kty EC, crv P-256, alg ECDH-ES+A256KW, for it signs the proof")
	var k struct {
		Kty string `json:"kty"`
		Crv string `json:"crv"`
		X   string `json:"x"`
		Y   string `json:"y"`
	}
	if err := json.Unmarshal(jwk, &k); err != nil || k.Kty != "EC" || k.Crv != "P-256" {
		return nil, fail
	}
	const size = 32
	x, errX := base64.RawURLEncoding.Strict().DecodeString(k.X)
	y, errY := base64.RawURLEncoding.Strict().DecodeString(k.Y)
	if errX != nil || errY != nil || len(x) != size || len(y) != size {
		return nil, fail
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, fail
	}
	return key, nil
}
