//go:build unix

package node_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/store"
)

// What a workload saw of one request for secrets.
type saw int

const (
	sawNothing  saw = iota // the connection was lost, or the workload went away: resolved by the log
	sawReleased            // a whole signed answer with the secret
	sawRefused             // a whole signed answer without it
	sawFailed              // 503 with Retry-After
	sawKinds
)

// asked is one request for secrets, which is known in the log by its evidence: that covers its nonce.
type asked struct {
	saw      saw
	decision string // that the answer names
	secret   string
}

// account has every request for secrets that was sent to the broker, and what became of it.
type account struct {
	mu       sync.Mutex
	requests map[string]*asked         // by the digest of the evidence
	released map[string]*client.Secret // that workloads verified and decrypted, by decision
	sums     [sawKinds]int
}

func newAccount() *account {
	return &account{requests: map[string]*asked{}, released: map[string]*client.Secret{}}
}

// sum returns how many answers of each kind there are so far.
func (a *account) sum() (released, refused, failed int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sums[sawReleased], a.sums[sawRefused], a.sums[sawFailed]
}

// begin enters a request before it is sent, as one of which nothing is known.
func (a *account) begin(t *testing.T, body []byte) *asked {
	request, err := release.DecodeRequest(body)
	if err != nil {
		t.Errorf("a request that is not one: %v", err)
		return &asked{}
	}
	evidence, err := request.EvidenceDigest()
	if err != nil {
		t.Error(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.requests[evidence] != nil {
		t.Errorf("evidence %s is presented twice", evidence)
	}
	q := &asked{secret: request.Secrets[0].Name}
	a.requests[evidence] = q
	a.sums[sawNothing]++
	return q
}

// end enters what was seen of a request.
func (a *account) end(q *asked, saw saw, decision string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sums[q.saw]--
	q.saw, q.decision = saw, decision
	a.sums[saw]++
}

// watcher enters each request for secrets of one workload into the account, and its answer as it is on the wire.
type watcher struct {
	t       *testing.T
	account *account
	base    http.RoundTripper
}

func (w *watcher) RoundTrip(r *http.Request) (*http.Response, error) {
	var q *asked
	if r.URL.Path == release.ReleasePath {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		q = w.account.begin(w.t, body)
	}
	answer, err := w.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil {
		return nil, err // it broke off: nothing was seen
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	switch answer.StatusCode {
	case http.StatusOK:
		if q != nil {
			w.answered(q, body)
		}
	case http.StatusServiceUnavailable:
		if n, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || n < 1 {
			w.t.Errorf("%s: 503 that does not say when to come back", r.URL.Path)
		}
		if q != nil {
			w.account.end(q, sawFailed, "")
		}
	default:
		w.t.Errorf("%s: status %d: %s", r.URL.Path, answer.StatusCode, body)
	}
	return answer, nil
}

// answered enters a signed answer. The client verifies it; here it counts what was given.
func (w *watcher) answered(q *asked, signed []byte) {
	var jws struct{ Payload string }
	err := json.Unmarshal(signed, &jws)
	if err != nil {
		w.t.Error(err)
		return
	}
	payload, err := base64.RawURLEncoding.DecodeString(jws.Payload)
	if err != nil {
		w.t.Error(err)
		return
	}
	reply, err := release.DecodeReply(payload)
	if err != nil {
		w.t.Error(err)
		return
	}
	switch result := reply.Results[0]; {
	case result.Code == "" && result.Secret == rigSecret && len(result.Envelope) > 0:
		w.account.end(q, sawReleased, reply.Decision)
	case result.Code == release.CodeDenied && result.Secret == rigDenied && result.Envelope == nil:
		w.account.end(q, sawRefused, reply.Decision)
	default:
		w.t.Errorf("a wrong answer about %s: %q", result.Secret, result.Code)
	}
}

// believed takes what a workload made of an answer.
func (a *account) believed(t *testing.T, got []client.Secret, err error, left bool) {
	var refused *client.Refused
	switch {
	case err == nil:
		if len(got) != 1 || string(got[0].Value) != rigValue {
			t.Errorf("released %v", got)
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.released[got[0].Decision] != nil {
			t.Errorf("two answers have the decision %s", got[0].Decision)
		}
		a.released[got[0].Decision] = &got[0]
	case errors.As(err, &refused):
		if refused.Code != "denied" || refused.Decision == "" || len(refused.Secrets) != 1 || refused.Secrets[0].Name != rigDenied {
			t.Errorf("a wrong refusal: %v", err)
		}
	case !left && !errors.Is(err, client.ErrUnavailable):
		t.Errorf("neither released, refused nor unavailable: %v", err)
	}
}

// entry is one entry of a log, and what is needed to hold a receipt to it.
type entry struct {
	broker.Event
	log      int
	index    uint64
	bytes    []byte
	origin   string
	verifier note.Verifiers
}

// recorded verifies every log and returns the entries of decisions by their ids.
func (r *vaultRig) recorded() map[string]entry {
	r.t.Helper()
	ctx := r.t.Context()
	list, err := r.node.Data.Logs.List(ctx, r.node.Data.Keys)
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]entry{}
	for _, info := range list {
		log, err := r.node.Broker.LogOf(ctx, info.Log)
		if err != nil {
			r.t.Fatal(err)
		}
		if log.Size() == 0 {
			continue
		}
		verifier, err := note.NewVerifier(info.Key)
		if err != nil {
			r.t.Fatal(err)
		}
		known := note.VerifierList(verifier)
		_, err = audit.Audit(ctx, log.ReadPath, audit.AuditConfig{Origin: info.Origin, Verifiers: known, Each: func(index uint64, text []byte) error {
			e := entry{log: info.Log, index: index, bytes: bytes.Clone(text), origin: info.Origin, verifier: known}
			if err := json.Unmarshal(text, &e.Event); err != nil {
				return err
			}
			if e.Type != broker.EventRelease {
				return nil
			}
			if _, twice := all[e.Decision]; twice {
				return fmt.Errorf("decision %s is recorded twice", e.Decision)
			}
			all[e.Decision] = e
			return nil
		}})
		if err != nil {
			r.t.Fatalf("log %d does not verify: %v", info.Log, err)
		}
	}
	return all
}

// keys returns the last segments of all keys below a prefix of the broker's store.
func (r *vaultRig) keys(prefix string) map[string]bool {
	r.t.Helper()
	names := map[string]bool{}
	for after := ""; ; {
		const page = 500
		entries, err := r.node.Data.Store.List(r.t.Context(), prefix, after, page)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range entries {
			names[e.Key[len(prefix):]], after = true, e.Key
		}
		if len(entries) < page {
			return names
		}
	}
}

// addUp holds the account against the logs, the decisions and the leases, request by request. Each request that was answered has one entry, that says the same; each that
// failed, or of which nothing was seen, has one or none, and where it has none there is nothing else of it either. No entry, decision or lease is anybody else's.
func (r *vaultRig) addUp(a *account) {
	r.t.Helper()
	var (
		ctx       = r.t.Context()
		entries   = r.recorded()
		decisions = r.keys("default/decision/")
		leases    = r.keys(store.Key("default", "lease", rigSecret) + "/")
		inLog     = map[broker.Outcome]int{}
		of        [sawKinds]map[broker.Outcome]int // entries by what was seen of the request, and by what they say
		made      int                              // decisions of entries of which nobody was told
	)
	for i := range of {
		of[i] = map[broker.Outcome]int{}
	}
	byEvidence := make(map[string]entry, len(entries))
	for id, e := range entries {
		inLog[e.Outcome]++
		if _, twice := byEvidence[e.Evidence]; twice {
			r.t.Errorf("evidence %s was judged twice", e.Evidence)
		}
		byEvidence[e.Evidence] = e
		if a.requests[e.Evidence] == nil {
			r.t.Errorf("decision %s is on evidence that nobody presented", id)
		}
	}
	for evidence, q := range a.requests {
		e, recorded := byEvidence[evidence]
		if recorded {
			of[q.saw][e.Outcome]++
			if want := map[bool]broker.Outcome{true: broker.OutcomeReleased, false: broker.OutcomeDenied}[q.secret == rigSecret]; e.Outcome != want || e.Secrets[0].Name != q.secret {
				r.t.Errorf("decision %s about %s is %s", e.Decision, q.secret, e.Outcome)
			}
		}
		switch q.saw {
		case sawReleased, sawRefused:
			if !recorded || e.Decision != q.decision {
				r.t.Errorf("the answer with decision %s is not in the log, which has %q for its evidence", q.decision, e.Decision)
			}
		default:
			if recorded && decisions[e.Decision] {
				made++
			}
		}
	}
	told := a.sums[sawReleased] + a.sums[sawRefused]
	seen := a.sums[sawReleased] + a.sums[sawRefused] + a.sums[sawFailed] + a.sums[sawNothing]
	untoldReleased := of[sawFailed][broker.OutcomeReleased] + of[sawNothing][broker.OutcomeReleased]
	untoldRefused := of[sawFailed][broker.OutcomeDenied] + of[sawNothing][broker.OutcomeDenied]
	for what, sum := range map[string][2]int{
		"requests, and what was seen of them":                            {len(a.requests), seen},
		"entries of releases, and releases told and untold":              {inLog[broker.OutcomeReleased], a.sums[sawReleased] + untoldReleased},
		"entries of refusals, and refusals told and untold":              {inLog[broker.OutcomeDenied], a.sums[sawRefused] + untoldRefused},
		"entries, and those of releases and refusals":                    {len(entries), inLog[broker.OutcomeReleased] + inLog[broker.OutcomeDenied]},
		"decisions in the store, and those told and those of the untold": {len(decisions), told + made},
	} {
		if sum[0] != sum[1] {
			r.t.Errorf("%s: %d and %d", what, sum[0], sum[1])
		}
	}
	// Nothing is in the store that the log does not tell of.
	for _, e := range entries {
		delete(decisions, e.Decision)
		delete(leases, e.Secrets[0].Lease)
	}
	if len(decisions)+len(leases) > 0 {
		r.t.Errorf("%d decisions and %d leases have no entry", len(decisions), len(leases))
	}
	r.verifyReleases(ctx, a, entries)
	r.metricsAddUp(a, untoldReleased, untoldRefused)
	r.t.Logf("%d asked: %d released, %d refused, %d failed, %d saw nothing; in the logs %d released, %d refused, of which were told to nobody: of the failed %d and %d, of those who saw nothing %d and %d; %d of these have a decision",
		len(a.requests), a.sums[sawReleased], a.sums[sawRefused], a.sums[sawFailed], a.sums[sawNothing], inLog[broker.OutcomeReleased], inLog[broker.OutcomeDenied],
		of[sawFailed][broker.OutcomeReleased], of[sawFailed][broker.OutcomeDenied], of[sawNothing][broker.OutcomeReleased], of[sawNothing][broker.OutcomeDenied], made)
}

// verifyReleases holds each release that a workload has to its decision, its lease and its receipt.
func (r *vaultRig) verifyReleases(ctx context.Context, a *account, entries map[string]entry) {
	r.t.Helper()
	var (
		all   sync.WaitGroup
		slots = make(chan struct{}, 16)
	)
	for id, s := range a.released {
		e, ok := entries[id]
		if !ok || e.Outcome != broker.OutcomeReleased {
			r.t.Errorf("release %s is not in the log", id)
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if err := decisionIs(ctx, r.node.Data.Store, e.index, &e.Event); err != nil {
				r.t.Errorf("release %s: %v", id, err)
			}
			if receipt, _, err := audit.VerifyReceipt(e.verifier, e.origin, e.bytes, []byte(s.Receipt)); err != nil || receipt.Index != e.index {
				r.t.Errorf("release %s: its receipt: %v", id, err)
			}
		})
	}
	all.Wait()
}

// metricsAddUp holds the broker's own counts against the account. What it answered and nobody saw is among what nobody was told.
func (r *vaultRig) metricsAddUp(a *account, untoldReleased, untoldRefused int) {
	r.t.Helper()
	released, _ := r.metric(`vouchsafe_release_seconds_count*outcome="released"`)
	refused, _ := r.metric(`vouchsafe_release_seconds_count*outcome="denied"`)
	answered, _ := r.metric(`vouchsafe_http_request_seconds_count{method="POST",route="POST ` + release.ReleasePath + `",status="200"`)
	if answered != released+refused {
		r.t.Errorf("by the metrics %v are released and %v refused, and %v answered", released, refused, answered)
	}
	if beyond := int(released) - a.sums[sawReleased]; beyond < 0 || beyond > untoldReleased {
		r.t.Errorf("by the metrics %v are released, %d more than were told of %d untold", released, beyond, untoldReleased)
	}
	if beyond := int(refused) - a.sums[sawRefused]; beyond < 0 || beyond > untoldRefused {
		r.t.Errorf("by the metrics %v are refused, %d more than were told of %d untold", refused, beyond, untoldRefused)
	}
	if unrecorded, _ := r.metric("vouchsafe_unrecorded_refusals_total"); unrecorded != 0 {
		r.t.Errorf("%v refusals are not recorded", unrecorded)
	}
}
