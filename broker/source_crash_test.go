package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/internal/faultstore"
	"github.com/vouchsafe/vouchsafe/store"
	"golang.org/x/mod/sumdb/note"
)

// TestIssuedSurvivesCrashes has the broker end at each write of a release, before it, after it, and between the writes of one Apply, and another
// process over the same store go on: what nobody was given is ended, and what somebody was given is kept until its lease ends.
func TestIssuedSurvivesCrashes(t *testing.T) {
	brokertest.OwnStore(t)
	for _, fault := range []string{"before", "after", "half"} {
		for at := 1; at <= 5; at++ {
			for _, lost := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s write %d, answer lost %v", fault, at, lost), func(t *testing.T) {
					c := newClock()
					s := newIssuer(c.now)
					b := brokertest.Start(t, brokertest.Config{Now: c.now, Sources: []source.Source{s}, OwnFile: true})
					b.ApplyPolicy(brokertest.AllowVirtual("a/*"))
					putIssued(t, b, "a/i")
					crashing, broken := crashing(t, b, s, c)
					g := newGuest(t, crashing, b.Device)
					request := g.request(g.nonce())
					if lost {
						s.set(func() { s.lost, s.fail = true, errors.New("the answer was lost") })
					}
					broken.at, broken.how = at, fault
					r, _, err := crashing.AttestAndRelease(t.Context(), request, []broker.Want{{Secret: "a/i"}})
					if err == nil { // there were fewer writes, and the process ends after them
						if r == nil || !recorded(t, b) {
							t.Fatalf("it was released without a record: %+v", r)
						}
					}
					broken.Store = nil // that process does nothing any more
					_, tend := another(t, b, s, c)
					defer tend()
					c.add(6 * time.Minute) // past the next sweep, too
					released := recorded(t, b)
					if released { // and counts as such
						time.Sleep(50 * time.Millisecond)
						if len(s.working()) != 1 {
							t.Error("what was released is ended before its lease")
						}
						c.add(time.Hour)
					}
					s.awaitWorking(t, 0)
					awaitRecords(t, b, 0)
				})
			}
		}
	}
}

// recorded reports whether the store tells that something was released: a lease and a decision.
func recorded(tb testing.TB, b *brokertest.Broker) bool {
	tb.Helper()
	leases, err := b.Data.Store.List(tb.Context(), "default/lease/a/i/", "", 10)
	if err != nil {
		tb.Fatal(err)
	}
	for _, l := range leases {
		id, _, _ := strings.Cut(strings.TrimPrefix(l.Key, "default/lease/a/i/"), ".")
		if _, err := b.Data.Store.Get(tb.Context(), "default/decision/"+id); err == nil {
			return true
		}
	}
	return false
}

// breaking is a store of a process that ends at a write.
type breaking struct {
	store.Store
	how string
	at  int

	mu sync.Mutex // held in Apply: a decision's writes may be made at the same time
	n  int
}

var errBroken = fmt.Errorf("%w: the process has ended", store.ErrUnavailable)

func (s *breaking) Atomic() bool { return false }

func (s *breaking) Get(ctx context.Context, key string) (store.Record, error) {
	if s.Store == nil {
		return store.Record{}, errBroken
	}
	return s.Store.Get(ctx, key)
}

func (s *breaking) List(ctx context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	if s.Store == nil {
		return nil, errBroken
	}
	return s.Store.List(ctx, prefix, after, limit)
}

func (s *breaking) Apply(ctx context.Context, writes ...store.Write) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Store == nil || s.at > 0 && s.n >= s.at {
		return errBroken
	}
	if s.at > 0 {
		if s.n++; s.n == s.at {
			switch s.how {
			case "after":
				_ = s.Store.Apply(ctx, writes...)
			case "half":
				for _, w := range writes[:len(writes)/2] {
					_ = s.Store.Apply(ctx, w)
				}
			}
			return errBroken
		}
	}
	return s.Store.Apply(ctx, writes...)
}

func (s *breaking) Close() error { return nil }

