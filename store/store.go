// Package store defines where records are kept: small versioned values under hierarchical keys, written with
// compare-and-swap. The implementations are in the packages below it ([store/bolt] now); [store/storetest] is the contract
// as a test suite, and every implementation passes it. [store/seal] encrypts what goes into any of them.
//
// # The contract
//
// A key is 2 to 12 segments of 1 to 255 bytes joined by "/", at most 1024 bytes in all; see [CheckKey]. The first
// segment is the namespace, or "sys" for what belongs to the whole store. A value is at most [MaxValue] bytes. A
// record's version is 1 when it is created and one more at every update; when it was deleted and is created again it starts at 1.
//
// Every write names the version it replaces: 0 to create. A write whose version is not the record's is a conflict, and
// then nothing of that Apply is written.
//
// Apply is durable when it returns nil: it survives the process and the machine being killed. An atomic store applies all of its
// writes or none, even across a crash; [bolt] is one. A store that is not applies them in order, each durable before
// the next, so that a crash leaves a prefix. So may a write that another process makes at the same time, and then the error wraps ErrUnavailable.
// Callers therefore order writes so that every prefix is a consistent state: what makes the rest reachable comes last.
//
// A Get that starts after an Apply returned sees it. List pages are ordered by key bytes. An error that wraps
// [ErrUnavailable] means that nothing is known to be wrong with the request; the caller may try again later. After such an error from
// Apply the writes may or may not have happened.
package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxValue is the largest value in bytes: a secret of 1 MiB, doubled for its envelope, metadata and encodings.
const MaxValue = 2 << 20

// Limits of keys. Segments are bounded so that any store, file system or HTTP path can hold them.
const (
	MaxKey      = 1024
	MaxSegment  = 255
	MinSegments = 2
	MaxSegments = 12
)

// MaxSkew is how far apart the clocks may be of those who work on one store: brokers, and Vault where it keeps the store or issues secrets.
const MaxSkew = time.Minute

// SysNamespace is the first segment of records that belong to the whole store.
const SysNamespace = "sys"

// DefaultNamespace is used where nobody names another.
const DefaultNamespace = "default"

// The errors of a Store, wrapped with what they concern.
var (
	ErrNotFound    = errors.New("record not found")
	ErrConflict    = errors.New("record has another version")
	ErrUnavailable = errors.New("store unavailable")
	ErrInvalid     = errors.New("invalid key or value")
	ErrCorrupt     = errors.New("record is damaged")
	ErrClosed      = errors.New("store closed")

	// ErrLost: what was in the store is gone from its place, as when a mount of Vault was disabled and enabled again. It goes with ErrUnavailable: nothing
	// is done until the data is back, and a person has to bring it back.
	ErrLost = errors.New("what was in the store is gone")
)

// Purpose says what a store, and the broker over it, is for. A store of one purpose is never opened for the other: evidence that anybody can
// forge is accepted only over a development store, whose records must therefore never be served by a production broker.
type Purpose string

// The purposes of a store.
const (
	Production  Purpose = "production"
	Development Purpose = "development"
)

// Record is a value and its version.
type Record struct {
	Key     string
	Version uint64
	Value   []byte
}

// Write changes one record.
type Write struct {
	Key     string
	Version uint64 // the version it replaces; 0 creates
	Value   []byte // nil deletes, which needs a Version
}

// Entry is one record in a listing.
type Entry struct {
	Key     string
	Version uint64
}

// Event says that a record changed. Version is 0 when it was deleted.
type Event struct {
	Key     string
	Version uint64
}

// Store keeps records. It is safe for concurrent use.
type Store interface {
	// Get returns the record, or an error wrapping ErrNotFound. The caller owns the value.
	Get(ctx context.Context, key string) (Record, error)

	// List returns up to limit entries whose keys begin with prefix and sort after the key "after", in key order. An empty
	// after starts at the first. Fewer than limit entries mean that there are no more. See [CheckList] for what is valid.
	List(ctx context.Context, prefix, after string, limit int) ([]Entry, error)

	// Apply makes the writes in order; see the contract above. No two may have one key. An error wrapping ErrConflict is a *ConflictError.
	Apply(ctx context.Context, writes ...Write) error

	// Atomic reports whether Apply is all or nothing across a crash.
	Atomic() bool

	// Watch sends an event for each change of a record under prefix made after it returned, until ctx ends, and then closes the
	// channel. A receiver that is slow loses events but then gets one with an empty Key, which means: read again. The end of the
	// store closes the channel as well. A prefix is as for List.
	Watch(ctx context.Context, prefix string) (<-chan Event, error)

	// Close ends the store. Calls after it return ErrClosed, except that a second Close does nothing.
	Close() error
}

