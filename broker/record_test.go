package broker_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/internal/faultstore"
)

// TestInvariant2NoRecordNoRelease has the store fail in every way, at every request that records something.
func TestInvariant2NoRecordNoRelease(t *testing.T) {
	for name, fault := range map[string]faultstore.Fault{"before": faultstore.Before, "after": faultstore.After} {
		t.Run(name, func(t *testing.T) {
			b, g := started(t, brokertest.Config{})
			second, disk, _ := faulty(t, b, broker.Limits{})
			g.b = second
			attested := g.attest()

			disk.FailApply(func() faultstore.Fault { return fault })
			r, err := g.fetch("a/b")
			if e := wantCode(t, err, broker.CodeUnavailable); r != nil || e.RetryAfter <= 0 || e.Decision != "" {
				t.Errorf("%+v, %v", r, err)
			}
			if r, err = second.Release(t.Context(), attested, []broker.Want{{Secret: "a/b"}}); r != nil {
				t.Error("released without a record")
			}
			wantCode(t, err, broker.CodeUnavailable)
			a, err := second.Attest(t.Context(), g.request(g.nonce()))
			wantCode(t, err, broker.CodeUnavailable)
			if a != nil {
				t.Error("attested without a record")
			}
			bad := g.request(g.nonce())
			bad.Evidence.Primary[0x90] ^= 1
			_, err = second.Attest(t.Context(), bad)
			wantCode(t, err, broker.CodeUnavailable)
			for change, err := range map[string]error{
				"put": func() error {
					_, err := second.PutSecret(t.Context(), b.Admin, ns, broker.PutSecret{Name: "a/new", Value: []byte("x")})
					return err
				}(),
				"policy": func() error {
					_, err := second.ActivatePolicy(t.Context(), b.Admin, ns, "allow-virtual", 0)
					return err
				}(),
			} {
				if codeOf(err) != broker.CodeUnavailable {
					t.Errorf("%s: %v", change, err)
				}
			}

			disk.FailApply(nil)
			// The policy's change may have happened, and then judges from now on.
			info, _, err := second.Policy(t.Context(), b.Admin, ns, "allow-virtual", 1)
			if err != nil {
				t.Fatal(err)
			}
			want := broker.OutcomeReleased
			if info.Active == 0 {
				want = broker.OutcomeDenied
			}
			// On a store that is not atomic, what says that the rules are about to change is written before, and failed.
			if (info.Active == 0) != (fault == faultstore.After && b.Data.Store.Atomic()) {
				t.Errorf("the policy's active version is %d", info.Active)
			}
			if outcome, _ := g.outcome("a/b"); outcome != want {
				t.Errorf("after recovery: %s, want %s", outcome, want)
			}
		})
	}
}

