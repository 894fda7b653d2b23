package bolt_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/header"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

func create(tb testing.TB, path string) *bolt.Store {
	tb.Helper()
	s, err := bolt.Open(bolt.Config{Path: path, Create: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() }) // a test that needs its result closes the store itself
	return s
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return create(t, filepath.Join(t.TempDir(), "store")) })
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := create(t, path)
	header := s.Header()
	if err := s.Apply(t.Context(), store.Write{Key: "default/a", Value: []byte("kept")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	s, err = bolt.Open(bolt.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Header() != header || header.Purpose != store.Production || header.Format != bolt.Format || len(header.Store) != 32 {
		t.Fatalf("header %+v, was %+v", s.Header(), header)
	}
	if r, err := s.Get(t.Context(), "default/a"); err != nil || r.Version != 1 || string(r.Value) != "kept" {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, content []byte) string {
		if err := os.WriteFile(path(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
	production, development := path("production"), path("development")
	if err := create(t, production).Close(); err != nil {
		t.Fatal(err)
	}
	dev, err := bolt.Open(bolt.Config{Path: development, Purpose: store.Development, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	newer := write("newer", read(t, production))
	edit(t, newer, func(h map[string]any) { h["format"] = bolt.Format + 1; h["novelty"] = true })
	unknown := write("unknown", read(t, production))
	edit(t, unknown, func(h map[string]any) { h["novelty"] = true })
	foreign := path("foreign")
	db, err := bbolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		config bolt.Config
		want   func(error) bool
		says   string
	}{
		{"no path", bolt.Config{}, nil, "no path"},
		{"unknown purpose", bolt.Config{Path: production, Purpose: "test"}, nil, "purpose"},
		{"negative time-out", bolt.Config{Path: production, Timeout: -1}, nil, "time-out"},
		{"nothing there", bolt.Config{Path: path("none")}, is(bolt.ErrNoStore), "vouchsafe init"},
		{"empty file", bolt.Config{Path: write("empty", nil)}, is(bolt.ErrNoStore), "vouchsafe init"},
		{"no folder", bolt.Config{Path: path("none/store"), Create: true}, is(os.ErrNotExist), "none/store"},
		{"a folder", bolt.Config{Path: dir}, is(bolt.ErrNotStore), dir},
		{"text", bolt.Config{Path: write("text", bytes.Repeat([]byte("text"), 10_000))}, is(bolt.ErrNotStore), "text"},
		{"short text", bolt.Config{Path: write("short", []byte("text"))}, is(bolt.ErrNotStore), "short"},
		{"another program's", bolt.Config{Path: foreign, Create: true}, is(bolt.ErrNotStore), foreign},
		{"development as production", bolt.Config{Path: development}, as[*bolt.PurposeError], "made for development"},
		{"development created as production", bolt.Config{Path: development, Create: true}, as[*bolt.PurposeError], "made for development"},
		{"production as development", bolt.Config{Path: production, Purpose: store.Development}, as[*bolt.PurposeError], "made for production"},
		{"newer format", bolt.Config{Path: newer}, as[*header.FormatError], "newer program"},
		{"unknown member", bolt.Config{Path: unknown}, is(store.ErrCorrupt), "novelty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := bolt.Open(test.config)
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			if test.want != nil && !test.want(err) || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("error %q is of another kind or does not say %q", err, test.says)
			}
		})
	}
	if _, err := os.Stat(path("none")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a refused open made a file")
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	create(t, path)
	_, err := bolt.Open(bolt.Config{Path: path, Timeout: 10 * time.Millisecond})
	var locked *bolt.LockedError
	if !errors.As(err, &locked) || locked.Path != path || !strings.Contains(err.Error(), "another broker") {
		t.Fatalf("second open: %v", err)
	}
}

func is(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }

func as[E error](err error) bool {
	var target E
	return errors.As(err, &target)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// edit changes the header of a store file.
func edit(t *testing.T, path string, change func(map[string]any)) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte("vouchsafe"))
		var h map[string]any
		if err := json.Unmarshal(bucket.Get([]byte("header")), &h); err != nil {
			return err
		}
		change(h)
		data, err := json.Marshal(h)
		if err != nil {
			return err
		}
		return bucket.Put([]byte("header"), data)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}
