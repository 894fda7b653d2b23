package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
)

// Seal protects a store's root key. Implementations are safe for concurrent use.
type Seal interface {
	// Kind names the sort of seal, such as "keyfile": lower-case letters, digits and "-", at most 32 bytes.
	Kind() string

	// KeyID tells keys of one kind apart without giving them away, in printable ASCII of at most 256 bytes. It may be
	// empty.
	KeyID() string

	// Wrap encrypts a key of 32 bytes, bound to the given bytes if the seal can do that. The result is at most
	// MaxWrapped bytes.
	Wrap(ctx context.Context, key, bind []byte) ([]byte, error)

	// Unwrap reverses Wrap. An error wraps ErrWrongSeal when the key is not the one that wrapped, and
	// store.ErrUnavailable when the seal cannot be asked now.
	Unwrap(ctx context.Context, wrapped, bind []byte) ([]byte, error)
}

// Aging is a Seal whose key has versions, so that what an older one wrapped should be wrapped again some time.
type Aging interface {
	Seal
	// Outdated reports whether Wrap would use a newer version of the key than wrapped was made with. Errors are those of Unwrap.
	Outdated(ctx context.Context, wrapped []byte) (bool, error)
}

// The errors of this package, wrapped with what they concern.
var (
	ErrWrongSeal     = errors.New("the store is sealed with another key")
	ErrNotSealed     = errors.New("store has no seal")
	ErrAlreadySealed = errors.New("store is sealed already, or is not empty")
	ErrNewerFormat   = errors.New("seal was written by a newer program")
	ErrKeyFile       = errors.New("key file cannot be used")
	ErrTooManyKeys   = errors.New("too many data keys: rewrap the store to drop old ones")
)

// KeySize is the length in bytes of every key here.
const KeySize = 32

const (
	nonceSize = 12
	tagSize   = 16
)

// newAEAD returns AES-256-GCM. Its only possible error is a key of another length, which callers rule out.
func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
