//go:build linux

// Package secretfile writes secrets into files for programs that can read them from nowhere else.
//
// # What it promises
//
// A file has mode 0600, belongs to who runs this, and is there whole or not at all: it is written under another name
// and renamed, so that a reader sees the old secret or the new one. Several files are all written before the first is
// renamed.
//
// It is on a file system in memory, tmpfs or ramfs: each folder written to is asked, by its open descriptor and before
// anything is written. A guest's memory is encrypted, its disk usually is not, and what was on a disk once is there
// after the file is removed. Whoever knows better says AllowDisk. Pages of tmpfs can be swapped out: a guest has no
// swap, an encrypted one, or mounts tmpfs with noswap.
//
// # Whose folders
//
// A folder written to belongs to who runs this or to root, and nobody else may change it: others can write to it only
// when it is sticky, as /dev/shm is. Who made a folder of the expected name before could else put a file of their own
// in the place of a secret, and have the workload believe it. Folders above are not looked at.
//
// # Names
//
// A file's name is a clean path below the folder: what leads out of it is refused, be it by ".." or through a symbolic
// link ([os.Root]). What is there already is replaced if it is a file, and refused otherwise: a device, a socket or a
// link is something that somebody else put there.
//
// # What it does not do
//
// It removes no secret that is no longer asked for, and cannot say whether the folder was there before the guest was
// measured.
package secretfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Modes of what is made.
const (
	fileMode   = 0o600
	folderMode = 0o700
)

// Errors of this package.
var (
	// ErrDisk says that a folder is not on a file system in memory.
	ErrDisk = errors.New("the folder is not on tmpfs or ramfs, so that secrets in it would reach a disk")
	// ErrForeign says that others than root and who runs this can change what is in a folder.
	ErrForeign = errors.New("somebody else can change what is in the folder, and so exchange a secret")
	// ErrName says that a name cannot be that of a file.
	ErrName = errors.New("the name cannot be that of a file")
)

// Config says where files go. Folder is needed.
type Config struct {
	Folder    string
	Make      bool // make Folder, mode 0700, when it is absent; its parent must be there
	AllowDisk bool // write to any file system
}

// Folder is an open folder. Close it when it is no longer needed.
type Folder struct {
	config Config
	root   *os.Root
}

// File is one file to write.
type File struct {
	Name    string // a path below the folder
	Content []byte
}

// Open opens the folder and says now what would keep files from being written to it: before a secret is fetched, that is.
func Open(c Config) (*Folder, error) {
	if c.Make {
		if err := os.Mkdir(c.Folder, folderMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("secretfile: %w", err)
		}
	}
	root, err := os.OpenRoot(c.Folder)
	if err != nil {
		return nil, fmt.Errorf("secretfile: %w", err)
	}
	f := &Folder{config: c, root: root}
	if err := f.check(root); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return f, nil
}

// Close closes the folder.
func (f *Folder) Close() error { return f.root.Close() }

// CheckNames returns an error that wraps [ErrName] unless files of these names can be written together.
func CheckNames(names ...string) error {
	seen := map[string]bool{}
	for _, name := range names {
		if !filepath.IsLocal(name) || path.Clean(name) != name || name == "." || strings.ContainsRune(name, 0) {
			return fmt.Errorf("secretfile: %w: %.256q is not a clean path below the folder", ErrName, name)
		}
		if seen[name] {
			return fmt.Errorf("secretfile: %w: %q is there twice", ErrName, name)
		}
		seen[name] = true
	}
	for name := range seen {
		for folder := path.Dir(name); folder != "."; folder = path.Dir(folder) {
			if seen[folder] {
				return fmt.Errorf("secretfile: %w: %q would have to be a file, and the folder of %q", ErrName, folder, name)
			}
		}
	}
	return nil
}

// Write writes the files, making the folders they are in. When it fails before the first rename nothing has changed
// but for empty folders; a rename that fails leaves the files before it new and the others as they were.
func (f *Folder) Write(files ...File) (err error) {
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = file.Name
	}
	if err := CheckNames(names...); err != nil {
		return err
	}
	written := make([]*pending, 0, len(files))
	defer func() {
		for _, p := range written {
			err = errors.Join(err, p.close())
		}
	}()
	for _, file := range files {
		p, err := f.prepare(file)
		if err != nil {
			return fmt.Errorf("secretfile: %s: %w", file.Name, err)
		}
		written = append(written, p)
	}
	for _, p := range written {
		if err := p.commit(); err != nil {
			return fmt.Errorf("secretfile: %w", err)
		}
	}
	return nil
}

// pending is a file that was written and does not have its name yet.
type pending struct {
	folder          *os.Root
	temporary, name string // temporary is "" when there is nothing to remove
}

func (f *Folder) prepare(file File) (_ *pending, err error) {
	folder := path.Dir(file.Name)
	if err := f.root.MkdirAll(folder, folderMode); err != nil {
		return nil, err
	}
	p := &pending{name: path.Base(file.Name)}
	if p.folder, err = f.root.OpenRoot(folder); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if err := f.check(p.folder); err != nil {
		return nil, err
	}
	switch info, err := p.folder.Lstat(p.name); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("what is there is no regular file but %v, and is not replaced", info.Mode().Type())
	}
	// A name that no secret has, so that two agents at one folder do not meet, and a crash leaves nothing that looks
	// like a secret.
	temporary := ".new-" + rand.Text()
	to, err := p.folder.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	p.temporary = temporary
	_, err = to.Write(file.Content)
	return p, errors.Join(err, to.Sync(), to.Close())
}

func (p *pending) commit() error {
	if err := p.folder.Rename(p.temporary, p.name); err != nil {
		return err
	}
	p.temporary = ""
	return nil
}

// close removes what was not committed.
func (p *pending) close() (err error) {
	if p.temporary != "" {
		err = p.folder.Remove(p.temporary)
	}
	return errors.Join(err, p.folder.Close())
}

// check returns an error when a folder is not one for secrets.
func (f *Folder) check(root *os.Root) error {
	folder, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("secretfile: %w", err)
	}
	defer folder.Close()
	var owner unix.Stat_t
	if err := unix.Fstat(int(folder.Fd()), &owner); err != nil {
		return fmt.Errorf("secretfile: %s: %w", root.Name(), err)
	}
	mine := owner.Uid == 0 || int(owner.Uid) == os.Geteuid()
	if shared := owner.Mode&0o022 != 0 && owner.Mode&unix.S_ISVTX == 0; !mine || shared {
		return fmt.Errorf("secretfile: %w: %s, of user %d with mode %o", ErrForeign, root.Name(), owner.Uid, owner.Mode&0o7777)
	}
	if f.config.AllowDisk {
		return nil
	}
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(folder.Fd()), &stat); err != nil {
		return fmt.Errorf("secretfile: the file system of %s: %w", f.config.Folder, err)
	}
	switch int64(stat.Type) {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return nil
	default:
		return fmt.Errorf("secretfile: %w: %s", ErrDisk, root.Name())
	}
}
