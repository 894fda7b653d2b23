package token

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// TestTree holds the reader of payloads against encoding/json: what one takes for JSON the other does too, and members have the same text in both.
func TestTree(t *testing.T) {
	seeds := [][]byte{
		[]byte(`{"a":[1,{"b":null},-0.5e+7,[]],"c":{"d":"\u00e9\n","e":{}},"":true}`), []byte(` { } `), []byte(`{"a":01}`), []byte(`{"a":1}}`), []byte(`{"a":"\ud800"}`),
		[]byte(`{"a":1,"a":2}`), []byte(`{"a":1,"\u0061":2}`), []byte(`{"a":[{"b":1,"b":2}]}`), []byte(`{"a":1,}`), []byte(`{"a":"\x"}`), []byte(`{"a":-}`), []byte(`{"a":tru}`), []byte(`{`),
	}
	for _, f := range fakes() {
		seeds = append(seeds, must(json.Marshal(f.payload())))
	}
	mutate.Run(t, seeds, func(t *testing.T, text []byte) {
		o, err := parseObject(string(text))
		var members map[string]json.RawMessage
		switch invalid := json.Unmarshal(text, &members); {
		case err == nil && invalid != nil:
			t.Fatalf("%q passes: %v", text, invalid)
		case errors.Is(err, errJSON) && invalid == nil:
			t.Fatalf("%q is JSON", text)
		case err != nil:
			return
		}
		if o.count() != len(members) {
			t.Fatalf("%q has %d members, not %d", text, len(members), o.count())
		}
		for name, raw := range o.all() {
			if string(members[name]) != raw {
				t.Fatalf("%q: member %q is %q, not %q", text, name, raw, members[name])
			}
		}
	})
	for _, twice := range []string{`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":[{"b":1,"b":2}]}`, `{"a":{"b":1,"b":2}}`} {
		if _, err := parseObject(twice); err == nil {
			t.Errorf("%s passes", twice)
		}
	}
}
