package broker

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/readback"
)

// TestReplayKnowsTheRecord: a replay's view of a record has its members, all of them and in their order. A record with another would be read as well, but slowly.
func TestReplayKnowsTheRecord(t *testing.T) {
	for _, test := range []struct{ seen, record reflect.Type }{
		{reflect.TypeFor[replayed](), reflect.TypeFor[decisionRecord]()},
		{reflect.TypeFor[replayedDecision](), reflect.TypeFor[Decision]()},
		{reflect.TypeFor[replayedSecret](), reflect.TypeFor[SecretDecision]()},
	} {
		names := func(in reflect.Type) (names []string) {
			for i := range in.NumField() {
				name, _, _ := strings.Cut(in.Field(i).Tag.Get("json"), ",")
				names = append(names, name)
			}
			return names
		}
		if diff := cmp.Diff(names(test.record), names(test.seen)); diff != "" {
			t.Errorf("%v against %v: %s", test.seen, test.record, diff)
		}
	}
}

// TestReplayReadsWhatWasRecorded writes decisions that have every claim there is, and holds what a replay reads of them against what Explain does.
func TestReplayReadsWhatWasRecorded(t *testing.T) {
	records := readback.New[replayed]()
	for name, filler := range map[string]*filler{
		"plain":    {text: func(n int) string { return fmt.Sprintf("%064x", n) }, number: 7},
		"odd text": {text: func(n int) string { return fmt.Sprintf("\"<&>\\ %d é \u2028 \x00\n", n) }, number: -1},
		"large":    {text: func(n int) string { return strings.Repeat("x", n) }, number: 1<<31 - 1},
		"empty":    {text: func(int) string { return "" }},
	} {
		t.Run(name, func(t *testing.T) {
			var d Decision
			filler.fill(reflect.ValueOf(&d).Elem(), 0)
			decision, err := encode(d)
			if err != nil {
				t.Fatal(err)
			}
			record, err := encode(decisionRecord{Log: 1, Index: 2, Decision: decision})
			if err != nil {
				t.Fatal(err)
			}
			var want Explanation
			if err := json.Unmarshal(record, &want); err != nil {
				t.Fatal(err)
			}
			var got replayed
			if err := records.Unmarshal(record, &got); err != nil {
				t.Fatal(err)
			}
			w, g := &want.Decision, &got.Decision
			if diff := cmp.Diff(w.Claims, g.Claims); diff != "" {
				t.Errorf("claims: %s", diff)
			}
			if w.Claims == nil || w.Claims.SNP == nil || w.Claims.Devices[0].NVIDIA == nil || w.Claims.TPM.PCRs == nil {
				t.Error("not everything is there: the test does not test")
			}
			if g.ID != w.ID || !g.Time.Equal(w.Time) || !g.AttestedAt.Equal(w.AttestedAt) || g.Kind != w.Kind || len(g.Secrets) != len(w.Secrets) || len(g.Secrets) == 0 {
				t.Errorf("%+v, want %+v", g, w)
			}
			for i := range w.Secrets {
				if g.Secrets[i].Secret != w.Secrets[i].Secret || g.Secrets[i].Outcome != w.Secrets[i].Outcome {
					t.Errorf("%+v, want %+v", g.Secrets[i], w.Secrets[i])
				}
			}
		})
	}
}

// filler gives every member of a value something, of which text and times differ.
type filler struct {
	text   func(n int) string
	number int64
	n      int
}

func (f *filler) fill(v reflect.Value, depth int) {
	f.n++
	switch to := v.Addr().Interface().(type) {
	case *time.Time:
		*to = time.Date(2026, 1, 31, 12, 0, 0, f.n, time.FixedZone("", 3600*(f.n%2)))
		return
	case *json.RawMessage:
		*to = json.RawMessage(`{"a":[1.5,null,"\u00e9"]}`)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(f.text(f.n))
	case reflect.Bool:
		v.SetBool(f.n%2 == 0)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(f.number)
	case reflect.Uint64:
		v.SetUint(1<<64 - 1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), depth)
	case reflect.Slice:
		if v.Type().Elem() == reflect.TypeFor[attest.Claims]() {
			if depth > 0 { // devices have none
				return
			}
			depth++
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			f.fill(v.Index(i), depth)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(key, depth)
			f.fill(value, depth)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i), depth)
		}
	}
}
