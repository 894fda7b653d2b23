package broker_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
)

// TestInvariant7ChallengesCostNoMemory opens 10,000 challenges and holds the heap to what it was.
func TestInvariant7ChallengesCostNoMemory(t *testing.T) {
	_, g := started(t, brokertest.Config{})
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for range 10_000 {
		g.nonce()
	}
	if after := heap(); after > before+256<<10 {
		t.Errorf("10,000 open challenges hold %d bytes", after-before)
	}
	g.mustFetch("a/b")
}

// slow is a verifier that waits until it is let go.
type slow struct {
	attest.Verifier
	entered chan struct{}
	release chan struct{}
}

func (s *slow) Kind() attest.Kind { return attest.Sample }

func (s *slow) Verify(context.Context, attest.Input) (*attest.Claims, error) {
	s.entered <- struct{}{}
	<-s.release
	return nil, attest.Refuse(attest.CodeMalformed, "it was slow")
}

// TestInvariant7OverloadIsToldEarly fills the places for verification and those for waiting.
func TestInvariant7OverloadIsToldEarly(t *testing.T) {
	v := &slow{entered: make(chan struct{}, 16), release: make(chan struct{})}
	b, g := started(t, brokertest.Config{
		Limits:    broker.Limits{Verifying: 2, Waiting: 3},
		Verifiers: func(*data.Data) []attest.Verifier { return []attest.Verifier{v} },
	})
	g.scope.Kind = attest.Sample
	request := func() broker.AttestRequest {
		return broker.AttestRequest{Scope: g.scope, Nonce: g.nonce(), Recipient: g.key.Recipient(), Evidence: attest.Evidence{Kind: attest.Sample}}
	}
	var wg sync.WaitGroup
	answers := make(chan error, 8)
	begin := func(ctx context.Context) {
		r := request()
		wg.Go(func() {
			_, err := b.Attest(ctx, r)
			answers <- err
		})
	}
	for range 2 {
		begin(t.Context())
	}
	<-v.entered
	<-v.entered
	waiting, giveUp := context.WithCancel(t.Context())
	for range 3 {
		begin(waiting)
	}
	turned := request()
	for queued := 0; queued < 5; { // until all three have their places, which nothing else tells
		runtime.Gosched()
		queued = b.Queued()
	}
	_, err := b.Attest(t.Context(), turned)
	if e := wantCode(t, err, broker.CodeOverloaded); e.RetryAfter <= 0 {
		t.Error("it does not say when to come back")
	}
	// Who gives up while waiting leaves the queue.
	giveUp()
	for range 3 {
		if err := <-answers; codeOf(err) != broker.CodeUnavailable {
			t.Errorf("given up: %v", err)
		}
	}
	close(v.release)
	for range 2 {
		if err := <-answers; codeOf(err) != broker.CodeEvidence {
			t.Errorf("let go: %v", err)
		}
	}
	wg.Wait()
	// Who was told to come back has a nonce that is still good, and only once.
	if _, err := b.Attest(t.Context(), turned); codeOf(err) != broker.CodeEvidence {
		t.Errorf("come back: %v", err)
	}
	if _, err := b.Attest(t.Context(), turned); codeOf(err) != broker.CodeNonce {
		t.Errorf("and again: %v", err)
	}
}

// watcher counts what an Observer is told.
type watcher struct {
	mu         sync.Mutex
	attested   map[string]int
	judged     map[broker.Outcome]int
	kinds      map[attest.Kind]bool
	unrecorded int
}

func newWatcher() *watcher {
	return &watcher{attested: map[string]int{}, judged: map[broker.Outcome]int{}, kinds: map[attest.Kind]bool{}}
}

func (w *watcher) Attested(_ broker.Protocol, kind attest.Kind, code string, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attested[code]++
	w.kinds[kind] = true
}

func (w *watcher) Judged(_ broker.Protocol, outcome broker.Outcome, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judged[outcome]++
}

func (w *watcher) Unrecorded(attest.Kind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unrecorded++
}

