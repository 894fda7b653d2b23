package readback

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	strict "github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

type word string

// marked decodes itself.
type marked struct{ text string }

func (m *marked) UnmarshalText(text []byte) error { m.text = "<" + string(text) + ">"; return nil }
func (m marked) MarshalText() ([]byte, error)     { return []byte(strings.Trim(m.text, "<>")), nil }

// record has a member of every sort that claims and decisions have.
type record struct {
	Name   string            `json:"name"`
	Kind   word              `json:"kind,omitempty"`
	At     time.Time         `json:"at,omitzero"`
	Flag   bool              `json:"flag"`
	Maybe  *bool             `json:"maybe,omitempty"`
	Count  int               `json:"count"`
	Large  int64             `json:"large,omitempty"`
	Small  *int32            `json:"small,omitempty"`
	List   []string          `json:"list,omitempty"`
	Lists  [][]int           `json:"lists"`
	Map    map[string]string `json:"map,omitempty"`
	PCRs   map[int]string    `json:"pcrs,omitempty"`
	Raw    json.RawMessage   `json:"raw,omitempty"`
	Bytes  []byte            `json:"bytes,omitempty"`
	Any    any               `json:"any,omitempty"`
	Marked marked            `json:"marked,omitzero"`
	Ref    *record           `json:"ref,omitempty"`
	Below  []record          `json:"below,omitempty"`
	Number uint64            `json:"number,omitempty"`
}

func full() record {
	flag, small := false, int32(-5)
	r := record{
		Name: strings.Repeat("0123456789abcdef", 4), Kind: "snp", At: time.Date(2026, 1, 31, 12, 0, 0, 120_000_000, time.UTC), Flag: true, Maybe: &flag,
		Count: -7, Large: 123_456_789_012_345_678, Small: &small, List: []string{"", "a", "bb"}, Lists: [][]int{{1, 2}, {}, nil, {0}},
		Map: map[string]string{"a": "b"}, PCRs: map[int]string{7: "aa"}, Raw: json.RawMessage(`{"x":[1,null,"\u00e9"]}`), Bytes: []byte("bytes"),
		Any: map[string]any{"k": []any{1.5, "x", nil, true}}, Marked: marked{"m"}, Number: 1<<64 - 1,
	}
	one, two := r, r
	one.Map, two.Raw = nil, nil
	r.Ref, r.Below = &one, []record{two, {}}
	return r
}

