//go:build linux

package secretfile_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vouchsafe/vouchsafe/client/secretfile"
)

// memory returns an empty folder on tmpfs.
func memory(t *testing.T) string {
	t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &stat); err != nil || int64(stat.Type) != unix.TMPFS_MAGIC {
		t.Skip("/dev/shm is not tmpfs here")
	}
	dir, err := os.MkdirTemp("/dev/shm", "secretfile")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// disk returns an empty folder that is not on tmpfs.
func disk(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{t.TempDir(), "."} {
		var stat unix.Statfs_t
		if err := unix.Statfs(dir, &stat); err == nil && int64(stat.Type) != unix.TMPFS_MAGIC && int64(stat.Type) != unix.RAMFS_MAGIC {
			made, err := os.MkdirTemp(dir, "disk")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(made) })
			return made
		}
	}
	t.Skip("every folder here is on tmpfs")
	return ""
}

func open(t *testing.T, c secretfile.Config) *secretfile.Folder {
	t.Helper()
	f, err := secretfile.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// tree returns what is below a folder, with modes, and contents of files.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		b.WriteString(info.Mode().String() + " " + name)
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b.WriteString(" " + string(content))
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(memory(t), "new")
	f := open(t, secretfile.Config{Folder: dir, Make: true})
	if info, err := os.Stat(dir); err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("%v, %v", info, err)
	}
	files := []secretfile.File{{Name: "a/b/c", Content: []byte("one\x00\n")}, {Name: "a/d", Content: nil}, {Name: ".pgpass", Content: []byte("two")}}
	for range 2 { // the second time everything is there
		if err := f.Write(files...); err != nil {
			t.Fatal(err)
		}
		const want = "-rw------- .pgpass two\ndrwx------ a\ndrwx------ a/b\n-rw------- a/b/c one\x00\n\n-rw------- a/d \n"
		if got := tree(t, dir); got != want {
			t.Errorf("written:\n%s", got)
		}
	}
}

// TestReplace: a reader of the old file keeps it whole, and a wide mode does not stay.
func TestReplace(t *testing.T) {
	dir := memory(t)
	if err := os.WriteFile(filepath.Join(dir, "s"), []byte("the old secret"), 0o666); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := open(t, secretfile.Config{Folder: dir}).Write(secretfile.File{Name: "s", Content: []byte("new")}); err != nil {
		t.Fatal(err)
	}
	if old, err := io.ReadAll(reader); err != nil || string(old) != "the old secret" {
		t.Errorf("the reader of the old file reads %q, %v", old, err)
	}
	if got := tree(t, dir); got != "-rw------- s new\n" {
		t.Errorf("written:\n%s", got)
	}
}

func TestDisk(t *testing.T) {
	dir := disk(t)
	if _, err := secretfile.Open(secretfile.Config{Folder: dir}); !errors.Is(err, secretfile.ErrDisk) {
		t.Errorf("a folder on disk: %v", err)
	}
	if err := open(t, secretfile.Config{Folder: dir, AllowDisk: true}).Write(secretfile.File{Name: "s"}); err != nil {
		t.Errorf("allowed: %v", err)
	}
}

// TestWayOut: nothing is written outside of the folder, nor over what is no file, and what was asked for beside it is
// not written either.
func TestWayOut(t *testing.T) {
	outside := memory(t)
	dir := memory(t)
	plant := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	plant(os.WriteFile(filepath.Join(outside, "victim"), []byte("as it was"), 0o600))
	plant(os.Symlink(outside, filepath.Join(dir, "folder")))
	plant(os.Symlink(filepath.Join(outside, "victim"), filepath.Join(dir, "link")))
	plant(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	plant(os.Mkdir(filepath.Join(dir, "taken"), 0o700))
	plant(os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	before, beforeOutside := tree(t, dir), tree(t, outside)
	f := open(t, secretfile.Config{Folder: dir})
	for _, name := range []string{
		"", ".", "..", "../x", "a/../../x", "a/../x", "/etc/x", "a//b", "a/", "./a", "nul\x00", "folder/victim", "folder/new", "link", "fifo", "taken", "file/below",
	} {
		if err := f.Write(secretfile.File{Name: "good", Content: []byte("s")}, secretfile.File{Name: name, Content: []byte("s")}); err == nil {
			t.Errorf("%q was written", name)
		}
	}
	for _, names := range [][]string{{"a", "a"}, {"a", "a/b"}, {"a/b/c", "a"}} {
		if err := secretfile.CheckNames(names...); !errors.Is(err, secretfile.ErrName) {
			t.Errorf("%q: %v", names, err)
		}
	}
	if got := tree(t, dir); got != before {
		t.Errorf("the folder was\n%s and is\n%s", before, got)
	}
	if got := tree(t, outside); got != beforeOutside {
		t.Errorf("outside was\n%s and is\n%s", beforeOutside, got)
	}
}

func TestAbsent(t *testing.T) {
	dir := memory(t)
	for _, c := range []secretfile.Config{{Folder: filepath.Join(dir, "no")}, {Folder: filepath.Join(dir, "no", "where"), Make: true}, {}} {
		if _, err := secretfile.Open(c); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestForeignFolders: a folder that someone else owns or may change is not written to, however it got its name: its owner could put another
// file in the place of a secret.
func TestForeignFolders(t *testing.T) {
	const stranger = 65534
	mode := func(mode fs.FileMode) func(string) error {
		return func(dir string) error { return os.Chmod(dir, mode) }
	}
	own := func(dir string) error { return os.Chown(dir, stranger, stranger) }
	for name, test := range map[string]struct {
		change  func(dir string) error
		allowed bool
	}{
		"one's own":                    {mode(0o700), true},
		"others may read":              {mode(0o755), true},
		"like /dev/shm":                {mode(0o777 | fs.ModeSticky), true},
		"others may write":             {mode(0o777), false},
		"others may write, not read":   {mode(0o702), false},
		"the group may write":          {mode(0o770), false},
		"a stranger's":                 {own, false},
		"a stranger's, like /dev/shm":  {func(dir string) error { return errors.Join(own(dir), os.Chmod(dir, 0o777|fs.ModeSticky)) }, false},
		"the group's, with sticky bit": {mode(0o770 | fs.ModeSticky), true},
	} {
		t.Run(name, func(t *testing.T) {
			parent := memory(t)
			below := filepath.Join(parent, "below")
			for _, dir := range []string{below, parent} {
				if err := errors.Join(os.MkdirAll(dir, 0o700), test.change(dir)); errors.Is(err, fs.ErrPermission) {
					t.Skip("only root can give folders away")
				} else if err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range []secretfile.Config{{Folder: parent}, {Folder: parent, Make: true}, {Folder: below}} {
				f, err := secretfile.Open(c)
				if errors.Is(err, secretfile.ErrForeign) == test.allowed {
					t.Errorf("%+v: %v", c, err)
				}
				if err == nil {
					_ = f.Close()
				}
			}
			if err := errors.Join(os.Chmod(parent, 0o700), os.Chown(parent, os.Getuid(), os.Getgid())); err != nil {
				t.Fatal(err)
			}
			err := open(t, secretfile.Config{Folder: parent}).Write(secretfile.File{Name: "below/secret", Content: []byte("s")})
			if errors.Is(err, secretfile.ErrForeign) == test.allowed {
				t.Errorf("written below: %v", err)
			}
			if _, err := os.Stat(filepath.Join(below, "secret")); (err == nil) != test.allowed {
				t.Errorf("the file: %v", err)
			}
		})
	}
}
