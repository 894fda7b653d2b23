package logicalstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return New(&logical.InmemStorage{}) })
}

// failing is a storage that does not take, or lose, what lies at some paths.
type failing struct {
	logical.InmemStorage
	mu   sync.Mutex
	fail func(operation, path string) error
}

func (f *failing) check(operation, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		return nil
	}
	return f.fail(operation, path)
}

func (f *failing) Get(ctx context.Context, path string) (*logical.StorageEntry, error) {
	if err := f.check("get", path); err != nil {
		return nil, err
	}
	return f.InmemStorage.Get(ctx, path)
}

func (f *failing) Put(ctx context.Context, e *logical.StorageEntry) error {
	if err := f.check("put", e.Key); err != nil {
		return err
	}
	return f.InmemStorage.Put(ctx, e)
}

func (f *failing) Delete(ctx context.Context, path string) error {
	if err := f.check("delete", path); err != nil {
		return err
	}
	return f.InmemStorage.Delete(ctx, path)
}

func (f *failing) paths(t *testing.T, prefix string) []string {
	t.Helper()
	var all []string
	names, err := f.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			all = append(all, f.paths(t, prefix+name)...)
		} else {
			all = append(all, prefix+name)
		}
	}
	return all
}

func TestPartsComeAndGoWithTheirRecord(t *testing.T) {
	f := &failing{}
	s := New(f)
	const key = "default/a..b/100%/large"
	large := bytes.Repeat([]byte("x"), 2*PartSize+1)
	for version, value := range [][]byte{large, large[:PartSize+1], {}, large, nil} {
		if err := s.Apply(t.Context(), store.Write{Key: key, Version: uint64(version), Value: value}); err != nil {
			t.Fatal(err)
		}
		if want := max(0, (len(value)+PartSize-1)/PartSize); len(value) > PartSize && len(f.paths(t, partPrefix)) != want || len(value) <= PartSize && len(f.paths(t, partPrefix)) != 0 {
			t.Errorf("after a value of %d bytes there are the parts %v", len(value), f.paths(t, partPrefix))
		}
		if r, err := s.Get(t.Context(), key); value != nil && (err != nil || !bytes.Equal(r.Value, value) || r.Version != uint64(version)+1) {
			t.Errorf("%d bytes came back as %d at version %d, %v", len(value), len(r.Value), r.Version, err)
		}
	}
}

func TestWhatAKilledProcessLeavesIsSwept(t *testing.T) {
	f := &failing{}
	s := New(f)
	const key = "default/secret-value/db/1"
	large := bytes.Repeat([]byte("y"), 3*PartSize)
	if err := s.Apply(t.Context(), store.Write{Key: key, Value: large}); err != nil {
		t.Fatal(err)
	}
	f.fail = func(operation, path string) error {
		if operation == "put" && strings.HasPrefix(path, recordPrefix) {
			return errors.New("killed here")
		}
		return nil
	}
	if err := s.Apply(t.Context(), store.Write{Key: key, Version: 1, Value: large[:2*PartSize]}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("%v", err)
	}
	f.fail = nil
	if n := len(f.paths(t, partPrefix)); n != 5 {
		t.Fatalf("%d parts", n)
	}
	s = New(f)
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(f.paths(t, partPrefix)); n != 3 {
		t.Errorf("%d parts are left", n)
	}
	if r, err := s.Get(t.Context(), key); err != nil || r.Version != 1 || !bytes.Equal(r.Value, large) {
		t.Errorf("version %d, %v", r.Version, err)
	}
}

func TestReadOnlyIsKnown(t *testing.T) {
	for name, said := range map[string]error{"in the process": logical.ErrReadOnly, "from a plugin's connection": errors.New(logical.ErrReadOnly.Error())} {
		f := &failing{fail: func(operation, _ string) error {
			if operation == "put" {
				return said
			}
			return nil
		}}
		err := New(f).Apply(t.Context(), store.Write{Key: "default/a", Value: []byte("x")})
		if !errors.Is(err, logical.ErrReadOnly) || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := &failing{fail: func(string, string) error { return errors.New("Vault is sealed") }}
	if _, err := New(f).Get(t.Context(), "default/a"); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, logical.ErrReadOnly) {
		t.Errorf("a storage that fails: %v", err)
	}
}

func TestAPrefixIsLeftWhereAWriteFails(t *testing.T) {
	f := &failing{}
	s := New(f)
	f.fail = func(operation, path string) error {
		if operation == "put" && path == recordPrefix+"default/b" {
			return errors.New("no")
		}
		return nil
	}
	events, err := s.Watch(t.Context(), "default/")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Apply(t.Context(), store.Write{Key: "default/a", Value: []byte("1")}, store.Write{Key: "default/b", Value: []byte("2")}, store.Write{Key: "default/c", Value: []byte("3")})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "default/a"); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), "default/c"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if e := <-events; e.Key != "" {
		t.Errorf("the receiver is told %+v, and not to read again", e)
	}
}

func TestDamage(t *testing.T) {
	whole := binary.BigEndian.AppendUint64([]byte{formatWhole}, 1)
	parts := append(binary.BigEndian.AppendUint64([]byte{formatParts}, 1), 0, 8, 0, 0, 0, 4, 0, 0)
	for name, value := range map[string][]byte{
		"empty": {}, "short": whole[:8], "version 0": make([]byte, 9), "unknown format": append([]byte{9}, whole[1:]...),
		"parts without sizes": parts[:9], "parts and more": append(bytes.Clone(parts), 0), "parts missing": parts,
		"no length":   append(bytes.Clone(parts[:9]), 0, 0, 0, 0, 0, 4, 0, 0),
		"no size":     append(bytes.Clone(parts[:9]), 0, 8, 0, 0, 0, 0, 0, 0),
		"many parts":  append(bytes.Clone(parts[:9]), 0, 8, 0, 0, 0, 0, 0, 1),
		"huge length": append(bytes.Clone(parts[:9]), 255, 255, 255, 255, 0, 4, 0, 0),
	} {
		inner := &logical.InmemStorage{}
		if err := inner.Put(t.Context(), &logical.StorageEntry{Key: recordPrefix + "default/a", Value: value}); err != nil {
			t.Fatal(err)
		}
		if r, err := New(inner).Get(t.Context(), "default/a"); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestEscape(t *testing.T) {
	for _, key := range []string{"a/b", "a/..b", "a/b..", "a/...", "a/....c/%", "a/%2E%2E", "%25/x", "a/.b/.c"} {
		path := escape(key)
		if strings.Contains(path, "..") {
			t.Errorf("%q is written %q", key, path)
		}
		if back, ok := unescape(path); !ok || back != key {
			t.Errorf("%q is written %q and read %q, %v", key, path, back, ok)
		}
	}
	for _, path := range []string{"%", "a%2e", "%2E", "%41", "a.%25%2"} {
		if key, ok := unescape(path); ok {
			t.Errorf("%q is read as %q", path, key)
		}
	}
}
