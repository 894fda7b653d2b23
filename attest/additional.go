package attest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// ErrAdditional says that additional evidence is not of the form that ParseAdditional reads. Its message holds no evidence and may be
// shown to the one who sent it.
var ErrAdditional = errors.New("malformed additional evidence")

// ParseAdditional splits additional evidence as workloads present it: "" for none, or a JSON object with a member for each device, its
// kind and its evidence, {"<kind>":<evidence>,…}. Devices are in the order of the members, and Data is the member's value byte for byte as it
// was written, any JSON value, for the verifier to parse. A kind that is there twice, more than MaxDevices, over MaxEvidenceSize bytes,
// and anything after the object are errors. Errors wrap [ErrAdditional].
//
// Primary evidence covers text as it is, so nothing here depends on how it is spelled. Whether a kind is known, and is a
// device's, is for the [Appraiser].
func ParseAdditional(text string) ([]Device, error) {
	if text == "" {
		return nil, nil
	}
	malformed := func(format string, args ...any) ([]Device, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrAdditional}, args...)...)
	}
	if len(text) > MaxEvidenceSize {
		return malformed("%d bytes: at most %d are read", len(text), MaxEvidenceSize)
	}
	if !utf8.ValidString(text) {
		return malformed("it is not UTF-8")
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return malformed("it is neither empty nor a JSON object")
	}
	devices := []Device{} // {} is not "", which the primary evidence covers otherwise
	seen := map[Kind]bool{}
	for decoder.More() {
		if len(devices) == MaxDevices {
			return malformed("more than %d devices", MaxDevices)
		}
		token, err := decoder.Token()
		if err != nil {
			return malformed("it is not JSON")
		}
		kind := Kind(token.(string)) // the decoder allows nothing else there
		if seen[kind] {
			return malformed("kind %.32q is there twice", kind)
		}
		seen[kind] = true
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return malformed("the evidence of kind %.32q is not JSON", kind)
		}
		devices = append(devices, Device{Kind: kind, Data: value})
	}
	if _, err := decoder.Token(); err != nil {
		return malformed("it is not JSON")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return malformed("something follows the object")
	}
	return devices, nil
}
