// Package header is the record by which a store says what it is: which store, made when, for what purpose, and in which format the rest of it is. Every kind of store has
// one, at a place and with a format number of its own; what it says, and what is refused, is the same for all.
//
// It is a JSON object with exactly the members of [Header]. Nothing in it is secret, and it is read before anything is trusted: the seal is opened after it.
package header

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
	"github.com/vouchsafe/vouchsafe/store"
)

// maxSize bounds a header in bytes; a real one has about 150.
const maxSize = 4096

// IDSize is the length of a store's id in bytes.
const IDSize = 16

// Header describes a store.
type Header struct {
	Format  int           `json:"format"`
	Store   string        `json:"store"` // IDSize random bytes, lower-case hexadecimal
	Purpose store.Purpose `json:"purpose"`
	Created time.Time     `json:"created"` // UTC, whole seconds
}

// FormatError says that a store was written by a newer program.
type FormatError struct {
	Have, Known int
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("store has format %d, and this program knows formats up to %d: use the newer program that wrote it", e.Have, e.Known)
}

// Parse decodes the header of a store whose format the program knows as a number. Unknown members, trailing data and values out of range are errors
// wrapping store.ErrCorrupt; a newer format is a [FormatError].
func Parse(data []byte, format int) (Header, error) {
	if len(data) > maxSize {
		return Header{}, fmt.Errorf("%w: store header of %d bytes is over %d", store.ErrCorrupt, len(data), maxSize)
	}
	// The format decides how to read the rest, so it is read first and alone.
	var only struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &only); err != nil {
		return Header{}, fmt.Errorf("%w: store header: %w", store.ErrCorrupt, err)
	}
	if only.Format > format {
		return Header{}, &FormatError{Have: only.Format, Known: format}
	}
	var h Header
	if err := strictjson.Unmarshal(data, &h); err != nil {
		return Header{}, fmt.Errorf("%w: store header: %w", store.ErrCorrupt, err)
	}
	id, err := hex.DecodeString(h.Store)
	switch {
	case h.Format != format:
		return Header{}, fmt.Errorf("%w: store header has format %d", store.ErrCorrupt, h.Format)
	case err != nil || len(id) != IDSize || hex.EncodeToString(id) != h.Store:
		return Header{}, fmt.Errorf("%w: store header has id %q, not %d bytes in lower-case hexadecimal", store.ErrCorrupt, h.Store, IDSize)
	case h.Purpose != store.Production && h.Purpose != store.Development:
		return Header{}, fmt.Errorf("%w: store header has purpose %q", store.ErrCorrupt, h.Purpose)
	case h.Created.IsZero():
		return Header{}, fmt.Errorf("%w: store header has no date", store.ErrCorrupt)
	}
	return h, nil
}

// New makes the header of a new store.
func New(random io.Reader, format int, purpose store.Purpose, now time.Time) (Header, error) {
	var id [IDSize]byte
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return Header{}, fmt.Errorf("make a store id: %w", err)
	}
	return Header{Format: format, Store: hex.EncodeToString(id[:]), Purpose: purpose, Created: now.UTC().Truncate(time.Second)}, nil
}
