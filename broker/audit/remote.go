package audit

import (
	"context"
	"fmt"
	"iter"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/vouchsafe/vouchsafe/store"
)

// Remote reads entries of a log that is served elsewhere, under one checkpoint of it. Each entry is held against the checkpoint's root by the
// tiles on the way, so that reading a few costs a few fetches and none of them has to be believed. It is not safe for concurrent use.
type Remote struct {
	fetch  Fetch
	head   Checkpoint
	hashes tlog.HashReader
	reader *tileFetcher
}

// NewRemote returns a Remote under head, whose signature the caller has verified.
func NewRemote(fetch Fetch, head Checkpoint) *Remote {
	r := &tileFetcher{fetch: fetch, kept: map[tlog.Tile][]byte{}}
	tree := tlog.Tree{N: int64(head.Size), Hash: head.Root}
	return &Remote{fetch: fetch, head: head, reader: r, hashes: tlog.TileHashReader(tree, r)}
}

// Entries yields the entries from index from up to before index to. A to past the end is store.ErrNotFound; other errors wrap ErrDamaged or
// are what fetch returned. It ends with an error, or at to.
func (r *Remote) Entries(ctx context.Context, from, to uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if to > r.head.Size {
			yield(Entry{}, fmt.Errorf("%w: entry %d of a log of %d", store.ErrNotFound, to-1, r.head.Size))
			return
		}
		for from < to {
			bundle := int64(from / tileWidth)
			entries, err := r.bundle(ctx, bundle)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for ; from < to && int64(from/tileWidth) == bundle; from++ {
				if !yield(Entry{Index: from, Data: entries[from%tileWidth]}, nil) {
					return
				}
			}
		}
	}
}

// bundle reads a bundle as far as the checkpoint goes, and checks every entry of it.
func (r *Remote) bundle(ctx context.Context, n int64) ([][]byte, error) {
	first := n * tileWidth
	width := int(min(tileWidth, int64(r.head.Size)-first))
	where := resource{entries: true, tile: tileID{0, n}, width: width}
	content, err := r.fetch(ctx, where.path())
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", where.path(), err)
	}
	entries, err := parseBundle(content, width)
	if err != nil || len(entries) != width {
		return nil, &DamageError{where.path(), fmt.Sprintf("is not a bundle of %d entries", width), err}
	}
	places := make([]int64, width)
	for i := range places {
		places[i] = tlog.StoredHashIndex(0, first+int64(i))
	}
	r.reader.ctx, r.reader.failed = ctx, nil
	hashes, err := r.hashes.ReadHashes(places)
	if r.reader.failed != nil {
		return nil, r.reader.failed
	}
	if err != nil {
		return nil, &DamageError{where.path(), "does not lead to the checkpoint's root", err}
	}
	for i, entry := range entries {
		if tlog.RecordHash(entry) != hashes[i] {
			return nil, &DamageError{where.path(), fmt.Sprintf("entry %d is not the one in the tree", first+int64(i)), nil}
		}
	}
	return entries, nil
}

// tileFetcher gives tlog the tiles of a log. It keeps those that tlog has authenticated: the upper ones serve every bundle.
type tileFetcher struct {
	fetch  Fetch
	ctx    context.Context // of the call being served: tlog's interface has no place for it
	kept   map[tlog.Tile][]byte
	failed error // of fetch, told apart from tiles that are wrong
}

// Height implements tlog.TileReader.
func (t *tileFetcher) Height() int { return tileHeight }

// ReadTiles implements tlog.TileReader.
func (t *tileFetcher) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		if kept, ok := t.kept[tile]; ok {
			data[i] = kept
			continue
		}
		where := resource{tile: tileID{tile.L, tile.N}, width: tile.W}
		content, err := t.fetch(t.ctx, where.path())
		if err != nil {
			t.failed = fmt.Errorf("fetch %s: %w", where.path(), err)
			return nil, t.failed
		}
		data[i] = content
	}
	return data, nil
}

// SaveTiles implements tlog.TileReader. Tiles of leaves serve one bundle, so only those above are kept.
func (t *tileFetcher) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	for i, tile := range tiles {
		if tile.L > 0 {
			t.kept[tile] = data[i]
		}
	}
}
