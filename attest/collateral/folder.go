package collateral

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/atomicfile"
)

// suffix ends the names of items' files. What has another is not looked at.
const suffix = ".item"

// Names in the folder that are no items.
const (
	damagedFolder = "damaged"     // files that could not be used, as they were found
	wantedFile    = "wanted.json" // what is missing: see [Wanted]
)

// maxDamaged bounds how many files are set aside. More are removed: they are of no use, and must not fill a disk.
const maxDamaged = 64

// folder is where items are on disk: the file NAME.item holds the encoded item of that name. Files are replaced at once or not at all, so a
// folder is good after any crash, and may be written by several processes: a server and an operator's commands.
type folder struct {
	dir        string
	readOnly   bool             // nothing is written, moved or removed
	seen       map[string]stamp // files as they were read or written last, by item name
	unreadable map[string]bool  // by item name; reported once
}

// stamp tells a file from a later one.
type stamp struct {
	size    int64
	changed time.Time
}

// openFolder makes the folder where it is not there, unless nothing is to be written.
func openFolder(dir string, readOnly bool) (*folder, error) {
	var err error
	if readOnly {
		_, err = os.Stat(dir)
	} else {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("collateral: %w", err)
	}
	return &folder{dir, readOnly, map[string]stamp{}, map[string]bool{}}, nil
}

func (f *folder) path(name Name) string {
	return filepath.Join(f.dir, filepath.FromSlash(name.text)+suffix)
}

// write puts an item into its file.
func (f *folder) write(i *Item) error {
	encoded, err := i.Encode()
	if err != nil {
		return err
	}
	path := f.path(i.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("collateral: %w", err)
	}
	if err := atomicfile.Write(path, encoded, 0o600); err != nil {
		return fmt.Errorf("collateral: %w", err)
	}
	if info, err := os.Stat(path); err == nil {
		f.seen[i.Name.text] = stamp{info.Size(), info.ModTime()}
	}
	return nil
}

// remove deletes an item's file.
func (f *folder) remove(name Name) error {
	delete(f.seen, name.text)
	if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("collateral: %w", err)
	}
	return nil
}

// Damage is a file that is not used, and why.
type Damage struct {
	File   string `json:"file"`   // below the folder
	Reason string `json:"reason"` // in words
}

// scan reads the files that have changed since they were read or written last, and gives each item to use; an error of use, or a file that is
// damaged, sets the file aside and is returned. At most limit files are looked at. gone are the names of items whose files are no longer there.
func (f *folder) scan(limit int, use func(*Item) error) (damage []Damage, gone []string, err error) {
	found := map[string]bool{}
	err = filepath.WalkDir(f.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed meanwhile
			}
			return err
		}
		below, err := filepath.Rel(f.dir, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if below == damagedFolder {
				return fs.SkipDir
			}
			return nil
		}
		text, ok := strings.CutSuffix(filepath.ToSlash(below), suffix)
		if !ok {
			return nil
		}
		if len(found) >= limit {
			return fmt.Errorf("collateral: %s has over %d items, the most that are used: remove some", f.dir, limit)
		}
		found[text] = true
		info, err := entry.Info()
		if err != nil {
			return nil // removed meanwhile
		}
		now := stamp{info.Size(), info.ModTime()}
		if f.seen[text] == now {
			return nil
		}
		if reason := f.read(path, text, use); reason != nil {
			said, err := f.unusable(path, below, text, reason)
			damage = append(damage, said...)
			return err
		}
		f.seen[text] = now
		delete(f.unreadable, text)
		return nil
	})
	for text := range f.seen {
		if !found[text] && err == nil {
			gone = append(gone, text)
			delete(f.seen, text)
		}
	}
	return damage, gone, err
}

// unusable deals with a file that could not be read, or not be used, and returns what is to be said of it.
func (f *folder) unusable(path, below, text string, reason error) ([]Damage, error) {
	switch {
	case errors.Is(reason, fs.ErrNotExist):
		return nil, nil // removed meanwhile
	case !errors.Is(reason, fs.ErrPermission):
		return []Damage{{below, reason.Error()}}, f.setAside(path, below)
	case f.unreadable[text]:
		return nil, nil
	}
	// It may be good, so it stays where it is; one such file must not keep a broker from starting.
	f.unreadable[text] = true
	return []Damage{{below, reason.Error() + ": run commands that write collateral as the broker's user"}}, nil
}

// read reads one file. Only regular files are opened: no link leads out of the folder, and no pipe blocks.
func (f *folder) read(path, text string, use func(*Item) error) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("collateral: %w: not a regular file", ErrDamaged)
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	encoded, err := io.ReadAll(io.LimitReader(file, MaxItem+1))
	if err != nil {
		return err
	}
	i, err := Decode(encoded)
	if err != nil {
		return err
	}
	if i.Name.text != text {
		return fmt.Errorf("collateral: %w: the file holds the item %s", ErrDamaged, i.Name)
	}
	return use(i)
}

// setAside moves a file out of the way, so that somebody can look at it and the next fetch takes its place.
func (f *folder) setAside(path, below string) error {
	if f.readOnly {
		return nil
	}
	dir := filepath.Join(f.dir, damagedFolder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("collateral: %w", err)
	}
	held, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("collateral: %w", err)
	}
	if len(held) >= maxDamaged {
		err = os.Remove(path)
	} else {
		err = os.Rename(path, filepath.Join(dir, strings.ReplaceAll(filepath.ToSlash(below), "/", "_")))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("collateral: %w", err)
	}
	return nil
}
