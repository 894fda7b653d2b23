package policy

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

const coverable = `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: covered}
spec:
  secrets: ["a/*/b", "c"]
  require:
    - {name: kind, that: claims.kind == "snp"}
    - {name: image, that: claims.measurement == "aa"}
    - {name: unseen, that: claims.kind != "tpm"}
tests:
`

const apart = `apiVersion: vouchsafe/v1
kind: PolicyTests
metadata: {name: covered}
tests:
  - name: both refuse
    claims: {values: {kind: tdx, measurement: bb}}
    expect: deny
  - name: the image alone is refused, and the baseline with it
    claims: {values: {kind: snp, measurement: bb}}
    expect: deny
    by: image
`

// Coverage counts what the tests that passed saw of each rule of the policy's own.
func TestCover(t *testing.T) {
	source := coverable + `
  - name: a test that does not pass counts for nothing
    claims: {values: {kind: tpm}}
    expect: allow
`
	p, err := Parse("p", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := ParseTests("t", []byte(apart), p)
	if err != nil {
		t.Fatal(err)
	}
	results := append(RunTests(p, nil), RunEach(p, tests, nil)...)
	want := []Coverage{
		{Rule: "kind", Line: 7, Passed: 1, Refused: 1},
		{Rule: "image", Line: 8, Refused: 2},
		{Rule: "unseen", Line: 9, Passed: 2},
	}
	got := Cover(p, results)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	for i, covered := range []bool{true, false, false} {
		if got[i].Covered() != covered {
			t.Errorf("%s: covered is not %v", got[i].Rule, covered)
		}
	}
}

// A rule that alone stands between a request and its secret is counted so.
func TestCoverAlone(t *testing.T) {
	source, err := os.ReadFile("../examples/snp-image/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse("p", source)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.OpenRoot("../examples/snp-image")
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	for _, c := range Cover(p, RunTests(p, folder.ReadFile)) {
		if c.Alone == 0 || !c.Covered() {
			t.Errorf("%+v", c)
		}
	}
}

func TestParseTestsRefuses(t *testing.T) {
	p, err := Parse("p", []byte(coverable+`
  - {name: taken, claims: {values: {kind: snp}}, expect: deny}
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ from, to, want string }{
		"another policy's":                  {"name: covered", "name: other", "of another policy"},
		"no policy's":                       {"metadata: {name: covered}\n", "", `"metadata" is missing`},
		"another kind":                      {"kind: PolicyTests", "kind: ReleasePolicy", "expected PolicyTests"},
		"another version":                   {"vouchsafe/v1", "vouchsafe/v2", "expected vouchsafe/v1"},
		"a rule that there is not":          {"by: image", "by: imag", `did you mean "image"`},
		"a secret not guarded":              {"    by: image", "    by: image\n    secret: d", "does not guard"},
		"a name that the policy's own have": {"name: both refuse", "name: taken", "is there twice"},
		"something else":                    {"tests:", "spec: {}\ntests:", `did you mean`},
		"not YAML":                          {"tests:", "tests: [", "YAML"},
	} {
		_, err := ParseTests("t.yaml", []byte(strings.Replace(apart, test.from, test.to, 1)), p)
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		var problems *Problems
		if !errors.As(err, &problems) && !errors.Is(err, ErrOtherPolicy) {
			t.Errorf("%s: an error of the type %T", name, err)
		}
		if !strings.Contains(err.Error(), test.want) && name != "something else" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(p.Tests()) != 1 {
		t.Error("the policy has other tests now")
	}
}

func TestKindOf(t *testing.T) {
	for source, want := range map[string][2]string{
		apart:                         {"PolicyTests", "covered"},
		coverable:                     {"ReleasePolicy", "covered"},
		"a: b":                        {"", ""},
		"kind: [x]\nmetadata: [name]": {"", ""},
		"[]":                          {"", ""},
		"":                            {"", ""},
	} {
		kind, name, err := KindOf([]byte(source))
		if err != nil || kind != want[0] || name != want[1] {
			t.Errorf("%q: %q, %q, %v", source, kind, name, err)
		}
	}
	if _, _, err := KindOf([]byte("a: [")); err == nil {
		t.Error("what is no YAML has a kind")
	}
}

// checkTests parses tests, and runs those that parse: whatever they say, they do not change the policy or panic.
func checkTests(t *testing.T, p *Policy, source []byte) {
	kind, _, _ := KindOf(source)
	tests, err := ParseTests("fuzz.yaml", source, p)
	if err != nil {
		return
	}
	if kind != TestsKind {
		t.Fatalf("tests in a document of kind %q", kind)
	}
	for _, r := range RunEach(p, tests, nil) {
		if r.Name == "" || r.Line == 0 {
			t.Fatalf("a result without a name or a place: %+v", r)
		}
	}
}

func FuzzParseTests(f *testing.F) {
	p, err := Parse("p", []byte(coverable+"\n  - {name: own, claims: {values: {kind: snp}}, expect: deny}\n"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(apart))
	f.Fuzz(func(t *testing.T, source []byte) { checkTests(t, p, source) })
}

func TestMutatedTests(t *testing.T) {
	p, err := Parse("p", []byte(coverable+"\n  - {name: own, claims: {values: {kind: snp}}, expect: deny}\n"))
	if err != nil {
		t.Fatal(err)
	}
	mutate.Run(t, [][]byte{[]byte(apart)}, func(t *testing.T, source []byte) { checkTests(t, p, source) })
}
