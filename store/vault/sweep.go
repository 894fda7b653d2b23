package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// sweepParts is how old parts must be before they are removed because no record names them: much older than partsWithin.
const sweepParts = time.Hour

// SweepResult is what a sweep removed.
type SweepResult struct {
	Tombstones int // names of records that were deleted
	Parts      int // parts of values that no record names
}

// Sweep removes what was left behind by those who stopped half-way: tombstones whose names were not removed, and parts of large values that no record names.
// Nothing of it can be seen through the store, but it takes room, and listings pass over it. A sweep costs a request for each record and each folder; once a
// day, as package broker/data has it, is often enough. Several at the same time do no harm.
func (s *Store) Sweep(ctx context.Context) (SweepResult, error) {
	var result SweepResult
	if err := s.enter(ctx); err != nil {
		return result, err
	}
	defer s.leave()
	for after := ""; ; {
		keys, err := s.keys(ctx, "", after, maxLook)
		if err != nil {
			return result, err
		}
		found, err := s.statAll(ctx, keys)
		if err != nil {
			return result, err
		}
		for i, at := range found {
			if !at.deleted || s.now().Sub(at.created) < s.settled {
				continue
			}
			if err := s.takeOver(ctx, escapeKey(keys[i]), at); err != nil {
				return result, fmt.Errorf("%s: %w", keys[i], err)
			}
			result.Tombstones++
		}
		if len(keys) < maxLook {
			break
		}
		after = keys[len(keys)-1]
	}
	err := s.sweepFolder(ctx, "", &result)
	return result, err
}

// sweepFolder removes the parts below a folder of the parts, whose path is "" or ends with "/".
func (s *Store) sweepFolder(ctx context.Context, folder string, result *SweepResult) error {
	names, err := s.list(ctx, partsName+"/"+folder)
	if err != nil {
		return err
	}
	named := "" // the parts that the record which belongs to the folder names
	looked, keep := false, false
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			if err := s.sweepFolder(ctx, folder+name, result); err != nil {
				return err
			}
			continue
		}
		id, _, ok := strings.Cut(strings.TrimPrefix(name, partPrefix), "-")
		if !ok || !strings.HasPrefix(name, partPrefix) || folder == "" {
			continue // not one of ours
		}
		path := partsName + "/" + folder + name
		at, err := s.stat(ctx, path)
		if err != nil {
			return err
		}
		// Age first: a part that is old now was written before the record is read, so the record that names it was too.
		if at.version == 0 || s.age(at) < s.orphaned {
			continue
		}
		if !looked {
			if named, keep, err = s.namedParts(ctx, strings.TrimSuffix(folder, "/")); err != nil {
				return err
			}
			looked = true
		}
		if keep || id == named {
			continue
		}
		if err := s.drop(ctx, path); err != nil {
			return err
		}
		result.Parts++
	}
	return nil
}

// age is how long ago a version was written. It is Vault's clock that dated it, and by that alone what was written just now would be old where the clock here
// is ahead. The clock here bounds it as well: where several nodes of Vault answer, each has its own.
func (s *Store) age(of status) time.Duration {
	now, known := s.conn.Clock()
	if !known || of.created.IsZero() {
		return 0
	}
	return min(now.Sub(of.created), s.now().Sub(of.created))
}

// namedParts returns the id of the parts that the record at a path names, "" if none. With keep it might name any: it is damaged, or was deleted by hand and
// can be undeleted.
func (s *Store) namedParts(ctx context.Context, path string) (id string, keep bool, err error) {
	c, err := s.read(ctx, path)
	if errors.Is(err, errAbsent) {
		at, err := s.statHistory(ctx, path)
		// A version that is there was written between the two requests.
		return "", at.version > 0 && (!at.deleted || at.kept), err
	}
	if errors.Is(err, errGutted) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	r, err := parseRecord(c.Data)
	return r.ID, err != nil, nil // whoever reads a damaged one is told: it is no reason to leave everything else lying
}

var _ store.Store = (*Store)(nil)
