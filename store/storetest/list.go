package storetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/store"
)

// listed are keys in the order of their bytes, chosen around "/" (0x2f): "!" to "." sort before it and "0" after.
var listed = []string{
	"a/!",
	"a/b!c",
	"a/b-c",
	"a/b.c/d",
	"a/b/c",
	"a/b/c/d",
	"a/b/d",
	"a/b0",
	"a/bc",
	"a/bc/d",
	"ab/c",
	"b/a",
}

func fill(t *testing.T, s store.Store, keys []string) {
	t.Helper()
	for i := range keys { // backwards, so that order is the store's work
		apply(t, s, store.Write{Key: keys[len(keys)-1-i], Value: []byte("x")})
	}
}

// list returns the keys of a page. The records are at version 1, but for one that was updated.
func list(t *testing.T, s store.Store, prefix, after string, limit int, updated string) []string {
	t.Helper()
	entries, err := s.List(t.Context(), prefix, after, limit)
	if err != nil {
		t.Fatalf("List %q after %q: %v", prefix, after, err)
	}
	keys := []string{}
	for _, e := range entries {
		keys = append(keys, e.Key)
		want := uint64(1)
		if e.Key == updated {
			want = 2
		}
		if e.Version != want {
			t.Errorf("List has %s at version %d, want %d", e.Key, e.Version, want)
		}
	}
	return keys
}

func testList(t *testing.T, s store.Store) {
	if none := list(t, s, "a/", "", 10, ""); len(none) != 0 {
		t.Fatalf("an empty store lists %v", none)
	}
	fill(t, s, listed)
	const updated = "a/b/c"
	apply(t, s, store.Write{Key: updated, Version: 1, Value: []byte("updated")})
	for limit := 1; limit <= len(listed)+1; limit++ {
		var all []string
		for after := ""; ; {
			page := list(t, s, "", after, limit, updated)
			all = append(all, page...)
			if len(page) < limit {
				break
			}
			after = page[len(page)-1]
		}
		if !slices.Equal(all, listed) {
			t.Fatalf("pages of %d:\n%v\nwant\n%v", limit, all, listed)
		}
	}
	apply(t, s, store.Write{Key: "a/bc", Version: 1})
	if got := list(t, s, "a/", "a/b0", 10, updated); !slices.Equal(got, []string{"a/bc/d"}) {
		t.Fatalf("after a deletion: %v", got)
	}
}

func testPrefix(t *testing.T, s store.Store) {
	fill(t, s, listed)
	for _, prefix := range []string{"", "a/", "a/b/", "a/bc/", "a/b/c/", "a/b.c/", "ab/", "b/", "c/", "A/", "a/b/c/d/", "zz/"} {
		var want []string
		for _, key := range listed {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		// After nothing, each key, what sorts between keys, what sorts before and behind the prefix.
		for _, after := range append([]string{"", "!/!", "a/b/", "a/b/b", "a/b~", "~/~"}, listed...) {
			rest := slices.DeleteFunc(slices.Clone(want), func(key string) bool { return key <= after })
			if got := list(t, s, prefix, after, 100, ""); !slices.Equal(got, rest) {
				t.Errorf("List %q after %q = %v, want %v", prefix, after, got, rest)
			}
		}
	}
}
