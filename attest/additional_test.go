package attest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

func TestParseAdditional(t *testing.T) {
	device := func(kind attest.Kind, data string) attest.Device {
		return attest.Device{Kind: kind, Data: []byte(data)}
	}
	for text, want := range map[string][]attest.Device{
		``:                              nil,
		`{}`:                            {},
		"\n{ } ":                        {},
		`{"sampledevice":{"svn":"1"}}`:  {device("sampledevice", `{"svn":"1"}`)},
		`{"b": [1, 2] , "a":"x"}`:       {device("b", `[1, 2]`), device("a", `"x"`)},
		`{"a":{"svn": "1","svn":"2" }}`: {device("a", `{"svn": "1","svn":"2" }`)}, // for the verifier to refuse
		`{"a":null}`:                    {device("a", `null`)},
	} {
		if got, err := attest.ParseAdditional(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	many := `{"k":0`
	for i := range attest.MaxDevices {
		many += fmt.Sprintf(`,"k%d":0`, i)
	}
	for _, text := range []string{
		` `, `null`, `[]`, `""`, `"{}"`, `{`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1`, `{"a":1}{}`, `{"a":1} x`, `{"a":1,"a":1}`, `{"a":1,"\u0061":2}`,
		"{\"\xff\":1}", many + `}`, `{"a":"` + strings.Repeat("x", attest.MaxEvidenceSize) + `"}`,
	} {
		if got, err := attest.ParseAdditional(text); !errors.Is(err, attest.ErrAdditional) || got != nil {
			t.Errorf("%.60s: %v, %v", text, got, err)
		}
	}
}

// checkAdditional holds what is accepted to what another reader of the same text would find.
func checkAdditional(t *testing.T, input []byte) {
	devices, err := attest.ParseAdditional(string(input))
	if err != nil {
		if !errors.Is(err, attest.ErrAdditional) {
			t.Errorf("%q: %v", input, err)
		}
		return
	}
	if len(input) == 0 {
		return
	}
	var other map[attest.Kind]json.RawMessage
	if err := json.Unmarshal(input, &other); err != nil {
		t.Fatalf("%q is not JSON: %v", input, err)
	}
	if len(other) != len(devices) || len(devices) > attest.MaxDevices {
		t.Fatalf("%q: %d devices of %d", input, len(devices), len(other))
	}
	for _, d := range devices {
		if string(other[d.Kind]) != string(d.Data) {
			t.Fatalf("%q: evidence of %q is %q, or %q", input, d.Kind, d.Data, other[d.Kind])
		}
	}
}

var additionalSeeds = [][]byte{[]byte(`{"sampledevice":{"svn":"1","report_data":"AAEC"}}`), []byte(`{"a":[1,{"b":null}],"b":"x","c":1e3}`), []byte(`{}`)}

func FuzzParseAdditional(f *testing.F) {
	for _, seed := range additionalSeeds {
		f.Add(seed)
	}
	f.Fuzz(checkAdditional)
}

func TestMutationsAdditional(t *testing.T) { mutate.Run(t, additionalSeeds, checkAdditional) }
