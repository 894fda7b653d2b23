package audit

import (
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// Tiles are of height 8, as c2sp.org/tlog-tiles has them: a tile holds up to 256 consecutive hashes of every eighth level of the tree.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	tileBytes  = tileWidth * tlog.HashSize
)

// tileID names a tile: the n-th of a level, a level being eight levels of the tree.
type tileID struct {
	level int
	n     int64
}

// parent returns the tile that has the root of this one among its leaves, and which leaf that is.
func (id tileID) parent() (tileID, int) {
	return tileID{id.level + 1, id.n >> tileHeight}, int(id.n & (tileWidth - 1))
}

// tile is the subtree over a tile's hashes: nodes[k] are the roots of its complete subtrees of 2^k leaves, so that any node is found
// without hashing. The slices only grow, within capacity allocated at the start. A copy of a tile therefore stays what it was while the
// original grows, and can be read at the same time.
type tile struct {
	nodes [tileHeight + 1][]tlog.Hash
}

func newTile() tile {
	var t tile
	backing := make([]tlog.Hash, 2*tileWidth-1)
	for k := range t.nodes {
		width := tileWidth >> k
		t.nodes[k], backing = backing[:0:width], backing[width:]
	}
	return t
}

// push adds a leaf to a tile that is not full, and the nodes that it completes.
func (t *tile) push(h tlog.Hash) {
	t.nodes[0] = append(t.nodes[0], h)
	for k := 0; k < tileHeight && len(t.nodes[k])%2 == 0; k++ {
		last := len(t.nodes[k]) - 1
		t.nodes[k+1] = append(t.nodes[k+1], tlog.NodeHash(t.nodes[k][last-1], t.nodes[k][last]))
	}
}

func (t *tile) width() int      { return len(t.nodes[0]) }
func (t *tile) full() bool      { return len(t.nodes[0]) == tileWidth }
func (t *tile) root() tlog.Hash { return t.nodes[tileHeight][0] } // of a full tile

// encode returns the first width hashes as c2sp.org/tlog-tiles serves them.
func (t *tile) encode(width int) []byte {
	b := make([]byte, 0, width*tlog.HashSize)
	for _, h := range t.nodes[0][:width] {
		b = append(b, h[:]...)
	}
	return b
}

// decodeTile reads a full tile.
func decodeTile(b []byte) (tile, bool) {
	if len(b) != tileBytes {
		return tile{}, false
	}
	t := newTile()
	for hash := range slices.Chunk(b, tlog.HashSize) {
		t.push(tlog.Hash(hash))
	}
	return t, true
}

// tree is the right edge of a log's tree, from which its root follows and to which entries are added: at each level the tile that is
// not full yet. Copies made with clone can be read while the original grows.
type tree struct {
	size int64
	edge []tile
}

// clone returns a tree to add to. Adding to two clones of one tree spoils both, see tile.
func (t tree) clone() tree { return tree{t.size, slices.Clone(t.edge)} }

// push adds a leaf, and gives the tiles it fills, lowest first.
func (t *tree) push(leaf tlog.Hash, filled func(tileID, tile)) {
	index, h := t.size, leaf
	for level := 0; ; level++ {
		if level == len(t.edge) {
			t.edge = append(t.edge, newTile())
		}
		t.edge[level].push(h)
		if !t.edge[level].full() {
			break
		}
		done := t.edge[level]
		t.edge[level] = newTile()
		index >>= tileHeight
		filled(tileID{level, index}, done)
		h = done.root()
	}
	t.size++
}

// onEdge returns the unfilled tile with this name, if it is one.
func (t *tree) onEdge(id tileID) (*tile, bool) {
	if id.level >= len(t.edge) || id.n != t.size>>(tileHeight*(id.level+1)) {
		return nil, false
	}
	return &t.edge[id.level], true
}

// hashReader reads the hashes that package tlog asks for from tiles, wherever tiles come from.
type hashReader func(tileID) (*tile, error)

// ReadHashes implements tlog.HashReader.
func (read hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	var id tileID
	var last *tile
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		k := level % tileHeight
		at := tileID{level / tileHeight, n >> (tileHeight - k)}
		if last == nil || at != id {
			t, err := read(at)
			if err != nil {
				return nil, err
			}
			id, last = at, t
		}
		place := int(n & (tileWidth>>k - 1))
		if place >= len(last.nodes[k]) {
			return nil, fmt.Errorf("audit log: hash %d of level %d is not in a tree this small", n, level)
		}
		hashes[i] = last.nodes[k][place]
	}
	return hashes, nil
}

// root returns the tree hash, which needs nothing but the edge.
func (t *tree) root() tlog.Hash {
	root, err := tlog.TreeHash(t.size, hashReader(func(id tileID) (*tile, error) {
		edge, ok := t.onEdge(id)
		if !ok {
			panic("audit: tree hash asked for a tile off the edge")
		}
		return edge, nil
	}))
	if err != nil {
		panic("audit: " + err.Error()) // the reader above gives none
	}
	return root
}
