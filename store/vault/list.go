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
	names, err := s.segments(ctx, path)
	if err != nil {
		return nil, err
	}
	w := walk{store: s, after: after, limit: limit, ahead: 1}
	err = w.folder(ctx, path, prefix, names)
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err == nil && len(w.keys) == 0 {
		err = s.present(ctx, s.lately())
	}
	return w.keys, err
}

// walk goes through folders in the order of keys.
type walk struct {
	store *Store
	after string
	limit int
	ahead int // how many folders are listed at a time: more the further it goes, since the first may be enough
	keys  []string
}

// subfolder is a folder whose names are known.
type subfolder struct {
	path, text string
	names      []string
}

// folder adds the keys in the folder at path, which is where those that begin with text are.
func (w *walk) folder(ctx context.Context, path, text string, names []string) error {
	var listed []subfolder // of those to come
	for i, name := range names {
		key := text + name
		if w.passes(key) {
			continue
		}
		if !strings.HasSuffix(name, "/") {
			w.keys = append(w.keys, key)
			if len(w.keys) == w.limit {
				return errEnough
			}
			continue
		}
		if len(listed) == 0 {
			var err error
			if listed, err = w.list(ctx, path, text, names[i:]); err != nil {
				return err
			}
		}
		next := listed[0]
		listed = listed[1:]
		if err := w.folder(ctx, next.path, next.text, next.names); err != nil {
			return err
		}
	}
	return nil
}

// passes reports whether a key, or all keys that begin with it if it ends with "/", are not asked for, or cannot be keys.
func (w *walk) passes(key string) bool {
	if strings.HasSuffix(key, "/") {
		return key < w.after && !strings.HasPrefix(w.after, key) || strings.Count(key, "/") >= store.MaxSegments
	}
	return key <= w.after || store.CheckKey(key) != nil
}

// list returns the first folders among names, with what is in them.
func (w *walk) list(ctx context.Context, path, text string, names []string) ([]subfolder, error) {
	var folders []subfolder
	for _, name := range names {
		if segment, is := strings.CutSuffix(name, "/"); is && !w.passes(text+name) {
			folders = append(folders, subfolder{path: path + escapeKey(segment) + "/", text: text + name})
		}
		if len(folders) == w.ahead {
			break
		}
	}
	w.ahead = min(2*w.ahead, w.store.config.Parallel)
	err := w.store.each(len(folders), func(i int) (err error) {
		folders[i].names, err = w.store.segments(ctx, folders[i].path)
		return err
	})
	return folders, err
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
