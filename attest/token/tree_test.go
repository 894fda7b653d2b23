package token

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"strings"
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
			if found, ok := o.raw(name); found != raw || ok != (raw != "null") {
				t.Fatalf("%q: member %q is found as %q", text, name, found)
			}
			if _, ok := members[name+" "]; !ok && o.has(name+" ") {
				t.Fatalf("%q: a member %q, which is not there, is found", text, name+" ")
			}
		}
	})
	for _, twice := range []string{`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":[{"b":1,"b":2}]}`, `{"a":{"b":1,"b":2}}`} {
		if _, err := parseObject(twice); err == nil {
			t.Errorf("%s passes", twice)
		}
	}
}

// TestFind: a member is found in its own object, and not where one around it, in it or beside it has the name.
func TestFind(t *testing.T) {
	o, err := parseObject(`{"a":{"x":1,"b":{"y":2,"x":3}},"c":{"z":4},"y":5,"d":[{"w":6}],"e":{}}`)
	if err != nil {
		t.Fatal(err)
	}
	a, b, c, e := o.inner("a"), o.inner("a").inner("b"), o.inner("c"), o.inner("e")
	for _, test := range []struct {
		in   object
		name string
		want string
	}{
		{o, "y", "5"}, {o, "x", ""}, {o, "z", ""}, {o, "w", ""}, {a, "x", "1"}, {a, "y", ""}, {a, "z", ""}, {b, "x", "3"}, {b, "y", "2"}, {b, "b", ""}, {c, "z", "4"}, {c, "y", ""},
		{e, "x", ""}, {e, "", ""}, {o.inner("f"), "y", ""},
	} {
		if raw, _ := test.in.raw(test.name); raw != test.want {
			t.Errorf("%q in %q is %q, not %q", test.name, test.in.in.path(max(0, test.in.at)), raw, test.want)
		}
	}
}

// TestIdentifiers reads lists of objects one after the other, which use the same room.
func TestIdentifiers(t *testing.T) {
	text := `{"p":[{"id":"1","in":{"id":"x"}},{"v":"2"},{"id":"3"}],"q":[],"id":"y","r":[{"id":"4"}],"s":[{"id":"5"},{"id":6}]}`
	o, err := parseObject(text)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for name, want := range map[string]string{"p": "1,3", "q": "", "r": "4", "t": ""} {
			if ids := strings.Join(o.identifiers(name, "id"), ","); ids != want {
				t.Errorf("%s: %q, not %q", name, ids, want)
			}
		}
		if id := o.text("id"); id != "y" || o.err() != nil {
			t.Errorf("after the lists: %q, %v", id, o.err())
		}
	}
	if o.identifiers("s", "id"); o.err() == nil || !strings.Contains(o.err().Error(), `"s.2.id"`) {
		t.Errorf("a number for an identifier: %v", o.err())
	}
	for _, list := range []string{`{"a":"x"}`, `{"a":[1]}`, `{"a":[{"id":"1"},[]]}`, `{"a":{}}`, `{"a":[` + strings.Repeat(`{},`, maxList) + `{}]}`} {
		o, err := parseObject(list)
		if err != nil {
			t.Fatal(err)
		}
		if o.identifiers("a", "id"); o.err() == nil {
			t.Errorf("%.40s passes for a list of objects", list)
		}
	}
}

// TestHex has every byte at a place of a text that is hex otherwise.
func TestHex(t *testing.T) {
	for c := range 256 {
		text := "0a" + string(rune(c)) + "F"
		o, err := parseObject(string(must(json.Marshal(claimSet{"a": text}))))
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if _, err := hex.DecodeString(text); err == nil {
			want = strings.ToLower(text)
		}
		if got := o.hex("a", 1, 2); got != want || (o.err() == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, o.err())
		}
		if o.hex("a", 1, 3); o.err() == nil {
			t.Errorf("%q passes for 1 or 3 bytes", text)
		}
	}
}

// TestStatedOfTwo: a name that the token has is the token's, whatever it is there, unless it is null.
func TestStatedOfTwo(t *testing.T) {
	long := `"` + strings.Repeat("x", maxStatedText+1) + `"`
	o, err := parseObject(`{"iss":"i","a":{},"b":[],"c":null,"d":"1","e":` + long + `,"f":true,"hw":{"a":"2","b":"2","c":"2","d":"2","e":"2","g":2,"h":` + long + `,"iss":"2"}}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		have, want map[string]string
	}{
		{stated(o, o.inner("hw")), map[string]string{"c": "2", "d": "1", "f": "true", "g": "2"}},
		{stated(o, o), map[string]string{"d": "1", "f": "true"}},
		{stated(o), map[string]string{"d": "1", "f": "true"}},
		{stated(o, o.inner("none")), map[string]string{"d": "1", "f": "true"}},
	} {
		if !maps.Equal(test.have, test.want) {
			t.Errorf("%v, want %v", test.have, test.want)
		}
	}
}
