package access

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

type fixture struct {
	*Tokens
	store store.Store
	now   time.Time
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	s, err := bolt.Open(bolt.Config{Path: filepath.Join(t.TempDir(), "store.db"), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	f := &fixture{store: s, now: start}
	if f.Tokens, err = NewTokens(Config{Store: s, Now: func() time.Time { return f.now }}); err != nil {
		t.Fatal(err)
	}
	return f
}

var request = Request{Name: "ci", Roles: SetOf(Custodian, Auditor), Namespace: "payments", CreatedBy: "init"}

// create makes a token and records it.
func (f *fixture) create(t testing.TB, r Request) (Token, Record) {
	t.Helper()
	token, record, write, err := f.Prepare(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.store.Apply(t.Context(), write); err != nil {
		t.Fatal(err)
	}
	return token, record
}

func TestTokenLife(t *testing.T) {
	f := newFixture(t)
	token, record, write, err := f.Prepare(request)
	if err != nil {
		t.Fatal(err)
	}
	if len(token.Reveal()) != TokenSize || !strings.HasPrefix(token.Reveal(), "vst_"+record.ID+"_") {
		t.Fatalf("token %q", token.Reveal())
	}
	if _, err := f.Authenticate(t.Context(), token.Reveal()); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("before it was recorded: %v", err)
	}
	if err := f.store.Apply(t.Context(), write); err != nil {
		t.Fatal(err)
	}
	caller, err := f.Authenticate(t.Context(), token.Reveal())
	want := Caller{Token: record.ID, Name: "ci", Subject: "ci", Via: ViaToken, Roles: request.Roles, Namespace: "payments"}
	if err != nil || !reflect.DeepEqual(caller, want) {
		t.Errorf("%+v, %v", caller, err)
	}
	f.now = record.Expires.Add(-1)
	if _, err := f.Authenticate(t.Context(), token.Reveal()); err != nil {
		t.Errorf("just before it expires: %v", err)
	}
	f.now = record.Expires
	if _, err := f.Authenticate(t.Context(), token.Reveal()); err != ErrUnauthenticated {
		t.Errorf("expired: %v", err)
	}
	f.now = start
	revoked, write, err := f.PrepareRevoke(t.Context(), record.ID)
	if err != nil || !reflect.DeepEqual(revoked, record) {
		t.Fatalf("%+v, %v", revoked, err)
	}
	if err := f.store.Apply(t.Context(), write); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Authenticate(t.Context(), token.Reveal()); err != ErrUnauthenticated {
		t.Errorf("revoked: %v", err)
	}
	for _, id := range []string{record.ID, "", "../../x", strings.Repeat("f", 16)} {
		if _, _, err := f.PrepareRevoke(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("revoking %q: %v", id, err)
		}
	}
}

func TestAuthenticateRefuses(t *testing.T) {
	f := newFixture(t)
	token, record := f.create(t, request)
	other, _ := f.create(t, request)
	good := token.Reveal()
	secret := good[TokenSize-secretSize:]
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	stray := string(alphabet[strings.IndexByte(alphabet, good[TokenSize-1])|1])
	if stray == good[TokenSize-1:] {
		t.Fatal("the encoder leaves stray bits")
	}
	for name, text := range map[string]string{
		"empty":             "",
		"id only":           record.ID,
		"no secret":         good[:TokenSize-secretSize],
		"cut":               good[:TokenSize-1],
		"longer":            good + "A",
		"another's secret":  good[:TokenSize-secretSize] + other.Reveal()[TokenSize-secretSize:],
		"another's id":      other.Reveal()[:TokenSize-secretSize] + secret,
		"unknown id":        "vst_" + strings.Repeat("0", 16) + "_" + secret,
		"id in upper case":  "vst_" + strings.ToUpper(record.ID) + "_" + secret,
		"another prefix":    "VST_" + good[4:],
		"no underscore":     good[:20] + "-" + good[21:],
		"stray bits":        good[:TokenSize-1] + stray,
		"line break":        good[:TokenSize-1] + "\n",
		"hash as secret":    "vst_" + record.ID + "_" + base64.RawURLEncoding.EncodeToString(make([]byte, 32)),
		"path in id":        "vst_../token/" + record.ID[:7] + "_" + secret,
		"space around":      " " + good + " ",
		"redacted":          token.String(),
		"a very long thing": strings.Repeat("vst_", 1<<18),
	} {
		if caller, err := f.Authenticate(t.Context(), text); err != ErrUnauthenticated {
			t.Errorf("%s: %+v, %v", name, caller, err)
		}
	}
	for i := range good {
		for bit := range 8 {
			text := []byte(good)
			text[i] ^= 1 << bit
			if _, err := f.Authenticate(t.Context(), string(text)); err != ErrUnauthenticated {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
}

func TestStoreFailuresAreNotRefusals(t *testing.T) {
	f := newFixture(t)
	token, record := f.create(t, request)
	key := tokenRecords + record.ID
	good, err := f.store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	version := good.Version
	for name, value := range map[string]string{
		"empty":          ``,
		"not JSON":       `x`,
		"unknown member": strings.Replace(string(good.Value), `{`, `{"admin":true,`, 1),
		"later schema":   strings.Replace(string(good.Value), `"schema":1`, `"schema":2`, 1),
		"another id":     strings.Replace(string(good.Value), record.ID, strings.Repeat("0", 16), 1),
		"no roles":       strings.Replace(string(good.Value), `["custodian","auditor"]`, `[]`, 1),
		"no namespace":   strings.Replace(string(good.Value), `"payments"`, `""`, 1),
		"no expiry":      strings.Replace(string(good.Value), `"expires":"20`, `"expires":"00`, 1)[:20],
		"no hash":        strings.Replace(string(good.Value), `"sha256":"`, `"sha256":"`, 1)[:len(good.Value)-10] + `"}`,
		"huge":           string(good.Value) + strings.Repeat(" ", maxRecord),
	} {
		if value == string(good.Value) {
			t.Fatalf("%s: nothing changed", name)
		}
		if err := f.store.Apply(t.Context(), store.Write{Key: key, Version: version, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
		version++
		if caller, err := f.Authenticate(t.Context(), token.Reveal()); !errors.Is(err, store.ErrCorrupt) || errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: %+v, %v", name, caller, err)
		}
		if list, err := f.List(t.Context(), "", 10); err != nil || len(list) != 1 || !reflect.DeepEqual(list[0], Record{ID: record.ID}) {
			t.Errorf("%s: listed as %+v, %v", name, list, err)
		}
		if _, write, err := f.PrepareRevoke(t.Context(), record.ID); err != nil || write.Version != version || write.Value != nil {
			t.Errorf("%s: revoked by %+v, %v", name, write, err)
		}
	}
	_ = f.store.Close()
	if _, err := f.Authenticate(t.Context(), token.Reveal()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("with the store closed: %v", err)
	}
}

func TestPrepareRefuses(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(*Request){
		"no name":           func(r *Request) { r.Name = "" },
		"long name":         func(r *Request) { r.Name = strings.Repeat("x", MaxName+1) },
		"line in name":      func(r *Request) { r.Name = "a\nb" },
		"not UTF-8":         func(r *Request) { r.Name = "\xff" },
		"escape in name":    func(r *Request) { r.Name = "\x1b[2J" },
		"no creator":        func(r *Request) { r.CreatedBy = "" },
		"no roles":          func(r *Request) { r.Roles = 0 },
		"unknown role":      func(r *Request) { r.Roles = 1 << roleCount },
		"enroller and more": func(r *Request) { r.Roles = SetOf(Enroller, Auditor) },
		"no namespace":      func(r *Request) { r.Namespace = "" },
		"sys":               func(r *Request) { r.Namespace = "sys" },
		"slash":             func(r *Request) { r.Namespace = "a/b" },
		"dots":              func(r *Request) { r.Namespace = ".." },
		"several":           func(r *Request) { r.Namespace = "a,*" },
		"trailing newline":  func(r *Request) { r.Namespace = "a\n" },
		"negative":          func(r *Request) { r.Lifetime = -time.Hour },
		"for ever":          func(r *Request) { r.Lifetime = MaxLifetime + 1 },
	} {
		r := request
		change(&r)
		if token, _, _, err := f.Prepare(r); err == nil || token != (Token{}) {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, ns := range []string{"*", "default", "Team-1.x", "_", "-"} {
		r := request
		r.Namespace = ns
		if _, record, _, err := f.Prepare(r); err != nil || record.Expires != start.Add(DefaultLifetime) {
			t.Errorf("namespace %q: %v, expires %v", ns, err, record.Expires)
		}
	}
	broken, _ := NewTokens(Config{Store: f.store, Rand: bytes.NewReader(make([]byte, 20))})
	if _, _, _, err := broken.Prepare(request); err == nil {
		t.Error("a token of 20 random bytes")
	}
	if _, err := NewTokens(Config{}); err == nil {
		t.Error("no store accepted")
	}
}

func TestListPages(t *testing.T) {
	f := newFixture(t)
	want := map[string]bool{}
	for range 25 {
		_, record := f.create(t, request)
		want[record.ID] = true
	}
	after, got := "", 0
	for {
		page, err := f.List(t.Context(), after, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			if !want[r.ID] || r.ID <= after {
				t.Errorf("%q after %q", r.ID, after)
			}
			after = r.ID
			got++
		}
		if len(page) < 10 {
			break
		}
	}
	if got != 25 {
		t.Errorf("%d listed", got)
	}
}

func TestNothingSecretIsPrintedOrStored(t *testing.T) {
	f := newFixture(t)
	token, record, write, err := f.Prepare(request)
	if err != nil {
		t.Fatal(err)
	}
	secret := token.Reveal()[TokenSize-secretSize:]
	raw, _ := base64.RawURLEncoding.DecodeString(secret)
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("made", "token", token, "pointer", &token, "group", slog.GroupValue(slog.Any("t", token)), "record", record,
			"nested", struct{ T Token }{token})
	}
	text, err := json.Marshal(map[string]any{"token": token, "pointer": &token, "nested": struct{ T Token }{token}})
	if err != nil {
		t.Fatal(err)
	}
	outputs := []string{log.String(), string(text), token.String(), token.ID(), string(write.Value), write.Key, fmt.Sprint(record)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		outputs = append(outputs, fmt.Sprintf(verb, token), fmt.Sprintf(verb, &token), fmt.Sprintf(verb, struct{ T Token }{token}), fmt.Sprintf(verb, []Token{token}))
	}
	for _, out := range outputs {
		for _, form := range []string{secret, hex.EncodeToString(raw), hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString(raw), string(raw)} {
			if strings.Contains(strings.ToLower(out), strings.ToLower(form)) {
				t.Errorf("the secret is in %q", out)
			}
		}
	}
	if !strings.Contains(log.String(), "vst_"+record.ID+"_REDACTED") {
		t.Errorf("the log does not name the token: %s", log.String())
	}
}

// checkTokenText holds parsing to the one spelling of a token.
func checkTokenText(t testing.TB, text string) {
	t.Helper()
	id, _, ok := parseToken(text)
	if !ok {
		return
	}
	rawID, err := hex.DecodeString(id)
	if err != nil || len(rawID) != idSize/2 {
		t.Fatalf("id %q of %q", id, text)
	}
	secret, err := base64.RawURLEncoding.DecodeString(text[TokenSize-secretSize:])
	if err != nil || newToken([8]byte(rawID), [32]byte(secret)).Reveal() != text {
		t.Errorf("%q parses but is written otherwise", text)
	}
}

func tokenSeeds(t testing.TB) [][]byte {
	f := newFixture(t)
	var seeds [][]byte
	for range 4 {
		token, _, _, err := f.Prepare(request)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, []byte(token.Reveal()))
	}
	return seeds
}

func FuzzParseToken(f *testing.F) {
	for _, seed := range tokenSeeds(f) {
		f.Add(string(seed))
	}
	f.Fuzz(func(t *testing.T, text string) { checkTokenText(t, text) })
}

func TestTokenMutations(t *testing.T) {
	mutate.Run(t, tokenSeeds(t), func(t *testing.T, input []byte) { checkTokenText(t, string(input)) })
}

func BenchmarkAuthenticate(b *testing.B) {
	f := newFixture(b)
	token, _ := f.create(b, request)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Authenticate(b.Context(), token.Reveal()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthenticateUnknown(b *testing.B) {
	f := newFixture(b)
	token, _, _, _ := f.Prepare(request)
	for b.Loop() {
		if _, err := f.Authenticate(b.Context(), token.Reveal()); !errors.Is(err, ErrUnauthenticated) {
			b.Fatal(err)
		}
	}
}
