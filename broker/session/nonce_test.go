package session

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/store"
)

var (
	testKey   = []byte("0123456789abcdef0123456789abcdef")
	testScope = Scope{Protocol: "kbs", Namespace: "default", Kind: attest.SNP, Hash: crypto.SHA384, Session: strings.Repeat("a", IDSize)}
	start     = time.Date(2026, 11, 23, 12, 0, 0, 500_000_000, time.UTC)
)

// wall is a clock without a monotonic reading, that tests set.
type wall struct{ at atomic.Int64 }

func newWall(t time.Time) *wall {
	w := new(wall)
	w.set(t)
	return w
}
func (w *wall) now() time.Time      { return time.Unix(0, w.at.Load()) }
func (w *wall) set(t time.Time)     { w.at.Store(t.UnixNano()) }
func (w *wall) add(d time.Duration) { w.at.Add(int64(d)) }

func newNonces(t testing.TB, c NoncesConfig) *Nonces {
	t.Helper()
	if c.Key == nil {
		c.Key = testKey
	}
	if c.Spent == nil {
		c.Spent = NewMemorySpent(0)
	}
	n, err := NewNonces(c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func issue(t testing.TB, n *Nonces, s Scope) (string, time.Time) {
	t.Helper()
	nonce, expires, err := n.Issue(s)
	if err != nil {
		t.Fatal(err)
	}
	return nonce, expires
}

func TestNonceIsGoodOnce(t *testing.T) {
	clock := newWall(start)
	n := newNonces(t, NoncesConfig{Now: clock.now})
	nonce, expires := issue(t, n, testScope)
	if len(nonce) != NonceSize || expires.Before(start.Add(DefaultLifetime)) || expires.After(start.Add(DefaultLifetime+time.Second)) {
		t.Fatalf("nonce %q until %v", nonce, expires)
	}
	if other, _ := issue(t, n, testScope); other == nonce {
		t.Fatal("one nonce twice")
	}
	if err := n.Spend(t.Context(), nonce, testScope); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := n.Spend(t.Context(), nonce, testScope); !errors.Is(err, ErrSpent) {
			t.Fatalf("spent again: %v", err)
		}
	}
}

func TestNonceOfAnotherScope(t *testing.T) {
	spent := NewMemorySpent(0)
	n := newNonces(t, NoncesConfig{Spent: spent})
	nonce, _ := issue(t, n, testScope)
	tests := map[string]func(*Scope){
		"protocol":            func(s *Scope) { s.Protocol = "native" },
		"namespace":           func(s *Scope) { s.Namespace = "other" },
		"kind":                func(s *Scope) { s.Kind = attest.Virtual },
		"hash":                func(s *Scope) { s.Hash = crypto.SHA256 },
		"session":             func(s *Scope) { s.Session = strings.Repeat("b", IDSize) },
		"no session":          func(s *Scope) { s.Session = "" },
		"moved boundary":      func(s *Scope) { s.Protocol, s.Namespace = "kbsd", "efault" },
		"swapped":             func(s *Scope) { s.Protocol, s.Namespace = s.Namespace, s.Protocol },
		"kind into session":   func(s *Scope) { s.Kind, s.Session = "", "snp"+s.Session },
		"everything in front": func(s *Scope) { *s = Scope{Protocol: "kbsdefaultsnp" + s.Session, Hash: s.Hash} },
	}
	for name, change := range tests {
		scope := testScope
		change(&scope)
		if err := n.Spend(t.Context(), nonce, scope); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if spent.Len() != 0 {
		t.Errorf("%d nonces remembered that were not accepted", spent.Len())
	}
	if err := n.Spend(t.Context(), nonce, testScope); err != nil {
		t.Errorf("attempts under other scopes used the nonce up: %v", err)
	}
}

func TestEveryByteOfANonceCounts(t *testing.T) {
	spent := NewMemorySpent(0)
	n := newNonces(t, NoncesConfig{Spent: spent})
	nonce, _ := issue(t, n, testScope)
	raw, _ := base64.StdEncoding.DecodeString(nonce)
	for i := range raw {
		for bit := range 8 {
			raw[i] ^= 1 << bit
			if err := n.Spend(t.Context(), base64.StdEncoding.EncodeToString(raw), testScope); !errors.Is(err, ErrForeign) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
			raw[i] ^= 1 << bit
		}
	}
	for i := range nonce {
		for c := range 256 {
			text := []byte(nonce)
			if text[i] == byte(c) {
				continue
			}
			text[i] = byte(c)
			if err := n.Spend(t.Context(), string(text), testScope); !errors.Is(err, ErrForeign) && !errors.Is(err, ErrMalformed) {
				t.Fatalf("character %d as %q: %v", i, rune(c), err)
			}
		}
	}
	if spent.Len() != 0 {
		t.Errorf("%d nonces remembered that are not ours", spent.Len())
	}
}

func TestMalformedNonces(t *testing.T) {
	n := newNonces(t, NoncesConfig{})
	good, _ := issue(t, n, testScope)
	raw, _ := base64.StdEncoding.DecodeString(good)
	for name, text := range map[string]string{
		"empty":            "",
		"short":            good[:40],
		"long":             good + "A",
		"unpadded":         strings.TrimRight(good, "="),
		"line break":       good[:20] + "\n" + good[21:],
		"break for pad":    good[:43] + "\n",
		"no padding":       good[:43] + "A",
		"url alphabet":     base64.URLEncoding.EncodeToString(append([]byte{0xfb, 0xff}, raw[2:]...)),
		"fewer bytes":      base64.StdEncoding.EncodeToString(raw[:31]),
		"33 bytes":         base64.StdEncoding.EncodeToString(append(raw[:32:32], 0)),
		"space":            " " + good[1:],
		"a megabyte of it": strings.Repeat("A", 1<<20),
	} {
		if err := n.Spend(t.Context(), text, testScope); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The last character before the padding has two bits that decode to nothing.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	i := strings.IndexByte(alphabet, good[42])
	for stray := 1; stray < 4; stray++ {
		if err := n.Spend(t.Context(), good[:42]+string(alphabet[i|stray])+"=", testScope); !errors.Is(err, ErrMalformed) {
			t.Errorf("stray bits %d: %v", stray, err)
		}
	}
}

func TestNonceExpiry(t *testing.T) {
	clock := newWall(start)
	n := newNonces(t, NoncesConfig{Now: clock.now, Lifetime: time.Minute})
	atEnd, expires := issue(t, n, testScope)
	justBefore, _ := issue(t, n, testScope)
	clock.set(expires.Add(-time.Nanosecond))
	if err := n.Spend(t.Context(), justBefore, testScope); err != nil {
		t.Errorf("just before its expiry: %v", err)
	}
	clock.set(expires)
	if err := n.Spend(t.Context(), atEnd, testScope); !errors.Is(err, ErrExpired) {
		t.Errorf("at its expiry: %v", err)
	}
	if err := n.Spend(t.Context(), justBefore, testScope); !errors.Is(err, ErrExpired) {
		t.Errorf("spent and expired: %v", err)
	}
}

func TestClockSetBackRevivesNothing(t *testing.T) {
	for _, back := range []time.Duration{time.Minute, 5 * time.Minute, time.Hour, 24 * time.Hour} {
		clock := newWall(start)
		n := newNonces(t, NoncesConfig{Now: clock.now})
		spent, _ := issue(t, n, testScope)
		unspent, _ := issue(t, n, testScope)
		if err := n.Spend(t.Context(), spent, testScope); err != nil {
			t.Fatal(err)
		}
		clock.add(back)
		later, _ := issue(t, n, testScope)
		if err := n.Spend(t.Context(), later, testScope); err != nil { // this makes the set forget what expired
			t.Fatal(err)
		}
		clock.set(start)
		if err := n.Spend(t.Context(), spent, testScope); !errors.Is(err, ErrSpent) && !errors.Is(err, ErrExpired) {
			t.Errorf("%v forward and back: a spent nonce is good again: %v", back, err)
		}
		if err := n.Spend(t.Context(), unspent, testScope); back >= 6*time.Minute && !errors.Is(err, ErrExpired) {
			t.Errorf("%v forward and back: an expired nonce is good again: %v", back, err)
		}
		if err := n.Spend(t.Context(), later, testScope); !errors.Is(err, ErrSpent) {
			t.Errorf("%v forward and back: %v", back, err)
		}
		fresh, _ := issue(t, n, testScope)
		if err := n.Spend(t.Context(), fresh, testScope); err != nil {
			t.Errorf("%v forward and back: a new nonce is refused: %v", back, err)
		}
	}
}

func TestClockGoesOnAfterAStepBack(t *testing.T) {
	// A time with a monotonic reading, of which only the wall part can be wound back: time.Now, and a far earlier wall.
	first := time.Now()
	ahead := newNonces(t, NoncesConfig{Now: func() time.Time { return first }})
	_, expires := issue(t, ahead, testScope)
	c := &clock{read: func() time.Time { return first }}
	before := c.now()
	second := first.Add(90 * time.Second) // monotonic reading goes on
	c.read = func() time.Time { return second }
	if got := c.now().Sub(before); got != 90*time.Second {
		t.Errorf("clock went on by %v", got)
	}
	c.read = func() time.Time { return first.Round(0).Add(-time.Hour) }
	if got := c.now(); got.Before(before.Add(90 * time.Second)) {
		t.Errorf("clock went back to %v", got)
	}
	if expires.Before(first) {
		t.Error("expired at once")
	}
}

func TestNonceFromTheFuture(t *testing.T) {
	clock := newWall(start.Add(time.Hour))
	fast := newNonces(t, NoncesConfig{Now: clock.now})
	nonce, _ := issue(t, fast, testScope)
	slow := newNonces(t, NoncesConfig{Now: newWall(start).now})
	if err := slow.Spend(t.Context(), nonce, testScope); !errors.Is(err, ErrExpired) {
		t.Errorf("a nonce of a broker an hour ahead: %v", err)
	}
	clock.set(start.Add(store.MaxSkew))
	ahead := newNonces(t, NoncesConfig{Now: clock.now})
	nonce, _ = issue(t, ahead, testScope)
	if err := slow.Spend(t.Context(), nonce, testScope); err != nil {
		t.Errorf("a nonce of a broker %v ahead: %v", store.MaxSkew, err)
	}
}

func TestRestartForgetsWhatWasIssued(t *testing.T) {
	old := newNonces(t, NoncesConfig{})
	nonce, _ := issue(t, old, testScope)
	other := []byte("another key, of another process.")
	if err := newNonces(t, NoncesConfig{Key: other}).Spend(t.Context(), nonce, testScope); !errors.Is(err, ErrForeign) {
		t.Errorf("a nonce from before the restart: %v", err)
	}
}

func TestConcurrentlySpentOnce(t *testing.T) {
	n := newNonces(t, NoncesConfig{})
	for range 20 {
		nonce, _ := issue(t, n, testScope)
		if wins := race(t, func() error { return n.Spend(t.Context(), nonce, testScope) }); wins != 1 {
			t.Fatalf("spent %d times", wins)
		}
	}
}

// race calls spend from 64 goroutines and returns how often it succeeded; otherwise it must fail with ErrSpent.
func race(t *testing.T, spend func() error) int64 {
	t.Helper()
	var (
		wins atomic.Int64
		wait sync.WaitGroup
		gate = make(chan struct{})
	)
	for range 64 {
		wait.Go(func() {
			<-gate
			switch err := spend(); {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, ErrSpent):
				t.Error(err)
			}
		})
	}
	close(gate)
	wait.Wait()
	return wins.Load()
}

func TestNoncesConfig(t *testing.T) {
	good := NoncesConfig{Key: testKey, Spent: NewMemorySpent(0)}
	for name, change := range map[string]func(*NoncesConfig){
		"no key":         func(c *NoncesConfig) { c.Key = nil },
		"short key":      func(c *NoncesConfig) { c.Key = testKey[:31] },
		"zero key":       func(c *NoncesConfig) { c.Key = make([]byte, KeySize) },
		"no spent":       func(c *NoncesConfig) { c.Spent = nil },
		"negative":       func(c *NoncesConfig) { c.Lifetime = -time.Minute },
		"too long":       func(c *NoncesConfig) { c.Lifetime = 2 * time.Hour },
		"part of second": func(c *NoncesConfig) { c.Lifetime = 1500 * time.Millisecond },
	} {
		c := good
		change(&c)
		if _, err := NewNonces(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, c := range map[string]NoncesConfig{
		"no randomness": {Rand: strings.NewReader("too short")},
		"year 2200":     {Now: newWall(time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)).now},
		"year 1950":     {Now: newWall(time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC)).now},
	} {
		if nonce, _, err := newNonces(t, c).Issue(testScope); err == nil {
			t.Errorf("%s: issued %q", name, nonce)
		}
	}
}

// checkNonceText holds Spend to accepting issued nonces only, and to remembering nothing of others.
func checkNonceText(t testing.TB, n *Nonces, spent *MemorySpent, issued map[string]bool, text string) {
	t.Helper()
	before := spent.Len()
	err := n.Spend(context.Background(), text, testScope)
	switch {
	case issued[text]:
	case err == nil:
		t.Errorf("accepted %q, which was not issued", text)
	case !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrForeign):
		t.Errorf("%q: %v", text, err)
	case spent.Len() != before:
		t.Errorf("remembers %q, which was not issued", text)
	}
}

func nonceSeeds(t testing.TB, n *Nonces) (map[string]bool, [][]byte) {
	issued := map[string]bool{}
	var seeds [][]byte
	for range 8 {
		nonce, _ := issue(t, n, testScope)
		issued[nonce] = true
		seeds = append(seeds, []byte(nonce))
	}
	return issued, seeds
}

func FuzzSpend(f *testing.F) {
	// Fuzzing runs in several processes, which must issue the same nonces.
	spent := NewMemorySpent(0)
	n := newNonces(f, NoncesConfig{Spent: spent, Now: newWall(start).now, Rand: rand.NewChaCha8([32]byte{1})})
	issued, seeds := nonceSeeds(f, n)
	for _, seed := range seeds {
		f.Add(string(seed))
	}
	f.Fuzz(func(t *testing.T, text string) { checkNonceText(t, n, spent, issued, text) })
}

func TestNonceMutations(t *testing.T) {
	spent := NewMemorySpent(0)
	n := newNonces(t, NoncesConfig{Spent: spent})
	issued, seeds := nonceSeeds(t, n)
	mutate.Run(t, seeds, func(t *testing.T, input []byte) { checkNonceText(t, n, spent, issued, string(input)) })
}

func BenchmarkIssue(b *testing.B) {
	n := newNonces(b, NoncesConfig{})
	b.ReportAllocs()
	for b.Loop() {
		issue(b, n, testScope)
	}
}

func BenchmarkSpend(b *testing.B) {
	n := newNonces(b, NoncesConfig{Spent: forgetful{}})
	nonce, _ := issue(b, n, testScope)
	b.ReportAllocs()
	for b.Loop() {
		if err := n.Spend(b.Context(), nonce, testScope); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSpendForeign(b *testing.B) {
	n := newNonces(b, NoncesConfig{})
	for b.Loop() {
		if err := n.Spend(b.Context(), strings.Repeat("A", 43)+"=", testScope); !errors.Is(err, ErrForeign) {
			b.Fatal(err)
		}
	}
}

func BenchmarkMemorySpent(b *testing.B) {
	m := NewMemorySpent(1 << 30)
	now := time.Now()
	var id [16]byte
	for i := uint64(0); b.Loop(); i++ {
		binary.LittleEndian.PutUint64(id[:], i)
		if err := m.Spend(b.Context(), id, now, now.Add(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
}

// forgetful lets a benchmark spend one nonce again and again.
type forgetful struct{}

func (forgetful) Spend(context.Context, [16]byte, time.Time, time.Time) error { return nil }
