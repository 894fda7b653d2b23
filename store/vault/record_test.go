package vault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/store"
)

func encode(tb testing.TB, v any) []byte {
	tb.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func goodParts() partsRecord {
	return partsRecord{ID: strings.Repeat("0a", 16), Parts: 2, Size: PartSize + 1, SHA256: strings.Repeat("0b", 32)}
}

func goodRecords(tb testing.TB) [][]byte {
	tb.Helper()
	return [][]byte{
		encode(tb, valueRecord{Value: []byte{}}), encode(tb, valueRecord{Value: []byte("a value")}), encode(tb, goodParts()), encode(tb, tombstone),
	}
}

func TestParseRecord(t *testing.T) {
	for _, test := range []struct {
		data string
		want record
	}{
		{`{"value":""}`, record{Value: []byte{}}},
		{`{"value":"YQ=="}`, record{Value: []byte("a")}},
		{`{"deleted":true}`, record{Deleted: true}},
		{string(encode(t, goodParts())), record{ID: goodParts().ID, Parts: 2, Size: PartSize + 1, SHA256: goodParts().SHA256}},
	} {
		got, err := parseRecord([]byte(test.data))
		if err != nil || !bytes.Equal(got.Value, test.want.Value) || (got.Value == nil) != (test.want.Value == nil) {
			t.Errorf("%s: %+v, %v", test.data, got, err)
		}
		got.Value, test.want.Value = nil, nil
		if fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s: %+v, want %+v", test.data, got, test.want)
		}
	}
	parts := func(change func(*partsRecord)) string {
		p := goodParts()
		change(&p)
		return string(encode(t, p))
	}
	for _, data := range []string{
		``, `null`, `{}`, `[]`, `"value"`, `1`, `{"password":"x"}`, `{"value":null}`, `{"value":1}`, `{"value":"YQ"}`, `{"value":"YR=="}`, `{"value":"Y Q=="}`,
		`{"value":"YQ==","other":1}`, `{"value":"YQ==","value":"YQ=="}`, `{"Value":"YQ=="}`, `{"value":"YQ=="}x`, `{"value":"YQ==","deleted":true}`,
		`{"deleted":false}`, `{"deleted":"true"}`, `{"deleted":null}`, `{"deleted":true,"parts":2}`, `{"parts":2}`, `{"parts":null}`,
		string(encode(t, valueRecord{Value: make([]byte, PartSize+1)})),
		parts(func(p *partsRecord) { p.Parts = 3 }), parts(func(p *partsRecord) { p.Parts = 0 }), parts(func(p *partsRecord) { p.Parts = -1 }),
		parts(func(p *partsRecord) { p.Size = PartSize; p.Parts = 1 }), parts(func(p *partsRecord) { p.Size = store.MaxValue + 1; p.Parts = 6 }),
		parts(func(p *partsRecord) { p.Size = -1 }), parts(func(p *partsRecord) { p.Size = 1<<63 - 1 }), parts(func(p *partsRecord) { p.ID = "" }),
		parts(func(p *partsRecord) { p.ID = strings.Repeat("0A", 16) }), parts(func(p *partsRecord) { p.ID = strings.Repeat("./", 16) }),
		parts(func(p *partsRecord) { p.SHA256 = "" }), parts(func(p *partsRecord) { p.SHA256 += "00" }),
	} {
		if r, err := parseRecord([]byte(data)); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%.80s: %v, %v", data, r.Deleted, err)
		}
	}
}

// checkRecord holds that what is accepted is a record in exactly one form which can be written again.
func checkRecord(t *testing.T, input []byte) {
	r, err := parseRecord(input)
	if err != nil {
		if !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("%q: %v", input, err)
		}
		return
	}
	forms := 0
	for _, there := range []bool{r.Value != nil, r.Parts != 0, r.Deleted} {
		if there {
			forms++
		}
	}
	if forms != 1 || len(r.Value) > PartSize || r.Parts > maxParts || r.Parts != 0 && (r.Size <= PartSize || r.Size > store.MaxValue) {
		t.Fatalf("%q is taken for %+v", input, r)
	}
}

func FuzzRecord(f *testing.F) {
	for _, seed := range goodRecords(f) {
		f.Add(seed)
	}
	f.Fuzz(checkRecord)
}

func TestMutatedRecords(t *testing.T) { mutate.Run(t, goodRecords(t), checkRecord) }
