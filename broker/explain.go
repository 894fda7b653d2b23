package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/store"
)

// Explanation is a recorded decision with its place in the log.
type Explanation struct {
	Log      int      `json:"log,omitempty"` // which log that is in, where brokers that share a store have several
	Index    uint64   `json:"index"`         // of the log entry that holds the decision's digest
	Decision Decision `json:"decision"`
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

// Decisions returns a page of decisions in the order of their time, after the id "after". Auditors and authors may.
func (b *Broker) Decisions(ctx context.Context, who access.Caller, namespace, after string, limit int) (page []DecisionSummary, more bool, err error) {
	if err := authorizeOn(who, namespace, access.Some(), access.Auditor, access.Author); err != nil {
		return nil, false, err
	}
	decisions, more, err := b.pageOfDecisions(ctx, who, namespace, after, limit)
	for i := range decisions {
		page = append(page, decisions[i].summary())
	}
	return page, more, err
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
	folder := root
	if secret != "" {
		folder += secret + "/"
	}
	names, more, err := b.pageOfKept(ctx, folder, folder, root, after, limit, func(name string) bool { return who.Scope.Covers(leasePath(name)) })
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
