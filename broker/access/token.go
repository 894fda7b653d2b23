package access

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
)

// The parts of a token's text, in bytes.
const (
	tokenPrefix = "vst_"
	idSize      = 16 // hex of 8 bytes
	secretBytes = 32
	secretSize  = 43 // unpadded base64url of secretBytes

	// TokenSize is the length of a token's text.
	TokenSize = len(tokenPrefix) + idSize + 1 + secretSize
)

// Token is the text of a new token. Whatever prints it, or encodes it as JSON, shows its id only; [Token.Reveal] is the one way to the text.
type Token struct {
	id   string
	text string
}

// ID returns the id, which is no secret.
func (t Token) ID() string { return t.id }

// Reveal returns the text that authenticates its holder.
func (t Token) Reveal() string { return t.text }

// String returns the token with its secret part left out.
func (t Token) String() string { return tokenPrefix + t.id + "_REDACTED" }

// Format implements fmt.Formatter, so that no verb shows more than String.
func (t Token) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.String()) }

// LogValue implements slog.LogValuer.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText implements encoding.TextMarshaler.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// newToken builds the text.
func newToken(id [idSize / 2]byte, secret [secretBytes]byte) Token {
	t := Token{id: hex.EncodeToString(id[:])}
	t.text = tokenPrefix + t.id + "_" + base64.RawURLEncoding.EncodeToString(secret[:])
	return t
}

// parseToken splits text into id and the hash of the secret. Only the one spelling that newToken writes is taken.
func parseToken(text string) (id string, hash [sha256.Size]byte, ok bool) {
	if len(text) != TokenSize || text[:len(tokenPrefix)] != tokenPrefix || text[len(tokenPrefix)+idSize] != '_' {
		return "", hash, false
	}
	id = text[len(tokenPrefix):][:idSize]
	if !validID(id) {
		return "", hash, false
	}
	var secret [secretBytes]byte
	// The decoder skips line breaks, with which fewer bytes come out, and Strict refuses stray bits at the end.
	n, err := base64.RawURLEncoding.Strict().Decode(secret[:], []byte(text[TokenSize-secretSize:]))
	if err != nil || n != secretBytes {
		return "", hash, false
	}
	return id, sha256.Sum256(secret[:]), true
}

func validID(id string) bool {
	if len(id) != idSize {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
