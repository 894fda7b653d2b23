package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func openStore(t testing.TB) store.Store {
	t.Helper()
	s, err := bolt.Open(bolt.Config{Path: filepath.Join(t.TempDir(), "store.db"), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// hand is a clock that tests set.
type hand struct{ at atomic.Int64 }

func (h *hand) now() time.Time      { return start.Add(time.Duration(h.at.Load())) }
func (h *hand) add(d time.Duration) { h.at.Add(int64(d)) }

func open(t testing.TB, s store.Store, clock *hand) *Ring {
	t.Helper()
	r, err := Open(t.Context(), Config{Store: s, Origin: "broker.example.org/log", Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestKeysSurviveARestart(t *testing.T) {
	s, clock := openStore(t), new(hand)
	first := open(t, s, clock)
	token, err := first.SignCompact(Token, "JWT", []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(t.Context(), Config{Store: s, Now: clock.now}) // the origin is in the store
	if err != nil {
		t.Fatal(err)
	}
	if payload, kid, err := second.Verify(Token, "JWT", token); err != nil || string(payload) != `{"a":1}` || kid != first.KeyID(Token) {
		t.Errorf("%q, %q, %v", payload, kid, err)
	}
	if first.LogVerifierText() != second.LogVerifierText() || !bytes.Equal(first.JWKS(), second.JWKS()) {
		t.Error("the keys changed")
	}
	if _, err := Open(t.Context(), Config{Store: s, Origin: "another.example.org"}); err == nil {
		t.Error("the log took another name")
	}
}

func TestReplicasStartTogether(t *testing.T) {
	s, clock := openStore(t), new(hand)
	rings := make([]*Ring, 8)
	var wait sync.WaitGroup
	for i := range rings {
		wait.Go(func() {
			r, err := Open(t.Context(), Config{Store: s, Origin: "o", Now: clock.now})
			if err != nil {
				t.Error(err)
			}
			rings[i] = r
		})
	}
	wait.Wait()
	if t.Failed() {
		return
	}
	for _, r := range rings[1:] {
		if !bytes.Equal(r.JWKS(), rings[0].JWKS()) || r.LogVerifierText() != rings[0].LogVerifierText() {
			t.Fatal("two brokers have different keys")
		}
	}
}

func TestRotation(t *testing.T) {
	s, clock := openStore(t), new(hand)
	r, replica := open(t, s, clock), open(t, s, clock)
	old, err := r.SignCompact(Token, "JWT", []byte("old"))
	if err != nil {
		t.Fatal(err)
	}
	oldID, replyID := r.KeyID(Token), r.KeyID(Reply)

	write, done, err := r.PrepareRotate(t.Context(), Token)
	if err != nil {
		t.Fatal(err)
	}
	if r.KeyID(Token) != oldID {
		t.Error("the key changed before its record was written")
	}
	if err := s.Apply(t.Context(), write); err != nil {
		t.Fatal(err)
	}
	done()
	done()
	if r.KeyID(Token) == oldID || r.KeyID(Reply) != replyID {
		t.Error("the wrong key changed, or none")
	}
	fresh, err := r.SignCompact(Token, "JWT", []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	verify := func(r *Ring, token string, want error) {
		t.Helper()
		if _, _, err := r.Verify(Token, "JWT", token); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	verify(r, old, nil)
	verify(r, fresh, nil)
	verify(replica, fresh, ErrUnknownKey)
	if err := replica.Rotate(t.Context(), Token); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a broker that did not hear of a rotation rotates: %v", err)
	}
	if err := replica.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	verify(replica, fresh, nil)
	verify(replica, old, nil)

	clock.add(DefaultRetain - time.Second)
	verify(r, old, nil)
	if !strings.Contains(string(r.JWKS()), oldID) || len(r.List()) != 4 {
		t.Error("a retired key is not published")
	}
	clock.add(time.Second)
	verify(r, old, ErrUnknownKey)
	verify(open(t, s, clock), old, ErrUnknownKey)
	verify(r, fresh, nil)
	if strings.Contains(string(r.JWKS()), oldID) || len(r.List()) != 3 {
		t.Error("a retired key is published for ever")
	}
	if err := r.Rotate(t.Context(), Token); err != nil {
		t.Fatal(err)
	}
	if record, _ := s.Get(t.Context(), recordKey(Token)); strings.Contains(string(record.Value), oldID) {
		t.Error("a key whose time is over is kept")
	}
}

func TestRotationThatIsOvertaken(t *testing.T) {
	s, clock := openStore(t), new(hand)
	r := open(t, s, clock)
	stale, lateDone, err := r.PrepareRotate(t.Context(), Reply)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Rotate(t.Context(), Reply); err != nil {
		t.Fatal(err)
	}
	kid := r.KeyID(Reply)
	if err := s.Apply(t.Context(), stale); !errors.Is(err, store.ErrConflict) {
		t.Errorf("the overtaken rotation was written: %v", err)
	}
	lateDone() // a caller's mistake must not make the ring sign with a key nobody can look up
	if r.KeyID(Reply) != kid {
		t.Error("the ring signs with a key that was never recorded")
	}
}

func TestRotationIsBounded(t *testing.T) {
	s, clock := openStore(t), new(hand)
	r := open(t, s, clock)
	for i := range maxRetired {
		if err := r.Rotate(t.Context(), Token); err != nil {
			t.Fatalf("rotation %d: %v", i, err)
		}
	}
	if err := r.Rotate(t.Context(), Token); err == nil {
		t.Error("rotated without end")
	}
	if record, _ := s.Get(t.Context(), recordKey(Token)); len(record.Value) > maxRecord/2 {
		t.Errorf("a record of %d bytes", len(record.Value))
	}
	clock.add(DefaultRetain)
	if err := r.Rotate(t.Context(), Token); err != nil {
		t.Errorf("a day later: %v", err)
	}
	if err := r.Rotate(t.Context(), Log); !errors.Is(err, ErrNotRotatable) {
		t.Errorf("the log's key: %v", err)
	}
	if err := r.Rotate(t.Context(), "other"); !errors.Is(err, ErrPurpose) {
		t.Errorf("no purpose: %v", err)
	}
}

func TestFollow(t *testing.T) {
	s, clock := openStore(t), new(hand)
	r, replica := open(t, s, clock), open(t, s, clock)
	ended := make(chan error, 1)
	ctx, cancel := contextWithCancel(t)
	go func() { ended <- replica.Follow(ctx, func(err error) { t.Error(err) }) }()
	if err := r.Rotate(t.Context(), Reply); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); replica.KeyID(Reply) != r.KeyID(Reply); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the rotation was not followed")
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, ctx.Err()) {
		t.Error(err)
	}
}

func TestLogSigner(t *testing.T) {
	s := openStore(t)
	r := open(t, s, new(hand))
	signed, err := note.Sign(&note.Note{Text: "broker.example.org/log\n1\nAAAA\n"}, r.LogSigner())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(r.LogVerifierText())
	if err != nil || verifier.Name() != "broker.example.org/log" || verifier.KeyHash() != r.LogVerifier().KeyHash() {
		t.Fatalf("%v, %v", verifier, err)
	}
	for _, v := range []note.Verifier{verifier, r.LogVerifier()} {
		if _, err := note.Open(signed, note.VerifierList(v)); err != nil {
			t.Error(err)
		}
	}
	other := open(t, openStore(t), new(hand))
	if _, err := note.Open(signed, note.VerifierList(other.LogVerifier())); err == nil {
		t.Error("another broker's key verifies it")
	}
	for _, origin := range []string{"", "a b", "a+b", "a\nb", "é", strings.Repeat("x", 256)} {
		if _, err := Open(t.Context(), Config{Store: openStore(t), Origin: origin}); err == nil {
			t.Errorf("origin %q accepted", origin)
		}
	}
}

func TestJWKS(t *testing.T) {
	r := open(t, openStore(t), new(hand))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(r.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 2 || len(set.Key(r.KeyID(Token))) != 1 || len(set.Key(r.KeyID(Reply))) != 1 {
		t.Fatalf("%s", r.JWKS())
	}
	for _, k := range set.Keys {
		// The thumbprint by someone else's code is the kid.
		sum, err := k.Thumbprint(5) // crypto.SHA256
		if err != nil || base64.RawURLEncoding.EncodeToString(sum) != k.KeyID || k.Algorithm != "ES256" || k.Use != "sig" || !k.IsPublic() {
			t.Errorf("%+v, %v", k, err)
		}
	}
	if one := r.JWKS(Token); strings.Contains(string(one), r.KeyID(Reply)) || !strings.Contains(string(one), r.KeyID(Token)) {
		t.Errorf("%s", one)
	}
	if got := string(r.JWKS(Log)); got != `{"keys":[]}` {
		t.Error(got)
	}
}

func TestPrivateKeysAreNotPrinted(t *testing.T) {
	s := openStore(t)
	r := open(t, s, new(hand))
	var secrets []string
	for _, p := range purposes {
		stored, err := s.Get(t.Context(), recordKey(p))
		if err != nil {
			t.Fatal(err)
		}
		var rec record
		if err := json.Unmarshal(stored.Value, &rec); err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, base64.StdEncoding.EncodeToString(rec.Private), fmt.Sprint(rec.Private), fmt.Sprintf("%x", rec.Private))
		if key, err := x509.ParsePKCS8PrivateKey(rec.Private); err == nil {
			if key, ok := key.(*ecdsa.PrivateKey); ok {
				secrets = append(secrets, key.D.String(), key.D.Text(16)) //nolint:staticcheck // what a dump of it would show
			}
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%x"} {
			if out := fmt.Sprintf(verb, rec); len(out) > 40 {
				t.Errorf("%s prints a record as %q", verb, out)
			}
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "ring", r, "list", r.List())
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "ring", r)
	outputs := []string{log.String(), fmt.Sprintf("%v %+v %#v %s %x", r, r, r, r, r), fmt.Sprintf("%+v", struct{ R *Ring }{r})}

	// A damaged record's error says which record, not what is in it.
	for _, p := range purposes {
		stored, _ := s.Get(t.Context(), recordKey(p))
		for i := 0; i < len(stored.Value); i += 3 {
			value := bytes.Clone(stored.Value)
			value[i] ^= 1
			_, err := load(p, store.Record{Key: stored.Key, Version: 1, Value: value})
			if err != nil {
				outputs = append(outputs, err.Error())
			}
			if err != nil && !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("%s: %v", p, err)
			}
		}
	}
	for _, out := range outputs {
		if slices.ContainsFunc(secrets, func(secret string) bool { return strings.Contains(out, secret) }) {
			t.Errorf("a private key is in %q", out)
		}
	}
}

func TestDamagedRecords(t *testing.T) {
	s := openStore(t)
	r := open(t, s, new(hand))
	if err := r.Rotate(t.Context(), Token); err != nil {
		t.Fatal(err)
	}
	edit := func(p Purpose, change func(*record)) []byte {
		stored, err := s.Get(t.Context(), recordKey(p))
		if err != nil {
			t.Fatal(err)
		}
		var rec record
		if err := json.Unmarshal(stored.Value, &rec); err != nil {
			t.Fatal(err)
		}
		change(&rec)
		value, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	reply := edit(Reply, func(*record) {})
	var other record
	if err := json.Unmarshal(reply, &other); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string][]byte{
		"empty":                {},
		"another's record":     reply,
		"another's key":        edit(Token, func(r *record) { r.Private = other.Private }),
		"another's id":         edit(Token, func(r *record) { r.KeyID = other.KeyID }),
		"later schema":         edit(Token, func(r *record) { r.Schema = 2 }),
		"no key":               edit(Token, func(r *record) { r.Private = nil }),
		"the log's key":        edit(Log, func(r *record) { r.Purpose = Token }),
		"retired key is other": edit(Token, func(r *record) { r.Retired[0].KeyID = other.KeyID }),
		"retired key missing":  edit(Token, func(r *record) { r.Retired[0].Public = nil }),
		"too many retired":     edit(Token, func(r *record) { r.Retired = slices.Repeat(r.Retired, maxRetired+1) }),
		"too long":             append(edit(Token, func(*record) {}), make([]byte, maxRecord)...),
		"trailing":             append(edit(Token, func(*record) {}), "{}"...),
	} {
		if _, err := load(Token, store.Record{Key: recordKey(Token), Version: 1, Value: value}); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A ring that cannot reload goes on with what it has, and one that opens fails.
	kid := r.KeyID(Token)
	if err := s.Apply(t.Context(), store.Write{Key: recordKey(Token), Version: 2, Value: reply}); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(t.Context()); !errors.Is(err, store.ErrCorrupt) || r.KeyID(Token) != kid {
		t.Errorf("%v", err)
	}
	if _, err := Open(t.Context(), Config{Store: s}); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("%v", err)
	}
	for name, c := range map[string]Config{"no store": {}, "short retention": {Store: s, Retain: time.Second}, "negative": {Store: s, Retain: -1}, "ages": {Store: s, Retain: MaxRetain + 1}} {
		if _, err := Open(t.Context(), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
