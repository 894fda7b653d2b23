package header

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/store"
)

// known is the format that the tests' program knows.
const known = 1

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func goodHeader() Header {
	return Header{
		Format: known, Store: strings.Repeat("0a", IDSize), Purpose: store.Production, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func checkHeader(t *testing.T, input []byte) {
	h, err := Parse(input, known)
	if err != nil {
		var newer *FormatError
		if !errors.Is(err, store.ErrCorrupt) && !errors.As(err, &newer) {
			t.Fatalf("%q: %v", input, err)
		}
		return
	}
	if again, err := Parse(encode(t, h), known); err != nil || !again.Created.Equal(h.Created) || again.Store != h.Store || again.Purpose != h.Purpose {
		t.Fatalf("%q is taken for %+v, which is %+v, %v", input, h, again, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(encode(f, goodHeader()))
	f.Fuzz(checkHeader)
}

func TestMutated(t *testing.T) { mutate.Run(t, [][]byte{encode(t, goodHeader())}, checkHeader) }

func TestParse(t *testing.T) {
	good := string(encode(t, goodHeader()))
	if h, err := Parse([]byte(good), known); err != nil || h != goodHeader() {
		t.Fatalf("%+v, %v", h, err)
	}
	var newer *FormatError
	if _, err := Parse([]byte(`{"format":2,"what":"ever"}`), known); !errors.As(err, &newer) || newer.Have != 2 {
		t.Errorf("a newer format: %v", err)
	}
	for _, change := range [][2]string{
		{`"format":1`, `"format":0`}, {`"format":1`, `"format":-1`}, {`"production"`, `"test"`}, {`"production"`, `""`}, {`0a0a`, `0A0A`}, {`0a0a`, `0a`},
		{`{`, `{"more":1,`}, {`"purpose"`, `"Purpose"`}, {`{`, `{"format":1,`}, {`}`, `}}`}, {`2026`, `x`}, {`2026-01-02T03:04:05Z`, `0001-01-01T00:00:00Z`},
		{`}`, strings.Repeat(" ", maxSize) + `}`},
	} {
		if h, err := Parse([]byte(strings.Replace(good, change[0], change[1], 1)), known); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s for %s: %+v, %v", change[1], change[0], h, err)
		}
	}
}
