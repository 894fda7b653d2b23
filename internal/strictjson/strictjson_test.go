package strictjson

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

type inner struct {
	A string `json:"a"`
}

type document struct {
	inner
	Name   string            `json:"name"`
	Count  int               `json:"count,omitempty"`
	When   time.Time         `json:"when,omitzero"`
	Inner  *inner            `json:"inner,omitempty"`
	List   []inner           `json:"list,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	Raw    json.RawMessage   `json:"raw,omitempty"`
	hidden string
	Not    string `json:"-"`
}

const good = `{"a":"x","name":"n","count":3,"when":"2026-11-23T00:00:00Z","inner":{"a":"y"},` +
	`"list":[{"a":"1"},{"a":"2"}],"labels":{"Any":"1","any":"2"},"raw":{"whatever":[1,2.5,null]}}`

func TestUnmarshal(t *testing.T) {
	var d document
	if err := Unmarshal([]byte(good), &d); err != nil {
		t.Fatal(err)
	}
	if d.A != "x" || d.Name != "n" || d.Inner.A != "y" || d.List[1].A != "2" || d.Labels["any"] != "2" || d.hidden != "" {
		t.Errorf("decoded %+v", d)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	tests := []struct{ name, input, want string }{
		{"empty", ``, "unexpected end"},
		{"trailing value", `{"name":"a"} {}`, "after top-level value"},
		{"trailing garbage", `{"name":"a"}x`, "after top-level value"},
		{"twice", `{"name":"a","name":"b"}`, `"name" is there twice`},
		{"twice by escape", `{"name":"a","n\u0061me":"b"}`, `"name" is there twice`},
		{"unknown", `{"nope":1}`, `"nope" is not known`},
		{"other case", `{"Name":"a"}`, `"Name" is not known`},
		{"unexported", `{"hidden":"a"}`, `"hidden" is not known`},
		{"left out by tag", `{"Not":"a"}`, `"Not" is not known`},
		{"nested unknown", `{"inner":{"b":1}}`, `in "inner": member "b" is not known`},
		{"nested in list", `{"list":[{"a":"1","a":"2"}]}`, `in "list": member "a" is there twice`},
		{"nested in map", `{"labels":{"k":"1","k":"2"}}`, `in "labels": member "k" is there twice`},
		{"nested in raw", `{"raw":{"k":{"z":1,"z":2}}}`, `in "raw.k": member "z" is there twice`},
		{"not UTF-8", "{\"name\":\"\xff\"}", "not UTF-8"},
		{"too deep", `{"raw":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "nested over"},
		{"cut", `{"name":"a"`, "unexpected end"},
		{"wrong type", `{"count":"3"}`, `a JSON string into member "count"`},
		{"fraction", `{"count":31337.5}`, `a JSON number into member "count"`},
		{"no time", `{"when":"31337"}`, "not of RFC 3339"},
		{"name ending in a backslash", `{"a\\":1}`, `"a\\" is not known`},
		{"name with a quote", `{"a\"b":1}`, `is not known`},
		{"long name", `{"` + strings.Repeat("x", 5000) + `":1}`, "…"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var d document
			err := Unmarshal([]byte(test.input), &d)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "31337") {
				t.Errorf("the error tells a value: %v", err)
			}
			if err != nil && len(err.Error()) > 200 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestBase64(t *testing.T) {
	type holder struct {
		B    []byte   `json:"b"`
		List [][]byte `json:"list"`
		P    *[]byte  `json:"p"`
	}
	for text, want := range map[string]bool{
		``: true, `AAEC`: true, `AAE=`: true, `AA==`: true, `+/8=`: true, `+\/8=`: true,
		`AAF=`: false, `AB==`: false, `AAEC\n`: false, `AA\r\nEC`: false, `AA\n\n\n\nEC`: false, `AAE`: false, `A===`: false, `_-8=`: false, `\u0041AEC`: false,
	} {
		for _, document := range []string{`{"b":"` + text + `"}`, `{"list":["` + text + `"]}`, `{"p":"` + text + `"}`} {
			var h holder
			if err := Unmarshal([]byte(document), &h); (err == nil) != want {
				t.Errorf("%s: %v", document, err)
			}
		}
	}
	var h holder
	if err := Unmarshal([]byte(`{"b":null,"list":[null]}`), &h); err != nil {
		t.Error(err)
	}
}

func TestUnmarshalNewer(t *testing.T) {
	var d document
	if err := UnmarshalNewer([]byte(`{"name":"a","new":{"x":1},"list":[{"a":"1","b":2}]}`), &d); err != nil || d.Name != "a" {
		t.Errorf("%+v, %v", d, err)
	}
	for _, bad := range []string{`{"name":"a","Name":"b"}`, `{"new":1,"new":2}`, `{"new":{"x":1,"x":2}}`, `{"list":[{"A":"1"}]}`} {
		if err := UnmarshalNewer([]byte(bad), &document{}); err == nil {
			t.Errorf("%s passed", bad)
		}
	}
}

func TestObject(t *testing.T) {
	m, err := Object([]byte(` {"a":"x","A":{"b":1,"b":2}} `))
	if err != nil || len(m) != 2 || string(m["A"]) != `{"b":1,"b":2}` {
		t.Fatalf("%s, %v", m, err)
	}
	if s, err := String(m["a"]); s != "x" || err != nil {
		t.Errorf("%q, %v", s, err)
	}
	if _, err := String(m["A"]); err == nil {
		t.Error("an object taken for a string")
	}
	if _, err := String(json.RawMessage("null")); err == nil {
		t.Error("null taken for a string")
	}
	for _, bad := range []string{``, `[]`, `null`, `"a"`, `{"a":1,"a":2}`, `{"a":1}{}`, `{"a":1}]`, `{"a":`, `{"a"`, `{"a":1`, "{\"\xff\":1}"} {
		if _, err := Object([]byte(bad)); err == nil {
			t.Errorf("%q passed for an object", bad)
		}
	}
}

var seeds = [][]byte{[]byte(good), []byte(`{"a":"x"}`), []byte(`{"list":[{"a":"\u00e9"}],"raw":[[[]]]}`)}

// checkAgreement holds Unmarshal to never accepting what encoding/json refuses, and both ways of reading to each other.
func checkAgreement(t testing.TB, input []byte) {
	var d, plain document
	if Unmarshal(input, &d) == nil && json.Unmarshal(input, &plain) != nil {
		t.Errorf("accepted what encoding/json refuses: %q", input)
	}
	if m, err := Object(input); err == nil {
		var all map[string]json.RawMessage
		if json.Unmarshal(input, &all) != nil || !maps.EqualFunc(all, m, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Errorf("Object and encoding/json disagree: %q", input)
		}
	}
	// A tree of anything is walked without a type, so only duplicates and depth can be wrong with it.
	var tree any
	if err := Unmarshal(input, &tree); err == nil != (json.Valid(input) && utf8.Valid(input) && singleNames(input)) {
		t.Errorf("%q: %v", input, err)
	}
}

// singleNames looks for names that are there twice, with the tokens of encoding/json.
func singleNames(input []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(input))
	var value func(depth int) bool
	value = func(depth int) bool {
		token, err := dec.Token()
		if err != nil || depth > MaxDepth {
			return false
		}
		seen := map[json.Token]bool{}
		for token == json.Delim('{') && dec.More() {
			name, err := dec.Token()
			if err != nil || seen[name] || !value(depth+1) {
				return false
			}
			seen[name] = true
		}
		for token == json.Delim('[') && dec.More() {
			if !value(depth + 1) {
				return false
			}
		}
		if token == json.Delim('{') || token == json.Delim('[') {
			_, err = dec.Token()
		}
		return err == nil
	}
	return value(0)
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) { checkAgreement(t, input) })
}

func TestMutations(t *testing.T) {
	mutate.Run(t, seeds, func(t *testing.T, input []byte) { checkAgreement(t, input) })
}
