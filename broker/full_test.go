//go:build linux

package broker_test

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
)

// TestInvariant2FullDisk fills the file system under the store: nothing is released until there is space again.
func TestInvariant2FullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m,mode=0700"); err != nil {
		t.Skipf("cannot mount a small file system (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	data := filepath.Join(dir, "broker")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Run("broker", func(t *testing.T) { // which ends before the file system does
		b, g := started(t, brokertest.Config{Dir: data})
		if b.Data.Bolt == nil {
			t.Skip("the store is not a file in this file system")
		}
		filler := filepath.Join(dir, "filler")
		if err := os.WriteFile(filler, make([]byte, 64<<20), 0o600); err == nil {
			t.Fatal("the disk does not fill")
		}
		refused := 0
		for range 200 { // the store's file has some room left
			r, err := g.fetch("a/b")
			if err == nil {
				g.open(r, 0)
				continue
			}
			wantCode(t, err, broker.CodeUnavailable)
			if r != nil {
				t.Fatal("released without a record")
			}
			refused++
		}
		if refused == 0 {
			t.Fatal("the disk was never full: the test does not test")
		}
		// What was read before is still read.
		if _, err := b.Secret(t.Context(), b.Admin, ns, "a/b"); err != nil {
			t.Error(err)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		if value := g.mustFetch("a/b"); !bytes.Equal(value, []byte(plaintext)) {
			t.Errorf("after recovery: %q", value)
		}
		events(t, b) // each of which can be read
	})
}