// Clocked is a Store that knows the time by a clock which all who share it see, whatever their own show.
type Clocked interface {
	// Clock returns that time, as of the latest answer and what has passed since: never ahead of it, and no more than a second behind when the answer
	// came. It is false where no time is known.
	Clock() (time.Time, bool)
}

// BulkReader is a Store that reads many records at less cost than as many calls of Get. [GetEach] is how to use it.
type BulkReader interface {
	// GetEach is what the function of its name says.
	GetEach(ctx context.Context, keys []string, f func(Record, error) error) error
}

// GetEach calls f with what Get returns of each of keys, in their order, until f returns an error, which it then returns itself. The record has its
// key also where there is an error. Its value is for f to read and to change, and not to keep: what lies there later is another's.
func GetEach(ctx context.Context, s Store, keys []string, f func(Record, error) error) error {
	if bulk, ok := s.(BulkReader); ok {
		return bulk.GetEach(ctx, keys, f)
	}
	for _, key := range keys {
		record, err := s.Get(ctx, key)
		if err != nil {
			record = Record{Key: key}
		}
		if err := f(record, err); err != nil {
			return err
		}
	}
	return nil
}

// ConflictError says which record had another version.
type ConflictError struct {
	Key        string
	Have, Want uint64 // the record's version (0: none), and the write's
}

func (e *ConflictError) Error() string {
	switch {
	case e.Have == 0:
		return fmt.Sprintf("record %q does not exist (expected version %d)", e.Key, e.Want)
	case e.Want == 0:
		return fmt.Sprintf("record %q exists already, at version %d", e.Key, e.Have)
	default:
		return fmt.Sprintf("record %q is at version %d, not %d", e.Key, e.Have, e.Want)
	}
}

// Is makes errors.Is(err, ErrConflict) hold.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// Key joins segments into a key. It does not check them: every store does, with [CheckKey].
func Key(segments ...string) string { return strings.Join(segments, "/") }

// CheckKey returns an error wrapping ErrInvalid unless key is well-formed: segments of printable ASCII without "/", none
// of them "." or "..", within the limits.
func CheckKey(key string) error {
	if len(key) > MaxKey {
		return fmt.Errorf("%w: key of %d bytes is over %d", ErrInvalid, len(key), MaxKey)
	}
	n := 0
	for segment := range strings.SplitSeq(key, "/") {
		n++
		if segment == "" || segment == "." || segment == ".." || len(segment) > MaxSegment {
			return fmt.Errorf("%w: key %q has an empty, relative or over-long segment", ErrInvalid, key)
		}
		for i := range len(segment) {
			if c := segment[i]; c <= ' ' || c > '~' {
				return fmt.Errorf("%w: key %q has a byte that is not printable ASCII", ErrInvalid, key)
			}
		}
	}
	if n < MinSegments || n > MaxSegments {
		return fmt.Errorf("%w: key %q has %d segments, not %d to %d", ErrInvalid, key, n, MinSegments, MaxSegments)
	}
	return nil
}

// CheckPrefix returns an error wrapping ErrInvalid unless prefix is empty, which is every record, or ends with "/" and
// could begin a key.
func CheckPrefix(prefix string) error {
	if prefix != "" && (!strings.HasSuffix(prefix, "/") || len(prefix) > MaxKey) {
		return fmt.Errorf("%w: prefix %q does not end with \"/\" or is over %d bytes", ErrInvalid, prefix, MaxKey)
	}
	return nil
}

// CheckList returns an error wrapping ErrInvalid unless prefix is valid and limit is at least 1.
func CheckList(prefix string, limit int) error {
	if limit < 1 {
		return fmt.Errorf("%w: a list of %d entries", ErrInvalid, limit)
	}
	return CheckPrefix(prefix)
}

// CheckWrites returns an error wrapping ErrInvalid unless every write is well-formed and no key appears twice.
func CheckWrites(writes []Write) error {
	seen := make(map[string]struct{}, len(writes))
	for _, w := range writes {
		if err := CheckKey(w.Key); err != nil {
			return err
		}
		if _, twice := seen[w.Key]; twice {
			return fmt.Errorf("%w: key %q is written twice", ErrInvalid, w.Key)
		}
		seen[w.Key] = struct{}{}
		if len(w.Value) > MaxValue {
			return fmt.Errorf("%w: value of %d bytes for %q is over %d", ErrInvalid, len(w.Value), w.Key, MaxValue)
		}
		if w.Value == nil && w.Version == 0 {
			return fmt.Errorf("%w: deleting %q needs the version to delete", ErrInvalid, w.Key)
		}
	}
	return nil
}
