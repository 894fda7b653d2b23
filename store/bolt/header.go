package bolt

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/header"
)

// Format is the version of the file's layout that this package reads and writes.
const Format = 1

// ParseHeader decodes the header of a file, as header.Parse does. Nobody but this package writes it, so that it is in one form: any other is an error wrapping
// store.ErrCorrupt.
func ParseHeader(data []byte) (header.Header, error) {
	h, err := header.Parse(data, Format)
	if err != nil {
		return h, err
	}
	if again, err := json.Marshal(h); err != nil || !bytes.Equal(again, data) {
		return header.Header{}, fmt.Errorf("%w: store header is not in its canonical form", store.ErrCorrupt)
	}
	return h, nil
}
