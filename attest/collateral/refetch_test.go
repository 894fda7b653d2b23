package collateral

import (
	"context"
	"testing"
	"time"
)

// TestRefetch: what seems to be old is fetched again, at most once a minute, and only where it is at hand and fetched.
func TestRefetch(t *testing.T) {
	now := time.Now()
	c := testConfig("")
	c.Now = func() time.Time { return now }
	p := anything(JWKS)
	p.Source = sourceFunc(func(context.Context, Name) (*Fetched, error) { return nil, nil })
	c.Publishers = []Publisher{p, anything(Hygon)}
	m := openTest(t, c)
	put := func(name string, fetched time.Time) {
		t.Helper()
		i := testItem(t, name, "x"+fetched.String())
		i.Endorsement.Fetched = fetched
		if _, err := m.put(i, true); err != nil {
			t.Fatal(err)
		}
	}
	const name = "jwks/theirs"
	if m.Refresh(name) || m.Refresh("nonsense") {
		t.Error("what is not at hand is fetched again")
	}
	put("hygon/hsk_cek/A1", now.Add(-time.Hour))
	if m.Refresh("hygon/hsk_cek/A1") {
		t.Error("what nobody fetches is fetched again")
	}
	put(name, now.Add(-refetchAge/2))
	if m.Refresh(name) {
		t.Error("what was fetched just now is fetched again")
	}
	now = now.Add(refetchAge)
	for range 3 { // once, and then it is under way
		if !m.Refresh(name) {
			t.Error("it is not fetched again")
		}
	}
	if n := len(m.lanes[JWKS].wants); n != 1 {
		t.Errorf("%d requests", n)
	}
	put(name, now)
	if m.Refresh(name) {
		t.Error("it is fetched again at once")
	}
}

// sourceFunc is a source of one function.
type sourceFunc func(context.Context, Name) (*Fetched, error)

func (f sourceFunc) Fetch(ctx context.Context, name Name) (*Fetched, error) { return f(ctx, name) }

func TestHygonNames(t *testing.T) {
	for text, good := range map[string]bool{
		"hygon/hsk_cek/KPA64911240507": true, "hygon/hsk_cek/": false, "hygon/hsk_cek/a/b": false, "hygon/hsk_cek/..": false, "hygon/hsk/a": false,
		"hygon/hsk_cek/" + string(make([]byte, 3)): false,
	} {
		if n, err := ParseName(text); (err == nil) != good || good && n.Vendor() != Hygon {
			t.Errorf("%q: %v", text, err)
		}
	}
}
