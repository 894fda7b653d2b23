package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

func put(tb testing.TB, s store.Store, key string, version uint64, value string) {
	tb.Helper()
	if err := s.Apply(tb.Context(), store.Write{Key: key, Version: version, Value: []byte(value)}); err != nil {
		tb.Fatal(err)
	}
}

func get(tb testing.TB, s store.Store, key string) store.Record {
	tb.Helper()
	r, err := s.Get(tb.Context(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// overwrite makes the inner store hold a value for a record at whatever version it gets.
func overwrite(tb testing.TB, inner store.Store, key string, value []byte) {
	tb.Helper()
	r, err := inner.Get(tb.Context(), key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		tb.Fatal(err)
	}
	if err := inner.Apply(tb.Context(), store.Write{Key: key, Version: r.Version, Value: value}); err != nil {
		tb.Fatal(err)
	}
}

// recreate makes the inner store hold a value for a record at version 1.
func recreate(tb testing.TB, inner store.Store, key string, value []byte) {
	tb.Helper()
	if r, err := inner.Get(tb.Context(), key); err == nil {
		if err := inner.Apply(tb.Context(), store.Write{Key: key, Version: r.Version}); err != nil {
			tb.Fatal(err)
		}
	}
	if err := inner.Apply(tb.Context(), store.Write{Key: key, Value: value}); err != nil {
		tb.Fatal(err)
	}
}

// TestNothingInTheClear holds that no value is in the file as it was given.
func TestNothingInTheClear(t *testing.T) {
	s, inner := sealed(t, keyFile(t), seal.Config{})
	secret := "correct horse battery staple"
	put(t, s, "default/secret", 0, secret)
	put(t, s, "default/secret", 1, secret)
	if r := get(t, inner, "default/secret"); len(r.Value) != len(secret)+seal.Overhead || bytes.Contains(r.Value, []byte(secret[:8])) {
		t.Fatalf("inner value %q", r.Value)
	}
	path := inner.Path()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if content := readFile(t, path); bytes.Contains(content, []byte(secret)) || bytes.Contains(content, []byte("horse")) {
		t.Fatal("the file has the secret")
	}
}

// TestEveryByte flips each byte of a sealed value, cuts it at each length, and adds to it.
func TestEveryByte(t *testing.T) {
	s, inner := sealed(t, keyFile(t), seal.Config{})
	const key = "default/secret"
	put(t, s, key, 0, "a secret of some length")
	good := get(t, inner, key).Value
	refused := func(what string, at int, value []byte) {
		recreate(t, inner, key, value) // at version 1, as it was sealed
		if r, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s %d: %q, %v", what, at, r.Value, err)
		}
	}
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		refused("flipped", at, bad)
		refused("cut to", at, good[:at])
	}
	refused("longer", 0, append(bytes.Clone(good), 0))
	refused("empty", 0, []byte{})
	recreate(t, inner, key, good)
	if r := get(t, s, key); string(r.Value) != "a secret of some length" {
		t.Fatalf("as it was: %q", r.Value)
	}
}

// TestSwaps moves good sealed values to where they do not belong.
func TestSwaps(t *testing.T) {
	s, inner := sealed(t, keyFile(t), seal.Config{})
	other, otherInner := sealed(t, keyFile(t), seal.Config{})
	put(t, s, "default/a", 0, "value of a")
	put(t, s, "default/b", 0, "value of b")
	put(t, other, "default/a", 0, "value of another store's a")
	a, b, foreign := get(t, inner, "default/a").Value, get(t, inner, "default/b").Value, get(t, otherInner, "default/a").Value
	corrupt := func(what, key string) {
		t.Helper()
		if r, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %q, %v", what, r.Value, err)
		}
	}
	recreate(t, inner, "default/a", b)
	corrupt("another record's value", "default/a")
	recreate(t, inner, "default/c", a)
	corrupt("a copy under a new name", "default/c")
	recreate(t, inner, "default/a", foreign)
	corrupt("another store's value", "default/a")
	overwrite(t, inner, "default/b", b)
	corrupt("the same value as the next version", "default/b")
	recreate(t, inner, "default/b", b)
	put(t, s, "default/b", 1, "newer value of b")
	overwrite(t, inner, "default/b", b)
	corrupt("the old value as version 3", "default/b")
	header := get(t, inner, seal.HeaderKey).Value
	recreate(t, inner, "default/a", header)
	corrupt("the header as a value", "default/a")
}

