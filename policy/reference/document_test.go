package reference

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/policy"
)

const stated = `apiVersion: vouchsafe/v1
kind: ReferenceSet
metadata: {name: images}
spec:
  values:
    - value: 6A6519D757E66A6519D757E66A6519D757E66A6519D757E6 # upper case
      note: release 2.1
      expires: 2027-03-01T00:00:00+01:00
    - {value: "1.20", state: staged, notBefore: 2026-03-01T00:00:00Z}
`

func TestParseDocument(t *testing.T) {
	got, err := ParseDocument("images.yaml", []byte(stated))
	if err != nil {
		t.Fatal(err)
	}
	want := Stated{Name: "images", Values: []Value{
		{Value: "1.20", State: Staged, NotBefore: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)},
		{Value: strings.Repeat("6a6519d757e6", 4), State: Active, Note: "release 2.1", Expires: time.Date(2027, 2, 28, 23, 0, 0, 0, time.UTC)},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if empty, err := ParseDocument("", []byte(strings.Split(stated, "\n    -")[0]+" []\n")); err != nil || len(empty.Values) != 0 {
		t.Errorf("an empty set: %+v, %v", empty, err)
	}
}

func TestParseDocumentRefuses(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"kind":             {"ReferenceSet", "ReferenceSets", `2:7: kind: found "ReferenceSets"`},
		"name":             {"name: images", "name: Images", "3:18: metadata.name:"},
		"no name":          {"name: images", "", "metadata"},
		"member":           {"note:", "notes:", `did you mean "note"`},
		"number":           {`"1.20"`, "1.20", `put quotes around 1.20`},
		"empty":            {`"1.20"`, `""`, "spec.values[1].value: the text is empty"},
		"state":            {"staged", "retired", "spec.values[1].state"},
		"time":             {"2026-03-01T00:00:00Z", "tomorrow", "spec.values[1].notBefore"},
		"zero time":        {"2026-03-01T00:00:00Z", "0001-01-01T00:00:00Z", "spec.values[1].notBefore"},
		"twice":            {`"1.20"`, strings.Repeat("6a6519d757e6", 4), "is there twice"},
		"expires first":    {"staged,", "staged, expires: 2026-03-01T00:00:00Z,", "expires before it begins to count"},
		"not printable":    {`"1.20"`, `"a\nb"`, "characters that do not print"},
		"values":           {"values:", "value:", "values"},
		"a second":         {"kind:", "---\nkind:", "there is a second document"},
		"an anchor":        {"release 2.1", "&a release 2.1", "anchors"},
		"who added it":     {"state: staged", "added_by: root", "there is no member"},
		"more than it may": {"# upper", "#" + strings.Repeat("x", MaxDocument), "at most 1048576"},
	} {
		_, err := ParseDocument("images.yaml", []byte(strings.Replace(stated, c.old, c.new, 1)))
		var problems *policy.Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDocumentRoundTrip writes sets and reads them again: then there is nothing to change.
func TestDocumentRoundTrip(t *testing.T) {
	awkward := []string{"true", "null", "1e3", "007", "- a", "a: b", "a #b", "'", `"`, "\\", "é", strings.Repeat("0", 64), strings.Repeat("ab", 200), "2026-01-01", "~", "!x", "&x", "*", "@"}
	set := setOf(t, "images", value("gone", Retired))
	for i, text := range awkward {
		v := value(text, []State{Active, Staged}[i%2])
		v.Note, v.Provenance = text+"\u200f\n"+text, "sha256:00"
		if i%3 == 0 {
			v.NotBefore, v.Expires = noon.Add(time.Nanosecond), noon.Add(time.Hour)
		}
		var err error
		if set, err = set.Put(v); err != nil {
			t.Fatal(err)
		}
	}
	text := Document(set)
	back, err := ParseDocument("", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if put, retire := back.Change(set, "bob", noon); len(put)+len(retire) > 0 {
		t.Errorf("put %v, retire %v", put, retire)
	}
}

func TestChange(t *testing.T) {
	d, err := ParseDocument("", []byte(stated))
	if err != nil {
		t.Fatal(err)
	}
	old := value("1.20", Active)
	old.Provenance = "sha256:00"
	set := setOf(t, "images", old, value("other", Staged), value("gone", Retired))
	put, retire := d.Change(set, "bob", noon)
	if len(put) != 2 || put[0].Provenance != "sha256:00" || put[0].State != Staged || put[0].AddedBy != "bob" || !reflect.DeepEqual(retire, []string{"other"}) {
		t.Errorf("put %+v, retire %v", put, retire)
	}
}

func documentSeeds(testing.TB) [][]byte {
	return [][]byte{[]byte(stated), []byte(strings.ReplaceAll(stated, "\n", "\r\n"))}
}

// checkParse parses whatever it is given: it is refused with problems, or what it states can be written and read again.
func checkParse(t *testing.T, source []byte) {
	d, err := ParseDocument("fuzz.yaml", source)
	if err != nil {
		var problems *policy.Problems
		if !errors.As(err, &problems) || len(problems.List) == 0 {
			t.Fatalf("an error that is no list of problems: %v", err)
		}
		return
	}
	set, err := New(d.Name)
	if err != nil {
		t.Fatal(err)
	}
	put, _ := d.Change(set, "x", noon)
	for _, v := range put {
		if set, err = set.Put(v); err != nil {
			t.Fatal(err)
		}
	}
	if put, retire := d.Change(set, "y", noon); len(put)+len(retire) > 0 {
		t.Fatalf("applied, there is more to do: %v, %v", put, retire)
	}
	text := Document(set)
	if back, err := ParseDocument("", text); err != nil || !reflect.DeepEqual(back, d) {
		t.Fatalf("%+v is written as %s: %v", d, text, err)
	}
}

func FuzzParseDocument(f *testing.F) {
	for _, seed := range documentSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(checkParse)
}

func TestDocumentMutations(t *testing.T) { mutate.Run(t, documentSeeds(t), checkParse) }
