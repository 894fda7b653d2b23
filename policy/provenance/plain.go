package provenance

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// MaxValues bounds the values of one document: as many as can be put at once.
const MaxValues = 1000

// Plain is a value that nobody signed.
type Plain struct {
	Value     string    `json:"value"`
	Note      string    `json:"note,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
	Expires   time.Time `json:"expires,omitzero"`
}

// ParsePlain reads a JSON list of values, strictly. Every error is a [*Refusal].
func ParsePlain(document []byte) ([]Plain, error) {
	if len(document) > MaxDocument {
		return nil, malformed("the list has %d bytes, more than %d", len(document), MaxDocument)
	}
	var list []Plain
	if err := strictjson.Unmarshal(document, &list); err != nil {
		return nil, malformed("not a list of values: %v", err)
	}
	if len(list) == 0 || len(list) > MaxValues {
		return nil, malformed("the list has %d values, not 1 to %d", len(list), MaxValues)
	}
	for i, v := range list {
		if v.Value == "" {
			return nil, malformed("value %d of the list is empty", i+1)
		}
	}
	return list, nil
}

type kbsMessage struct {
	Version string `json:"version"`
	Type    string `json:"type"`
	Payload string `json:"payload"`
}

// ParseKBS reads the message by which reference values are registered with a Confidential Containers key broker, {"version","type":"sample","payload"}: the
// payload is base64 of an object of names with a value, or a list of values, each. It returns those of the given name; when name is empty there must be
// one only. Every error is a [*Refusal].
func ParseKBS(document []byte, name string) ([]Plain, error) {
	if len(document) > MaxDocument {
		return nil, malformed("the message has %d bytes, more than %d", len(document), MaxDocument)
	}
	var m kbsMessage
	if err := strictjson.Unmarshal(document, &m); err != nil {
		return nil, malformed("not a registration message: %v", err)
	}
	if !strings.HasPrefix(m.Version, "0.") || m.Type != "sample" {
		return nil, malformed("the message has the version %.16q and the type %.16q; only type \"sample\" of version 0 is read", m.Version, m.Type)
	}
	payload, err := decodeBase64(m.Payload)
	if err != nil {
		return nil, malformed("the message's payload is not base64")
	}
	members, err := strictjson.Object(payload)
	if err != nil {
		return nil, malformed("the message's payload is not an object of reference values: %v", err)
	}
	if name == "" {
		if len(members) != 1 {
			return nil, malformed("the message has %d names: say which", len(members))
		}
		for name = range members {
		}
	}
	member, ok := members[name]
	if !ok {
		names := make([]string, 0, len(members))
		for n := range members {
			names = append(names, n)
		}
		slices.Sort(names)
		return nil, refuse(ReasonSubject, "the message has no values named %.64q, but %.300q", name, names)
	}
	var values []string
	if one, err := strictjson.String(member); err == nil {
		values = []string{one}
	} else if err := json.Unmarshal(member, &values); err != nil {
		return nil, malformed("%.64q of the message is neither a text nor a list of texts", name)
	}
	if len(values) == 0 || len(values) > MaxValues || slices.Contains(values, "") {
		return nil, malformed("%.64q of the message has %d values, not 1 to %d that are not empty", name, len(values), MaxValues)
	}
	list := make([]Plain, len(values))
	for i, v := range values {
		list[i].Value = v
	}
	return list, nil
}