// TestHeaderIsHidden holds that callers neither see nor change the record of the seal.
func TestHeaderIsHidden(t *testing.T) {
	s, inner := sealed(t, keyFile(t), seal.Config{})
	events, err := s.Watch(t.Context(), "sys/")
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "sys/a", 0, "x") // also sets encryptions aside, which writes the header
	put(t, s, "sys/z", 0, "x")
	if err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, s, "sys/a", 1, "y")
	for _, want := range []string{"sys/a", "sys/z", "sys/a"} {
		if e := <-events; e.Key != want {
			t.Errorf("event %+v, want %s", e, want)
		}
	}
	if _, err := s.Get(t.Context(), seal.HeaderKey); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	version := get(t, inner, seal.HeaderKey).Version
	for _, w := range []store.Write{{Key: seal.HeaderKey, Value: []byte("x")}, {Key: seal.HeaderKey, Version: version}} {
		if err := s.Apply(t.Context(), w); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("Apply: %v", err)
		}
	}
	for limit := 1; limit <= 4; limit++ {
		var keys []string
		for after := ""; ; {
			page, err := s.List(t.Context(), "", after, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				keys = append(keys, e.Key)
			}
			if len(page) < limit {
				break
			}
			after = page[len(page)-1].Key
		}
		if strings.Join(keys, " ") != "sys/a sys/z" {
			t.Errorf("pages of %d: %v", limit, keys)
		}
	}
}

