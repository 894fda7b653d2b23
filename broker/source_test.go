package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/source"
)

// issuer is a source that fails on demand, as no real one does: what the broker does about it is tested here, and real ones with package
// broker/source/vault. Each value is a new one, and works until it is revoked.
type issuer struct {
	now func() time.Time

	mu      sync.Mutex
	n       int
	works   map[string]time.Time // handles, with when they were issued
	fail    error                // of Fetch
	late    bool                 // it fails after it has issued
	lost    bool                 // and its answer is lost
	revokes error                // of Revoke
	lasts   time.Duration
	hook    func()
}

func newIssuer(now func() time.Time) *issuer {
	return &issuer{now: now, works: map[string]time.Time{}, lasts: 2 * time.Hour}
}

func (*issuer) Kind() string { return "test-issuer" }

func (*issuer) Check(parameters json.RawMessage, _ source.Request) (json.RawMessage, error) {
	if string(parameters) == `{"bad":true}` {
		return nil, errors.New("bad is true")
	}
	return parameters, nil
}

func (*issuer) Probe(context.Context, json.RawMessage, source.Request) (source.Probe, error) {
	return source.Probe{Answers: true, Detail: "it would"}, nil
}

func (s *issuer) Place(json.RawMessage, source.Request) (source.Place, error) {
	return source.Place{Name: "place", Exclusive: true}, nil
}

func (s *issuer) Fetch(ctx context.Context, _ json.RawMessage, r source.Request) (source.Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hook != nil {
		s.hook()
	}
	if s.fail != nil && !s.late {
		return source.Value{}, s.fail
	}
	s.n++
	handle := fmt.Sprint("handle-", s.n)
	s.works[handle] = s.now()
	if s.lost {
		return source.Value{}, s.fail
	}
	v := source.Value{Lease: &source.Lease{Handle: handle, Duration: s.lasts}}
	if s.fail == nil {
		v.Bytes = []byte(plaintext)
	}
	return v, s.fail
}

func (s *issuer) Revoke(_ context.Context, handle string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revokes == nil {
		delete(s.works, handle)
	}
	return s.revokes
}

func (s *issuer) Issued(_ context.Context, _ source.Place, from, to time.Time) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for handle, at := range s.works {
		if !at.Before(from) && !at.After(to) {
			all = append(all, handle)
		}
	}
	return all, nil
}

func (s *issuer) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *issuer) working() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.works))
}

