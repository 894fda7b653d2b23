package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/vouchsafe/vouchsafe/store"
	"golang.org/x/mod/sumdb/tlog"
)

// cachedTiles is how many full tiles are kept in memory: 4 MiB, with all nodes, which hold the proofs of 65,536 entries.
const cachedTiles = 256

// tileCache keeps the full tiles used last, each checked. The zero value is ready.
type tileCache struct {
	mu    sync.Mutex
	tiles map[tileID]*tile
	order [cachedTiles]tileID // in which they came in, around next
	next  int
}

func (c *tileCache) get(id tileID) (*tile, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.tiles[id]
	return t, ok
}

func (c *tileCache) put(id tileID, t *tile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tiles == nil {
		c.tiles = make(map[tileID]*tile, cachedTiles)
	}
	if _, ok := c.tiles[id]; ok {
		return
	}
	if len(c.tiles) == cachedTiles {
		delete(c.tiles, c.order[c.next])
	}
	c.tiles[id] = t
	c.order[c.next] = id
	c.next = (c.next + 1) % cachedTiles
}

// readChecked returns a tile of the tree of s. A full one that is read from the store must have the root that the tile above it has for it,
// and so on up to the edge, whose root is signed. cache may be nil.
func (r records) readChecked(ctx context.Context, s *state, cache *tileCache, id tileID) (*tile, error) {
	if t, ok := s.tree.onEdge(id); ok {
		return t, nil
	}
	if t, ok := s.filled[id]; ok {
		return t, nil
	}
	if cache != nil {
		if t, ok := cache.get(id); ok {
			return t, nil
		}
	}
	t, err := r.readTile(ctx, id)
	if err != nil {
		return nil, err
	}
	parentID, leaf := id.parent()
	parent, err := r.readChecked(ctx, s, cache, parentID)
	if err != nil {
		return nil, err
	}
	if leaf >= parent.width() || parent.nodes[0][leaf] != t.root() {
		return nil, &DamageError{r.tile(id), "does not have the hash that the tile above has for it", nil}
	}
	if cache != nil {
		cache.put(id, &t)
	}
	return &t, nil
}

func (l *Log) tile(ctx context.Context, s *state, id tileID) (*tile, error) {
	return l.records.readChecked(ctx, s, &l.tiles, id)
}

func (l *Log) hashes(ctx context.Context, s *state) hashReader {
	return func(id tileID) (*tile, error) { return l.tile(ctx, s, id) }
}

func (l *Log) receipt(ctx context.Context, s *state, index int64) (Receipt, error) {
	proof, err := tlog.ProveRecord(s.tree.size, index, l.hashes(ctx, s))
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{Index: uint64(index), Proof: proof, Checkpoint: bytes.Clone(s.signed)}, nil
}

// Receipt returns the receipt of the entry at index under the latest checkpoint. An index past the end is store.ErrNotFound.
func (l *Log) Receipt(ctx context.Context, index uint64) (Receipt, error) {
	s := l.current.Load()
	if index >= s.head.Size {
		return Receipt{}, notYet(index, s)
	}
	return l.receipt(ctx, s, int64(index))
}

// Prove returns the proof that the tree of the first size entries has the one at index. Sizes and indexes past the end are
// store.ErrNotFound, an index not below size is store.ErrInvalid.
func (l *Log) Prove(ctx context.Context, index, size uint64) (tlog.RecordProof, error) {
	s := l.current.Load()
	switch {
	case size > s.head.Size:
		return nil, notYet(size-1, s)
	case index >= size:
		return nil, fmt.Errorf("%w: entry %d is not among the first %d", store.ErrInvalid, index, size)
	}
	return tlog.ProveRecord(int64(size), int64(index), l.hashes(ctx, s))
}

// Consistency returns the proof that the tree of newer entries begins with that of older entries; see VerifyConsistency. A size past the
// end is store.ErrNotFound, an older size over the newer store.ErrInvalid. From size 0 the proof is empty.
func (l *Log) Consistency(ctx context.Context, older, newer uint64) (tlog.TreeProof, error) {
	s := l.current.Load()
	switch {
	case newer > s.head.Size:
		return nil, notYet(newer-1, s)
	case older > newer:
		return nil, fmt.Errorf("%w: %d entries are more than %d", store.ErrInvalid, older, newer)
	case older == 0:
		return tlog.TreeProof{}, nil
	}
	return tlog.ProveTree(int64(newer), int64(older), l.hashes(ctx, s))
}

