package seal

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/vouchsafe/vouchsafe/store"
)

// Layout of a sealed value; see the package comment.
const (
	valueFormat = 1
	keyIDAt     = 1
	nonceAt     = keyIDAt + 4
	sealedAt    = nonceAt + nonceSize

	// Overhead is how many bytes longer a value is in the inner store.
	Overhead = sealedAt + tagSize

	// MaxValue is the largest value in bytes that a sealed store takes.
	MaxValue = store.MaxValue - Overhead
)

const valueLabel = "vouchsafe/seal/value/1"

// storeID is the id of a sealed store.
type storeID [16]byte

// dataKeyID is the id of a data key: 1 for a store's first, never used again.
type dataKeyID uint32

// valueBind is the associated data of a value. Everything before the record's key has a fixed length, so no two records
// share one.
func valueBind(id storeID, key dataKeyID, record string, version uint64) []byte {
	bind := make([]byte, 0, len(valueLabel)+len(id)+4+8+len(record))
	bind = append(bind, valueLabel...)
	bind = append(bind, id[:]...)
	bind = binary.BigEndian.AppendUint32(bind, uint32(key))
	bind = binary.BigEndian.AppendUint64(bind, version)
	return append(bind, record...)
}

// sealValue encrypts value as that of record at version.
func sealValue(
	random io.Reader, aead cipher.AEAD, id storeID, key dataKeyID, record string, version uint64, value []byte,
) ([]byte, error) {
	out := make([]byte, sealedAt, Overhead+len(value))
	out[0] = valueFormat
	binary.BigEndian.PutUint32(out[keyIDAt:], uint32(key))
	nonce := out[nonceAt:sealedAt]
	if _, err := io.ReadFull(random, nonce); err != nil {
		return nil, fmt.Errorf("make a nonce: %w", err)
	}
	return aead.Seal(out, nonce, value, valueBind(id, key, record, version)), nil
}

// valueKey returns the id of the data key that a sealed value needs.
func valueKey(record string, sealed []byte) (dataKeyID, error) {
	if len(sealed) < Overhead || len(sealed) > store.MaxValue {
		return 0, fmt.Errorf("%w: sealed value of %s has %d bytes", store.ErrCorrupt, record, len(sealed))
	}
	if sealed[0] != valueFormat {
		return 0, fmt.Errorf("%w: sealed value of %s has format %d", store.ErrCorrupt, record, sealed[0])
	}
	return dataKeyID(binary.BigEndian.Uint32(sealed[keyIDAt:])), nil
}

// openValue decrypts in place what valueKey has looked at.
func openValue(aead cipher.AEAD, id storeID, key dataKeyID, record string, version uint64, sealed []byte) ([]byte, error) {
	secret := sealed[sealedAt:]
	value, err := aead.Open(secret[:0], sealed[nonceAt:sealedAt], secret, valueBind(id, key, record, version))
	if err != nil {
		return nil, fmt.Errorf("%w: %s at version %d does not decrypt", store.ErrCorrupt, record, version)
	}
	return value, nil
}
