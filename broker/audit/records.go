package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vouchsafe/vouchsafe/store"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxPart is the most bytes of entries in one record: half of store.MaxValue, so that a store may seal and encode it. A commit of
// many long entries makes several records.
const maxPart = store.MaxValue / 2

// records knows the log's keys and reads what is under them. See the package comment for the layout.
type records struct {
	store  store.Store
	prefix string
}

func (r records) head() string { return r.prefix + "/head" }

func (r records) tile(id tileID) string {
	return fmt.Sprintf("%s/tile/%d/%012x", r.prefix, id.level, id.n)
}

// entries is a record of consecutive entries of a bundle; first is the place in the bundle of the first of them.
func (r records) entries(bundle int64, first int) string {
	return fmt.Sprintf("%s/entries/%012x/%02x", r.prefix, bundle, first)
}

// owns reports whether a key is the log's.
func (r records) owns(key string) bool {
	return key == r.prefix || strings.HasPrefix(key, r.prefix+"/")
}

// state is a log at one size, as it is stored. What is in it does not change, except that slices and tiles grow beyond what it sees of
// them.
type state struct {
	tree    tree
	signed  []byte // the checkpoint as it was signed, which is the value of the head record
	head    Checkpoint
	version uint64           // the head record's
	tail    [][]byte         // the entries of the bundle that is not full
	filled  map[tileID]*tile // the tiles that the last commit filled, for its receipts
	grown   chan struct{}    // closed when another state took its place
}

// load reads the head and the right edge of the tree, and checks that they belong together. When another process appended meanwhile, it
// reads again.
func (r records) load(ctx context.Context, known note.Verifiers, origin string) (*state, error) {
	for range maxAttempts {
		s, version, err := r.loadOnce(ctx, known, origin)
		if !errors.Is(err, ErrDamaged) || version == 0 {
			return s, err
		}
		record, readErr := r.store.Get(ctx, r.head())
		if readErr != nil || record.Version == version {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: the audit log changes faster than it can be read", store.ErrUnavailable)
}

// loadOnce also returns the version of the head record that it read.
func (r records) loadOnce(ctx context.Context, known note.Verifiers, origin string) (*state, uint64, error) {
	record, err := r.store.Get(ctx, r.head())
	if err != nil {
		return nil, 0, r.missing(ctx, err)
	}
	head, err := VerifyCheckpoint(known, origin, record.Value)
	if err != nil {
		return nil, record.Version, &DamageError{r.head(), "is not a checkpoint of this log", err}
	}
	s := &state{signed: record.Value, head: head, version: record.Version, grown: make(chan struct{})}
	bundle, width := int64(head.Size)/tileWidth, int(head.Size%tileWidth)
	if s.tail, err = r.readBundle(ctx, bundle, width); err != nil {
		return nil, record.Version, err
	}
	if err := r.loadEdge(ctx, s); err != nil {
		return nil, record.Version, err
	}
	if root := s.tree.root(); root != head.Root {
		return nil, record.Version, &DamageError{r.prefix, fmt.Sprintf("entries and tiles at the end have the root %v, and %v was signed for %d entries",
			root, head.Root, head.Size), nil}
	}
	if err := r.checkBeyond(ctx, bundle, width); err != nil {
		return nil, record.Version, err
	}
	return s, record.Version, nil
}

// missing tells a store without a log from a log without a head.
func (r records) missing(ctx context.Context, err error) error {
	if !errors.Is(err, store.ErrNotFound) {
		return readError(r.head(), err)
	}
	left, err := r.store.List(ctx, r.prefix+"/", "", 1)
	if err != nil {
		return readError(r.head(), err)
	}
	if len(left) > 0 { // the head is the first record of a log, before any entry
		return &DamageError{r.head(), fmt.Sprintf("is missing, but %s is there", left[0].Key), nil}
	}
	return fmt.Errorf("%w: %s", ErrNoLog, r.prefix)
}

// loadEdge makes the tiles of the right edge: of the lowest level from the entries, of the others from the full tiles below.
func (r records) loadEdge(ctx context.Context, s *state) error {
	s.tree.size = int64(s.head.Size)
	lowest := newTile()
	for _, entry := range s.tail {
		lowest.push(tlog.RecordHash(entry))
	}
	s.tree.edge = append(s.tree.edge, lowest)
	for level := 1; s.tree.size>>(tileHeight*level) > 0; level++ {
		edge := newTile()
		tiles := s.tree.size >> (tileHeight * level)
		for n := tiles &^ (tileWidth - 1); n < tiles; n++ {
			below, err := r.readTile(ctx, tileID{level - 1, n})
			if err != nil {
				return err
			}
			edge.push(below.root())
		}
		s.tree.edge = append(s.tree.edge, edge)
	}
	return nil
}

// checkBeyond looks for an entry beyond the head. In a store that is atomic there is none, unless the head is not the one that was
// written with the entries. In another it may be of an interrupted commit, see adopt.
func (r records) checkBeyond(ctx context.Context, bundle int64, width int) error {
	if !r.store.Atomic() {
		return nil
	}
	key := r.entries(bundle, width)
	_, err := r.store.Get(ctx, key)
	switch {
	case err == nil:
		return &DamageError{key, fmt.Sprintf("is beyond the head, which has %d entries", bundle*tileWidth+int64(width)), nil}
	case errors.Is(err, store.ErrNotFound):
		return nil
	}
	return readError(key, err)
}

// readTile reads a full tile as it is stored, unchecked.
func (r records) readTile(ctx context.Context, id tileID) (tile, error) {
	key := r.tile(id)
	record, err := r.store.Get(ctx, key)
	if err != nil {
		return tile{}, readError(key, err)
	}
	t, ok := decodeTile(record.Value)
	if !ok {
		return tile{}, &DamageError{key, fmt.Sprintf("is %d bytes and not %d", len(record.Value), tileBytes), nil}
	}
	return t, nil
}

// readBundle reads the first width entries of a bundle as they are stored, unchecked. The result has room for the whole bundle.
func (r records) readBundle(ctx context.Context, bundle int64, width int) ([][]byte, error) {
	all := make([][]byte, 0, tileWidth)
	for len(all) < width {
		key := r.entries(bundle, len(all))
		record, err := r.store.Get(ctx, key)
		if err != nil {
			return nil, readError(key, err)
		}
		entries, err := parseBundle(record.Value, width-len(all))
		if err != nil || len(entries) == 0 {
			return nil, &DamageError{key, fmt.Sprintf("does not hold some of the %d entries from there on", width-len(all)), err}
		}
		all = append(all, entries...)
	}
	return all, nil
}

// readError sorts what Get says of a record that has to be there: it is missing or damaged, or the store cannot tell now. The cause of
// damage is text only, since to a caller store.ErrNotFound means that what it asked for is not in the log.
func readError(key string, err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
		return &DamageError{key, "cannot be read: " + err.Error(), nil}
	}
	return fmt.Errorf("audit log: read %s: %w", key, err)
}
