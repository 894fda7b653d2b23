package reference

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/policy"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func value(text string, state State) Value {
	return Value{Value: text, State: state, AddedBy: "alice", AddedAt: noon}
}

func setOf(t testing.TB, name string, values ...Value) Set {
	t.Helper()
	s, err := New(name)
	for _, v := range values {
		if err == nil {
			s, err = s.Put(v)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestChangesLeaveTheOriginal(t *testing.T) {
	original := setOf(t, "images", value("a", Active), value("c", Staged))
	before := fmt.Sprint(original)
	added, err := original.Put(value("b", Active))
	if err != nil {
		t.Fatal(err)
	}
	retired, err := added.Retire("a")
	if err != nil {
		t.Fatal(err)
	}
	matched, err := retired.Matched("b", noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	replaced, err := matched.Put(value("b", Staged))
	if err != nil {
		t.Fatal(err)
	}
	removed, err := replaced.Remove("a")
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(original) != before {
		t.Errorf("the original changed: %v", original)
	}
	if v, _ := replaced.Find("b"); v.State != Staged || !v.LastMatched.Equal(noon.Add(time.Hour)) {
		t.Errorf("replaced: %+v", v)
	}
	if earlier, _ := matched.Matched("b", noon); !reflect.DeepEqual(earlier, matched) {
		t.Error("an earlier match replaced a later one")
	}
	if v, _ := retired.Find("a"); v.State != Retired || len(removed.Values) != 2 {
		t.Errorf("retired %+v, removed %v", v, removed)
	}
	for name, err := range map[string]error{
		"retire unknown": second(original.Retire("x")), "activate unknown": second(original.Activate("x")), "match unknown": second(original.Matched("x", noon)), "remove unknown": second(original.Remove("x")),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	activated, err := original.Activate("c")
	if v, _ := activated.Find("c"); err != nil || v.State != Active {
		t.Errorf("activated: %+v, %v", v, err)
	}
	if same, err := activated.Activate("c"); err != nil || !reflect.DeepEqual(same, activated) {
		t.Errorf("activated twice: %v, %v", same, err)
	}
	if _, err := retired.Activate("a"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a retired value is activated: %v", err)
	}
	if _, err := original.Remove("a"); !errors.Is(err, ErrInvalid) {
		t.Errorf("an active value is removed: %v", err)
	}
}

func second(_ Set, err error) error { return err }

func TestPutRefuses(t *testing.T) {
	empty := setOf(t, "images")
	for name, change := range map[string]func(*Value){
		"empty":             func(v *Value) { v.Value = " " },
		"long":              func(v *Value) { v.Value = strings.Repeat("x", MaxValue+1) },
		"control character": func(v *Value) { v.Value = "a\nb" },
		"not UTF-8":         func(v *Value) { v.Value = "a\xff" },
		"no state":          func(v *Value) { v.State = "" },
		"another state":     func(v *Value) { v.State = "Active" },
		"nobody":            func(v *Value) { v.AddedBy = "" },
		"never":             func(v *Value) { v.AddedAt = time.Time{} },
		"expires first":     func(v *Value) { v.NotBefore, v.Expires = noon, noon },
		"long note":         func(v *Value) { v.Note = strings.Repeat("x", MaxText+1) },
		"no statement":      func(v *Value) { v.Origin = &policy.Origin{Key: "k"} },
		"a long commit": func(v *Value) {
			v.Origin = &policy.Origin{Key: "k", Statement: "s", Commit: strings.Repeat("x", MaxText+1)}
		},
		"year 10000": func(v *Value) { v.Expires = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		v := value("a", Active)
		change(&v)
		if _, err := empty.Put(v); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "Images", "a.b", "a/b", "-a", strings.Repeat("a", 64)} {
		if _, err := New(name); !errors.Is(err, ErrInvalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	full := setOf(t, "full")
	for i := range MaxValues {
		full.Values = append(full.Values, value(fmt.Sprintf("%06d", i), Active))
	}
	if _, err := full.Put(value("x", Active)); !errors.Is(err, ErrTooMany) {
		t.Errorf("a value too many: %v", err)
	}
	if _, err := full.Put(value("000007", Retired)); err != nil {
		t.Errorf("replacing in a full set: %v", err)
	}
	if text, err := Encode(full); err != nil || len(text) > MaxEncoded {
		t.Errorf("a full set: %d bytes, %v", len(text), err)
	}
}

func TestNormalise(t *testing.T) {
	hex := strings.Repeat("Ab", 16)
	for in, want := range map[string]string{
		hex: strings.ToLower(hex), " " + hex + "\n": strings.ToLower(hex), hex[1:]: hex[1:], hex + "G0": hex + "G0", "DEADBEEF": "DEADBEEF", "Host-1": "Host-1",
	} {
		if got := Normalise(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestSnapshot(t *testing.T) {
	upper := strings.Repeat("AB", 24)
	limited := value("limited", Active)
	limited.NotBefore, limited.Expires = noon, noon.Add(time.Hour)
	limited.Origin = &policy.Origin{Statement: "sha256:00", Key: "release", Repository: "https://github.com/acme/payments", Commit: "ab12"}
	snapshot, err := NewSnapshot([]Set{
		setOf(t, "images", value(upper, Active), value("staged", Staged), value("retired", Retired), limited), setOf(t, "none"),
		setOf(t, "inactive", value("staged", Staged), value("retired", Retired)),
	})
	if err != nil {
		t.Fatal(err)
	}
	var _ policy.References = snapshot
	for _, tc := range []struct {
		value string
		at    time.Time
		want  bool
	}{
		{strings.ToLower(upper), noon, true}, {upper, noon, false}, {"staged", noon, false}, {"retired", noon, false}, {"", noon, false},
		{"limited", noon.Add(-1), false}, {"limited", noon, true}, {"limited", noon.Add(time.Hour - 1), true}, {"limited", noon.Add(time.Hour), false},
	} {
		values, ok := snapshot.Lookup("images", tc.at)
		if !ok || values.Contains(tc.value) != tc.want {
			t.Errorf("%q at %v: want %v", tc.value, tc.at, tc.want)
		}
	}
	if values, _ := snapshot.Lookup("images", noon); values.(policy.Origins).Origin("limited") != limited.Origin || values.(policy.Origins).Origin("staged") != nil {
		t.Error("the snapshot does not say where a value comes from")
	}
	for _, name := range []string{"none", "inactive", "unknown"} {
		if _, ok := snapshot.Lookup(name, noon); ok {
			t.Errorf("%s: a set without an active value counts", name)
		}
	}
	next, err := snapshot.With(setOf(t, "images", value("only", Active)))
	if err != nil {
		t.Fatal(err)
	}
	if values, _ := next.Lookup("images", noon); !values.Contains("only") || values.Contains("limited") {
		t.Error("the new set does not stand for the old one")
	}
	if values, _ := snapshot.Lookup("images", noon); values.Contains("only") {
		t.Error("the old snapshot changed")
	}
	names := next.Names()
	slices.Sort(names)
	if !slices.Equal(names, []string{"images", "inactive", "none"}) {
		t.Errorf("names %v", names)
	}
	if _, err := NewSnapshot([]Set{setOf(t, "a"), setOf(t, "a")}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a set twice: %v", err)
	}
}

func seeds(t testing.TB) [][]byte {
	full := value(strings.Repeat("0f", 48), Active)
	full.NotBefore, full.Expires, full.LastMatched = noon, noon.Add(time.Hour), noon.Add(time.Minute)
	full.Provenance, full.Note = "sha256:00", "build 7 <&>"
	full.Origin = &policy.Origin{
		Statement: "sha256:00", Key: "release", Builder: "b", Repository: "https://github.com/acme/payments", Workflow: "w.yml", Ref: "refs/heads/main", Commit: "ab12", Image: "i",
	}
	var out [][]byte
	for _, s := range []Set{setOf(t, "empty"), setOf(t, "images", full, value("b", Staged), value("c", Retired))} {
		text, err := Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, text)
	}
	return out
}

func TestDecodeRefuses(t *testing.T) {
	const v = `{"value":"a","state":"active","added_by":"x","added_at":"2026-01-01T00:00:00Z"}`
	if _, err := Decode([]byte(`{"name":"s","values":[` + v + `]}`)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nothing":         ``,
		"null":            `null`,
		"a list":          `[]`,
		"no values":       `{"name":"s"}`,
		"null values":     `{"name":"s","values":null}`,
		"trailing":        `{"name":"s","values":[]} {}`,
		"unknown member":  `{"name":"s","values":[],"x":1}`,
		"another case":    `{"Name":"s","values":[]}`,
		"member twice":    `{"name":"s","values":[],"name":"s"}`,
		"in a value":      `{"name":"s","values":[{"state":"retired",` + v[1:] + `]}`,
		"value twice":     `{"name":"s","values":[` + v + `,` + v + `]}`,
		"out of order":    `{"name":"s","values":[` + strings.Replace(v, `"a"`, `"b"`, 1) + `,` + v + `]}`,
		"upper-case hex":  `{"name":"s","values":[` + strings.Replace(v, `"a"`, `"`+strings.Repeat("AA", 16)+`"`, 1) + `]}`,
		"nested":          `{"name":"s","values":[{"value":{"value":{}}}]}`,
		"a name as value": `{"name":"s","values":["name"]}`,
		"too large":       `{"name":"s","values":[]}` + strings.Repeat(" ", MaxEncoded),
	} {
		if s, err := Decode([]byte(text)); err == nil {
			t.Errorf("%s: decoded %v", name, s)
		}
	}
}

// checkDecode holds that what decodes is a set without fault, and encodes to what decodes to the same.
func checkDecode(t *testing.T, text []byte) {
	s, err := Decode(text)
	if err != nil {
		if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooMany) {
			t.Fatalf("an error of no kind: %v", err)
		}
		return
	}
	again, err := Encode(s)
	if err != nil {
		t.Fatalf("decoded and cannot be encoded: %v", err)
	}
	same, err := Decode(again)
	if err != nil || !reflect.DeepEqual(s, same) {
		t.Fatalf("%v: %v became %v", err, s, same)
	}
	if _, err := NewSnapshot([]Set{s}); err != nil {
		t.Fatal(err)
	}
}

func FuzzReferenceDecode(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(checkDecode)
}

func TestMutations(t *testing.T) { mutate.Run(t, seeds(t), checkDecode) }

// BenchmarkContains looks up in sets of different sizes; the cost must not follow them.
func BenchmarkContains(b *testing.B) {
	for _, n := range []int{10, MaxValues} {
		b.Run(fmt.Sprintf("values=%d", n), func(b *testing.B) {
			s := setOf(b, "images")
			for i := range n {
				s.Values = append(s.Values, value(fmt.Sprintf("%096d", i), Active))
			}
			snapshot, err := NewSnapshot([]Set{s})
			if err != nil {
				b.Fatal(err)
			}
			want := s.Values[n/2].Value
			for b.Loop() {
				values, _ := snapshot.Lookup("images", noon)
				if !values.Contains(want) {
					b.Fatal("not found")
				}
			}
		})
	}
}
