package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/store"
)

// maxLook bounds how many records' versions one List looks up before it goes on with the folders.
const maxLook = 1000

// errEnough ends a walk.
var errEnough = errors.New("enough")

// List implements store.Store. It lists the folders that the page is in, and looks up the versions of the page's records only, several at a time.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	if err := store.CheckList(prefix, limit); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	var entries []store.Entry
	for {
		want := min(limit-len(entries), maxLook)
		keys, err := s.keys(ctx, prefix, after, want)
		if err != nil {
			return nil, err
		}
		found, err := s.statAll(ctx, keys)
		if err != nil {
			return nil, err
		}
		for i, at := range found {
			if version := at.live(); version != 0 { // else it has been deleted
				entries = append(entries, store.Entry{Key: keys[i], Version: version})
			}
		}
		if len(keys) < want || len(entries) == limit {
			return entries, nil
		}
		after = keys[len(keys)-1]
	}
}

// statAll looks up what is at several keys.
func (s *Store) statAll(ctx context.Context, keys []string) ([]status, error) {
	found := make([]status, len(keys))
	err := s.each(len(keys), func(i int) (err error) {
		if found[i], err = s.stat(ctx, escapeKey(keys[i])); err != nil {
			return fmt.Errorf("%s: %w", keys[i], err)
		}
		return nil
	})
	return found, err
}

// keys returns up to limit keys below prefix that sort after the key "after", in order, of records and of tombstones.
func (s *Store) keys(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	path := ""
	if prefix != "" {
		if store.CheckKey(prefix+"a/a") != nil && store.CheckKey(prefix+"a") != nil {
			return nil, nil // no key begins so
		}
		path = escapeKey(strings.TrimSuffix(prefix, "/")) + "/"
	}
	w := walk{store: s, after: after, limit: limit}
	err := w.folder(ctx, path, prefix)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return w.keys, err
}

// walk goes through folders in the order of keys.
type walk struct {
	store *Store
	after string
	limit int
	keys  []string
}

// folder adds the keys in the folder at path, which is where those that begin with text are.
func (w *walk) folder(ctx context.Context, path, text string) error {
	if strings.Count(text, "/") >= store.MaxSegments {
		return nil // made by hand: no key is as deep
	}
	names, err := w.store.segments(ctx, path)
	if err != nil {
		return err
	}
	for _, name := range names {
		key := text + name
		if strings.HasSuffix(name, "/") {
			if key < w.after && !strings.HasPrefix(w.after, key) {
				continue // every key that begins so sorts before
			}
			if err := w.folder(ctx, path+escapeKey(strings.TrimSuffix(name, "/"))+"/", key); err != nil {
				return err
			}
			continue
		}
		if key <= w.after || store.CheckKey(key) != nil {
			continue
		}
		w.keys = append(w.keys, key)
		if len(w.keys) == w.limit {
			return errEnough
		}
	}
	return nil
}

// segments returns the names in a folder in the order of the keys that they are in: of a record, a segment, and of a folder, a segment and "/". Names that
// this store does not give are passed over.
func (s *Store) segments(ctx context.Context, path string) ([]string, error) {
	var names []string
	if err := s.addSegments(ctx, path, "", &names); err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// addSegments adds the segments whose elements so far are begun, which is "" or ends with "/".
func (s *Store) addSegments(ctx context.Context, path, begun string, names *[]string) error {
	if len(begun) > 4*store.MaxSegment {
		return nil // made by hand: no segment is as long
	}
	listed, err := s.list(ctx, path+begun)
	if err != nil {
		return err
	}
	for _, name := range listed {
		element, folder := strings.CutSuffix(name, "/")
		if _, continues, err := unescape(element); err != nil {
			continue
		} else if continues {
			if folder {
				if err := s.addSegments(ctx, path, begun+name, names); err != nil {
					return err
				}
			}
			continue
		}
		segment, err := unescapeSegment(begun + element)
		if err != nil {
			continue
		}
		if folder {
			segment += "/"
		}
		*names = append(*names, segment)
	}
	return nil
}