// crashing is a broker over the data of b whose store breaks.
func crashing(tb testing.TB, b *brokertest.Broker, s source.Source, c *clock) (*broker.Broker, *breaking) {
	tb.Helper()
	broken := &breaking{Store: b.Data.Store}
	config := configOf(tb, b)
	config.Store, config.Sources, config.Now = broken, []source.Source{s}, c.now
	config.Logs, config.Log = nil, logOver(tb, b, broken)
	second, err := broker.New(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	return second, broken
}

func logOver(tb testing.TB, b *brokertest.Broker, s store.Store) *audit.Log {
	tb.Helper()
	signer := b.Data.Keys.LogSigner()
	log, err := audit.Open(tb.Context(), audit.Config{
		Store: s, Origin: signer.Name(), Signer: signer, Verifiers: note.VerifierList(b.Data.Keys.LogVerifier()),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = log.Close() })
	return log
}

// beside is a broker over the data of b that takes values from s.
func beside(tb testing.TB, b *brokertest.Broker, s source.Source, c *clock) *broker.Broker {
	tb.Helper()
	config := configOf(tb, b)
	config.Sources, config.Now = []source.Source{s}, c.now
	core, err := broker.New(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	return core
}

// another is a broker over the same data, as a process that was started afterwards, which tends to what was issued until tend is called.
func another(tb testing.TB, b *brokertest.Broker, s source.Source, c *clock) (next *broker.Broker, tend func()) {
	tb.Helper()
	next = beside(tb, b, s, c)
	ctx, stop := context.WithCancel(tb.Context())
	ended := make(chan struct{})
	go func() { _ = next.TendLeases(ctx); close(ended) }()
	return next, func() { stop(); <-ended }
}

// TestIssuedIsKeptByTheNext: a broker that was started again ends what the one before it released, when its lease ends and not before.
func TestIssuedIsKeptByTheNext(t *testing.T) {
	c := newClock()
	s := newIssuer(c.now)
	b := brokertest.Start(t, brokertest.Config{Now: c.now})
	b.ApplyPolicy(brokertest.AllowVirtual("a/*"))
	first := beside(t, b, s, c)
	putIssuedBy(t, b, first, "a/i")
	r, err := newGuest(t, first, b.Device).fetch("a/i")
	if err != nil {
		t.Fatal(err)
	}
	next, tend := another(t, b, s, c)
	defer tend()
	c.add(10 * time.Minute)
	for range 100 {
		if kept, _ := next.Issued(); kept == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if kept, ending := next.Issued(); kept != 1 || ending != 0 || len(s.working()) != 1 {
		t.Fatalf("%d kept, %d ending, %q work", kept, ending, s.working())
	}
	c.add(r.Results[0].Lease.Expires.Sub(c.now()) + time.Minute)
	s.awaitWorking(t, 0)
}

// TestIssuedEndsBesideDamage: a record or a lease that cannot be read, or something that cannot be ended, are no reason not to end the rest.
func TestIssuedEndsBesideDamage(t *testing.T) {
	for name, damaged := range map[string]func(lease string) string{
		"a record":      func(string) string { return "sys/issued/default/a/a/x.0" },
		"its lease":     func(lease string) string { return "default/lease/a/i/" + lease },
		"another's end": nil, // see below
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			s := newIssuer(c.now)
			b := brokertest.Start(t, brokertest.Config{Now: c.now})
			b.ApplyPolicy(brokertest.AllowVirtual("a/*"))
			first := beside(t, b, s, c)
			putIssuedBy(t, b, first, "a/i")
			g := newGuest(t, first, b.Device)
			if name == "another's end" {
				// What an answer was lost of, which sorts first, and cannot be ended.
				text := fmt.Sprintf(`{"namespace":"default","secret":"a/b","version":1,"lease":"x.0","kind":"test-issuer","place":{"name":"place","exclusive":true},"asked":%q}`,
					c.now().UTC().Add(-time.Hour).Format(time.RFC3339))
				s.set(func() { s.works["stuck"] = c.now().Add(-time.Hour) })
				if err := b.Data.Store.Apply(t.Context(), store.Write{Key: "sys/issued/default/a/b/x.0", Value: []byte(text)}); err != nil {
					t.Fatal(err)
				}
			}
			r, err := g.fetch("a/i")
			if err != nil {
				t.Fatal(err)
			}
			var from source.Source = s
			left := 0
			if name == "another's end" {
				from, left = stuckIssuer{s}, 1
			}
			next := beside(t, b, from, c)
			if damaged != nil {
				w := store.Write{Key: damaged(r.Results[0].Lease.ID), Value: []byte("{")}
				if before, err := b.Data.Store.Get(t.Context(), w.Key); err == nil {
					w.Version = before.Version
				}
				if err := b.Data.Store.Apply(t.Context(), w); err != nil {
					t.Fatal(err)
				}
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { _ = next.TendLeases(ctx); close(ended) }()
			defer func() { stop(); <-ended }()
			c.add(r.Results[0].Lease.Expires.Sub(c.now()) + time.Minute)
			s.awaitWorking(t, left)
		})
	}
}

// TestIssuedUnknownIsBounded: where a source does not answer, what may have been issued is written down so often and not for ever, and looking through it afterwards
// reads each record a few times, not each for each.
func TestIssuedUnknownIsBounded(t *testing.T) {
	const most, early = 10_000, 200 // the first as maxIssued
	c := newClock()
	s := newIssuer(c.now)
	b := brokertest.Start(t, brokertest.Config{Now: c.now, OwnFile: true})
	b.ApplyPolicy(brokertest.AllowVirtual("a/*"))
	for i := 0; i < most; {
		var writes []store.Write
		for range 500 {
			secret, asked := "a/late", c.now().Add(time.Hour)
			if i < early {
				secret, asked = "a/early", c.now()
			}
			text := fmt.Sprintf(`{"namespace":"default","secret":%q,"version":1,"lease":"x.%d","kind":"test-issuer","place":{"name":"place","exclusive":true},"asked":%q}`,
				secret, i, asked.UTC().Format(time.RFC3339))
			writes = append(writes, store.Write{Key: fmt.Sprintf("sys/issued/default/%s/x.%d", secret, i), Value: []byte(text)})
			i++
		}
		if err := b.Data.Store.Apply(t.Context(), writes...); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Data.Log.Close(); err != nil {
		t.Fatal(err)
	}
	counted := &counting{Store: b.Data.Store}
	config := configOf(t, b)
	config.Store, config.Sources, config.Now, config.Logs, config.Log = counted, []source.Source{s}, c.now, nil, logOver(t, b, counted)
	core, err := broker.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	putIssuedBy(t, b, core, "a/i")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { _ = core.TendLeases(ctx); close(ended) }()
	defer func() { stop(); <-ended }()
	g := newGuest(t, core, b.Device)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err = g.fetch("a/i"); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("more was asked for than is kept")
		}
	}
	issued := len(s.working())
	if _, err := g.fetch("a/i"); err == nil || len(s.working()) != issued {
		t.Errorf("%v, and %d were issued after %d", err, len(s.working()), issued)
	}
	before := counted.reads.Load()
	c.add(6 * time.Minute)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left, err := b.Data.Store.List(t.Context(), "sys/issued/default/a/early/", "", 1)
		if err != nil {
			t.Fatal(err)
		}
		if reads := counted.reads.Load() - before; len(left) == 0 && reads < 10*most {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%d records are left, after %d reads", len(left), reads)
		}
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err = g.fetch("a/i"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// counting counts reads.
type counting struct {
	store.Store
	reads atomic.Int64
}

func (s *counting) Get(ctx context.Context, key string) (store.Record, error) {
	s.reads.Add(1)
	return s.Store.Get(ctx, key)
}

// stuckIssuer cannot end one of those that it issued.
type stuckIssuer struct{ *issuer }

func (s stuckIssuer) Revoke(ctx context.Context, handle string) error {
	if handle == "stuck" {
		return &source.Failure{Err: source.ErrRejected, Detail: "stuck"}
	}
	return s.issuer.Revoke(ctx, handle)
}

// TestIssuedWhenNothingCanBeRecorded: what was issued for a release that cannot be recorded is ended though the store is gone, and its record is deleted
// when the store is back.
func TestIssuedWhenNothingCanBeRecorded(t *testing.T) {
	c := newClock()
	s := newIssuer(c.now)
	b := brokertest.Start(t, brokertest.Config{Now: c.now, Sources: []source.Source{s}, OwnFile: true})
	b.ApplyPolicy(brokertest.AllowVirtual("a/*"))
	putIssued(t, b, "a/i")
	if err := b.Data.Log.Close(); err != nil {
		t.Fatal(err)
	}
	faults := faultstore.New(b.Data.Store)
	config := configOf(t, b)
	config.Store, config.Sources, config.Now, config.Logs, config.Log = faults, []source.Source{s}, c.now, nil, logOver(t, b, faults)
	core, err := broker.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { _ = core.TendLeases(ctx); close(ended) }()
	defer func() { stop(); <-ended }()
	g := newGuest(t, core, b.Device)
	request := g.request(g.nonce())
	s.set(func() { // from when it is asked
		s.hook = func() {
			faults.FailApply(func() faultstore.Fault { return faultstore.Before })
			faults.FailReads("sys/issued/")
		}
	})
	r, _, err := core.AttestAndRelease(t.Context(), request, []broker.Want{{Secret: "a/i"}})
	wantCode(t, err, broker.CodeUnavailable)
	if r != nil {
		t.Fatal("it was released without a record")
	}
	s.awaitWorking(t, 0)
	if records(t, b) != 1 {
		t.Errorf("%d records", records(t, b))
	}
	faults.FailApply(nil)
	faults.FailReads("")
	c.add(3 * time.Minute)
	awaitRecords(t, b, 0)
}
