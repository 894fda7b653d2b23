package attest

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// ParseAdditional reads additional evidence in the form that both protocols have it: "", or a JSON object {"<kind>": <evidence>, …}. A kind's
// evidence is given to its verifier as it stands there. The devices are in the order of their kinds' names; the string itself is what the
// primary evidence covers. Errors are *Refusal.
func ParseAdditional(text string) ([]Device, error) {
	if text == "" {
		return nil, nil
	}
	members, err := strictjson.Object([]byte(text))
	if err != nil {
		return nil, Refuse(CodeMalformed, "additional evidence is neither empty nor one JSON object: %w", err)
	}
	devices := make([]Device, 0, len(members))
	for kind, data := range members {
		devices = append(devices, Device{Kind: Kind(kind), Data: json.RawMessage(data)})
	}
	slices.SortFunc(devices, func(a, b Device) int { return bytes.Compare([]byte(a.Kind), []byte(b.Kind)) })
	return devices, nil
}
