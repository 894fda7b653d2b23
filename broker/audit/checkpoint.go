package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// MaxOrigin is the longest origin in bytes: what C2SP tlog-cosignature lets a witness take.
const MaxOrigin = 255

// MaxCheckpoint is the longest checkpoint read, in bytes. Three lines and one signature take under 1 KiB; the rest is room for the
// cosignatures of witnesses.
const MaxCheckpoint = 16 << 10

// Checkpoint is the head of a log at one size: the body of a c2sp.org/tlog-checkpoint.
type Checkpoint struct {
	Origin string    // the log's name
	Size   uint64    // the number of entries
	Root   tlog.Hash // the RFC 6962 tree hash of them
}

// body returns the three lines that are signed.
func (c Checkpoint) body() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, c.Root)
}

// VerifyCheckpoint returns the content of a signed checkpoint. It must be the log's named by origin, and have a valid signature of
// one of the known keys whose name is that origin; a signature under another name, as a witness makes, is checked when its key is
// known but does not replace the log's. known may hold keys that signed in the past beside the one that signs now. Extension
// lines are refused: no log of this package has them, and no auditor could check them. Errors wrap ErrMalformed or ErrUnverified.
func VerifyCheckpoint(known note.Verifiers, origin string, signed []byte) (Checkpoint, error) {
	if len(signed) > MaxCheckpoint {
		return Checkpoint{}, fmt.Errorf("%w checkpoint: %d bytes is over %d", ErrMalformed, len(signed), MaxCheckpoint)
	}
	opened, err := note.Open(signed, known)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	checkpoint, err := parseCheckpointBody(opened.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if checkpoint.Origin != origin {
		return Checkpoint{}, fmt.Errorf("%w: it is of the log %q, not %q", ErrUnverified, checkpoint.Origin, origin)
	}
	for _, signature := range slices.Concat(opened.Sigs, opened.UnverifiedSigs) {
		// Package note takes signatures whose last character has unused bits set; here a checkpoint has one form.
		if _, err := base64.StdEncoding.Strict().DecodeString(signature.Base64); err != nil {
			return Checkpoint{}, fmt.Errorf("%w checkpoint: signature of %q: %w", ErrMalformed, signature.Name, err)
		}
	}
	if slices.ContainsFunc(opened.Sigs, func(s note.Signature) bool { return s.Name == origin }) {
		return checkpoint, nil
	}
	return Checkpoint{}, fmt.Errorf("%w: no known key of the log %q signed it, only others", ErrUnverified, origin)
}

func parseCheckpointBody(text string) (Checkpoint, error) {
	malformed := func(what string) (Checkpoint, error) {
		return Checkpoint{}, fmt.Errorf("%w checkpoint: %s", ErrMalformed, what)
	}
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return malformed("its body is not three lines")
	}
	if err := checkOrigin(lines[0]); err != nil {
		return malformed(err.Error())
	}
	size, err := parseDecimal(lines[1])
	if err != nil {
		return malformed("the second line is not a tree size")
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return malformed("the third line is not a hash")
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: root}, nil
}

// signCheckpoint returns the signed note of a checkpoint.
func signCheckpoint(c Checkpoint, signer note.Signer) ([]byte, error) {
	signed, err := note.Sign(&note.Note{Text: c.body()}, signer)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint of size %d: %w", c.Size, err)
	}
	return signed, nil
}

// checkOrigin holds an origin to what a key name of a signed note may be, since the log's key is named by it.
func checkOrigin(origin string) error {
	if origin == "" || len(origin) > MaxOrigin || !utf8.ValidString(origin) {
		return fmt.Errorf("origin is empty, over %d bytes or not UTF-8", MaxOrigin)
	}
	for _, r := range origin {
		if unicode.IsSpace(r) || r == '+' || r < ' ' {
			return fmt.Errorf("origin %q has a space, a plus sign or a control character", origin)
		}
	}
	return nil
}

// parseDecimal reads a number up to the largest index as the C2SP formats write it: digits without leading zeroes.
func parseDecimal(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n > math.MaxInt64 || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%q is not a number without leading zeroes", s)
	}
	return n, nil
}

// parseHash reads a hash of standard base64, of which there is exactly one accepted form.
func parseHash(s string) (tlog.Hash, error) {
	var h tlog.Hash
	if len(s) != base64.StdEncoding.EncodedLen(tlog.HashSize) {
		return h, fmt.Errorf("%w hash: %d characters", ErrMalformed, len(s))
	}
	var buf [tlog.HashSize + 1]byte // Decode writes whole groups of three
	n, err := base64.StdEncoding.Strict().Decode(buf[:], []byte(s))
	if err != nil || n != tlog.HashSize {
		return h, fmt.Errorf("%w hash: not base64 of %d bytes", ErrMalformed, tlog.HashSize)
	}
	return tlog.Hash(buf[:tlog.HashSize]), nil
}

// ed25519KeyType is the algorithm byte of Ed25519 in a note key.
const ed25519KeyType = 1

// NewSigner returns the signer of the log named origin whose key is private, for Config.Signer.
func NewSigner(origin string, private ed25519.PrivateKey) (note.Signer, error) {
	if err := checkOrigin(origin); err != nil {
		return nil, err
	}
	if len(private) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("Ed25519 private key of %d bytes, not %d", len(private), ed25519.PrivateKeySize)
	}
	public, err := note.NewEd25519VerifierKey(origin, private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	// The text form is PRIVATE+KEY+<name>+<key hash>+<base64 of the type and the seed>; the hash is the public form's.
	hash := strings.Split(public, "+")[1]
	seed := append([]byte{ed25519KeyType}, private.Seed()...)
	return note.NewSigner("PRIVATE+KEY+" + origin + "+" + hash + "+" + base64.StdEncoding.EncodeToString(seed))
}

// VerifierKey returns the public key of the log named origin in the text form that signed-note tools take:
// <name>+<key hash>+<base64 key>. note.NewVerifier parses it.
func VerifierKey(origin string, public ed25519.PublicKey) (string, error) {
	if err := checkOrigin(origin); err != nil {
		return "", err
	}
	return note.NewEd25519VerifierKey(origin, public)
}

// NewVerifiers returns a set of the keys of the log named origin, current and past, for Config.Verifiers.
func NewVerifiers(origin string, keys ...ed25519.PublicKey) (note.Verifiers, error) {
	list := make([]note.Verifier, len(keys))
	for i, key := range keys {
		text, err := VerifierKey(origin, key)
		if err != nil {
			return nil, err
		}
		if list[i], err = note.NewVerifier(text); err != nil {
			return nil, err
		}
	}
	return note.VerifierList(list...), nil
}
