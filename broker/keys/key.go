package keys

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// coordinate is the size of a P-256 coordinate, and of each half of an ES256 signature, in bytes.
const coordinate = 32

var b64 = base64.RawURLEncoding

// publicKey is a P-256 key that verifies.
type publicKey struct {
	key    *ecdsa.PublicKey
	kid    string // RFC 7638
	jwk    string // its defining members as canonical JSON: what the thumbprint is over
	header string // protected header up to the value of "typ", unencoded
}

func newPublicKey(p Purpose, key *ecdsa.PublicKey) (*publicKey, error) {
	if key.Curve != elliptic.P256() {
		return nil, errors.New("the key is not on P-256")
	}
	point, err := key.Bytes() // 4 ‖ x ‖ y; fails for what is not on the curve
	if err != nil || len(point) != 1+2*coordinate {
		return nil, errors.New("the key is not a point of P-256")
	}
	k := &publicKey{key: key}
	k.jwk = fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`,
		b64.EncodeToString(point[1:1+coordinate]), b64.EncodeToString(point[1+coordinate:]))
	sum := sha256.Sum256([]byte(k.jwk))
	k.kid = b64.EncodeToString(sum[:])
	embedded := ""
	if p == Token {
		embedded = `"jwk":` + k.jwk + `,`
	}
	k.header = `{"alg":"ES256",` + embedded + `"kid":"` + k.kid + `","typ":"`
	return k, nil
}

// protected returns the encoded protected header for typ, which [checkType] has passed.
func (k *publicKey) protected(typ string) string {
	return b64.EncodeToString([]byte(k.header + typ + `"}`))
}

// published returns the key as a member of a JWKS.
func (k *publicKey) published() string {
	return `{"alg":"ES256",` + strings.TrimSuffix(k.jwk[1:], "}") + `,"kid":"` + k.kid + `","use":"sig"}`
}

// checkType refuses types that would need escaping in a header. They are constants of the callers.
func checkType(typ string) error {
	const most = 64
	if typ == "" || len(typ) > most || strings.ContainsFunc(typ, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("+-./", r)
	}) {
		return fmt.Errorf("keys: %.64q cannot be the type of a JWS", typ)
	}
	return nil
}

// newLogSigner returns the note signer of an Ed25519 key under the name origin, and the text of its verifier.
func newLogSigner(origin string, key ed25519.PrivateKey) (note.Signer, string, error) {
	// C2SP signed-note, "vkey": <name>+<hash>+<base64 of 0x01 ‖ public key>; the signer's text has the seed in the key's place.
	verifier, err := note.NewEd25519VerifierKey(origin, key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, "", err
	}
	hash := strings.Split(verifier, "+")[1]
	seed := append([]byte{1}, key.Seed()...)
	signer, err := note.NewSigner("PRIVATE+KEY+" + origin + "+" + hash + "+" + base64.StdEncoding.EncodeToString(seed))
	clear(seed)
	if err != nil {
		return nil, "", errors.New("the key cannot sign notes") // the cause could quote the key
	}
	return signer, verifier, nil
}

// checkOrigin refuses names that a signed note cannot carry.
func checkOrigin(origin string) error {
	const most = 255
	if origin == "" || len(origin) > most || strings.ContainsFunc(origin, func(r rune) bool { return r <= ' ' || r > '~' || r == '+' }) {
		return fmt.Errorf("the log's origin %.64q is not 1 to %d printable ASCII characters without space and '+'", origin, most)
	}
	return nil
}

func newSeed(random io.Reader) (ed25519.PrivateKey, error) {
	var seed [ed25519.SeedSize]byte
	if _, err := io.ReadFull(random, seed[:]); err != nil {
		return nil, fmt.Errorf("no randomness: %w", err)
	}
	defer clear(seed[:])
	return ed25519.NewKeyFromSeed(seed[:]), nil
}
