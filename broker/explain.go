package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/store"
)

// Explanation is a recorded decision with its place in the log.
type Explanation struct {
	Log      int      `json:"log,omitempty"` // which log that is in, where brokers that share a store have several
	Index    uint64   `json:"index"`         // of the log entry that holds the decision's digest
	Decision Decision `json:"decision"`

	// Advice is what the broker says now, beyond the record: why rules refused, part by part, and where the reference values come from.
	Advice []Advice `json:"advice,omitempty"`
}

// decisionRecord is an Explanation as it is stored: the decision's bytes are kept apart, because the log holds their digest.
type decisionRecord struct {
	Log      int             `json:"log,omitempty"`
	Index    uint64          `json:"index"`
	Decision json.RawMessage `json:"decision"`
}

// Explain returns a decision by its id, after holding it against the digest in the audit log: a record that was changed since is an
// error, not an explanation. Auditors may, and so may authors, who must learn what their policies do; those with a scope see what of it lies within.
func (b *Broker) Explain(ctx context.Context, who access.Caller, namespace, id string) (Explanation, error) {
	if err := authorizeOn(who, namespace, access.Some(), access.Auditor, access.Author); err != nil {
		return Explanation{}, err
	}
	if parsed, err := uuid.Parse(id); err != nil || parsed.String() != id {
		return Explanation{}, invalid("%q is not the id of a decision", clip(id))
	}
	e, record, err := b.readDecision(ctx, decisionKey(namespace, id))
	if errors.Is(err, store.ErrNotFound) {
		return Explanation{}, notFound("there is no decision %s", id)
	}
	if err != nil {
		return Explanation{}, asError(err)
	}
	log, err := b.logs.LogWith(ctx, record.Log, record.Index)
	if errors.Is(err, store.ErrNotFound) {
		err = damaged("decision %s is in the audit log %d, which there is not", id, record.Log)
	}
	if err != nil {
		return Explanation{}, asError(err)
	}
	line, err := log.Entry(ctx, record.Index)
	if errors.Is(err, store.ErrNotFound) {
		err = damaged("decision %s is at entry %d of the audit log, which has %d", id, record.Index, log.Size())
	}
	if err != nil {
		return Explanation{}, asError(err)
	}
	var entry Event
	if err := json.Unmarshal(line, &entry); err != nil || entry.Decision != id || entry.Namespace != namespace || entry.Digest != digest(record.Decision) {
		return Explanation{}, asError(damaged("decision %s is not what entry %d of the audit log says", id, record.Index))
	}
	seen := false
	if e.Decision, seen = visible(who, e.Decision); !seen { // as if it were not there
		return Explanation{}, notFound("there is no decision %s", id)
	}
	if e.Advice, err = b.advise(ctx, namespace, &e.Decision); err != nil {
		return Explanation{}, asError(err)
	}
	return e, nil
}

func (b *Broker) readDecision(ctx context.Context, key string) (Explanation, decisionRecord, error) {
	record, _, err := load[decisionRecord](ctx, b.store, key)
	if err != nil {
		return Explanation{}, record, err
	}
	e := Explanation{Log: record.Log, Index: record.Index}
	if err := json.Unmarshal(record.Decision, &e.Decision); err != nil {
		return Explanation{}, record, fmt.Errorf("%w: %s: %w", store.ErrCorrupt, key, err)
	}
	return e, record, nil
}

// DecisionSummary is one line of a listing of decisions.
type DecisionSummary struct {
	ID      string    `json:"id"`
	Time    time.Time `json:"time"`
	Outcome Outcome   `json:"outcome"`
	Kind    string    `json:"kind"`
	Remote  string    `json:"remote,omitempty"`
	Secrets []string  `json:"secrets,omitempty"`
	Code    string    `json:"code,omitempty"` // of the refusal, or of the first secret that was denied
}

// DecisionFilter says which decisions are looked for: those that agree with every field that is not zero.
type DecisionFilter struct {
	Since   time.Time // made then or later
	Until   time.Time // made before
	Outcome Outcome   // of the decision, or of a secret in it
	Kind    attest.Kind
	Secret  string // a secret asked for, or a path that it is below
	Policy  string // the name of a policy that judged
	Code    string // of a refusal, or of a secret
	Remote  string // the peer's address
}

