package initdata

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

const good = `algorithm = "sha384"
version = "0.1.0"

[data]
"aa.toml" = '''
[token_configs]
[token_configs.kbs]
url = "https://broker.example"
'''
"policy.rego" = "package agent_policy\ndefault allow = false\n"
`

func TestParse(t *testing.T) {
	init, err := Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha512.Sum384([]byte(good))
	if init.Algorithm != "sha384" || !bytes.Equal(init.Digest, digest[:]) || len(init.Data) != 2 ||
		!strings.HasPrefix(init.Data["policy.rego"], "package agent_policy\n") {
		t.Errorf("%+v", init)
	}
	for algorithm, size := range map[string]int{"sha256": 32, "sha512": 64} {
		init, err := Parse([]byte(strings.Replace(good, "sha384", algorithm, 1)))
		if err != nil || len(init.Digest) != size {
			t.Errorf("%s: %v, %v", algorithm, init, err)
		}
	}
	other, err := Parse([]byte(good + "\n"))
	if err != nil || bytes.Equal(other.Digest, init.Digest) {
		t.Errorf("a document with a line more has the digest %s, %v", hex.EncodeToString(init.Digest), err)
	}
}

func TestParseRefuses(t *testing.T) {
	head := "algorithm = \"sha256\"\nversion = \"0.1.0\"\n"
	files := head + "[data]\n"
	for i := range MaxFiles + 1 {
		files += fmt.Sprintf("f%d = \"\"\n", i)
	}
	for name, text := range map[string]string{
		"empty":               "",
		"junk":                "{}",
		"no algorithm":        "version = \"0.1.0\"\n[data]\n",
		"no version":          "algorithm = \"sha256\"\n[data]\n",
		"no data":             head,
		"data is a string":    head + `data = "x"`,
		"data is a list":      head + "[[data]]\na = \"x\"\n",
		"sm3":                 "algorithm = \"sm3\"\nversion = \"0.1.0\"\n[data]\n",
		"upper-case sha256":   "algorithm = \"SHA256\"\nversion = \"0.1.0\"\n[data]\n",
		"algorithm twice":     head + "algorithm = \"sha512\"\n[data]\n",
		"algorithm in shouts": head + "ALGORITHM = \"sha512\"\n[data]\n",
		"version 0.2.0":       "algorithm = \"sha256\"\nversion = \"0.2.0\"\n[data]\n",
		"version a number":    "algorithm = \"sha256\"\nversion = 0.1\n[data]\n",
		"unknown member":      head + "extra = 1\n[data]\n",
		"unknown table":       head + "[data]\n[more]\n",
		"file not a string":   head + "[data]\na = 1\n",
		"file a table":        head + "[data]\n[data.a]\nb = \"c\"\n",
		"file twice":          head + "[data]\na = \"1\"\n\"a\" = \"2\"\n",
		"nameless file":       head + "[data]\n\"\" = \"1\"\n",
		"long name":           head + "[data]\n" + strings.Repeat("n", MaxName+1) + " = \"1\"\n",
		"too many files":      files,
		"not UTF-8":           head + "[data]\na = \"\xff\"\n",
		"too long":            head + "[data]\n" + strings.Repeat("#", MaxDocument),
		"nested":              head + "x = " + strings.Repeat("[", 100_000),
		"long key":            head + "x" + strings.Repeat(".x", 100_000) + " = 1",
	} {
		t.Run(name, func(t *testing.T) {
			init, err := Parse([]byte(text))
			var refusal *attest.Refusal
			if !errors.As(err, &refusal) || refusal.Code != attest.CodeInitData || init != nil {
				t.Errorf("%v, %v", init, err)
			}
		})
	}
}

// check holds what Parse promises of any input.
func check(t *testing.T, input []byte) {
	init, err := Parse(input)
	var refusal *attest.Refusal
	if err != nil {
		if !errors.As(err, &refusal) || refusal.Code != attest.CodeInitData {
			t.Fatalf("an error of another kind: %v", err)
		}
		return
	}
	want := map[string]int{"sha256": 32, "sha384": 48, "sha512": 64}[init.Algorithm]
	if want == 0 || len(init.Digest) != want || len(init.Data) > MaxFiles {
		t.Fatalf("accepted %+v", init)
	}
}

func seeds() [][]byte {
	return [][]byte{[]byte(good), []byte(strings.Replace(good, "sha384", "sha256", 1)), []byte("algorithm=\"sha512\"\nversion='0.1.0'\ndata={a='b'}")}
}

func FuzzParse(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(check)
}

func TestMutations(t *testing.T) { mutate.Run(t, seeds(), check) }