func notYet(index uint64, s *state) error {
	return fmt.Errorf("%w: entry %d of a log of %d", store.ErrNotFound, index, s.head.Size)
}

// Entry is one entry of a log.
type Entry struct {
	Index uint64
	Data  []byte
}

// Entry returns the entry at index, checked against the tree. An index past the end is store.ErrNotFound.
func (l *Log) Entry(ctx context.Context, index uint64) ([]byte, error) {
	s := l.current.Load()
	if index >= s.head.Size {
		return nil, notYet(index, s)
	}
	bundle, err := l.bundle(ctx, s, int64(index/tileWidth))
	if err != nil {
		return nil, err
	}
	return bytes.Clone(bundle[index%tileWidth]), nil
}

// bundle returns the entries of a bundle as far as it goes, checked against its tile.
func (l *Log) bundle(ctx context.Context, s *state, bundle int64) ([][]byte, error) {
	if bundle == s.tree.size/tileWidth {
		return s.tail, nil // what the edge was made of
	}
	entries, err := l.records.readBundle(ctx, bundle, tileWidth)
	if err != nil {
		return nil, err
	}
	t, err := l.tile(ctx, s, tileID{0, bundle})
	if err != nil {
		return nil, err
	}
	for i, entry := range entries {
		if tlog.RecordHash(entry) != t.nodes[0][i] {
			return nil, &DamageError{l.records.entries(bundle, i),
				fmt.Sprintf("or the record before it: entry %d does not have the hash in its tile", bundle*tileWidth+int64(i)), nil}
		}
	}
	return entries, nil
}

// Entries yields the entries from index from up to before index to, each checked against the tree. The data is the log's and must
// not be changed. It ends with an error, or at to; a to past the end is store.ErrNotFound.
func (l *Log) Entries(ctx context.Context, from, to uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		s := l.current.Load()
		if to > s.head.Size {
			yield(Entry{}, notYet(to-1, s))
			return
		}
		for index := from; index < to; {
			if err := ctx.Err(); err != nil {
				yield(Entry{}, err)
				return
			}
			bundle, err := l.bundle(ctx, s, int64(index/tileWidth))
			if err != nil {
				yield(Entry{}, err)
				return
			}
			end := min(to, index/tileWidth*tileWidth+uint64(len(bundle)))
			for ; index < end; index++ {
				if !yield(Entry{index, bundle[index%tileWidth]}, nil) {
					return
				}
			}
		}
	}
}

// Tail yields the entries from index from on as [Log.Entries] does, and waits for more until ctx ends, which is no error.
func (l *Log) Tail(ctx context.Context, from uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for {
			size, err := l.Wait(ctx, from)
			if err != nil {
				return
			}
			for entry, err := range l.Entries(ctx, from, size) {
				if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
					return
				}
				if !yield(entry, err) || err != nil {
					return
				}
			}
			from = size
		}
	}
}

// ReadPath returns a resource of c2sp.org/tlog-tiles: "checkpoint", "tile/<L>/<N>[.p/<W>]" or "tile/entries/<N>[.p/<W>]". Partial ones are
// there for every width up to the present one. All but "checkpoint" never change and may be cached. Errors wrap
// store.ErrInvalid for another path, store.ErrNotFound for what is not there, or not yet.
func (l *Log) ReadPath(ctx context.Context, path string) ([]byte, error) {
	if path == "checkpoint" {
		return l.Checkpoint(), nil
	}
	r, err := parsePath(path)
	if err != nil {
		return nil, err
	}
	s := l.current.Load()
	hashes := s.tree.size >> (tileHeight * r.tile.level)
	if there := hashes - min(hashes, r.tile.n<<tileHeight); r.tile.n > hashes>>tileHeight || there < int64(r.width) {
		return nil, fmt.Errorf("%w: %s in a log of %d entries", store.ErrNotFound, path, s.head.Size)
	}
	if !r.entries {
		t, err := l.tile(ctx, s, r.tile)
		if err != nil {
			return nil, err
		}
		return t.encode(r.width), nil
	}
	entries, err := l.bundle(ctx, s, r.tile.n)
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, entry := range entries[:r.width] {
		b = appendEntry(b, entry)
	}
	return b, nil
}
