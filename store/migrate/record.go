package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
	"github.com/vouchsafe/vouchsafe/store"
)

// RecordKey is the record of a target that says how far the migration to it is.
const RecordKey = store.SysNamespace + "/migration"

// The errors of this package, wrapped with what they concern.
var (
	ErrUnfinished = errors.New("the store is the target of a migration that is not finished")
	ErrNotEmpty   = errors.New("the target is not empty")
	ErrFinished   = errors.New("the migration to this store is finished already")
	ErrOther      = errors.New("the target was begun from another source")
	ErrSame       = errors.New("source and target are one store")
	ErrBusy       = errors.New("something else writes to the target")
	ErrChanged    = errors.New("the source changed while it was migrated: a broker works on it")
	ErrMismatch   = errors.New("the target does not have what the source has")
)

// state is how far a migration is.
type state string

const (
	copying  state = "copying"
	verified state = "verified" // compared; what remains is Settle
	finished state = "finished"
)

// maxRecord bounds a record before it is parsed, in bytes.
const maxRecord = 8192

// record is sys/migration.
type record struct {
	Schema   int       `json:"schema"` // 1
	State    state     `json:"state"`
	Source   string    `json:"source"` // the id of the source's seal
	From     string    `json:"from"`   // where that is, in words
	Run      string    `json:"run"`    // of the process that writes it
	Began    time.Time `json:"began"`
	Finished time.Time `json:"finished,omitzero"`
	After    string    `json:"after"` // the key up to which everything is copied; empty for none
	Seen     []byte    `json:"seen"`  // the chain of keys and versions of the source up to there
	Records  int       `json:"records"`
	Bytes    int64     `json:"bytes"` // of values
	Digest   string    `json:"digest,omitempty"`
}

func readRecord(ctx context.Context, s store.Store) (record, uint64, error) {
	got, err := s.Get(ctx, RecordKey)
	if err != nil {
		return record{}, 0, err
	}
	var r record
	if len(got.Value) > maxRecord || strictjson.Unmarshal(got.Value, &r) != nil || r.Schema != 1 {
		return record{}, 0, fmt.Errorf("%w: %s is not one that this program writes", store.ErrCorrupt, RecordKey)
	}
	return r, got.Version, nil
}

// Check returns an error wrapping ErrUnfinished for a store that is the target of a migration which is not finished, and must not be used.
func Check(ctx context.Context, s store.Store) error {
	r, _, err := readRecord(ctx, s)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	case r.State != finished:
		return fmt.Errorf("%w: from %s, begun %s: run \"vouchsafe store migrate\" again", ErrUnfinished, r.From, r.Began.Format(time.RFC3339))
	}
	return nil
}

// save writes the record of a migration. When it cannot be known whether a write was made, it is looked at.
func (m *migration) save(ctx context.Context) error {
	value, err := json.Marshal(&m.record)
	if err != nil {
		return err
	}
	return m.patiently(ctx, func() error {
		err := m.target.Apply(ctx, store.Write{Key: RecordKey, Version: m.version, Value: value})
		if err != nil {
			got, reading := m.target.Get(ctx, RecordKey)
			if reading != nil || got.Version != m.version+1 || !bytes.Equal(got.Value, value) {
				if errors.Is(err, store.ErrConflict) {
					err = fmt.Errorf("%w: another migration: %v", ErrBusy, err) // which trying again does not help
				}
				return err
			}
		}
		m.version++
		return nil
	})
}
