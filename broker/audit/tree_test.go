package audit

import (
	"bytes"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// reference is a log in memory made of nothing but package tlog.
type reference struct {
	hashes []tlog.Hash // by stored hash index
	size   int64
}

func (r *reference) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		hashes[i] = r.hashes[index]
	}
	return hashes, nil
}

func (r *reference) add(t *testing.T, entry []byte) {
	t.Helper()
	hashes, err := tlog.StoredHashes(r.size, entry, r)
	if err != nil {
		t.Fatal(err)
	}
	r.hashes = append(r.hashes, hashes...)
	r.size++
}

func (r *reference) root(t *testing.T, size int64) tlog.Hash {
	t.Helper()
	root, err := tlog.TreeHash(size, r)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestAgainstReference grows a log entry by entry to beyond four tiles and compares roots, proofs and tiles at every size with those of
// package tlog.
func TestAgainstReference(t *testing.T) {
	const most = 1100
	var ref reference
	l := mustOpen(t, testConfig(t, newBolt(t)))
	if l.Head().Root != ref.root(t, 0) {
		t.Fatal("the empty log has another root than the empty tree")
	}
	entries := make([][]byte, most)
	for i := range entries {
		entries[i] = testEntry(i)
	}
	for size := int64(1); size <= most; size++ {
		receipt := mustAppend(t, l, entries[size-1])
		ref.add(t, entries[size-1])
		if head := l.Head(); head.Root != ref.root(t, size) || head.Size != uint64(size) {
			t.Fatalf("size %d: root %v", size, head.Root)
		}
		if checkpoint := verifyReceipt(t, entries[size-1], receipt); checkpoint != l.Head() {
			t.Fatalf("size %d: receipt under %v", size, checkpoint)
		}
	}
	for size := int64(1); size <= most; size++ {
		root := ref.root(t, size)
		for _, index := range []int64{0, size / 3, size / 2, size - 1, (size - 1) &^ 255} {
			proof, err := l.Prove(t.Context(), uint64(index), uint64(size))
			if err != nil {
				t.Fatal(err)
			}
			want, err := tlog.ProveRecord(size, index, &ref)
			if err != nil {
				t.Fatal(err)
			}
			compareHashes(t, proof, want)
			if err := VerifyInclusion(Checkpoint{testOrigin, uint64(size), root}, uint64(index), entries[index], proof); err != nil {
				t.Fatal(err)
			}
		}
		for _, old := range []int64{1, size / 2, size - 1, size, size &^ 255} {
			if old == 0 {
				continue
			}
			proof, err := l.Consistency(t.Context(), uint64(old), uint64(size))
			if err != nil {
				t.Fatal(err)
			}
			want, err := tlog.ProveTree(size, old, &ref)
			if err != nil {
				t.Fatal(err)
			}
			compareHashes(t, tlog.RecordProof(proof), tlog.RecordProof(want))
			older := Checkpoint{testOrigin, uint64(old), ref.root(t, old)}
			if err := VerifyConsistency(older, Checkpoint{testOrigin, uint64(size), root}, proof); err != nil {
				t.Fatal(err)
			}
		}
	}
	compareTiles(t, l, &ref)
	if _, err := auditLog(t, l, nil); err != nil {
		t.Fatal(err)
	}
}

func compareHashes(t *testing.T, got, want tlog.RecordProof) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("proof of %d hashes, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("hash %d of the proof differs", i)
		}
	}
}

// compareTiles holds every tile of the log, and every narrower part of the partial ones, against those of package tlog.
func compareTiles(t *testing.T, l *Log, ref *reference) {
	t.Helper()
	for _, want := range tlog.NewTiles(tileHeight, 0, ref.size) {
		for width := 1; width <= want.W; width++ {
			if want.W == tileWidth {
				width = want.W
			}
			want := want
			want.W = width
			data, err := tlog.ReadTileData(want, ref)
			if err != nil {
				t.Fatal(err)
			}
			path := resource{tile: tileID{want.L, want.N}, width: want.W}.path()
			got, err := l.ReadPath(t.Context(), path)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%s: %v", path, err)
			}
		}
	}
}

// TestReopenAtEverySize opens a log anew at sizes around the borders of tiles and goes on.
func TestReopenAtEverySize(t *testing.T) {
	var ref reference
	s := newBolt(t)
	config := testConfig(t, s)
	l := mustOpen(t, config)
	size := 0
	for _, next := range []int{1, 2, 3, 127, 255, 256, 257, 511, 512, 513, 700, 1024, 1025} {
		for _, entry := range grow(t, l, next-size) {
			ref.add(t, entry)
		}
		size = next
		before := l.Checkpoint()
		l.Close()
		l = mustOpen(t, config)
		if !bytes.Equal(l.Checkpoint(), before) {
			t.Fatalf("size %d: the checkpoint changed with opening", size)
		}
		if l.Head().Root != ref.root(t, ref.size) || l.Size() != uint64(next) {
			t.Fatalf("size %d: root %v of %d entries", size, l.Head().Root, l.Size())
		}
		for _, index := range []int{0, size / 2, size - 1} {
			entry, err := l.Entry(t.Context(), uint64(index))
			if err != nil || !bytes.Equal(entry, testEntry(index)) {
				t.Fatalf("entry %d: %q, %v", index, entry, err)
			}
		}
	}
}

// TestLargeTree computes roots of a tree that needs tiles of level 2, which no test can append one by one.
func TestLargeTree(t *testing.T) {
	const size = 1<<16 + 300
	var ref reference
	var own tree
	filled := make(map[tileID]tile)
	for i := range size {
		entry := testEntry(i)
		ref.add(t, entry)
		own.push(tlog.RecordHash(entry), func(id tileID, f tile) { filled[id] = f })
	}
	if own.root() != ref.root(t, size) {
		t.Fatal("another root")
	}
	if len(filled) != size/256+1 {
		t.Fatalf("%d tiles filled", len(filled))
	}
	if top := filled[tileID{1, 0}]; top.root() != ref.root(t, 1<<16) {
		t.Fatal("the tile of level 1 has another root")
	}
}
