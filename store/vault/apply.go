package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// maxVersion is more than any record has, and still a number to every reader of JSON. No request is made for a greater one.
const maxVersion = 1 << 53

// maxRetries bounds how often a write is made again because the record became, after the engine refused it, what the write expects.
const maxRetries = 5

// Apply implements store.Store. One write is one request, and one for each part. Several are checked first, all but the first at the same time, and
// then made in order; if one fails when others were made the error is a *PartialError.
func (s *Store) Apply(ctx context.Context, writes ...store.Write) error {
	if err := store.CheckWrites(writes); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if len(writes) > 1 {
		if err := s.check(ctx, writes[1:]); err != nil {
			return s.missed(ctx, err)
		}
	}
	for i, w := range writes {
		if err := s.write(ctx, w); err != nil {
			if err = s.missed(ctx, err); i > 0 {
				return &PartialError{Done: i, Err: err}
			}
			return err
		}
	}
	return nil
}

// missed turns the conflict of a write whose record is gone into the loss of the store, where that is gone.
func (s *Store) missed(ctx context.Context, err error) error {
	var conflict *store.ConflictError
	if !errors.As(err, &conflict) || conflict.Have != 0 {
		return err
	}
	if lost := s.present(ctx, s.lately()); lost != nil {
		return fmt.Errorf("%s: %w", conflict.Key, lost)
	}
	return err
}

// check returns a conflict if a record does not have the version that a write replaces.
func (s *Store) check(ctx context.Context, writes []store.Write) error {
	return s.each(len(writes), func(i int) error {
		at, err := s.stat(ctx, escapeKey(writes[i].Key))
		if err != nil {
			return fmt.Errorf("%s: %w", writes[i].Key, err)
		}
		if at.live() != writes[i].Version {
			return &store.ConflictError{Key: writes[i].Key, Have: at.live(), Want: writes[i].Version}
		}
		return nil
	})
}

// write makes one write and tells those who watch.
func (s *Store) write(ctx context.Context, w store.Write) error {
	end := s.cache.begin(w.Key)
	var kept *store.Record
	defer func() { end(kept) }()

	var done status
	var content any = tombstone
	var parts record
	var first time.Time // when the first of them was written
	if w.Value != nil {
		content = valueRecord{Value: w.Value}
	}
	if len(w.Value) > PartSize {
		var err error
		if parts, first, err = s.split(ctx, w.Key, w.Value); err != nil {
			s.dropParts(ctx, w.Key, parts)
			return fmt.Errorf("%s: %w", w.Key, err)
		}
		content = partsRecord{ID: parts.ID, Parts: parts.Parts, Size: parts.Size, SHA256: parts.SHA256}
	}
	started := s.now()
	done, err := s.swap(ctx, w, content)
	if err != nil {
		if errors.Is(err, store.ErrConflict) {
			s.dropParts(ctx, w.Key, parts) // nothing names them; when it is in doubt whether something does, they stay
			return err
		}
		return fmt.Errorf("%s: %w", w.Key, err)
	}
	if old, ok := s.parts.forget(w.Key, w.Version); ok {
		s.dropParts(ctx, w.Key, old)
	}
	if w.Value == nil {
		_ = s.finish(ctx, escapeKey(w.Key), started) // it is deleted; what is left of it is cleared away by others
		s.watch.publish(change{w.Key, 0, done.created})
		return nil
	}
	if parts.Parts > 0 {
		if done.created.Sub(first) >= s.orphaned/2 {
			if err := s.restore(ctx, w.Key, parts, w.Value); err != nil {
				return fmt.Errorf("%s: %w", w.Key, err)
			}
		}
		s.parts.learn(w.Key, done.version, parts)
	}
	kept = &store.Record{Key: w.Key, Version: done.version, Value: w.Value}
	s.watch.publish(change{w.Key, done.version, done.created})
	return nil
}

// swap puts content where the record has the write's version, and else returns a conflict with the version that it has.
func (s *Store) swap(ctx context.Context, w store.Write, content any) (status, error) {
	path := escapeKey(w.Key)
	patience := newPatience(s)
	for range maxRetries {
		if w.Version < maxVersion {
			done, err := s.put(ctx, path, w.Version, content)
			if !errors.Is(err, errCAS) {
				return done, err
			}
		}
		at, err := s.stat(ctx, path)
		if err != nil {
			return status{}, err
		}
		if w.Version == 0 {
			if at, err = s.makeRoom(ctx, path, at, patience); err != nil {
				return status{}, err
			}
		}
		if at.live() != w.Version {
			return status{}, &store.ConflictError{Key: w.Key, Have: at.live(), Want: w.Version}
		}
	}
	return status{}, fmt.Errorf("%w: it is written again and again by others", store.ErrUnavailable)
}
