package seal

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"
)

// MinPassphrase is the shortest passphrase in bytes: whoever copies the store can guess at it for as long as they like.
const MinPassphrase = 12

// Costs of Argon2id: the default is the second recommendation of RFC 9106, section 4. The least is OWASP's; the most
// bounds what a damaged or hostile header makes an unlock cost.
const (
	DefaultTime, MinTime, MaxTime                = 3, 2, 16
	DefaultMemoryKiB, MinMemoryKiB, MaxMemoryKiB = 64 << 10, 19 << 10, 1 << 20
	DefaultThreads, MinThreads, MaxThreads       = 4, 1, 16
)

// Layout of what Passphrase wraps: version (1), time (4), memory in KiB (4), threads (1), salt (16), then nonce,
// ciphertext, tag.
const (
	passphraseFormat = 1
	saltSize         = 16
	costSize         = 1 + 4 + 4 + 1
)

// PassphraseConfig sets the cost of guessing, used by Wrap; what was wrapped carries its own.
type PassphraseConfig struct {
	Time      uint32    // passes over the memory; default DefaultTime
	MemoryKiB uint32    // default DefaultMemoryKiB
	Threads   uint8     // default DefaultThreads
	Random    io.Reader // for salts and nonces; default crypto/rand
}

// Passphrase is a seal whose key is made from a passphrase with Argon2id. It keeps the passphrase in memory.
type Passphrase struct {
	passphrase []byte
	cost       cost
	random     io.Reader
}

type cost struct {
	time, memoryKiB uint32
	threads         uint8
}

// NewPassphrase returns a seal; it copies the passphrase. Line ends are part of a passphrase: callers that read a line
// remove its end.
func NewPassphrase(passphrase []byte, c PassphraseConfig) (*Passphrase, error) {
	if len(passphrase) < MinPassphrase {
		return nil, fmt.Errorf("passphrase of %d bytes is shorter than %d", len(passphrase), MinPassphrase)
	}
	p := &Passphrase{passphrase: append([]byte(nil), passphrase...), random: c.Random, cost: cost{c.Time, c.MemoryKiB, c.Threads}}
	if p.random == nil {
		p.random = rand.Reader
	}
	if p.cost.time == 0 {
		p.cost.time = DefaultTime
	}
	if p.cost.memoryKiB == 0 {
		p.cost.memoryKiB = DefaultMemoryKiB
	}
	if p.cost.threads == 0 {
		p.cost.threads = DefaultThreads
	}
	return p, p.cost.check()
}

func (c cost) check() error {
	if c.time < MinTime || c.time > MaxTime || c.memoryKiB < MinMemoryKiB || c.memoryKiB > MaxMemoryKiB ||
		c.threads < MinThreads || c.threads > MaxThreads {
		return fmt.Errorf("passphrase cost of %d passes, %d KiB and %d threads is not within %d to %d, %d to %d and %d to %d",
			c.time, c.memoryKiB, c.threads, MinTime, MaxTime, MinMemoryKiB, MaxMemoryKiB, MinThreads, MaxThreads)
	}
	return nil
}

// Kind is "passphrase".
func (p *Passphrase) Kind() string { return "passphrase" }

// KeyID is empty: anything derived from a passphrase helps to guess it.
func (p *Passphrase) KeyID() string { return "" }

// Wrap encrypts with a key made from the passphrase and a new salt.
func (p *Passphrase) Wrap(_ context.Context, key, bind []byte) ([]byte, error) {
	head := []byte{passphraseFormat}
	head = binary.BigEndian.AppendUint32(head, p.cost.time)
	head = binary.BigEndian.AppendUint32(head, p.cost.memoryKiB)
	head = append(head, p.cost.threads)
	salt := make([]byte, saltSize)
	if _, err := io.ReadFull(p.random, salt); err != nil {
		return nil, fmt.Errorf("make a salt: %w", err)
	}
	head = append(head, salt...)
	aead, err := p.aead(p.cost, salt)
	if err != nil {
		return nil, err
	}
	return wrap(aead, p.random, head, key, passphraseBind(bind, head))
}

// Unwrap reverses Wrap. Costs outside the bounds are refused before any work is done.
func (p *Passphrase) Unwrap(_ context.Context, wrapped, bind []byte) ([]byte, error) {
	c, salt, sealed, err := parsePassphrase(wrapped)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrongSeal, err)
	}
	aead, err := p.aead(c, salt)
	if err != nil {
		return nil, err
	}
	return unwrap(aead, sealed, passphraseBind(bind, wrapped[:costSize+saltSize]))
}

func parsePassphrase(wrapped []byte) (c cost, salt, sealed []byte, err error) {
	if len(wrapped) != costSize+saltSize+nonceSize+KeySize+tagSize || wrapped[0] != passphraseFormat {
		return cost{}, nil, nil, errors.New("the wrapped key is not in the passphrase format")
	}
	c.time = binary.BigEndian.Uint32(wrapped[1:])
	c.memoryKiB = binary.BigEndian.Uint32(wrapped[5:])
	c.threads = wrapped[9]
	if err := c.check(); err != nil {
		return cost{}, nil, nil, err
	}
	return c, wrapped[costSize : costSize+saltSize], wrapped[costSize+saltSize:], nil
}

// passphraseBind has the head after what the caller binds, at a length both sides know.
func passphraseBind(bind, head []byte) []byte {
	return append(append(make([]byte, 0, len(bind)+len(head)), bind...), head...)
}

func (p *Passphrase) aead(c cost, salt []byte) (cipher.AEAD, error) {
	key := argon2.IDKey(p.passphrase, salt, c.time, c.memoryKiB, c.threads, KeySize)
	defer clear(key)
	return newAEAD(key)
}
