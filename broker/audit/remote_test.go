package audit

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/vouchsafe/vouchsafe/store"
)

// TestRemote reads entries of logs of sizes around those of bundles and tiles, and counts what a single one costs.
func TestRemote(t *testing.T) {
	log := mustOpen(t, testConfig(t, newBolt(t)))
	const most = 600
	for i := range most {
		mustAppend(t, log, testEntry(i))
		size := uint64(i + 1)
		if size > 3 && size%255 > 2 {
			continue
		}
		fetched := 0
		r := NewRemote(func(ctx context.Context, path string) ([]byte, error) {
			fetched++
			return log.ReadPath(ctx, path)
		}, log.Head())
		next := uint64(0)
		for e, err := range r.Entries(t.Context(), 0, size) {
			if err != nil {
				t.Fatalf("size %d: %v", size, err)
			}
			if want := testEntry(int(next)); e.Index != next || !bytes.Equal(e.Data, want) {
				t.Fatalf("size %d: entry %d is %q, want %q", size, e.Index, e.Data, want)
			}
			next++
		}
		if next != size {
			t.Fatalf("size %d: %d entries", size, next)
		}
		fetched = 0
		for _, err := range r.Entries(t.Context(), size-1, size) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if fetched > 4 {
			t.Errorf("size %d: one entry took %d fetches", size, fetched)
		}
	}
	r := NewRemote(log.ReadPath, log.Head())
	for _, err := range r.Entries(t.Context(), 0, most+1) {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("past the end: %v, want ErrNotFound", err)
		}
	}
}

// TestRemoteBelievesNothing changes each byte of each thing fetched on the way to an entry.
func TestRemoteBelievesNothing(t *testing.T) {
	log := mustOpen(t, testConfig(t, newBolt(t)))
	grow(t, log, 260)
	read := func(fetch Fetch) error {
		for _, err := range NewRemote(fetch, log.Head()).Entries(t.Context(), 258, 259) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	sizes := map[string]int{}
	if err := read(func(ctx context.Context, path string) ([]byte, error) {
		content, err := log.ReadPath(ctx, path)
		sizes[path] = len(content)
		return content, err
	}); err != nil {
		t.Fatal(err)
	}
	if len(sizes) < 3 {
		t.Fatalf("only %v were fetched", sizes)
	}
	for path, size := range sizes {
		for at := range size {
			err := read(func(ctx context.Context, asked string) ([]byte, error) {
				content, err := log.ReadPath(ctx, asked)
				if asked == path {
					content = bytes.Clone(content)
					content[at] ^= 1
				}
				return content, err
			})
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d of %s: error %v, want ErrDamaged", at, path, err)
			}
		}
	}
	down := errors.New("connection refused")
	if err := read(func(context.Context, string) ([]byte, error) { return nil, down }); !errors.Is(err, down) || errors.Is(err, ErrDamaged) {
		t.Errorf("a failing fetch: %v", err)
	}
}
