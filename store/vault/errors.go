package vault

import (
	"errors"
	"fmt"

	"github.com/vouchsafe/vouchsafe/store"
)

// ErrNoStore is returned by Open where there is no store at the prefix, unless it may create one.
var ErrNoStore = errors.New("no store here")

// ErrNotStore is returned by Open where there are records at the prefix, or a store around or inside it, so that none can be made there.
var ErrNotStore = errors.New("this is not a place for a vouchsafe store")

// MountError says what is wrong with the secrets engine, and what a person with the right to do so runs to put it right.
type MountError struct {
	Mount   string
	Problem string
	Command string
}

func (e *MountError) Error() string {
	return fmt.Sprintf("vault mount %s/: %s; run: %s", e.Mount, e.Problem, e.Command)
}

// PurposeError says that a store was made for the other purpose than it was opened for.
type PurposeError struct {
	Path       string
	Have, Want store.Purpose
}

func (e *PurposeError) Error() string {
	return fmt.Sprintf("store %s was made for %s and cannot be opened for %s: use another prefix or mount", e.Path, e.Have, e.Want)
}

// PartialError is returned by an Apply of several writes of which the first Done were made and the next failed. It wraps store.ErrUnavailable, since
// the caller has to read again, and never store.ErrConflict, which would mean that nothing was written. Whether the write after the first Done was
// made is known when Err is a *store.ConflictError: it was not.
type PartialError struct {
	Done int
	Err  error
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("%v: %d writes were made, and then: %v", store.ErrUnavailable, e.Done, e.Err)
}

// Unwrap makes errors.Is(err, store.ErrUnavailable) hold, and what holds for Err unless it is a conflict.
func (e *PartialError) Unwrap() []error {
	if errors.Is(e.Err, store.ErrConflict) {
		return []error{store.ErrUnavailable}
	}
	return []error{store.ErrUnavailable, e.Err}
}
