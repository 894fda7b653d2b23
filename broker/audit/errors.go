package audit

import (
	"errors"
	"fmt"
)

// The errors of a log. Failures of the store are passed on and wrap the errors of package store.
var (
	// ErrOverloaded: as many appends wait as the log lets wait. Nothing was recorded; try again after a second or so.
	ErrOverloaded = errors.New("audit log overloaded")
	// ErrClosed: the log was closed. Nothing was recorded.
	ErrClosed = errors.New("audit log closed")
	// ErrReadOnly: the log was opened without a Signer.
	ErrReadOnly = errors.New("audit log opened without a signer")
	// ErrNoLog: the store has no log under the prefix, and Config.Create did not ask to make one.
	ErrNoLog = errors.New("no audit log here")
	// ErrEntrySize: an entry is empty or longer than MaxEntry.
	ErrEntrySize = errors.New("audit entry empty or too long")
	// ErrDamaged: what is stored or served is not what the signed checkpoint stands for. It is a *DamageError.
	ErrDamaged = errors.New("audit log damaged")
	// ErrRolledBack: the log is shorter than a checkpoint which it signed before.
	ErrRolledBack = errors.New("audit log rolled back")
	// ErrForked: the log does not contain the entries that an earlier checkpoint of it stands for.
	ErrForked = errors.New("audit log forked")
	// ErrMalformed: a checkpoint, receipt, entry bundle or path is not in its format.
	ErrMalformed = errors.New("malformed")
	// ErrUnverified: a checkpoint has no valid signature by a known key of its log, or is another log's.
	ErrUnverified = errors.New("checkpoint not verified")
	// ErrProof: a proof does not lead from the entry or the old tree to the root of the checkpoint.
	ErrProof = errors.New("proof does not verify")
)

// DamageError says what part of a log is not as it was written.
type DamageError struct {
	Part   string // the record's key, or the C2SP path, that is wrong, or as near as can be told
	Reason string // what was expected of it
	Err    error  // the cause, or nil
}

func (e *DamageError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%v: %s: %s: %v", ErrDamaged, e.Part, e.Reason, e.Err)
	}
	return fmt.Sprintf("%v: %s: %s", ErrDamaged, e.Part, e.Reason)
}

// Is makes errors.Is(err, ErrDamaged) hold.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Err }