// awaitWorking waits until as many work as should.
func (s *issuer) awaitWorking(tb testing.TB, n int) {
	tb.Helper()
	for range 300 {
		if len(s.working()) == n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	tb.Fatalf("%q still work, %d should", s.working(), n)
}

// issuing is a broker with the secret a/i of an issuer, which any virtual device may have.
func issuing(tb testing.TB) (*brokertest.Broker, *guest, *issuer, *clock) {
	tb.Helper()
	c := newClock()
	s := newIssuer(c.now)
	b, g := started(tb, brokertest.Config{Now: c.now, Sources: []source.Source{s}})
	putIssued(tb, b, "a/i")
	return b, g, s, c
}

func putIssued(tb testing.TB, b *brokertest.Broker, name string) broker.SecretInfo {
	tb.Helper()
	return putIssuedBy(tb, b, b.Broker, name)
}

// putIssuedBy is putIssued by another broker over the same data.
func putIssuedBy(tb testing.TB, b *brokertest.Broker, core *broker.Broker, name string) broker.SecretInfo {
	tb.Helper()
	info, err := core.PutSecret(tb.Context(), b.Admin, ns, broker.PutSecret{
		Name: name, Source: &source.Document{Kind: "test-issuer"}, Activate: true,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return info
}

// records are the store's records of what was issued.
func records(tb testing.TB, b *brokertest.Broker) int {
	tb.Helper()
	entries, err := b.Data.Store.List(tb.Context(), "sys/issued/", "", 100)
	if err != nil {
		tb.Fatal(err)
	}
	return len(entries)
}

func awaitRecords(tb testing.TB, b *brokertest.Broker, n int) {
	tb.Helper()
	for range 300 {
		if records(tb, b) == n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	tb.Fatalf("%d records, want %d", records(tb, b), n)
}

// TestIssued takes what was issued through each end that it may have.
func TestIssued(t *testing.T) {
	for name, end := range map[string]func(b *brokertest.Broker, c *clock, r *broker.Release) error{
		"lease revoked": func(b *brokertest.Broker, _ *clock, r *broker.Release) error {
			out, err := b.RevokeLease(t.Context(), b.Admin, ns, r.Results[0].Lease.ID)
			if err == nil && (out.Ended != "ended" || out.Lease.Revoked == nil) {
				err = fmt.Errorf("%+v", out)
			}
			return err
		},
		"version destroyed": func(b *brokertest.Broker, _ *clock, _ *broker.Release) error {
			putIssued(t, b, "a/i")
			return second(b.DestroySecret(t.Context(), b.Admin, ns, "a/i", 1))
		},
		"all destroyed": func(b *brokertest.Broker, _ *clock, _ *broker.Release) error {
			return second(b.DestroyAll(t.Context(), b.Admin, ns, "a/i"))
		},
		"policy retired": func(b *brokertest.Broker, _ *clock, _ *broker.Release) error {
			return second(b.ActivatePolicy(t.Context(), b.Admin, ns, "allow-virtual", 0))
		},
		"policy no longer guards": func(b *brokertest.Broker, _ *clock, _ *broker.Release) error {
			b.ApplyPolicy(brokertest.AllowVirtual("b/*"))
			return nil
		},
		"lease ended": func(_ *brokertest.Broker, c *clock, _ *broker.Release) error {
			c.add(time.Hour + time.Second)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, g, s, c := issuing(t)
			r, err := g.fetch("a/b", "a/i")
			if err != nil || string(g.open(r, 1)) != plaintext {
				t.Fatal(err)
			}
			r.Results = r.Results[1:]
			lease := r.Results[0].Lease
			if lease.Source != "test-issuer" || !lease.Revocable || !lease.Expires.Equal(lease.Issued.Add(time.Hour)) {
				t.Errorf("%+v", lease)
			}
			d := explain(t, b, r.Decision).Secrets[1]
			if d.Source == nil || d.Source.Kind != "test-issuer" || d.Source.Code != "answered" {
				t.Errorf("%+v", d.Source)
			}
			log := events(t, b)
			if e := log[len(log)-1].Secrets[1]; e.Source != "test-issuer" || e.Lease != lease.ID {
				t.Errorf("%+v", e)
			}
			// Another secret of the same issuer is not touched by what happens to this one.
			if len(s.working()) != 1 || records(t, b) != 1 {
				t.Fatalf("%q work, %d records", s.working(), records(t, b))
			}
			if err := end(b, c, r); err != nil {
				t.Fatal(err)
			}
			s.awaitWorking(t, 0)
			awaitRecords(t, b, 0)
			for range 100 { // the record is gone a moment before
				if kept, _ := b.Issued(); kept == 0 {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Error("it is still kept")
		})
	}
}

// TestIssuedIsNotEndedForAnother: what happens to one secret does not end what was issued for another.
func TestIssuedIsNotEndedForAnother(t *testing.T) {
	b, g, s, _ := issuing(t)
	putIssued(t, b, "a/j")
	b.ApplyPolicy(strings.Replace(brokertest.AllowVirtual("c/*"), "allow-virtual", "other", 1))
	r, err := g.fetch("a/i", "a/j")
	if err != nil {
		t.Fatal(err)
	}
	if err := second(b.ActivatePolicy(t.Context(), b.Admin, ns, "other", 0)); err != nil {
		t.Fatal(err)
	}
	if err := second(b.RevokeLease(t.Context(), b.Admin, ns, r.Results[0].Lease.ID)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if w := s.working(); len(w) != 1 {
		t.Errorf("%q work", w)
	}
	// A second time, and of a stored secret.
	out, err := b.RevokeLease(t.Context(), b.Admin, ns, r.Results[0].Lease.ID)
	if err != nil || out.Ended != "ended" {
		t.Errorf("%+v, %v", out, err)
	}
	stored, err := g.fetch("a/b")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := b.RevokeLease(t.Context(), b.Admin, ns, stored.Results[0].Lease.ID); err != nil || out.Ended != "nothing" {
		t.Errorf("%+v, %v", out, err)
	}
	for id, code := range map[string]broker.Code{
		"x": broker.CodeInvalid, "": broker.CodeInvalid, stored.Decision: broker.CodeInvalid, stored.Decision + ".01": broker.CodeInvalid,
		stored.Decision + ".1": broker.CodeNotFound, "0192f0c1-7c3e-7c2b-b2b2-6f1f5ad0c0aa.0": broker.CodeNotFound, "../" + stored.Decision + ".0": broker.CodeInvalid,
	} {
		if err := second(b.RevokeLease(t.Context(), b.Admin, ns, id)); codeOf(err) != code {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, role := range access.Roles() {
		who := access.Caller{Name: "x", Roles: access.SetOf(role), Namespace: ns}
		err := second(b.RevokeLease(t.Context(), who, ns, stored.Results[0].Lease.ID))
		if (err == nil) != (role == access.Custodian) {
			t.Errorf("%s: %v", role, err)
		}
	}
}

// TestSourcesFail: each way of not giving a value has one outcome for the workload and one for the operator.
func TestSourcesFail(t *testing.T) {
	b, g, s, _ := issuing(t)
	for name, test := range map[string]struct {
		err     error
		outcome broker.Outcome // "": the request fails as unavailable
		code    string
	}{
		"unavailable": {&source.Failure{Err: source.ErrUnavailable, Detail: "told"}, "", "source_unavailable"},
		"forbidden":   {&source.Failure{Err: source.ErrForbidden, Detail: "told", Cause: errors.New("hidden")}, "", "source_forbidden"},
		"rejected":    {&source.Failure{Err: source.ErrRejected, Detail: "told"}, "", "source_rejected"},
		"bad value":   {&source.Failure{Err: source.ErrValue, Detail: "told"}, "", "source_bad_value"},
		"any other":   {errors.New("hidden"), "", "source_unavailable"},
		"not found":   {&source.Failure{Err: source.ErrNotFound, Detail: "told"}, broker.OutcomeNotFound, "allowed"},
		"refused":     {&source.Refusal{Code: source.RefusedByte, Placeholder: "claims.x", Detail: "told"}, broker.OutcomeDenied, "source_refused"},
	} {
		t.Run(name, func(t *testing.T) {
			s.set(func() { s.fail = test.err })
			r, err := g.fetch("a/b", "a/i", "a/b2")
			id := ""
			if test.outcome == "" {
				e := wantCode(t, err, broker.CodeUnavailable)
				if r != nil || e.Decision == "" || e.RetryAfter == 0 || strings.Contains(e.Message, "told") || strings.Contains(e.Message, "hidden") {
					t.Fatalf("%+v, %+v", r, e)
				}
				id = e.Decision
			} else {
				if err != nil || r.Results[1].Outcome != test.outcome || r.Results[0].Outcome != broker.OutcomeReleased {
					t.Fatalf("%+v, %v", r, err)
				}
				id = r.Decision
			}
			d := explain(t, b, id)
			got := d.Secrets[1]
			if got.Code != test.code || got.Source == nil || "source_"+got.Source.Code != test.code && got.Source.Code != "not_found" {
				t.Errorf("%+v, %+v", got, got.Source)
			}
			if test.outcome == "" && (d.Outcome != broker.OutcomeFailed || len(d.Secrets) != 2 || d.Secrets[0].Outcome != broker.OutcomeFailed ||
				d.Secrets[0].Lease != nil || d.Secrets[0].Code != "not_released" || got.Outcome != broker.OutcomeFailed) {
				t.Errorf("%+v", d)
			}
			if strings.Contains(fmt.Sprintf("%+v", got.Source), "hidden") {
				t.Errorf("%+v", got.Source)
			}
			page, _, err := b.Leases(t.Context(), b.Admin, ns, "a/i", "", 0)
			if err != nil || len(page) != 0 {
				t.Errorf("%v, %v", page, err)
			}
		})
	}
	if w := s.working(); len(w) != 0 {
		t.Errorf("%q work", w)
	}
	// What was issued before another secret of the request failed is ended.
	s.set(func() { s.fail = nil })
	putIssued(t, b, "a/j")
	n := 0
	s.set(func() {
		s.hook = func() {
			if n++; n == 2 {
				s.fail = &source.Failure{Err: source.ErrUnavailable}
			}
		}
	})
	_, err := g.fetch("a/i", "a/j")
	wantCode(t, err, broker.CodeUnavailable)
	s.awaitWorking(t, 0)
	// What was issued with an answer that is of no use is ended.
	s.set(func() { s.hook, s.fail, s.late = nil, &source.Failure{Err: source.ErrValue}, true })
	_, err = g.fetch("a/i")
	wantCode(t, err, broker.CodeUnavailable)
	s.awaitWorking(t, 0)
}

// TestIssuedIsTriedAgain: what cannot be ended now is ended later, and not at once again and again.
func TestIssuedIsTriedAgain(t *testing.T) {
	b, g, s, c := issuing(t)
	r, err := g.fetch("a/i")
	if err != nil {
		t.Fatal(err)
	}
	s.set(func() { s.revokes = &source.Failure{Err: source.ErrUnavailable} })
	out, err := b.RevokeLease(t.Context(), b.Admin, ns, r.Results[0].Lease.ID)
	if err != nil || out.Ended != "pending" {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, ending := b.Issued(); ending != 1 {
		t.Errorf("%d are ending", ending)
	}
	s.set(func() { s.revokes = nil })
	if len(s.working()) != 1 {
		t.Error("it was ended without an attempt")
	}
	c.add(3 * time.Minute)
	s.awaitWorking(t, 0)
	awaitRecords(t, b, 0)
	// What the source has ended by itself needs no attempt.
	if r, err = g.fetch("a/i"); err != nil {
		t.Fatal(err)
	}
	s.set(func() { s.revokes = &source.Failure{Err: source.ErrUnavailable} })
	c.add(3 * time.Hour)
	awaitRecords(t, b, 0)
}

// TestIssuedEndsNoLaterThanItsLease: the lease of the broker is never longer than that of the source.
func TestIssuedEndsNoLaterThanItsLease(t *testing.T) {
	_, g, s, _ := issuing(t)
	s.set(func() { s.lasts = time.Minute })
	r, err := g.fetch("a/i")
	if err != nil {
		t.Fatal(err)
	}
	if lease := r.Results[0].Lease; lease.Expires.Sub(lease.Issued) != time.Minute {
		t.Errorf("%+v", lease)
	}
}

// TestIssuedForWhomIsGone: a workload that goes away while its source is asked does not leave what was issued without a record.
func TestIssuedForWhomIsGone(t *testing.T) {
	b, g, s, _ := issuing(t)
	ctx, gone := context.WithCancel(t.Context())
	s.set(func() { s.hook = gone })
	_, _, err := b.AttestAndRelease(ctx, g.request(g.nonce()), []broker.Want{{Secret: "a/i"}})
	if err != nil {
		wantCode(t, err, broker.CodeUnavailable)
		s.awaitWorking(t, 0)
		awaitRecords(t, b, 0)
		return
	}
	if len(s.working()) != 1 || records(t, b) != 1 {
		t.Errorf("%q work, %d records", s.working(), records(t, b))
	}
}

// TestPutSource: documents are checked when they are put, and versions of both sorts are one secret's.
func TestPutSource(t *testing.T) {
	b, g, _, _ := issuing(t)
	put := func(p broker.PutSecret) (broker.SecretInfo, error) {
		return b.Broker.PutSecret(t.Context(), b.Admin, ns, p)
	}
	doc := func(kind, parameters string) *source.Document {
		return &source.Document{Kind: kind, Parameters: json.RawMessage(parameters)}
	}
	for name, p := range map[string]broker.PutSecret{
		"both":            {Name: "a/x", Value: []byte("x"), Source: doc("test-issuer", "{}")},
		"no such kind":    {Name: "a/x", Source: doc("vault-kv", "{}")},
		"no kind":         {Name: "a/x", Source: doc("", "{}")},
		"bad parameters":  {Name: "a/x", Source: doc("test-issuer", `{"bad":true}`)},
		"long parameters": {Name: "a/x", Source: doc("test-issuer", `{"x":"`+strings.Repeat("x", source.MaxDocument)+`"}`)},
	} {
		if err := second(put(p)); codeOf(err) != broker.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.PutSecret("a/v", []byte("stored"))
	info, err := put(broker.PutSecret{Name: "a/v", Source: doc("test-issuer", `{"a":1}`), ContentType: "text/plain"})
	if err != nil || info.Current != 1 || info.Versions[1].Source == nil || info.Versions[1].Size != 0 || string(info.Versions[1].Source.Parameters) != `{"a":1}` {
		t.Fatalf("%+v, %v", info, err)
	}
	log := events(t, b)
	if e := log[len(log)-1]; e.Type != broker.EventSecretPut || e.Source != "test-issuer" || e.Digest == "" {
		t.Errorf("%+v", e)
	}
	if got := string(g.mustFetch("a/v")); got != "stored" {
		t.Errorf("%q", got)
	}
	if err := second(b.ActivateSecret(t.Context(), b.Admin, ns, "a/v", 2)); err != nil {
		t.Fatal(err)
	}
	if got := string(g.mustFetch("a/v")); got != plaintext {
		t.Errorf("%q", got)
	}
	for version, want := range map[uint64]string{1: "stored here", 2: "it would", 0: "it would"} {
		if probe, err := b.CheckSecret(t.Context(), b.Admin, ns, "a/v", version); err != nil || !probe.Answers || !strings.Contains(probe.Detail, want) {
			t.Errorf("version %d: %+v, %v", version, probe, err)
		}
	}
	wantCode(t, second(b.CheckSecret(t.Context(), b.Admin, ns, "a/v", 3)), broker.CodeNotFound)
	if info, err = b.DestroyAll(t.Context(), b.Admin, ns, "a/v"); err != nil || info.Versions[1].Source.Kind != "test-issuer" || info.Versions[1].Source.Parameters != nil {
		t.Errorf("%+v, %v", info, err)
	}
	wantCode(t, second(b.DestroyAll(t.Context(), b.Admin, ns, "a/v")), broker.CodeNotFound)
	if outcome, _ := g.outcome("a/v"); outcome != broker.OutcomeNotFound {
		t.Errorf("%s", outcome)
	}
	if probe, err := b.CheckSecret(t.Context(), b.Admin, ns, "a/v", 2); err != nil || probe.Answers {
		t.Errorf("%+v, %v", probe, err)
	}
	// A broker without the source.
	config := configOf(t, b)
	without, err := broker.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	putIssued(t, b, "a/w")
	other := newGuest(t, without, b.Device)
	_, err = other.fetch("a/w")
	wantCode(t, err, broker.CodeUnavailable)
	if probe, err := without.CheckSecret(t.Context(), b.Admin, ns, "a/w", 0); err != nil || probe.Answers {
		t.Errorf("%+v, %v", probe, err)
	}
	config.Sources = []source.Source{newIssuer(time.Now), newIssuer(time.Now)}
	if _, err := broker.New(t.Context(), config); err == nil {
		t.Error("two sources of one kind")
	}
}
