package wire

import (
	"context"
	"errors"

	"github.com/vouchsafe/vouchsafe/store"
)

// The operations of a store.
const (
	get   = "get"
	list  = "list"
	apply = "apply"
	watch = "watch"
)

// request is what a store is asked.
type request struct {
	Key    string        `json:",omitempty"` // get
	Prefix string        `json:",omitempty"` // list, watch
	After  string        `json:",omitempty"` // list
	Limit  int           `json:",omitempty"` // list
	Writes []store.Write `json:",omitempty"` // apply
}

// answer is what it says.
type answer struct {
	Record  *store.Record `json:",omitempty"` // get
	Entries []store.Entry `json:",omitempty"` // list
	Event   *store.Event  `json:",omitempty"` // watch
	Failure *failure      `json:",omitempty"`
}

// failure is an error on its way.
type failure struct {
	Text     string
	Kind     string               `json:",omitempty"` // the key of one of kinds; "" for any other error
	Conflict *store.ConflictError `json:",omitempty"`
}

// kinds returns the errors that are known on the other side, by the names that they have on the way.
func kinds() map[string]error {
	return map[string]error{
		"not-found": store.ErrNotFound, "unavailable": store.ErrUnavailable, "invalid": store.ErrInvalid, "corrupt": store.ErrCorrupt, "closed": store.ErrClosed,
		"canceled": context.Canceled, "deadline": context.DeadlineExceeded,
	}
}

// failed writes an error; nil for nil.
func failed(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error()}
	if errors.As(err, &f.Conflict) {
		return f
	}
	for name, kind := range kinds() {
		if errors.Is(err, kind) {
			f.Kind = name
		}
	}
	return f
}

// err reads what failed wrote.
func (f *failure) err() error {
	switch {
	case f == nil:
		return nil
	case f.Conflict != nil:
		return f.Conflict
	}
	return &remoteError{text: f.Text, kind: kinds()[f.Kind]}
}

// remoteError is an error of the other process.
type remoteError struct {
	text string
	kind error // may be nil
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }
