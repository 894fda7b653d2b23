package vault

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
	"github.com/vouchsafe/vouchsafe/store"
)

// PartSize is how many bytes of a value one secret of the engine holds: in base64 and with what is around it half of the MiB that Vault's
// raft storage takes for one entry by default. Larger values are written in parts of this size, the last one shorter.
const PartSize = 384 << 10

// maxParts is how many parts the largest value has.
const maxParts = (store.MaxValue + PartSize - 1) / PartSize

// partsIDSize is how many random bytes tell one set of parts from another.
const partsIDSize = 16

// record is what one secret of the engine holds. Exactly one of its three forms is there.
type record struct {
	Value []byte // the value itself, not nil

	ID     string // of the parts that hold the value, 32 lower-case hexadecimal digits
	Parts  int    // how many
	Size   int    // of the whole value in bytes
	SHA256 string // of the whole value, in lower-case hexadecimal

	Deleted bool // a tombstone
}

// valueRecord, partsRecord and tombstone are the forms as they are written.
type valueRecord struct {
	Value []byte `json:"value"`
}

type partsRecord struct {
	ID     string `json:"id"`
	Parts  int    `json:"parts"`
	Size   int    `json:"size"`
	SHA256 string `json:"sha256"`
}

type tombstoneRecord struct {
	Deleted bool `json:"deleted"`
}

// parseRecord decodes what a secret of the engine holds. Whatever this package does not write is an error wrapping store.ErrCorrupt, which says
// nothing of the content.
func parseRecord(data []byte) (record, error) {
	members, err := strictjson.Object(data)
	if err != nil {
		return record{}, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	switch {
	case members["value"] != nil:
		var r valueRecord
		if err := strictjson.Unmarshal(data, &r); err != nil || r.Value == nil {
			return record{}, fmt.Errorf("%w: it has a value, but not as it is written here", store.ErrCorrupt)
		}
		if len(r.Value) > PartSize {
			return record{}, fmt.Errorf("%w: its value has %d bytes, over %d", store.ErrCorrupt, len(r.Value), PartSize)
		}
		return record{Value: r.Value}, nil
	case members["parts"] != nil:
		var r partsRecord
		if err := strictjson.Unmarshal(data, &r); err != nil || len(members) != 4 {
			return record{}, fmt.Errorf("%w: it names parts, but not as it is written here", store.ErrCorrupt)
		}
		if r.Size <= PartSize || r.Size > store.MaxValue || r.Parts != partsOf(r.Size) || !isHex(r.ID, partsIDSize) || !isHex(r.SHA256, 32) {
			return record{}, fmt.Errorf("%w: it names parts that cannot be", store.ErrCorrupt)
		}
		return record{ID: r.ID, Parts: r.Parts, Size: r.Size, SHA256: r.SHA256}, nil
	case members["deleted"] != nil:
		var r tombstoneRecord
		if err := strictjson.Unmarshal(data, &r); err != nil || !r.Deleted {
			return record{}, fmt.Errorf("%w: it is a deletion, but not as it is written here", store.ErrCorrupt)
		}
		return record{Deleted: true}, nil
	}
	return record{}, fmt.Errorf("%w: it is not a record of this store", store.ErrCorrupt)
}

// partsOf returns how many parts a value of so many bytes has.
func partsOf(size int) int { return (size + PartSize - 1) / PartSize }

// isHex reports whether s is size bytes in lower-case hexadecimal.
func isHex(s string, size int) bool {
	decoded, err := hex.DecodeString(s)
	return err == nil && len(decoded) == size && hex.EncodeToString(decoded) == s
}

// contents is the answer to a read of one secret.
type contents struct {
	Data     json.RawMessage `json:"data"`
	Metadata versionMetadata `json:"metadata"`
}

// outline is the answer to a read of a secret's members without their values.
type outline struct {
	Subkeys  map[string]json.RawMessage `json:"subkeys"`
	Metadata versionMetadata            `json:"metadata"`
}

// history is the answer to a read of a secret's versions.
type history struct {
	Current  uint64                     `json:"current_version"`
	Versions map[string]versionMetadata `json:"versions"`
}
