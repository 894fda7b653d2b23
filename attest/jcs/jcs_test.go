package jcs

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// TestRFC8785 holds the samples of RFC 8785 that have no fractions.
func TestRFC8785(t *testing.T) {
	for name, test := range map[string]struct {
		value any
		want  string
	}{
		"section 3.2.2, strings and literals": {
			map[string]any{"string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\u002f", "literals": []any{nil, true, false}},
			`{"literals":[null,true,false],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		},
		"section 3.2.3, sorting": {
			map[string]any{
				"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
				"\U0001F600": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis",
			},
			"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\"," +
				"\"€\":\"Euro Sign\",\"\U0001F600\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}",
		},
		"arrays keep their order": {[]any{56, map[string]any{"d": true, "10": nil, "1": []any{}}}, `[56,{"1":[],"10":null,"d":true}]`},
		"unicode is left alone":   {map[string]string{"Unnormalized Unicode": "A\u030a"}, "{\"Unnormalized Unicode\":\"A\u030a\"}"},
		"control characters":      {"\b\t\n\f\r\x00\x1f\x7f", `"\b\t\n\f\r\u0000\u001f` + "\x7f\""},
		"slashes and marks":       {"</>&\u2028", "\"</>&\u2028\""},
		"integers":                {[]any{0, -1, int64(maxInteger), uint64(maxInteger), json.Number("-7")}, `[0,-1,9007199254740992,9007199254740992,-7]`},
		"raw":                     {map[string]any{"b": Raw(`{"kty":"EC"}`), "a": []string{"x", ""}}, `{"a":["x",""],"b":{"kty":"EC"}}`},
		"empty":                   {[]any{map[string]any{}, map[string]string{}, []string{}, ""}, `[{},{},[],""]`},
	} {
		t.Run(name, func(t *testing.T) {
			have, err := Marshal(test.value)
			if err != nil || string(have) != test.want {
				t.Errorf("%s, %v\nwant %s", have, err, test.want)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	deep := any("x")
	for range maxDepth + 2 {
		deep = []any{deep}
	}
	for name, value := range map[string]any{
		"fraction":          1.5,
		"number a fraction": json.Number("1.0"),
		"number in powers":  json.Number("1e3"),
		"over 2^53":         int64(maxInteger + 1),
		"under -2^53":       int64(-maxInteger - 1),
		"uint64":            uint64(1 << 63),
		"not UTF-8":         "a\xff",
		"lone surrogate":    "\xed\xa0\x80",
		"name not UTF-8":    map[string]any{"\xff": 1},
		"structure":         struct{}{},
		"deep":              deep,
	} {
		t.Run(name, func(t *testing.T) {
			if have, err := Marshal(value); err == nil {
				t.Errorf("written as %s", have)
			}
		})
	}
}

// check holds that what is written is JSON, gives the value back, and is written the same again.
func check(t *testing.T, input []byte) {
	parts := strings.SplitN(string(input), "|", 3)
	value := map[string]string{}
	for i, part := range parts {
		value[part] = fmt.Sprint(i)
	}
	text, err := Marshal(value)
	if err != nil {
		if utf8.Valid(input) {
			t.Fatalf("%q: %v", input, err)
		}
		return
	}
	var back map[string]string
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	again, err := Marshal(back)
	if err != nil || string(again) != string(text) || len(back) != len(value) {
		t.Fatalf("%s became %s, %v", text, again, err)
	}
}

func seeds() [][]byte {
	return [][]byte{[]byte("a|b|c"), []byte("\ufb33|\U0001F600|\r\n\\\""), []byte("\u20ac|\x00|\x1f")}
}

func FuzzMarshal(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(check)
}

func TestMutations(t *testing.T) { mutate.Run(t, seeds(), check) }

// TestOrder compares with the definition: UTF-16 code units, most significant byte first.
func TestOrder(t *testing.T) {
	names := []string{"\ufb33", "\U0001F600", "\ue000", "\uffff", "\U00010000", "\U0010FFFF", "\ud7ff", "", "a", "aa"}
	slices.SortFunc(names, compareUTF16)
	want := []string{"", "a", "aa", "\ud7ff", "\U00010000", "\U0001F600", "\U0010FFFF", "\ue000", "\ufb33", "\uffff"}
	if !slices.Equal(names, want) {
		t.Errorf("%+q, want %+q", names, want)
	}
}
