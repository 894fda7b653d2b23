package logicalstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/store"
)

const (
	recordPrefix = "record/"
	partPrefix   = "part/"
)

// PartSize is the most of a value that one entry of Vault's storage has, in bytes.
const PartSize = 256 << 10

// The formats of an entry.
const (
	formatWhole = 1
	formatParts = 2
)

const (
	headSize  = 1 + 8        // format and version
	partsSize = headSize + 8 // and length and size of a part
)

// entry is what the storage has of a record.
type entry struct {
	version uint64 // 0: there is no record
	inline  []byte // the value, unless it is in parts
	length  int    // of the value that is in parts
	part    int    // size of a part; 0: the value is not in parts
}

// parts is how many parts there are.
func (e entry) parts() int {
	if e.part == 0 {
		return 0
	}
	return (e.length + e.part - 1) / e.part
}

func damaged(key, what string) error { return fmt.Errorf("%w: %s: %s", store.ErrCorrupt, key, what) }

// entry reads a record's entry.
func (s *Store) entry(ctx context.Context, key string) (entry, error) {
	e, err := s.storage.Get(ctx, recordPrefix+escape(key))
	if err != nil {
		return entry{}, unavailable("reading "+key, err)
	}
	if e == nil {
		return entry{}, nil
	}
	return parse(key, e.Value)
}

func parse(key string, b []byte) (entry, error) {
	if len(b) < headSize {
		return entry{}, damaged(key, "too short")
	}
	e := entry{version: binary.BigEndian.Uint64(b[1:])}
	switch {
	case e.version == 0:
		return entry{}, damaged(key, "version 0")
	case b[0] == formatWhole && len(b) <= headSize+store.MaxValue:
		e.inline = b[headSize:]
	case b[0] == formatParts && len(b) == partsSize:
		length, part := binary.BigEndian.Uint32(b[headSize:]), binary.BigEndian.Uint32(b[headSize+4:])
		if length == 0 || length > store.MaxValue || part == 0 || part > store.MaxValue || (length-1)/part >= maxParts {
			return entry{}, damaged(key, "a length or size of parts that no value has")
		}
		e.length, e.part = int(length), int(part)
	default:
		return entry{}, damaged(key, "a format that is not known here")
	}
	return e, nil
}

// maxParts is how many parts a value has at most, whatever size a later version gives them.
const maxParts = 64

// value returns the value of a record's entry, which is the caller's to keep.
func (s *Store) value(ctx context.Context, key string, e entry) ([]byte, error) {
	if e.part == 0 {
		value := make([]byte, len(e.inline)) // not nil, and not the storage's
		copy(value, e.inline)
		return value, nil
	}
	value := make([]byte, 0, e.length)
	for n := range e.parts() {
		p, err := s.storage.Get(ctx, partPath(key, e.version, n))
		if err != nil {
			return nil, unavailable("reading a part of "+key, err)
		}
		if p == nil || len(p.Value) != min(e.part, e.length-len(value)) {
			return nil, damaged(key, "a part is missing or of another size")
		}
		value = append(value, p.Value...)
	}
	return value, nil
}

// write makes one write, whose record is locked and has the entry old.
func (s *Store) write(ctx context.Context, w store.Write, old entry) error {
	ctx, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	path := recordPrefix + escape(w.Key)
	if w.Value == nil {
		if err := s.storage.Delete(ctx, path); err != nil {
			return unavailable("deleting "+w.Key, err)
		}
		s.dropParts(ctx, w.Key, old)
		return nil
	}
	version := w.Version + 1
	b := binary.BigEndian.AppendUint64([]byte{formatWhole}, version)
	if len(w.Value) <= PartSize {
		b = append(b, w.Value...)
	} else {
		b[0] = formatParts
		b = binary.BigEndian.AppendUint32(b, uint32(len(w.Value)))
		b = binary.BigEndian.AppendUint32(b, PartSize)
		for n := 0; n*PartSize < len(w.Value); n++ {
			part := w.Value[n*PartSize : min((n+1)*PartSize, len(w.Value))]
			if err := s.storage.Put(ctx, &logical.StorageEntry{Key: partPath(w.Key, version, n), Value: part}); err != nil {
				return unavailable("writing a part of "+w.Key, err)
			}
		}
	}
	if err := s.storage.Put(ctx, &logical.StorageEntry{Key: path, Value: b}); err != nil {
		return unavailable("writing "+w.Key, err)
	}
	s.dropParts(ctx, w.Key, old)
	return nil
}

// dropParts removes the parts that nothing leads to any more. Those that cannot be removed now are left for Sweep: the write itself was made.
func (s *Store) dropParts(ctx context.Context, key string, old entry) {
	for n := range old.parts() {
		_ = s.storage.Delete(ctx, partPath(key, old.version, n))
	}
}

func partPath(key string, version uint64, n int) string {
	return partPrefix + escape(key) + "/" + strconv.FormatUint(version, 10) + "/" + strconv.Itoa(n)
}

// escape writes a key as Vault's storage takes it.
func escape(key string) string {
	if !strings.Contains(key, "%") && !strings.Contains(key, "..") {
		return key
	}
	var b strings.Builder
	for i := range len(key) {
		switch {
		case key[i] == '%':
			b.WriteString("%25")
		case key[i] == '.' && i > 0 && key[i-1] == '.':
			b.WriteString("%2E")
		default:
			b.WriteByte(key[i])
		}
	}
	return b.String()
}

// unescape reads what escape wrote, and refuses anything else.
func unescape(path string) (string, bool) {
	if !strings.Contains(path, "%") {
		return path, true
	}
	key := strings.ReplaceAll(strings.ReplaceAll(path, "%2E", "."), "%25", "%")
	return key, escape(key) == path
}
