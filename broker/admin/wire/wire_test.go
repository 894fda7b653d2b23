package wire

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// input has a field of every sort.
type input struct {
	Name  string `json:"-" path:"name"`
	ID    string `json:"-" path:"id"`
	Index uint64 `json:"-" path:"index"`
	Old   uint64 `json:"-" query:"old"`
	Page
	Value  []byte            `json:"value"`
	Labels map[string]string `json:"labels,omitempty"`
}

const pattern = "/v1/{id}/{index}/{name...}"

// exchange sends in as the client does and decodes it as the broker does.
func exchange(t testing.TB, in input) (out input, err error) {
	t.Helper()
	target, err := Target(pattern, in)
	if err != nil {
		return out, err
	}
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest("POST", "https://broker.test"+target, nil)
	if err != nil {
		t.Fatalf("%q: %v", target, err)
	}
	// As the server parses what the client writes.
	if request.URL, err = url.ParseRequestURI(request.URL.RequestURI()); err != nil {
		t.Fatalf("%q: %v", target, err)
	}
	mux := http.NewServeMux()
	served := false
	mux.HandleFunc("POST "+pattern, func(_ http.ResponseWriter, r *http.Request) {
		served = true
		err = Decode(r, body, &out)
	})
	mux.ServeHTTP(httptest.NewRecorder(), request)
	if !served {
		t.Fatalf("%q was not routed", target)
	}
	return out, err
}

func TestExchange(t *testing.T) {
	for _, in := range []input{
		{Name: "a", ID: "b", Value: []byte{}},
		{Name: "payments/db/pass-word_1.2", ID: "x y", Index: 1<<64 - 1, Old: 7, Page: Page{After: "a/b c&d=e%", Limit: 3},
			Value: []byte{0, 1}, Labels: map[string]string{"ä": "{}"}},
		{Name: "%2e%2e/a?b#c", ID: "a/b"[:1], Value: []byte{}},
	} {
		out, err := exchange(t, in)
		if err != nil || !reflect.DeepEqual(in, out) {
			t.Errorf("%+v became %+v, %v", in, out, err)
		}
	}
	for _, in := range []input{{ID: "x"}, {Name: "x"}, {Name: "a//b", ID: "x"}, {Name: "../b", ID: "x"}, {Name: "a", ID: ".."}, {Name: "/a", ID: "x"}, {Name: "a/", ID: "x"}} {
		if target, err := Target(pattern, in); err == nil {
			t.Errorf("%+v is sent to %s", in, target)
		}
	}
}

func FuzzTarget(f *testing.F) {
	f.Add("payments/db/password", "id", "after", uint64(3))
	f.Add("a%2fb", "ä", "a&b", uint64(0))
	f.Fuzz(func(t *testing.T, name, id, after string, old uint64) {
		in := input{Name: name, ID: id, Old: old, Page: Page{After: after}, Value: []byte{}}
		if strings.Contains(id, "/") {
			return // a segment of its own, which no id has
		}
		if _, err := Target(pattern, in); err != nil {
			return
		}
		if out, err := exchange(t, in); err != nil || !reflect.DeepEqual(in, out) {
			t.Errorf("%+v became %+v, %v", in, out, err)
		}
	})
}

// decode decodes a body and a query.
func decode(query string, body []byte) (in input, err error) {
	r := &http.Request{URL: &url.URL{RawQuery: query}}
	r.SetPathValue("index", "0")
	return in, Decode(r, body, &in)
}

// checkBody holds what is accepted to: it encodes to what is accepted as the same.
func checkBody(t *testing.T, body []byte) {
	in, err := decode("", body)
	if err != nil {
		return
	}
	again, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	other, err := decode("", again)
	if err != nil {
		t.Fatalf("%q is encoded as %q: %v", body, again, err)
	}
	twice, err := json.Marshal(other)
	if err != nil || !bytes.Equal(again, twice) {
		t.Errorf("%q and then %q, %v", again, twice, err)
	}
}

var bodySeeds = [][]byte{[]byte(`{"value":"AAEC","labels":{"a":"b","c":"d"}}`), []byte(`{"value":""}`)}

func FuzzDecode(f *testing.F) {
	for _, seed := range bodySeeds {
		f.Add(seed)
	}
	f.Fuzz(checkBody)
}

func TestMutationsBody(t *testing.T) { mutate.Run(t, bodySeeds, checkBody) }

func TestMutationsQuery(t *testing.T) {
	mutate.Run(t, [][]byte{[]byte("old=7&after=a%2Fb&limit=10"), []byte("limit=1")}, func(t *testing.T, query []byte) {
		in, err := decode(string(query), []byte(`{}`))
		if err != nil {
			return
		}
		if values, err := url.ParseQuery(string(query)); err != nil || len(values) > 3 || values.Get("after") != in.After {
			t.Errorf("%q was taken for %+v", query, in)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	for name, c := range map[string]struct{ query, body string }{
		"unknown parameter": {"new=1", `{}`}, "parameter twice": {"old=1&old=1", `{}`}, "path parameter in the query": {"name=x", `{}`},
		"number with a sign": {"old=%2B1", `{}`}, "number too large": {"old=18446744073709551616", `{}`}, "empty number": {"old=", `{}`},
		"semicolon": {"old=1;limit=2", `{}`}, "no body": {"", ``}, "null": {"", ` null`}, "path parameter in the body": {"", `{"name":"x"}`},
		"Go name": {"", `{"Name":"x"}`}, "after in the body": {"", `{"After":"x"}`}, "a member twice": {"", `{"value":"","value":""}`},
	} {
		if in, err := decode(c.query, []byte(c.body)); err == nil {
			t.Errorf("%s: %+v", name, in)
		}
	}
	var none None
	r := &http.Request{URL: &url.URL{}}
	if err := Decode(r, nil, &none); err != nil {
		t.Error(err)
	}
	if err := Decode(r, []byte(`{}`), &none); err == nil {
		t.Error("a body where there is none was accepted")
	}
}
