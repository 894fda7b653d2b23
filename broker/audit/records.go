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

// maxPart is the most bytes of entries in one record: half of store.MaxValue, so that a store may seal and encode it. A bundle of 256 long
// entries is several records.
const maxPart = store.MaxValue / 2

// maxStrays is how many left-over records of an interrupted commit are removed at a time; the rest go with the next open.
const maxStrays = 4096

// records knows the log's keys and reads what is under them. See the package comment for the layout.
type records struct {
	store  store.Store
	prefix string
}

func (r records) head() string { return r.prefix + "/head" }

func (r records) tile(id tileID) string {
	return fmt.Sprintf("%s/tile/%d/%012x", r.prefix, id.level, id.n)
}

// tail is the record of entries of a bundle that is not full; first is the place in the bundle of the first of them.
func (r records) tail(bundle int64, first int) string {
	return fmt.Sprintf("%s/tail/%012x/%02x", r.prefix, bundle, first)
}

// entries is a record of a full bundle.
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
	parts   []store.Entry    // the records that hold them
	filled  map[tileID]*tile // the tiles that the last commit filled, for its receipts
	strays  []store.Entry    // records that nothing leads to any more, to be deleted
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
	if err := r.loadTail(ctx, s); err != nil {
		return nil, record.Version, err
	}
	if err := r.loadEdge(ctx, s); err != nil {
		return nil, record.Version, err
	}
	if root := s.tree.root(); root != head.Root {
		return nil, record.Version, &DamageError{r.prefix, fmt.Sprintf("entries and tiles at the end have the root %v, and %v was signed for %d entries",
			root, head.Root, head.Size), nil}
	}
	if err := r.loadStrays(ctx, s); err != nil {
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

// loadTail reads the entries of the last bundle.
func (r records) loadTail(ctx context.Context, s *state) error {
	bundle, width := int64(s.head.Size)/tileWidth, int(s.head.Size%tileWidth)
	s.tail = make([][]byte, 0, tileWidth)
	for len(s.tail) < width {
		key := r.tail(bundle, len(s.tail))
		record, err := r.store.Get(ctx, key)
		if err != nil {
			return readError(key, err)
		}
		entries, err := parseBundle(record.Value, width-len(s.tail))
		if err != nil || len(entries) == 0 {
			return &DamageError{key, fmt.Sprintf("does not hold some of the last %d entries", width-len(s.tail)), err}
		}
		s.tail = append(s.tail, entries...)
		s.parts = append(s.parts, store.Entry{Key: key, Version: record.Version})
	}
	return nil
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

// loadStrays looks for records beyond the head. A store that is not atomic may have them from an interrupted commit, and they are
// noted to be deleted or written over. In one that is atomic they say that the head is not the one they were written with.
func (r records) loadStrays(ctx context.Context, s *state) error {
	bundle, width := int64(s.head.Size)/tileWidth, int(s.head.Size%tileWidth)
	if r.store.Atomic() {
		for _, key := range []string{r.tail(bundle, width), r.entries(bundle, 0)} {
			_, err := r.store.Get(ctx, key)
			if err == nil {
				return &DamageError{key, fmt.Sprintf("is beyond the head, which has %d entries", s.head.Size), nil}
			}
			if !errors.Is(err, store.ErrNotFound) {
				return readError(key, err)
			}
		}
		return nil
	}
	tails, err := r.store.List(ctx, r.prefix+"/tail/", "", maxStrays)
	if err != nil {
		return readError(r.prefix+"/tail", err)
	}
	for _, e := range tails {
		if e.Key < r.tail(bundle, 0) {
			s.strays = append(s.strays, e)
		}
	}
	return nil
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

// readBundle reads the entries of a full bundle as they are stored, unchecked.
func (r records) readBundle(ctx context.Context, bundle int64) ([][]byte, error) {
	all := make([][]byte, 0, tileWidth)
	for len(all) < tileWidth {
		key := r.entries(bundle, len(all))
		record, err := r.store.Get(ctx, key)
		if err != nil {
			return nil, readError(key, err)
		}
		entries, err := parseBundle(record.Value, tileWidth-len(all))
		if err != nil || len(entries) == 0 {
			return nil, &DamageError{key, "does not hold entries of its bundle", err}
		}
		all = append(all, entries...)
	}
	return all, nil
}

// readError sorts what Get says of a record that has to be there: it is missing or damaged, or the store cannot tell now.
func readError(key string, err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
		return &DamageError{key, "cannot be read", err}
	}
	return fmt.Errorf("audit log: read %s: %w", key, err)
}
