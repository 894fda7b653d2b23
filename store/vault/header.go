package vault

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
	"github.com/vouchsafe/vouchsafe/store"
)

// Format is the version of the layout that this package reads and writes.
const Format = 1

// maxHeader bounds the header record in bytes; a real one has about 150.
const maxHeader = 4096

// storeIDSize is the length of a store's id in bytes.
const storeIDSize = 16

// Header describes a store.
type Header struct {
	Format  int           `json:"format"`
	Store   string        `json:"store"` // 16 random bytes, lower-case hexadecimal
	Purpose store.Purpose `json:"purpose"`
	Created time.Time     `json:"created"` // UTC
}

// ParseHeader decodes a header. Unknown members, trailing data and values out of range are errors wrapping
// store.ErrCorrupt; a format newer than this program knows is a [FormatError].
func ParseHeader(data []byte) (Header, error) {
	if len(data) > maxHeader {
		return Header{}, fmt.Errorf("%w: store header of %d bytes is over %d", store.ErrCorrupt, len(data), maxHeader)
	}
	// The format decides how to read the rest, so it is read first and alone.
	var only struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &only); err != nil {
		return Header{}, fmt.Errorf("%w: store header: %w", store.ErrCorrupt, err)
	}
	if only.Format > Format {
		return Header{}, &FormatError{Have: only.Format}
	}
	var h Header
	if err := strictjson.Unmarshal(data, &h); err != nil {
		return Header{}, fmt.Errorf("%w: store header: %w", store.ErrCorrupt, err)
	}
	switch {
	case h.Format != Format:
		return Header{}, fmt.Errorf("%w: store header has format %d", store.ErrCorrupt, h.Format)
	case !isHex(h.Store, storeIDSize):
		return Header{}, fmt.Errorf("%w: store header has id %q, not %d bytes in hexadecimal", store.ErrCorrupt, h.Store, storeIDSize)
	case h.Purpose != store.Production && h.Purpose != store.Development:
		return Header{}, fmt.Errorf("%w: store header has purpose %q", store.ErrCorrupt, h.Purpose)
	case h.Created.IsZero():
		return Header{}, fmt.Errorf("%w: store header has no date", store.ErrCorrupt)
	}
	return h, nil
}

func newHeader(random io.Reader, purpose store.Purpose, now time.Time) (Header, error) {
	var id [storeIDSize]byte
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return Header{}, fmt.Errorf("make a store id: %w", err)
	}
	return Header{
		Format: Format, Store: hex.EncodeToString(id[:]), Purpose: purpose, Created: now.UTC().Truncate(time.Second),
	}, nil
}
