package audit

import (
	"github.com/vouchsafe/vouchsafe/store"
)

// builder turns new entries into records.
type builder struct {
	log     *Log
	next    *state
	stored  int           // how many of next.tail are in records already
	puts    []store.Write // entries and tiles
	deletes []store.Entry // what nothing leads to when the head is written
}

// add takes an entry into the tree and the tail. A bundle that it fills becomes records of its own, in place of those of the tail.
func (b *builder) add(r *request) {
	s := b.next
	bundle := s.tree.size / tileWidth
	s.tail = append(s.tail, r.entry)
	s.tree.push(r.leaf, func(id tileID, t tile) {
		s.filled[id] = &t
		b.put(b.log.records.tile(id), t.encode(tileWidth))
	})
	if len(s.tail) < tileWidth {
		return
	}
	b.putEntries(s.tail, 0, func(first int) string { return b.log.records.entries(bundle, first) })
	b.deletes = append(b.deletes[:len(b.deletes):len(b.deletes)], s.parts...)
	s.parts = nil
	s.tail = make([][]byte, 0, tileWidth)
	b.stored = 0
}

// finish writes what is left in the tail, signs the new head, and returns its write.
func (b *builder) finish() (store.Write, error) {
	s := b.next
	if fresh := s.tail[b.stored:]; len(fresh) > 0 {
		bundle := s.tree.size / tileWidth
		s.parts = append(s.parts,
			b.putEntries(fresh, b.stored, func(first int) string { return b.log.records.tail(bundle, first) })...)
	}
	s.head = Checkpoint{Origin: b.log.config.Origin, Size: uint64(s.tree.size), Root: s.tree.root()}
	signed, err := signCheckpoint(s.head, b.log.config.Signer)
	if err != nil {
		return store.Write{}, err
	}
	s.signed = signed
	return store.Write{Key: b.log.records.head(), Version: b.log.tip.version, Value: signed}, nil
}

// put writes a record that is new, unless an interrupted commit left one there.
func (b *builder) put(key string, value []byte) store.Entry {
	version := b.log.versions[key]
	b.puts = append(b.puts, store.Write{Key: key, Version: version, Value: value})
	return store.Entry{Key: key, Version: version + 1}
}

// putEntries writes entries as one record, or as several where they are too long for one, and returns the records.
func (b *builder) putEntries(entries [][]byte, first int, key func(first int) string) []store.Entry {
	var parts []store.Entry
	var part []byte
	begin := first
	for i, entry := range entries {
		if len(part) > 0 && len(part)+lengthSize+len(entry) > maxPart {
			parts = append(parts, b.put(key(begin), part))
			part, begin = nil, first+i
		}
		part = appendEntry(part, entry)
	}
	return append(parts, b.put(key(begin), part))
}

// removals returns the deletes.
func (b *builder) removals() []store.Write {
	var writes []store.Write
	for _, e := range b.deletes {
		if version, found := b.log.versions[e.Key]; found {
			e.Version = version
		}
		if e.Version > 0 {
			writes = append(writes, store.Write{Key: e.Key, Version: e.Version})
		}
	}
	return writes
}