// written is what encoding/json writes, as package broker does: without the escapes that exist for HTML.
func written(tb testing.TB, value any) string {
	tb.Helper()
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// hold holds what is read of data against what the library reads, and returns whether it was read without it.
func hold(tb testing.TB, data string) (quick bool) {
	tb.Helper()
	r := New[record]()
	var want, got record
	wantErr := strict.Unmarshal([]byte(data), &want)
	got.Name, got.List, got.Below = "of before", []string{"of before"}, []record{{Name: "of before"}}
	err := r.Unmarshal([]byte(data), &got)
	if (err == nil) != (wantErr == nil) {
		tb.Fatalf("%v, and the library says %v, of %q", err, wantErr, data)
	}
	if wantErr == nil && !reflect.DeepEqual(got, want) {
		tb.Fatalf("read otherwise than by the library: %s\nof %q", cmp.Diff(want, got, cmp.AllowUnexported(marked{})), data)
	}
	return r.quick([]byte(data), &got)
}

// TestWhatWasWrittenIsReadHere: what encoding/json writes does not need the library.
func TestWhatWasWrittenIsReadHere(t *testing.T) {
	for _, r := range []record{{}, full(), {Name: `"quoted" \ and` + "\n\x00 \u2028 é", Kind: "<&>", Lists: [][]int{}, List: []string{`\`}}, {At: time.Now()}, {Large: -1 << 63, Count: 1<<63 - 1}} {
		if data := written(t, r); !hold(t, data) {
			t.Errorf("left to the library: %s", data)
		}
	}
}

// TestWhatIsOtherwise gives whatever differs from that, to which the answer is the library's.
func TestWhatIsOtherwise(t *testing.T) {
	whole := written(t, full())
	for _, data := range []string{
		"", "null", "{}", "[]", `"x"`, "{", `{"name"`, `{"name":`, `{"name":"`, `{"name":"a`, `{"name":"a"`, `{"name":"a",`, `{"name":"a",}`, `{"name":"a"}}`, `{,}`,
		" {}", "{} ", "{ }", `{"name" :"a"}`, `{"name": "a"}`, `{"name":"a" }`, "\ufeff{}", `{"name":"a"}{}`, `{"name":"a"} x`,
		`{"name":null}`, `{"maybe":null}`, `{"below":null}`, `{"list":null}`, `{"list":[null]}`, `{"ref":null}`, `{"at":null}`, `{"flag":null}`, `{"count":null}`, `{"map":null}`,
		`{"name":"a","name":"b"}`, `{"name":"a","flag":true,"name":"b"}`, `{"flag":true,"name":"b"}`, `{"ref":{"name":"a"},"ref":{"kind":"b"}}`, // twice, out of order
		`{"map":{"a":"1","a":"2"}}`, `{"any":{"a":1,"a":2}}`, `{"raw":{"a":1,"a":2}}`, `{"pcrs":{"7":"a","07":"b"}}`, `{"pcrs":{"7":"a","7":"b"}}`,
		`{"Name":"a"}`, `{"NAME":"a"}`, `{"n\u0061me":"a"}`, `{"namex":"a"}`, `{"nam":"a"}`, `{"newer":{"x":[1]}}`, `{"name":"a","newer":1,"newer":2}`, `{"newer":1,"name":"a"}`, `{"":1}`,
		`{"count":1.0}`, `{"count":1e2}`, `{"count":01}`, `{"count":-0}`, `{"count":-}`, `{"count":+1}`, `{"count":1-}`, `{"count":"1"}`, `{"count":0x1}`, `{"count":1_0}`, `{"count":}`,
		`{"count":9223372036854775807}`, `{"count":9223372036854775808}`, `{"count":-9223372036854775808}`, `{"count":-9223372036854775809}`,
		`{"count":999999999999999999}`, `{"count":000000000000000000000000001}`, `{"small":2147483647}`, `{"small":2147483648}`, `{"small":-2147483649}`, `{"number":-1}`, `{"number":1.5}`,
		`{"flag":True}`, `{"flag":tru}`, `{"flag":truex}`, `{"flag":1}`, `{"flag":"true"}`, `{"flag":falsefalse}`,
		"{\"name\":\"a\nb\"}", "{\"name\":\"\x7f\"}", "{\"name\":\"\xff\"}", "{\"name\":\"\xc3\"}", "{\"name\":\"é\"}", `{"name":"\ud800"}`, `{"name":"\x"}`, `{"name":"\"}`, `{"name":"\u00"}`,
		"{\"raw\":\"\xff\"}", "{\"any\":\"\x01\"}", `{"any":[1,]}`, `{"any":{"a"}}`, `{"any":{"a":1,}}`, `{"any":.5}`, `{"any":1.}`, `{"any":1e}`, `{"any":00}`, `{"any":-}`, `{"any":{1:2}}`,
		`{"at":"2026-01-31T12:00:00+01:00"}`, `{"at":"2026-01-31T12:00:00z"}`, `{"at":"2026-01-31t12:00:00Z"}`, `{"at":"2026-01-31T1:00:00Z"}`, `{"at":"2026-01-31T12:00:00,5Z"}`, `{"at":"2026-02-31T12:00:00Z"}`,
		`{"at":"2026-01-31T12:00:60Z"}`, `{"at":"2026-01-31T24:00:00Z"}`, `{"at":"2026-01-31T12:00:00.Z"}`, `{"at":"2026-01-31T12:00:00.5Z"}`, `{"at":"2026-01-31T12:00:00"}`, `{"at":""}`, `{"at":"Z"}`, `{"at":1}`,
		`{"at":"2026-01-31T12:00:00\u005a"}`, `{"at":"0000-01-01T00:00:00Z"}`, `{"at":"10000-01-01T00:00:00Z"}`, `{"at":"2026-01-31T12:00:00.1234567890Z"}`,
		`{"list":[]}`, `{"list":["a",]}`, `{"list":[,]}`, `{"list":["a" ]}`, `{"list":["a"}`, `{"list":{}}`, `{"lists":[[[]]]}`, `{"bytes":"AA"}`, `{"bytes":[1]}`, `{"marked":1}`,
		strings.Repeat(`{"ref":`, 40) + "{}" + strings.Repeat("}", 40), strings.Repeat(`{"ref":`, 20_000), `{"any":` + strings.Repeat("[", 20_000), `{"any":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + "}",
		whole + "\n", whole + ",", strings.Replace(whole, ",", ", ", 1), strings.Replace(whole, `"count"`, `"other"`, 1),
	} {
		hold(t, data)
	}
	for i := 0; i < len(whole); i += mutate.Stride(3) { // torn off anywhere, and any byte another
		hold(t, whole[:i])
		for _, c := range []byte{0, ' ', '"', '\\', ',', ':', '{', '}', '[', ']', '0', 'n', 'z', 0x80, whole[i] ^ 0x20} {
			hold(t, whole[:i]+string([]byte{c})+whole[i+1:])
		}
	}
}

func TestMutations(t *testing.T) {
	mutate.Run(t, [][]byte{[]byte(written(t, full()))}, func(t *testing.T, data []byte) { hold(t, string(data)) })
}

// TestPassed: a value that is passed over has the form of one, and that is all.
func TestPassed(t *testing.T) {
	type mostly struct {
		A Passed `json:"a"`
		B string `json:"b"`
	}
	r := New[mostly]()
	for data, good := range map[string]bool{
		`{"a":{"x":[1,-2.5e+3,{"y":null}],"z":"\"\\é"},"b":"x"}`: true, `{"b":"x"}`: true, `{"a":null,"b":"x"}`: true, `{"a":{},"b":"x"}`: true, `{"a":[],"b":"x"}`: true,
		`{"a":{"x":1,"x":2},"b":"x"}`: true, `{"newer":1,"b":"x"}`: true, `{ "a":[ 1 ], "b":"x" }`: true, `{"a":[` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `],"b":"x"}`: true,
		`{"a":{"x":1,"x":2},"b":"x" }`: false, // read by the library
		`{"a":{"x":},"b":"x"}`:         false, `{"a":{"x":1,},"b":"x"}`: false, `{"a":[1 2],"b":"x"}`: false, `{"a":tru,"b":"x"}`: false, `{"a":"x,"b":"x"}`: false, `{"a":01,"b":"x"}`: false,
		`{"a":,"b":"x"}`: false, `{"a":{"x":1],"b":"x"}`: false, `{"a":1,"a":2,"b":"x"}`: false, `{"a":1,"b":"x","b":"x"}`: false, `{"a":{`: false, `{"a":"\`: false, `{"a":"\"`: false, `{"a":1}x`: false,
	} {
		var got mostly
		if err := r.Unmarshal([]byte(data), &got); (err == nil) != good || good && got.B != "x" {
			t.Errorf("%s: %+v, %v", data, got, err)
		}
	}
}

// TestShapes: types that this package does not know are the library's to read, or to refuse.
func TestShapes(t *testing.T) {
	for _, test := range []func() (string, error, error){
		compare[struct{ A int }](`{"A":1}`),
		compare[struct {
			A time.Duration `json:"a"`
		}](`{"a":1}`),
		compare[struct {
			A int `json:"a,string"`
		}](`{"a":"1"}`),
		compare[struct {
			A int `json:"a"`
			b int
		}](`{"a":1}`),
		compare[struct{ record }](`{"name":"a"}`),
		compare[struct {
			A [2]int `json:"a"`
		}](`{"a":[1,2]}`),
		compare[[]int](`[1,2]`),
		compare[*int](`7`),
	} {
		if text, got, want := test(); (got == nil) != (want == nil) || text != "" {
			t.Errorf("%s: %v, and the library says %v", text, got, want)
		}
	}
}

// TestShapeOfOneNameTwice: the library refuses such a type, so that it must be asked.
func TestShapeOfOneNameTwice(t *testing.T) {
	field := func(name string) reflect.StructField {
		return reflect.StructField{Name: name, Type: reflect.TypeFor[int](), Tag: `json:"a"`}
	}
	if s := (shapes{}).of(reflect.StructOf([]reflect.StructField{field("A"), field("B")})); s.kind != library {
		t.Errorf("%+v", s)
	}
	if s := (shapes{}).of(reflect.StructOf([]reflect.StructField{field("A")})); s.kind != object {
		t.Errorf("%+v", s)
	}
}

// compare returns how what is read of data differs from what the library reads.
func compare[T any](data string) func() (string, error, error) {
	return func() (string, error, error) {
		var got, want T
		err, wantErr := New[T]().Unmarshal([]byte(data), &got), strict.Unmarshal([]byte(data), &want)
		if wantErr == nil && !reflect.DeepEqual(got, want) {
			return fmt.Sprintf("%T %s: %+v, want %+v", got, data, got, want), err, wantErr
		}
		return "", err, wantErr
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(written(f, full())))
	f.Add([]byte(written(f, record{Name: `a\"é`, At: time.Now()})))
	f.Add([]byte(`{"name":"a","below":[{"name":"b","count":0}]}`))
	f.Fuzz(func(t *testing.T, data []byte) { hold(t, string(data)) })
}

// BenchmarkUnmarshal reads a record of every sort of member. Its floor is the library, in the same run.
func BenchmarkUnmarshal(b *testing.B) {
	r := full()
	r.Map, r.PCRs, r.Raw, r.Bytes, r.Any, r.Marked, r.Number, r.Ref, r.Below = nil, nil, nil, nil, nil, marked{}, 0, nil, nil
	data, reader := []byte(written(b, r)), New[record]()
	const rounds = 20_000
	start := time.Now()
	for range rounds {
		var into record
		if err := strict.Unmarshal(data, &into); err != nil {
			b.Fatal(err)
		}
	}
	whole := float64(time.Since(start).Nanoseconds()) / rounds
	for b.Loop() {
		var into record
		if err := reader.Unmarshal(data, &into); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/whole, "x-library")
}