// TestInvariant7StrangersDoNotFillTheDisk sends bad evidence, and then good evidence for what is denied, faster than is recorded.
func TestInvariant7StrangersDoNotFillTheDisk(t *testing.T) {
	clock, seen := newClock(), newWatcher()
	b, g := started(t, brokertest.Config{Now: clock.now, Observer: seen, Limits: broker.Limits{RefusalsPerSecond: 5}})
	size := b.Data.Log.Size()
	recorded := 0
	for range 20 {
		bad := g.request(g.nonce())
		bad.Evidence.Primary[0x90] ^= 1
		_, err := b.Attest(t.Context(), bad)
		if e := wantCode(t, err, broker.CodeEvidence); e.Decision != "" {
			recorded++
		}
	}
	if recorded != 5 || seen.unrecorded != 15 || b.Data.Log.Size() != size+5 {
		t.Errorf("%d recorded, %d counted, %d entries", recorded, seen.unrecorded, b.Data.Log.Size()-size)
	}
	attested := g.attest()
	size, recorded = b.Data.Log.Size(), 0
	for range 20 {
		r, err := b.Release(t.Context(), attested, []broker.Want{{Secret: "z/none"}})
		switch codeOf(err) {
		case "":
			if r.Results[0].Outcome != broker.OutcomeDenied {
				t.Errorf("%+v", r)
			}
			recorded++
		case broker.CodeOverloaded:
		default:
			t.Error(err)
		}
	}
	if recorded != 5 || b.Data.Log.Size() != size+5 {
		t.Errorf("%d denials recorded, %d entries", recorded, b.Data.Log.Size()-size)
	}
	// Nobody who is allowed suffers from it, and with time there is room again.
	for range 10 {
		if r, err := b.Release(t.Context(), attested, []broker.Want{{Secret: "a/b"}}); err != nil || r.Results[0].Outcome != broker.OutcomeReleased {
			t.Fatal(r, err)
		}
	}
	clock.add(time.Second)
	if _, err := b.Release(t.Context(), attested, []broker.Want{{Secret: "z/none"}}); err != nil {
		t.Error(err)
	}

	// Kinds that strangers invent are no labels.
	invented := g.request(g.nonce())
	invented.Scope.Kind, invented.Evidence.Kind = "made-up-1", "made-up-1"
	_, err := b.Attest(t.Context(), invented)
	wantCode(t, err, broker.CodeNonce)
	if len(seen.kinds) != 1 || !seen.kinds[attest.Virtual] {
		t.Errorf("kinds %v", seen.kinds)
	}
}

func TestInvariant7RequestsAreBounded(t *testing.T) {
	b, g := started(t, brokertest.Config{Limits: broker.Limits{Secrets: 3, Spent: 4}})
	attested := g.attest()
	wants := func(names ...string) (out []broker.Want) {
		for _, name := range names {
			out = append(out, broker.Want{Secret: name})
		}
		return out
	}
	for name, want := range map[string][]broker.Want{
		"none":           nil,
		"four":           wants("a/1", "a/2", "a/3", "a/4"),
		"one twice":      wants("a/b", "a/b"),
		"no name":        wants(""),
		"relative":       wants("a/../b"),
		"absolute":       wants("/a/b"),
		"nine segments":  wants("1/2/3/4/5/6/7/8/9"),
		"a hidden one":   wants("a/.b"),
		"a wildcard":     wants("a/*"),
		"a control byte": wants("a/b\n"),
	} {
		if r, err := b.Release(t.Context(), attested, want); r != nil || codeOf(err) != broker.CodeInvalid {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		nonce := g.nonce()
		if _, _, err := b.AttestAndRelease(t.Context(), g.request(nonce), want); codeOf(err) != broker.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The requests above were refused before their nonces were spent; one was spent by attested.
	for range 3 {
		g.mustFetch("a/b")
	}
	_, err := g.fetch("a/b")
	if e := wantCode(t, err, broker.CodeOverloaded); e.RetryAfter <= 0 {
		t.Error("it does not say when to come back")
	}
}
