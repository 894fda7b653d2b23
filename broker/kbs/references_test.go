package kbs

import (
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

var referenceSeeds = []string{
	`{"version":"0.1.0","type":"sample","payload":"` + base64.StdEncoding.EncodeToString([]byte(`{"svn":["1","2"],"minimum":3,"object":{"a":null}}`)) + `"}`,
	`{"version":"0.1.0","type":"sample","payload":"e30="}`,
	`{"version":"0.1.0","type":"sample","payload":""}`,
	`{"version":"0.2.0","type":"in-toto","payload":"e30=","more":[1]}`,
}

// checkReferences holds that what is read is JSON, value by value.
func checkReferences(t *testing.T, body []byte) {
	values, err := parseReferences(body)
	if err != nil {
		return
	}
	for id, v := range values {
		if !json.Valid(v.Value) || !v.Expires.IsZero() {
			t.Fatalf("%q is %q", id, v.Value)
		}
	}
}

func FuzzReferenceMessage(f *testing.F) {
	for _, seed := range referenceSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(checkReferences)
}

func TestReferenceMessageMutations(t *testing.T) {
	var seeds [][]byte
	for _, seed := range referenceSeeds {
		seeds = append(seeds, []byte(seed))
	}
	mutate.Run(t, seeds, checkReferences)
}