// TestHeaderTampering changes each member of the header in turn.
func TestHeaderTampering(t *testing.T) {
	key := keyFile(t)
	s, inner := sealed(t, key, seal.Config{})
	put(t, s, "default/a", 0, "x")
	older := get(t, inner, seal.HeaderKey).Value
	if err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	good := get(t, inner, seal.HeaderKey).Value
	flip := func(text string) string {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		raw[0] ^= 1
		return base64.StdEncoding.EncodeToString(raw)
	}
	var h struct {
		Store, Root, MAC string
		Seal             struct{ Kind, Key string }
		Keys             []struct{ Wrapped, Created, Retired string }
	}
	if err := json.Unmarshal(good, &h); err != nil {
		t.Fatal(err)
	}
	swap := func(from, to string) []byte {
		if !strings.Contains(string(good), from) {
			t.Fatalf("the header has no %q: %s", from, good)
		}
		return []byte(strings.Replace(string(good), from, to, 1))
	}
	for name, test := range map[string]struct {
		header []byte
		want   error
	}{
		"empty":             {[]byte{}, store.ErrCorrupt},
		"text":              {[]byte("text"), store.ErrCorrupt},
		"null":              {[]byte("null"), store.ErrCorrupt},
		"cut off":           {good[:len(good)-1], store.ErrCorrupt},
		"something after":   {append(bytes.Clone(good), ' '), store.ErrCorrupt},
		"unknown member":    {swap(`{`, `{"novelty":1,`), store.ErrCorrupt},
		"member twice":      {swap(`{`, `{"format":1,`), store.ErrCorrupt},
		"other case":        {swap(`"root"`, `"Root"`), store.ErrCorrupt},
		"newer":             {swap(`"format":1`, `"format":2`), seal.ErrNewerFormat},
		"older":             {swap(`"format":1`, `"format":0`), store.ErrCorrupt},
		"another store":     {swap(h.Store, strings.Repeat("0", 32)), seal.ErrWrongSeal},
		"another kind":      {swap(h.Seal.Kind, "passphrase"), seal.ErrWrongSeal},
		"another key":       {swap(h.Seal.Key, "0000000000000000"), seal.ErrWrongSeal},
		"root key":          {swap(h.Root, flip(h.Root)), seal.ErrWrongSeal},
		"data key":          {swap(h.Keys[0].Wrapped, flip(h.Keys[0].Wrapped)), store.ErrCorrupt},
		"data keys swapped": {swapKeys(t, good), store.ErrCorrupt},
		"reserved":          {swap(`"reserved":65536`, `"reserved":1`), store.ErrCorrupt},
		"retired":           {swap(`,"retired":"`+h.Keys[0].Retired+`"`, ""), store.ErrCorrupt},
		"MAC":               {swap(h.MAC, flip(h.MAC)), store.ErrCorrupt},
		"no MAC":            {swap(`,"mac":"`+h.MAC+`"`, ""), store.ErrCorrupt},
		"too large":         {bytes.Repeat([]byte(" "), 1<<20), store.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			overwrite(t, inner, seal.HeaderKey, test.header)
			if _, err := seal.Open(t.Context(), inner, key, seal.Config{}); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
	// An older header lacks the newest key: what it protects does not decrypt, and nothing is made up.
	overwrite(t, inner, seal.HeaderKey, good)
	reopened := open(t, inner, key, seal.Config{})
	put(t, reopened, "default/b", 0, "y")
	overwrite(t, inner, seal.HeaderKey, older)
	back := open(t, inner, key, seal.Config{})
	if _, err := back.Get(t.Context(), "default/b"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("with an older header: %v", err)
	}
	if r := get(t, back, "default/a"); string(r.Value) != "x" {
		t.Errorf("with an older header: %q", r.Value)
	}
}

// swapKeys exchanges two data keys, as an attacker would who wants a key he knows in use.
func swapKeys(t *testing.T, header []byte) []byte {
	t.Helper()
	var h struct{ Keys []struct{ Wrapped string } }
	if err := json.Unmarshal(header, &h); err != nil {
		t.Fatal(err)
	}
	return []byte(strings.NewReplacer(h.Keys[0].Wrapped, h.Keys[1].Wrapped, h.Keys[1].Wrapped, h.Keys[0].Wrapped).Replace(string(header)))
}

func TestInitAndOpen(t *testing.T) {
	key := keyFile(t)
	dir := t.TempDir()
	inner := openBolt(t, filepath.Join(dir, "store"))
	if _, err := seal.Open(t.Context(), inner, key, seal.Config{}); !errors.Is(err, seal.ErrNotSealed) {
		t.Errorf("open before Init: %v", err)
	}
	if err := seal.Init(t.Context(), inner, key, seal.Config{}); err != nil {
		t.Fatal(err)
	}
	if err := seal.Init(t.Context(), inner, key, seal.Config{}); !errors.Is(err, seal.ErrAlreadySealed) {
		t.Errorf("second Init: %v", err)
	}
	if _, err := seal.Open(t.Context(), inner, keyFile(t), seal.Config{}); !errors.Is(err, seal.ErrWrongSeal) {
		t.Errorf("another key: %v", err)
	}
	used := openBolt(t, filepath.Join(dir, "used"))
	put(t, used, "default/a", 0, "in the clear")
	if err := seal.Init(t.Context(), used, key, seal.Config{}); !errors.Is(err, seal.ErrAlreadySealed) {
		t.Errorf("Init of a store that is not empty: %v", err)
	}
	// A value from before the seal cannot be slipped in as one of its own.
	s := open(t, inner, key, seal.Config{})
	if err := inner.Apply(t.Context(), store.Write{Key: "default/a", Value: []byte("in the clear, and longer than the overhead is")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "default/a"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("a value in the clear: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := inner.Get(t.Context(), "default/a"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("the inner store is open: %v", err)
	}
}

func TestCheck(t *testing.T) {
	s, inner := sealed(t, keyFile(t), seal.Config{})
	const records = 600
	for at := 0; at < records; at += 100 {
		var writes []store.Write
		for i := range 100 {
			writes = append(writes, store.Write{Key: recordKey(at + i), Value: []byte("0123456789")})
		}
		if err := s.Apply(t.Context(), writes...); err != nil {
			t.Fatal(err)
		}
	}
	calls := 0
	progress := func(seal.CheckResult) { calls++ }
	result, err := s.Check(t.Context(), seal.CheckConfig{Progress: progress})
	if err != nil || result != (seal.CheckResult{Records: records, Bytes: 10 * records}) || calls == 0 {
		t.Fatalf("%+v, %v, %d calls", result, err, calls)
	}
	for _, i := range []int{0, 300, 599} {
		value := get(t, inner, recordKey(i)).Value
		value[len(value)-1] ^= 1
		recreate(t, inner, recordKey(i), value)
	}
	var damaged []string
	result, err = s.Check(t.Context(), seal.CheckConfig{Damaged: func(key string, err error) {
		if !errors.Is(err, store.ErrCorrupt) {
			t.Error(err)
		}
		damaged = append(damaged, key)
	}})
	if err != nil || result.Damaged != 3 || result.Records != records || strings.Join(damaged, " ") != "default/0000 default/0300 default/0599" {
		t.Fatalf("%+v, %v: %v", result, err, damaged)
	}
}

// TestGetEachPassesOverDamage: of many records read at once, only those that were tampered with are not there, and the header is none of them.
func TestGetEachPassesOverDamage(t *testing.T) {
	s, inner := sealed(t, keyFile(t), seal.Config{})
	keys := []string{"default/a", "default/b", "default/c", "default/d", seal.HeaderKey, "default/e"}
	for _, key := range keys {
		if key != seal.HeaderKey {
			put(t, s, key, 0, "value of "+key)
		}
	}
	recreate(t, inner, "default/b", get(t, inner, "default/a").Value) // another's
	recreate(t, inner, "default/d", []byte("short"))
	var at int
	err := store.GetEach(t.Context(), s, keys, func(r store.Record, err error) error {
		key := keys[at]
		at++
		want := map[string]error{"default/b": store.ErrCorrupt, "default/d": store.ErrCorrupt, seal.HeaderKey: store.ErrNotFound}[key]
		if r.Key != key || !errors.Is(err, want) || want != nil && (r.Value != nil || r.Version != 0) || want == nil && string(r.Value) != "value of "+key {
			t.Errorf("%s: %+v, %v", key, r, err)
		}
		return nil
	})
	if err != nil || at != len(keys) {
		t.Errorf("%d, %v", at, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.GetEach(t.Context(), s, keys[:1], func(_ store.Record, err error) error { return err }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}
