//go:build linux

package sealedfd_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vouchsafe/vouchsafe/client/sealedfd"
)

// TestSealed: the content is there, from the beginning, and nobody can change it, not even by opening it anew.
func TestSealed(t *testing.T) {
	for _, content := range [][]byte{[]byte("secret\x00\n"), {}, bytes.Repeat([]byte{1, 2, 3}, 1<<18)} {
		file, err := sealedfd.New("test", content)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if got, err := io.ReadAll(file); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
		}
		if info, err := file.Stat(); err != nil || info.Mode() != 0o400 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if _, err := file.WriteAt([]byte{'x'}, 0); err == nil {
			t.Error("it was written to")
		}
		if file.Truncate(0) == nil && len(content) > 0 || file.Truncate(1<<20) == nil {
			t.Error("its size was changed")
		}
		if _, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, 0); err == nil {
			t.Error("its seals can be changed")
		}
		path := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
		if anew, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			if _, err := anew.Write([]byte{'x'}); err == nil {
				t.Error("it was written to after it was opened anew")
			}
			anew.Close()
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
			t.Errorf("by its path: %d bytes of %d, %v", len(got), len(content), err)
		}
	}
}

// TestInherit: only a descriptor that was handed over stays open in another program.
func TestInherit(t *testing.T) {
	file, err := sealedfd.New("test", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	flags := func() int {
		flags, err := unix.FcntlInt(file.Fd(), unix.F_GETFD, 0)
		if err != nil {
			t.Fatal(err)
		}
		return flags
	}
	if flags()&unix.FD_CLOEXEC == 0 {
		t.Error("it is inherited without being handed over")
	}
	number, err := sealedfd.Inherit(file)
	if err != nil || number != int(file.Fd()) || flags()&unix.FD_CLOEXEC != 0 {
		t.Errorf("descriptor %d, %v, flags %#x", number, err, flags())
	}
	out, err := exec.Command("cat", fmt.Sprintf("/proc/self/fd/%d", number)).Output()
	if err != nil || string(out) != "secret" {
		t.Errorf("a child reads %q, %v", out, err)
	}
	file.Close()
	if _, err := sealedfd.Inherit(file); err == nil {
		t.Error("a closed file was handed over")
	}
}