func (f DecisionFilter) admits(d *Decision) bool {
	if f.Kind != "" && d.Kind != f.Kind || f.Remote != "" && d.Remote != f.Remote ||
		!f.Since.IsZero() && d.Time.Before(f.Since) || !f.Until.IsZero() && !d.Time.Before(f.Until) {
		return false
	}
	about := f.Secret == "" && f.Policy == "" // what is asked of secrets must hold of one of them
	if about && (f.Outcome == "" || d.Outcome == f.Outcome) && (f.Code == "" || d.Refusal != nil && string(d.Refusal.Code) == f.Code) {
		return true
	}
	return slices.ContainsFunc(d.Secrets, func(s SecretDecision) bool {
		return (f.Secret == "" || s.Secret == f.Secret || strings.HasPrefix(s.Secret, f.Secret+"/")) &&
			(f.Outcome == "" || s.Outcome == f.Outcome || d.Outcome == f.Outcome) && (f.Code == "" || s.Code == f.Code) &&
			(f.Policy == "" || slices.ContainsFunc(s.Policies, func(r policy.Result) bool { return r.Policy == f.Policy }))
	})
}

// maxSearched is how many decisions one call of Decisions reads at most: some tenths of a second. A filter that admits few of them gets short pages.
const maxSearched = 5000

// Decisions returns those of the next decisions, in the order of their time and after the id "after", that a filter admits: up to limit of them, or fewer where most are
// not admitted. next is the id after which to go on, "" at the end. Auditors and authors may.
func (b *Broker) Decisions(ctx context.Context, who access.Caller, namespace string, f DecisionFilter, after string, limit int) (page []DecisionSummary, next string, err error) {
	if err := authorizeOn(who, namespace, access.Some(), access.Auditor, access.Author); err != nil {
		return nil, "", err
	}
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	root, end := decisionKey(namespace, ""), FirstDecision(f.Until)
	after = max(after, FirstDecision(f.Since))
	for range maxSearched / MaxPage {
		ids, more, err := b.pageOf(ctx, root, root, root, after, MaxPage)
		if err != nil {
			return nil, "", err
		}
		for i, id := range ids {
			if end != "" && id >= end {
				return page, "", nil
			}
			e, _, err := b.readDecision(ctx, root+id)
			if err != nil {
				return nil, "", asError(err)
			}
			after = id
			if d, seen := visible(who, e.Decision); seen && f.admits(&d) {
				page = append(page, d.summary())
			}
			if len(page) == limit && (more || i < len(ids)-1) {
				return page, after, nil
			}
		}
		if !more {
			return page, "", nil
		}
	}
	return page, after, nil
}

func (d *Decision) summary() DecisionSummary {
	s := DecisionSummary{ID: d.ID, Time: d.Time, Outcome: d.Outcome, Kind: string(d.Kind), Remote: d.Remote}
	if d.Refusal != nil {
		s.Code = string(d.Refusal.Code)
	}
	for _, secret := range d.Secrets {
		s.Secrets = append(s.Secrets, secret.Secret)
		if s.Code == "" && secret.Outcome != OutcomeReleased {
			s.Code = secret.Code
		}
	}
	return s
}

// Leases returns a page of the leases of a secret and of every secret below its path, all of them for "": who holds what until when. Auditors and
// custodians may.
func (b *Broker) Leases(ctx context.Context, who access.Caller, namespace, secret, after string, limit int) (page []Lease, more bool, err error) {
	if err := authorizeOn(who, namespace, access.Some(), access.Auditor, access.Custodian); err != nil {
		return nil, false, err
	}
	root := store.Key(namespace, "lease", "")
	folder := ""
	if secret != "" {
		folder = secret + "/"
	}
	names, more, err := b.pageWithin(ctx, who.Scope, false, folder, root, after, limit)
	if err != nil {
		return nil, false, err
	}
	for _, name := range names {
		lease, _, err := load[Lease](ctx, b.store, root+name)
		if err != nil {
			return nil, false, asError(err)
		}
		page = append(page, lease)
	}
	return page, more, nil
}
