package bolt

import (
	"errors"
	"fmt"

	"github.com/vouchsafe/vouchsafe/store"
)

// ErrNoStore is returned by Open for a path at which there is nothing, or an empty file, unless it may create a store.
var ErrNoStore = errors.New("no store here")

// ErrNotStore is returned for a file which is not a store of this program.
var ErrNotStore = errors.New("file is not a vouchsafe store")

// LockedError says that another process has the store open.
type LockedError struct {
	Path string
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("store %s is locked: another broker or command has it open; stop that one first, or use its API", e.Path)
}

// PurposeError says that a store was made for the other purpose than it was opened for.
type PurposeError struct {
	Path       string
	Have, Want store.Purpose
}

func (e *PurposeError) Error() string {
	return fmt.Sprintf("store %s was made for %s and cannot be opened for %s: use another data directory", e.Path, e.Have, e.Want)
}
