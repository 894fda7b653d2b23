//go:build linux

package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
)

// TestDiskFull fills the file system under a store, sees that it says so and goes on reading, and that it writes again
// once there is space.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=40m,mode=0700"); err != nil {
		t.Skipf("cannot mount a small file system (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "store")
	s := create(t, path)
	value := bytes.Repeat([]byte("x"), 1<<20)
	if err := s.Apply(t.Context(), store.Write{Key: "default/before", Value: value}); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		events, err := s.Watch(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		ballast := filepath.Join(dir, "ballast")
		fillUp(t, ballast)
		failed := 0
		for i := range 30 {
			err := s.Apply(t.Context(), store.Write{Key: fmt.Sprintf("default/full/%d/%d", round, i), Value: value})
			if err != nil && !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("on a full disk: %v", err)
			}
			if err != nil {
				failed++
			}
			if r, err := s.Get(t.Context(), "default/before"); err != nil || !bytes.Equal(r.Value, value) {
				t.Fatalf("read on a full disk: %v", err)
			}
		}
		if failed == 0 {
			t.Fatal("the disk was not full")
		}
		for told := false; !told; {
			told = (<-events).Key == "" // a write of unknown outcome
		}
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				err := s.Apply(t.Context(), store.Write{Key: fmt.Sprintf("default/together/%d/%d", round, i), Value: value})
				if err != nil && !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("on a full disk: %v", err)
				}
			})
		}
		wait.Wait()
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if err := s.Apply(t.Context(), store.Write{Key: fmt.Sprintf("default/after/%d", round), Value: value}); err != nil {
			t.Fatalf("with space again: %v", err)
		}
		// Room for the next round.
		for _, prefix := range []string{"default/full/", "default/together/"} {
			entries, err := s.List(t.Context(), prefix, "", 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if err := s.Apply(t.Context(), store.Write{Key: e.Key, Version: e.Version}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Check(t.Context(), bolt.CheckConfig{Path: path}); err != nil {
		t.Error(err)
	}
}

// fillUp writes a file until there is no space.
func fillUp(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 4096); ; {
		if _, err = file.Write(block); err != nil {
			break
		}
	}
	if closeErr := file.Close(); !errors.Is(err, syscall.ENOSPC) || closeErr != nil {
		t.Fatal(err, closeErr)
	}
}

// TestFileLimit is the same with a limit on the file's size, in a process of its own since the limit is the process's.
func TestFileLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	if err := create(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := child(t.Context(), t, "limit", path).Output(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func writeUnderLimit(path string) error {
	ctx := context.Background()
	s, err := bolt.Open(bolt.Config{Path: path})
	if err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	value := make([]byte, 1<<20)
	if err := s.Apply(ctx, store.Write{Key: "default/before", Value: value}); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	small := limit
	small.Cur = uint64(info.Size())
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		return err
	}
	failed := 0
	for i := range 40 {
		err := s.Apply(ctx, store.Write{Key: fmt.Sprintf("default/full/%d", i), Value: value})
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			return fmt.Errorf("over the limit: %w", err)
		}
		if err != nil {
			failed++
		}
	}
	if failed == 0 {
		return errors.New("the limit was never reached")
	}
	if _, err := s.Get(ctx, "default/before"); err != nil {
		return fmt.Errorf("read over the limit: %w", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	if err := s.Apply(ctx, store.Write{Key: "default/after", Value: value}); err != nil {
		return fmt.Errorf("without the limit again: %w", err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	_, err = bolt.Check(ctx, bolt.CheckConfig{Path: path})
	return err
}

// TestFaultingPage cuts a file off while it is open: reading what is gone is a memory fault, and must be an error of
// that call only.
func TestFaultingPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := create(t, path)
	value := make([]byte, 1<<20)
	for i := range 4 {
		if err := s.Apply(t.Context(), store.Write{Key: fmt.Sprintf("default/%d", i), Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(path, int64(4*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "default/0"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Get: %v", err)
	}
	if _, err := s.List(t.Context(), "default/", "", 10); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("List: %v", err)
	}
	if err := s.Apply(t.Context(), store.Write{Key: "default/5", Value: value}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Apply: %v", err)
	}
}
