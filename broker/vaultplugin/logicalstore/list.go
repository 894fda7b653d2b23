package logicalstore

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/vouchsafe/vouchsafe/store"
)

// List implements store.Store. Vault lists one folder at a time and all of it, so a page of a large folder costs a list of its names; versions are read of
// the page's records only.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	if err := store.CheckList(prefix, limit); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	var page []store.Entry
	err := s.walk(ctx, recordPrefix, prefix, after, func(key string) (bool, error) {
		e, err := s.entry(ctx, key)
		if err != nil {
			return false, err
		}
		if e.version != 0 { // or it was deleted since it was listed
			page = append(page, store.Entry{Key: key, Version: e.version})
		}
		return len(page) < limit, nil
	})
	return page, err
}

// walk calls visit for each name in the storage's folder root that begins with folder, which ends with "/" or is empty, and sorts after "after", in the order of
// their bytes, until visit returns false or an error.
func (s *Store) walk(ctx context.Context, root, folder, after string, visit func(name string) (more bool, err error)) error {
	_, err := s.walkFolder(ctx, root, folder, after, visit)
	return err
}

func (s *Store) walkFolder(ctx context.Context, root, folder, after string, visit func(string) (bool, error)) (more bool, err error) {
	listed, err := s.storage.List(ctx, root+escape(folder))
	if err != nil {
		return false, unavailable("listing "+folder, err)
	}
	// In the order of what the names mean. A folder's name ends with "/", so that it is where its records are in the order of all.
	names := make([]string, 0, len(listed))
	for _, path := range listed {
		if name, ok := unescape(path); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		full := folder + name
		switch {
		case strings.HasSuffix(name, "/"):
			if full <= after && !strings.HasPrefix(after, full) {
				continue // all that is in it sorts before
			}
			more, err = s.walkFolder(ctx, root, full, after, visit)
		case full <= after:
			continue
		default:
			more, err = visit(full)
		}
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// Sweep removes the parts that nothing leads to, which a process that was killed left behind. It reads the names of parts and the records that they are of,
// and may run while the store is used.
func (s *Store) Sweep(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.walk(ctx, partPrefix, "", "", func(name string) (bool, error) {
		version, n := "", ""
		key := name
		if i := strings.LastIndexByte(key, '/'); i >= 0 {
			key, n = key[:i], key[i+1:]
		}
		if i := strings.LastIndexByte(key, '/'); i >= 0 {
			key, version = key[:i], key[i+1:]
		}
		return true, s.sweepPart(ctx, name, key, version, n)
	})
}

func (s *Store) sweepPart(ctx context.Context, name, key, version, n string) error {
	lock := &s.locks[s.stripe(key)]
	lock.Lock() // whoever writes the record has written its parts before, under this lock
	defer lock.Unlock()
	if store.CheckKey(key) == nil {
		e, err := s.entry(ctx, key)
		if err != nil {
			return err
		}
		if number, err := strconv.Atoi(n); err == nil && number < e.parts() && version == strconv.FormatUint(e.version, 10) {
			return nil
		}
	}
	if err := s.storage.Delete(ctx, partPrefix+escape(name)); err != nil {
		return unavailable("removing a part of "+key, err)
	}
	return nil
}
