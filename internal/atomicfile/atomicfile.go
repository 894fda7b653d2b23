// Package atomicfile replaces files at once or not at all: whoever reads one sees the old content or the new, also after a crash.
package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Write gives the file at path its content and mode. The folder must exist.
func Write(path string, content []byte, mode os.FileMode) error {
	return Create(path, mode, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// WriteNew is Write for a file that must not be there yet: where there is one, it stays as it is and the error is an fs.ErrExist.
func WriteNew(path string, content []byte, mode os.FileMode) error {
	return create(path, mode, os.Link, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// Create gives the file at path the content that write writes, and the mode. When write fails nothing is changed and nothing is left
// behind. Until it is in its place the file is its owner's alone.
func Create(path string, mode os.FileMode, write func(io.Writer) error) error {
	return create(path, mode, os.Rename, write)
}

// create writes a file beside path and has place put it there.
func create(path string, mode os.FileMode, place func(from, to string) error, write func(io.Writer) error) error {
	folder := filepath.Dir(path)
	file, err := os.CreateTemp(folder, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // gone already when all went well, or another name of the file in its place
	if err := write(file); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := errors.Join(file.Chmod(mode), file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := place(file.Name(), path); err != nil {
		return err
	}
	return syncFolder(folder)
}

// syncFolder makes a rename durable.
func syncFolder(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
