package seal

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/vouchsafe/vouchsafe/internal/atomicfile"
)

// keyFilePrefix begins the one line of a key file; 64 lower-case hexadecimal digits and at most one line end follow.
const keyFilePrefix = "vouchsafe-seal-key-1 "

// maxKeyFile bounds what is read of a key file, in bytes; a real one has 86.
const maxKeyFile = 256

// KeyFile is a seal whose key is in a file. It keeps the key in memory.
type KeyFile struct {
	aead   cipher.AEAD
	id     string
	random io.Reader
}

// CreateKeyFile writes a new random key to path, which must not exist yet, with mode 0600, and returns the seal. A nil
// random is crypto/rand.
func CreateKeyFile(path string, random io.Reader) (*KeyFile, error) {
	if random == nil {
		random = rand.Reader
	}
	key := make([]byte, KeySize)
	defer clear(key)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	line := append(hex.AppendEncode([]byte(keyFilePrefix), key), '\n')
	defer clear(line)
	if err := atomicfile.WriteNew(path, line, 0o600); err != nil {
		return nil, fmt.Errorf("create key file: %w", err)
	}
	return newKeyFile(key, random)
}

// NewKeyFile reads the key at path. A file that its group or others may read or write is refused.
func NewKeyFile(path string) (*KeyFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: %s is not a file", ErrKeyFile, path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%w: %s has mode %#o, which lets others at it: chmod 600 it", ErrKeyFile, path, info.Mode().Perm())
	}
	content, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	defer clear(content)
	seal, err := ParseKeyFile(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return seal, nil
}

// ParseKeyFile reads the content of a key file that came by another way, such as a credential of the service manager.
func ParseKeyFile(content []byte) (*KeyFile, error) {
	digits, ok := bytes.CutPrefix(content, []byte(keyFilePrefix))
	digits = bytes.TrimSuffix(digits, []byte("\n"))
	if !ok || len(content) > maxKeyFile || len(digits) != hex.EncodedLen(KeySize) {
		return nil, fmt.Errorf("%w: it is not one line of %q and %d hexadecimal digits", ErrKeyFile, keyFilePrefix, 2*KeySize)
	}
	key := make([]byte, KeySize)
	defer clear(key)
	if _, err := hex.Decode(key, digits); err != nil || bytes.ContainsAny(digits, "ABCDEF") {
		return nil, fmt.Errorf("%w: its key is not in lower-case hexadecimal", ErrKeyFile)
	}
	if bytes.Equal(key, make([]byte, KeySize)) {
		return nil, fmt.Errorf("%w: its key is all zero", ErrKeyFile)
	}
	return newKeyFile(key, rand.Reader)
}

func newKeyFile(key []byte, random io.Reader) (*KeyFile, error) {
	wrapping, err := hkdf.Expand(sha256.New, key, "vouchsafe/seal/keyfile/wrap/1", KeySize)
	if err != nil {
		return nil, err
	}
	defer clear(wrapping)
	id, err := hkdf.Expand(sha256.New, key, "vouchsafe/seal/keyfile/id/1", 8)
	if err != nil {
		return nil, err
	}
	aead, err := newAEAD(wrapping)
	if err != nil {
		return nil, err
	}
	return &KeyFile{aead: aead, id: hex.EncodeToString(id), random: random}, nil
}

// Kind is "keyfile".
func (k *KeyFile) Kind() string { return "keyfile" }

// KeyID is derived from the key: 8 bytes in hexadecimal.
func (k *KeyFile) KeyID() string { return k.id }

// Wrap returns nonce (12 bytes), ciphertext and tag (16).
func (k *KeyFile) Wrap(_ context.Context, key, bind []byte) ([]byte, error) {
	return wrap(k.aead, k.random, nil, key, bind)
}

// Unwrap reverses Wrap.
func (k *KeyFile) Unwrap(_ context.Context, wrapped, bind []byte) ([]byte, error) {
	return unwrap(k.aead, wrapped, bind)
}

// wrap appends nonce, ciphertext and tag to out.
func wrap(aead cipher.AEAD, random io.Reader, out, key, bind []byte) ([]byte, error) {
	nonce := make([]byte, nonceSize)
	if _, err := io.ReadFull(random, nonce); err != nil {
		return nil, fmt.Errorf("make a nonce: %w", err)
	}
	return aead.Seal(append(out, nonce...), nonce, key, bind), nil
}

// unwrap reverses wrap for keys of KeySize.
func unwrap(aead cipher.AEAD, wrapped, bind []byte) ([]byte, error) {
	if len(wrapped) != nonceSize+KeySize+tagSize {
		return nil, fmt.Errorf("%w: wrapped key has %d bytes", ErrWrongSeal, len(wrapped))
	}
	key, err := aead.Open(nil, wrapped[:nonceSize], wrapped[nonceSize:], bind)
	if err != nil {
		return nil, fmt.Errorf("%w: the wrapped key does not decrypt", ErrWrongSeal)
	}
	return key, nil
}
