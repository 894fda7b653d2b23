package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/vouchsafe/vouchsafe/store"
)

// testGetEach holds what GetEach says of keys against what Get says of each.
func testGetEach(t *testing.T, s store.Store) {
	long := bytes.Repeat([]byte("long "), 15_000) // longer than what a store may read at once
	for i, key := range []string{"a/1", "a/2", "a/3", "a/4", "a/5", "b/1"} {
		value := [][]byte{[]byte("one"), {}, long, []byte("four"), long, []byte("b")}[i]
		apply(t, s, store.Write{Key: key, Value: value})
	}
	apply(t, s, store.Write{Key: "a/4", Version: 1, Value: []byte("four again")})
	for _, keys := range [][]string{
		nil, {"a/1"}, {"a/1", "a/2", "a/3", "a/4", "a/5", "b/1"}, {"b/1", "a/5", "a/1"}, {"a/1", "a/1", "a/3", "a/3"},
		{"a/0", "a/1", "a/25", "a/5", "c/1"}, {"a/none", "also/none"}, {"a", "a/1", "../a", "a/2", "a//3", ""}, {"a/3", "a", "a/5"},
	} {
		for range 2 { // what f does to a value is gone
			var asked []string
			err := store.GetEach(t.Context(), s, keys, func(got store.Record, err error) error {
				key := keys[len(asked)]
				asked = append(asked, got.Key)
				want, wantErr := s.Get(t.Context(), key) // f may use the store
				for _, sentinel := range []error{store.ErrNotFound, store.ErrInvalid, store.ErrCorrupt, store.ErrUnavailable} {
					if errors.Is(err, sentinel) != errors.Is(wantErr, sentinel) {
						t.Errorf("%s of %q: %v, and Get says %v", key, keys, err, wantErr)
					}
				}
				if (err == nil) != (wantErr == nil) || got.Key != key || got.Version != want.Version || !bytes.Equal(got.Value, want.Value) {
					t.Errorf("%s of %q: %q version %d of %d bytes, %v; Get says version %d of %d bytes", key, keys, got.Key, got.Version, len(got.Value), err, want.Version, len(want.Value))
				}
				clear(got.Value)
				_ = append(got.Value, "and more"...)
				return nil
			})
			if err != nil || !slices.Equal(asked, keys) {
				t.Errorf("asked for %q, told of %q, %v", keys, asked, err)
			}
		}
	}
	enough, calls := errors.New("enough"), 0
	err := store.GetEach(t.Context(), s, []string{"a/1", "a/2", "a/none", "a/4"}, func(_ store.Record, err error) error {
		if calls++; calls == 2 || err != nil {
			return enough
		}
		return nil
	})
	if err != enough || calls != 2 {
		t.Errorf("%d calls, %v", calls, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = store.GetEach(ctx, s, []string{"a/1", "a/2"}, func(r store.Record, err error) error { return err })
	if err == nil {
		t.Error("a context that has ended")
	}
}
