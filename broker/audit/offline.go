package audit

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Fetch reads a C2SP path of a log, as [Log.ReadPath] does, or an HTTP client.
type Fetch func(ctx context.Context, path string) ([]byte, error)

// AuditConfig says what an audit checks a log against.
type AuditConfig struct {
	Origin    string         // the log's name. Required.
	Verifiers note.Verifiers // its keys, those of the past too. Required.
	// Old is a signed checkpoint that the auditor kept from before, which the log must still contain. Optional, but
	// without it a log that was put back to an earlier state, or replaced by its owner, is not found out.
	Old []byte
	// Each is called with every entry in order, once its whole bundle was checked against its tile. The root is checked only at the
	// end: when Audit fails, nothing that Each saw is proved. Optional. An error of it ends the audit and is returned.
	Each func(index uint64, entry []byte) error
}

// Report says what an audit found to be in order.
type Report struct {
	Checkpoint Checkpoint // what was audited
	Signed     []byte     // the same as it was signed, to keep for the next audit's Old
	Bytes      uint64     // the length of all entries together
	Old        Checkpoint // what Old said, if it was given
}

// Audit reads a whole log and computes every hash of it from the entries, and compares with every tile and the signed root. It needs
// memory for two bundles. Errors wrap ErrDamaged, ErrRolledBack, ErrForked, ErrUnverified, ErrMalformed or what fetch and Each return.
func Audit(ctx context.Context, fetch Fetch, config AuditConfig) (Report, error) {
	a := auditor{fetch: fetch, config: config}
	var err error
	if config.Old != nil {
		if a.report.Old, err = VerifyCheckpoint(config.Verifiers, config.Origin, config.Old); err != nil {
			return Report{}, fmt.Errorf("earlier checkpoint: %w", err)
		}
	}
	if a.report.Signed, err = fetch(ctx, "checkpoint"); err != nil {
		return Report{}, fmt.Errorf("fetch checkpoint: %w", err)
	}
	if a.report.Checkpoint, err = VerifyCheckpoint(config.Verifiers, config.Origin, a.report.Signed); err != nil {
		return Report{}, err
	}
	if old, now := a.report.Old.Size, a.report.Checkpoint.Size; now < old {
		return Report{}, fmt.Errorf("%w: it had %d entries and has %d", ErrRolledBack, old, now)
	}
	if err := a.run(ctx); err != nil {
		return Report{}, err
	}
	return a.report, nil
}

type auditor struct {
	fetch  Fetch
	config AuditConfig
	report Report
	tree   tree
}

func (a *auditor) run(ctx context.Context) error {
	for size := int64(a.report.Checkpoint.Size); a.tree.size < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		width := int(min(tileWidth, size-a.tree.size))
		if err := a.bundle(ctx, a.tree.size/tileWidth, width); err != nil {
			return err
		}
	}
	// What is left on the edge are the partial tiles; the lowest was compared with its bundle.
	for level := 1; level < len(a.tree.edge); level++ {
		t := &a.tree.edge[level]
		if t.width() > 0 {
			if err := a.compare(ctx, tileID{level, a.tree.size >> (tileHeight * (level + 1))}, t); err != nil {
				return err
			}
		}
	}
	if err := a.compareOld(); err != nil { // for a log of no entries
		return err
	}
	if root := a.tree.root(); root != a.report.Checkpoint.Root {
		return &DamageError{"checkpoint", fmt.Sprintf("has the root %v, and the %d entries have %v",
			a.report.Checkpoint.Root, a.report.Checkpoint.Size, root), nil}
	}
	return nil
}

// bundle takes the first width entries of a bundle into the tree.
func (a *auditor) bundle(ctx context.Context, n int64, width int) error {
	where := resource{entries: true, tile: tileID{0, n}, width: width}
	content, err := a.get(ctx, where)
	if err != nil {
		return err
	}
	entries, err := parseBundle(content, width)
	if err != nil {
		return &DamageError{where.path(), "is not an entry bundle", err}
	}
	if len(entries) != width {
		return &DamageError{where.path(), fmt.Sprintf("has %d entries, not %d", len(entries), width), nil}
	}
	var filled []tileID
	var tiles []tile
	for _, entry := range entries {
		if err := a.compareOld(); err != nil {
			return err
		}
		a.report.Bytes += uint64(len(entry))
		a.tree.push(tlog.RecordHash(entry), func(id tileID, t tile) {
			filled, tiles = append(filled, id), append(tiles, t)
		})
	}
	if width < tileWidth {
		filled, tiles = append(filled, tileID{0, n}), append(tiles, a.tree.edge[0])
	}
	for i := range tiles {
		if err := a.compare(ctx, filled[i], &tiles[i]); err != nil {
			return err
		}
	}
	if a.config.Each == nil {
		return nil
	}
	for i, entry := range entries {
		if err := a.config.Each(uint64(n*tileWidth)+uint64(i), entry); err != nil {
			return err
		}
	}
	return nil
}

// compareOld holds the tree against the earlier checkpoint, when it is at that size.
func (a *auditor) compareOld() error {
	if a.config.Old == nil || uint64(a.tree.size) != a.report.Old.Size {
		return nil
	}
	if root := a.tree.root(); root != a.report.Old.Root {
		return fmt.Errorf("%w: its first %d entries have the root %v, and it signed %v for them", ErrForked,
			a.report.Old.Size, root, a.report.Old.Root)
	}
	return nil
}

// compare holds a tile computed from entries against the one that is served.
func (a *auditor) compare(ctx context.Context, id tileID, computed *tile) error {
	where := resource{tile: id, width: computed.width()}
	content, err := a.get(ctx, where)
	if err != nil {
		return err
	}
	want := computed.encode(computed.width())
	if len(content) != len(want) {
		return &DamageError{where.path(), fmt.Sprintf("is %d bytes, not %d", len(content), len(want)), nil}
	}
	for i := 0; i < len(want); i += tlog.HashSize {
		if string(content[i:i+tlog.HashSize]) != string(want[i:i+tlog.HashSize]) {
			place := int64(i/tlog.HashSize) + id.n*tileWidth
			return &DamageError{where.path(), fmt.Sprintf("hash %d of level %d is not that of its entries", place, id.level), nil}
		}
	}
	return nil
}

func (a *auditor) get(ctx context.Context, where resource) ([]byte, error) {
	content, err := a.fetch(ctx, where.path())
	if err == nil || errors.Is(err, ErrDamaged) {
		return content, err
	}
	return nil, fmt.Errorf("fetch %s: %w", where.path(), err)
}
