package audit

import (
	"github.com/vouchsafe/vouchsafe/store"
)

// builder turns new entries into records.
type builder struct {
	log    *Log
	next   *state
	stored int // how many of next.tail are in records already

	entries []store.Write
	tiles   []store.Write
}

// add takes an entry into the tree and the tail, and writes what it fills.
func (b *builder) add(r *request) {
	s := b.next
	bundle := s.tree.size / tileWidth
	s.tail = append(s.tail, r.entry)
	s.tree.push(r.leaf, func(id tileID, t tile) {
		s.filled[id] = &t
		b.tiles = append(b.tiles, store.Write{Key: b.log.records.tile(id), Value: t.encode(tileWidth)})
	})
	if len(s.tail) == tileWidth {
		b.putEntries(bundle)
		s.tail = make([][]byte, 0, tileWidth)
		b.stored = 0
	}
}

// finish writes what is left in the tail, signs the new head, and returns its write, which replaces a version.
func (b *builder) finish(version uint64) (store.Write, error) {
	s := b.next
	b.putEntries(s.tree.size / tileWidth)
	s.head = Checkpoint{Origin: b.log.config.Origin, Size: uint64(s.tree.size), Root: s.tree.root()}
	signed, err := signCheckpoint(s.head, b.log.config.Signer)
	if err != nil {
		return store.Write{}, err
	}
	s.signed, s.version = signed, version+1
	return store.Write{Key: b.log.records.head(), Version: version, Value: signed}, nil
}

// putEntries writes those of the tail that are not stored yet as one record, or as several where they are too long for one.
func (b *builder) putEntries(bundle int64) {
	var part []byte
	first := b.stored
	for i, entry := range b.next.tail[b.stored:] {
		if len(part) > 0 && len(part)+lengthSize+len(entry) > maxPart {
			b.entries = append(b.entries, store.Write{Key: b.log.records.entries(bundle, first), Value: part})
			part, first = nil, b.stored+i
		}
		part = appendEntry(part, entry)
	}
	if len(part) > 0 {
		b.entries = append(b.entries, store.Write{Key: b.log.records.entries(bundle, first), Value: part})
	}
	b.stored = len(b.next.tail)
}