// TestInvariant2EveryReleaseIsRecorded releases from many goroutines while the store fails at random, and then looks for each release in the log.
func TestInvariant2EveryReleaseIsRecorded(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	second, disk, log := faulty(t, b, broker.Limits{})
	g.b = second
	attested := g.attest()
	random := rand.New(rand.NewPCG(1, 1))
	often := 4
	if !b.Data.Store.Atomic() { // where a release is several writes, and each may fail
		often = 20
	}
	disk.FailApply(func() faultstore.Fault { // called under the store's lock
		switch random.IntN(often) {
		case 0:
			return faultstore.Before
		case 1:
			return faultstore.After
		}
		return faultstore.None
	})
	var (
		mu       sync.Mutex
		released []*broker.Release
		failed   int
		wg       sync.WaitGroup
	)
	for range 8 {
		wg.Go(func() {
			for range 40 {
				r, err := second.Release(t.Context(), attested, []broker.Want{{Secret: "a/b"}})
				mu.Lock()
				switch {
				case err == nil:
					released = append(released, r)
				case codeOf(err) == broker.CodeUnavailable && r == nil:
					failed++
				default:
					t.Errorf("%+v, %v", r, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	disk.FailApply(nil)
	if len(released) < 30 || failed < 30 {
		t.Fatalf("%d released and %d failed: the test does not test", len(released), failed)
	}
	if _, err := g.fetch("a/b"); err != nil {
		t.Fatalf("after recovery: %v", err)
	}
	known, origin := logOf(t, b)
	for _, r := range released {
		e, err := second.Explain(t.Context(), b.Admin, ns, r.Decision)
		if err != nil || e.Decision.Outcome != broker.OutcomeReleased {
			t.Fatalf("release %s: %+v, %v", r.Decision, e, err)
		}
		line, err := log.Entry(t.Context(), e.Index)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := audit.VerifyReceipt(known, origin, line, r.Receipt); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(g.open(r, 0), []byte(plaintext)) {
			t.Error("another value")
		}
	}
	leases, _, err := second.Leases(t.Context(), b.Admin, ns, "a/b", "", 0)
	if err != nil || len(leases) < len(released) {
		t.Errorf("%d leases of %d releases, %v", len(leases), len(released), err)
	}
}

func TestInvariant2ClosedLogAndEndedRequests(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	attested := g.attest()
	want := []broker.Want{{Secret: "a/b"}}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	request := g.request(g.nonce())
	if r, _, err := b.AttestAndRelease(ctx, request, want); r != nil || codeOf(err) != broker.CodeUnavailable {
		t.Errorf("with a context that had ended: %+v, %v", r, err)
	}
	if r, err := b.Release(ctx, attested, want); r != nil || codeOf(err) != broker.CodeUnavailable {
		t.Errorf("with a context that had ended: %+v, %v", r, err)
	}

	if err := b.Data.Log.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := b.Release(t.Context(), attested, want); r != nil || codeOf(err) != broker.CodeUnavailable {
		t.Errorf("with a closed log: %+v, %v", r, err)
	}
	if r, err := g.fetch("a/b"); r != nil || codeOf(err) != broker.CodeUnavailable {
		t.Errorf("with a closed log: %+v, %v", r, err)
	}
	if _, err := b.Broker.PutSecret(t.Context(), b.Admin, ns, broker.PutSecret{Name: "a/b"}); codeOf(err) != broker.CodeUnavailable {
		t.Errorf("with a closed log: %v", err)
	}
}

// TestInvariant2UnreadableStore lets reads of each sort of record fail: what cannot be read is never taken for absent.
func TestInvariant2UnreadableStore(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	second, disk, _ := faulty(t, b, broker.Limits{})
	g.b = second
	for _, prefix := range []string{"default/secret/", "default/secret-value/", "default/policy", "default/policy-version/", "default/reference"} {
		disk.FailReads(prefix)
		if strings.Contains(prefix, "policy") || strings.Contains(prefix, "reference") {
			// The rules in memory are good until something changes them, or a broker starts.
			if _, err := second.PutReferences(t.Context(), b.Admin, ns, "r", nil); codeOf(err) != broker.CodeInvalid {
				t.Error(err)
			}
			c := configOf(t, b)
			c.Store = disk
			if _, err := broker.New(t.Context(), c); err == nil {
				t.Errorf("%s: a broker starts without its rules", prefix)
			}
		} else if r, err := g.fetch("a/b"); r != nil || codeOf(err) != broker.CodeUnavailable {
			t.Errorf("%s: %+v, %v", prefix, r, err)
		}
		disk.FailReads("")
		if value := g.mustFetch("a/b"); !bytes.Equal(value, []byte(plaintext)) {
			t.Errorf("%s: after recovery: %q", prefix, value)
		}
	}
}

// TestReceiptsAndLeases checks what a release leaves behind, offline where that is the point.
func TestReceiptsAndLeases(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	b.PutSecret("a/c", nil)
	r, err := g.fetch("a/b", "z/none", "a/missing", "a/c")
	if err != nil {
		t.Fatal(err)
	}
	var outcomes []broker.Outcome
	for _, result := range r.Results {
		outcomes = append(outcomes, result.Outcome)
		if (result.Envelope != nil) != (result.Outcome == broker.OutcomeReleased) || (result.Lease != nil) != (result.Outcome == broker.OutcomeReleased) {
			t.Errorf("%+v", result)
		}
	}
	want := []broker.Outcome{broker.OutcomeReleased, broker.OutcomeDenied, broker.OutcomeNotFound, broker.OutcomeReleased}
	if !slices.Equal(outcomes, want) {
		t.Fatalf("outcomes %v", outcomes)
	}
	if empty := g.open(r, 3); len(empty) != 0 {
		t.Errorf("the empty secret is %q", empty)
	}

	e, err := b.Explain(t.Context(), b.Admin, ns, r.Decision)
	if err != nil {
		t.Fatal(err)
	}
	line, err := b.Data.Log.Entry(t.Context(), e.Index)
	if err != nil {
		t.Fatal(err)
	}
	known, origin := logOf(t, b)
	if _, checkpoint, err := audit.VerifyReceipt(known, origin, line, r.Receipt); err != nil || checkpoint.Size != e.Index+1 {
		t.Errorf("%+v, %v", checkpoint, err)
	}
	if _, _, err := audit.VerifyReceipt(known, origin, bytes.Replace(line, []byte("released"), []byte("denied"), 1), r.Receipt); err == nil {
		t.Error("the receipt is good for another entry")
	}
	entry := events(t, b)[e.Index]
	if entry.Decision != r.Decision || entry.Recipient != g.key.Recipient().Thumbprint() || len(entry.Secrets) != 4 ||
		entry.Secrets[0].Lease != r.Results[0].Lease.ID || entry.Secrets[1].Outcome != broker.OutcomeDenied || entry.Outcome != broker.OutcomeReleased {
		t.Errorf("entry %+v", entry)
	}

	leases, more, err := b.Leases(t.Context(), b.Admin, ns, "a", "", 0)
	if err != nil || more || len(leases) != 2 {
		t.Fatalf("%d leases, %v, %v", len(leases), more, err)
	}
	if l := leases[0]; l.ID != r.Results[0].Lease.ID || !l.Expires.Equal(r.Results[0].Lease.Expires) || l.Decision != r.Decision || l.Evidence != r.Evidence || l.Recipient != r.Recipient ||
		l.Version != 1 || !l.Expires.After(l.Issued) || l.Policy != r.Results[0].Policy {
		t.Errorf("lease %+v", l)
	}

	// The whole log is consistent.
	if _, err := audit.Audit(t.Context(), b.Data.Log.ReadPath, audit.AuditConfig{Verifiers: known, Origin: origin}); err != nil {
		t.Error(err)
	}
}

// TestTooMuchForOneRecord asks for as much as may be asked for, with the longest names.
func TestTooMuchForOneRecord(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	long := func(i int) string {
		segment := strings.Repeat("n", 199)
		return fmt.Sprintf("%s/%s/%s/%s%03d", segment, segment, segment, segment[:196], i)
	}
	if len(long(0)) > broker.MaxSecretName || len(long(0)) < broker.MaxSecretName-1 {
		t.Fatalf("the test's names have %d bytes", len(long(0)))
	}
	b.ApplyPolicy(brokertest.AllowVirtual("**"))
	var names []string
	for i := range broker.DefaultSecrets {
		names = append(names, long(i))
		b.PutSecret(long(i), []byte("v"))
	}
	r, err := g.fetch(names...)
	if err != nil {
		t.Fatal(err)
	}
	if string(g.open(r, len(names)-1)) != "v" {
		t.Error("another value")
	}
	_, err = g.fetch(long(0) + "nn")
	wantCode(t, err, broker.CodeInvalid)
	_, err = b.Broker.PutSecret(t.Context(), b.Admin, ns, broker.PutSecret{Name: long(0) + "nn"})
	wantCode(t, err, broker.CodeInvalid)

	// More than an answer may hold.
	b.PutSecret("big/1", make([]byte, broker.MaxSecret))
	var want []broker.Want
	for version := range uint64(11) {
		want = append(want, broker.Want{Secret: "big/1", Version: version})
		if version > 1 {
			b.PutSecret("big/1", make([]byte, broker.MaxSecret))
		}
	}
	size := b.Data.Log.Size()
	_, _, err = b.AttestAndRelease(t.Context(), g.request(g.nonce()), want)
	wantCode(t, err, broker.CodeInvalid)
	if b.Data.Log.Size() != size {
		t.Error("it was recorded as released")
	}
	if value := g.mustFetch("big/1"); len(value) != broker.MaxSecret {
		t.Errorf("%d bytes", len(value))
	}
}
