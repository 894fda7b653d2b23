package attest

import (
	"errors"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

func TestParseAdditional(t *testing.T) {
	for _, test := range []struct {
		name, text, want string
		refused          bool
	}{
		{"none", "", "", false},
		{"no devices", "{}", "", false},
		{"one", `{"sampledevice":{"svn":"1"}}`, `sampledevice={"svn":"1"}`, false},
		{"two, in the order of their names", `{"tpm":[1, 2],"nvidia":"x"}`, `nvidia="x" tpm=[1, 2]`, false},
		{"null", "null", "", true},
		{"an array", "[]", "", true},
		{"a string", `""`, "", true},
		{"one twice", `{"nvidia":1,"nvidia":2}`, "", true},
		{"one twice, escaped", `{"nvidia":1,"nvi\u0064ia":2}`, "", true},
		{"something after it", `{"nvidia":1}x`, "", true},
		{"another after it", `{} {}`, "", true},
		{"cut short", `{"nvidia":1`, "", true},
		{"a space", " ", "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			devices, err := ParseAdditional(test.text)
			var refusal *Refusal
			if test.refused {
				if !errors.As(err, &refusal) || refusal.Code != CodeMalformed {
					t.Fatalf("error %v, want a refusal with %s", err, CodeMalformed)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range devices {
				got = append(got, string(d.Kind)+"="+string(d.Data))
			}
			if text := strings.Join(got, " "); text != test.want {
				t.Errorf("got %s, want %s", text, test.want)
			}
		})
	}
}

var additionalSeeds = []string{"", "{}", `{"nvidia":{"device_evidence_list":[{"arch":"HOPPER"}]},"sampledevice":{"svn":"1","report_data":"AA=="}}`}

// checkAdditional fails when what is accepted is not there once each, or an error is not a refusal.
func checkAdditional(t *testing.T, text string) {
	devices, err := ParseAdditional(text)
	var refusal *Refusal
	if err != nil && !errors.As(err, &refusal) {
		t.Fatalf("error %v is not a refusal", err)
	}
	seen := map[Kind]bool{}
	for _, d := range devices {
		if seen[d.Kind] || len(d.Data) == 0 {
			t.Fatalf("kind %q is there twice or empty", d.Kind)
		}
		seen[d.Kind] = true
	}
}

func FuzzParseAdditional(f *testing.F) {
	for _, seed := range additionalSeeds {
		f.Add(seed)
	}
	f.Fuzz(checkAdditional)
}

func TestMutationsOfAdditional(t *testing.T) {
	var seeds [][]byte
	for _, seed := range additionalSeeds {
		seeds = append(seeds, []byte(seed))
	}
	mutate.Run(t, seeds, func(t *testing.T, input []byte) { checkAdditional(t, string(input)) })
}
