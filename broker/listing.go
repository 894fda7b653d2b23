package broker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/store"
)

// Listings are read from the store in pages, and only as far as they are answered: what a page costs does not grow with what lies around it. For a caller with a
// scope the store is asked for what is below each of its paths, and not for all there is.

// pageOf lists up to limit names below root whose keys begin with prefix, after the name "after". folder is the longest prefix of
// prefix that ends with "/".
func (b *Broker) pageOf(ctx context.Context, folder, prefix, root, after string, limit int) (names []string, more bool, err error) {
	return b.pageOfKept(ctx, folder, prefix, root, after, limit, func(string) bool { return true })
}

// pageOfKept is pageOf of those names that keep returns true for.
func (b *Broker) pageOfKept(ctx context.Context, folder, prefix, root, after string, limit int, keep func(name string) bool) (names []string, more bool, err error) {
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	from := before(prefix)
	if after != "" {
		from = max(from, root+after)
	}
	for {
		entries, err := b.store.List(ctx, folder, from, limit+1) // one, to know whether there is more
		if err != nil {
			return nil, false, asError(err)
		}
		for _, e := range entries {
			from = e.Key
			if !strings.HasPrefix(e.Key, prefix) {
				return names, false, nil // keys are in order: all that follow are past the prefix
			}
			name := strings.TrimPrefix(e.Key, root)
			if !keep(name) {
				continue
			}
			if len(names) == limit {
				return names, true, nil
			}
			names = append(names, name)
		}
		if len(entries) <= limit {
			return names, false, nil
		}
	}
}

// before returns a string that sorts before every key with the prefix and after every other key that sorts before those. Keys are of
// bytes below 0x7f, so that is the prefix with its last byte one lower, and 0x7f behind it.
func before(prefix string) string {
	last := len(prefix) - 1
	return prefix[:last] + string(rune(prefix[last]-1)) + "\x7f"
}

// span is names that are listed one after the other, and nothing between them that is not.
type span struct {
	folder, prefix string // as of pageOf, below root
	itself         bool   // it is the one name prefix
}

// spansOf are those of names that begin with prefix and lie in a scope, in their order. itself says that a name can be that of a path of the scope, and not
// only lie below it.
func spansOf(scope access.Scope, prefix string, itself bool) []span {
	folder := prefix[:strings.LastIndexByte(prefix, '/')+1]
	if scope.All() {
		return []span{{folder: folder, prefix: prefix}}
	}
	var spans []span
	for _, below := range scope {
		if path := strings.TrimSuffix(below, "/"); itself && strings.HasPrefix(path, prefix) {
			spans = append(spans, span{prefix: path, itself: true})
		}
		switch {
		case strings.HasPrefix(below, prefix):
			spans = append(spans, span{folder: below, prefix: below})
		case strings.HasPrefix(prefix, below):
			spans = append(spans, span{folder: folder, prefix: prefix})
		}
	}
	// No path of a scope lies below another, so that spans do not overlap: between payments and what is below it there may be payments-old.
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.prefix, b.prefix) })
	return spans
}

// pageWithin is pageOf of the names that lie in a scope. It reads at most one page of the store for each path of that, however much lies elsewhere.
func (b *Broker) pageWithin(ctx context.Context, scope access.Scope, itself bool, prefix, root, after string, limit int) (names []string, more bool, err error) {
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	for _, s := range spansOf(scope, prefix, itself) {
		if after != "" && s.prefix <= after && (s.itself || !strings.HasPrefix(after, s.prefix)) {
			continue // all of it was listed before
		}
		var found []string
		rest := false
		left := limit - len(names)
		if s.itself {
			found, err = b.nameItself(ctx, root, s.prefix)
		} else {
			found, rest, err = b.pageOf(ctx, root+s.folder, root+s.prefix, root, after, max(left, 1)) // one, to know whether there is more
		}
		if err != nil {
			return nil, false, err
		}
		if left == 0 && len(found) > 0 {
			return names, true, nil
		}
		if names = append(names, found...); rest {
			return names, true, nil
		}
	}
	return names, false, nil
}

// nameItself returns a name, if there is a record of it below root.
func (b *Broker) nameItself(ctx context.Context, root, name string) ([]string, error) {
	_, err := b.store.Get(ctx, root+name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, asError(err)
	}
	return []string{name}, nil
}
