package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/store"
)

func TestCheckKey(t *testing.T) {
	segment := strings.Repeat("s", store.MaxSegment)
	long := strings.Join([]string{segment, segment, segment, segment}, "/") // of 1023 bytes
	for _, key := range []string{
		"a/b", "sys/seal", store.Key("default", "payments", "db"), "a/" + segment, segment + "/a", long,
		strings.TrimSuffix(strings.Repeat("a/", store.MaxSegments), "/"),
		"a/...", "a/.b", "a/b.", "a/..b", "!/~", "a/%2e%2e",
	} {
		if err := store.CheckKey(key); err != nil {
			t.Errorf("%.60q: %v", key, err)
		}
	}
	for _, key := range []string{
		"", "/", "a", "a/", "/a", "/a/b", "a/b/", "a//b", "//", "./a", "a/.", "../a", "a/..", "a/../b",
		"a/b c", " a/b", "a/b\n", "a/\x00", "a/\x7f", "a/\x80", "a/ü", "a/\u202e",
		"a/" + segment + "s", long + "/a",
		strings.TrimSuffix(strings.Repeat("a/", store.MaxSegments+1), "/"),
		strings.Repeat("a", 1<<20), strings.Repeat("/", 1<<20),
	} {
		if err := store.CheckKey(key); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%.60q: %v, want ErrInvalid", key, err)
		}
	}
}

func TestCheckWrites(t *testing.T) {
	value := []byte("x")
	for name, writes := range map[string][]store.Write{
		"none":        nil,
		"create":      {{Key: "a/b", Value: value}},
		"empty value": {{Key: "a/b", Value: []byte{}}},
		"update":      {{Key: "a/b", Version: 7, Value: value}},
		"delete":      {{Key: "a/b", Version: 7}},
		"several":     {{Key: "a/b", Value: value}, {Key: "a/c", Value: value}, {Key: "a/b/c", Value: value}},
		"largest":     {{Key: "a/b", Value: make([]byte, store.MaxValue)}},
	} {
		if err := store.CheckWrites(writes); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, writes := range map[string][]store.Write{
		"bad key":         {{Key: "a", Value: value}},
		"second bad":      {{Key: "a/b", Value: value}, {Key: "a//b", Value: value}},
		"twice":           {{Key: "a/b", Value: value}, {Key: "a/c", Value: value}, {Key: "a/b", Version: 1}},
		"too large":       {{Key: "a/b", Value: make([]byte, store.MaxValue+1)}},
		"delete nothing":  {{Key: "a/b"}},
		"delete any of 2": {{Key: "a/c", Version: 1}, {Key: "a/b"}},
	} {
		if err := store.CheckWrites(writes); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func TestCheckList(t *testing.T) {
	for _, prefix := range []string{"", "a/", "a/b/", "/"} {
		if err := store.CheckList(prefix, 1); err != nil {
			t.Errorf("%q: %v", prefix, err)
		}
	}
	for _, prefix := range []string{"a", "a/b", strings.Repeat("a", store.MaxKey) + "/"} {
		if err := store.CheckList(prefix, 1); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%.60q: %v, want ErrInvalid", prefix, err)
		}
	}
	for _, limit := range []int{0, -1} {
		if err := store.CheckList("a/", limit); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("limit %d: %v, want ErrInvalid", limit, err)
		}
	}
}

func TestConflictError(t *testing.T) {
	for want, err := range map[string]*store.ConflictError{
		"does not exist":    {Key: "a/b", Want: 3},
		"exists already":    {Key: "a/b", Have: 2},
		"at version 2, not": {Key: "a/b", Have: 2, Want: 3},
	} {
		if !errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// keys are some that are keys, and some that nearly are.
var keys = []string{"a/b", "sys/seal", "a//b", "../a", "a/b c", "default/payments/db/password"}

// checkKey: what is accepted is safe as a path anywhere.
func checkKey(t *testing.T, key string) {
	t.Helper()
	if store.CheckKey(key) != nil {
		return
	}
	segments := strings.Split(key, "/")
	if len(key) > store.MaxKey || len(segments) < store.MinSegments || len(segments) > store.MaxSegments || store.Key(segments...) != key {
		t.Fatalf("accepted %q", key)
	}
	for _, s := range segments {
		if s == "" || s == "." || s == ".." || len(s) > store.MaxSegment || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("accepted %q with segment %q", key, s)
		}
	}
}

func TestMutationsKey(t *testing.T) {
	var seeds [][]byte
	for _, key := range keys {
		seeds = append(seeds, []byte(key))
	}
	mutate.Run(t, seeds, func(t *testing.T, input []byte) { checkKey(t, string(input)) })
}

func FuzzCheckKey(f *testing.F) {
	for _, key := range keys {
		f.Add(key)
	}
	f.Fuzz(checkKey)
}
