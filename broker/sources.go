package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/store"
)

// sourceTimeout bounds what one source may take, with all that it asks: longer than its requests may take by themselves, and less than a workload waits.
const sourceTimeout = 15 * time.Second

// SourceObserver may be implemented by an Observer that wants to know of sources, too. Every label is of a bounded set.
type SourceObserver interface {
	Asked(kind, code string, took time.Duration) // a value was asked for; code is that of source.CodeOf
	Ended(kind, result string)                   // of what was issued: revoked, expired, failed (and tried again) or unknown (left to the source)
}

// SourceDecision is what became of asking a source, for the record. It has no part of a value.
type SourceDecision struct {
	Kind    string `json:"kind"`
	Version string `json:"version,omitempty"` // the source's own, such as that of a KV secret
	Code    string `json:"code"`              // answered, refused, not_found, forbidden, rejected, bad_value or unavailable
	Detail  string `json:"detail,omitempty"`  // why there is no value
}

// Codes of secrets in decisions, beside those of policies.
const (
	codeSource      = "source_"      // followed by that of the source
	codeNotReleased = "not_released" // it would have been, but for another secret of the same request
)

// sourcesOf indexes sources by kind.
func sourcesOf(all []source.Source) (map[string]source.Source, error) {
	byKind := make(map[string]source.Source, len(all))
	for _, s := range all {
		if s.Kind() == "" || byKind[s.Kind()] != nil {
			return nil, fmt.Errorf("there are two sources of kind %q, or it has no name", s.Kind())
		}
		byKind[s.Kind()] = s
	}
	return byKind, nil
}

// SourceKinds returns the kinds of sources that secrets of this broker may have, beside being stored.
func (b *Broker) SourceKinds() []string { return sortedKeys(b.issues.sources) }

// checkSource returns a document in its canonical form.
func (b *Broker) checkSource(d source.Document, namespace, secret string) (*source.Document, error) {
	s := b.issues.sources[d.Kind]
	if s == nil {
		return nil, invalid("this broker has no source of kind %q; it has %v", clip(d.Kind), b.SourceKinds())
	}
	if len(d.Parameters) > source.MaxDocument {
		return nil, invalid("the source's parameters have %d bytes, over %d", len(d.Parameters), source.MaxDocument)
	}
	if len(d.Parameters) == 0 {
		d.Parameters = json.RawMessage("{}")
	}
	parameters, err := s.Check(d.Parameters, source.Request{Namespace: namespace, Secret: secret})
	if err != nil {
		return nil, invalid("source %s: %w", d.Kind, err)
	}
	if len(parameters) > source.MaxDocument {
		return nil, invalid("the source's parameters have %d bytes, over %d", len(parameters), source.MaxDocument)
	}
	return &source.Document{Kind: d.Kind, Parameters: parameters}, nil
}

// question is one secret of one release.
type question struct {
	attested *Attested
	decision *Decision
	want     Want
	index    int // in the request
	judged   policy.Judgement
}

// lease is the id of the lease that the answer would have.
func (q *question) lease() string { return fmt.Sprintf("%s.%d", q.decision.ID, q.index) }

// sourceFailure is why a source gave no value, when that is no one's fault but its own: nothing of the request is released.
type sourceFailure struct{ cause error }

func (f *sourceFailure) Error() string { return f.cause.Error() }
func (f *sourceFailure) Unwrap() error { return f.cause }

// refusedBySource says that what a workload proved cannot be a part of where its secret lies.
type refusedBySource struct{ *source.Refusal }

// ask asks the source of a version for its value. Only reveal calls it. What it returns with an error is for the record, and for what was issued all
// the same to be ended.
func (b *Broker) ask(ctx context.Context, q question, v *SecretVersion) (value source.Value, found *SourceDecision, made *issue, err error) {
	found = &SourceDecision{Kind: v.Source.Kind}
	start := b.now()
	defer func() {
		found.Version, found.Code = value.Version, source.CodeOf(err)
		if o, ok := b.observer.(SourceObserver); ok {
			o.Asked(found.Kind, found.Code, b.now().Sub(start))
		}
		var (
			failure *source.Failure
			refusal *source.Refusal
		)
		switch {
		case errors.As(err, &refusal):
			found.Detail, err = refusal.Error(), refusedBySource{refusal}
		case errors.As(err, &failure):
			found.Detail = failure.Detail
		}
		if errors.Is(err, source.ErrNotFound) {
			err = fmt.Errorf("%w: %w", store.ErrNotFound, err)
		} else if err != nil && found.Code != "refused" {
			b.logger.WarnContext(ctx, "a source gave no value", "kind", found.Kind, "secret", q.want.Secret, "decision", q.decision.ID,
				"code", found.Code, "cause", err)
			err = &sourceFailure{err}
		}
	}()
	s := b.issues.sources[v.Source.Kind]
	if s == nil {
		return value, found, nil, &source.Failure{Err: source.ErrUnavailable, Detail: "this broker has no source of this kind"}
	}
	r := source.Request{
		Namespace: q.attested.namespace, Secret: q.want.Secret, Decision: q.decision.ID, Claims: q.attested.claims,
	}
	issuer, issues := s.(source.Issuer)
	if !issues {
		ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
		defer cancel()
		value, err = s.Fetch(ctx, v.Source.Parameters, r)
		return value, found, nil, err
	}
	place, err := issuer.Place(v.Source.Parameters, r)
	if err != nil {
		return value, found, nil, err
	}
	if made, err = b.issues.intend(ctx, q, v, place, start); err != nil {
		return value, found, nil, err
	}
	// A workload that goes away must not leave the broker without knowing what was issued for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sourceTimeout)
	defer cancel()
	value, err = s.Fetch(ctx, v.Source.Parameters, r)
	if err = b.issues.answered(ctx, made, value.Lease, err); err != nil {
		clear(value.Bytes)
		value.Bytes = nil
	}
	return value, found, made, err
}

// failed makes a request of which one secret's source failed into an error, after it was recorded: nothing of it is released.
func (b *Broker) failed(ctx context.Context, d *Decision, w Want, judged policy.Judgement, result Result, cause error, start time.Time) error {
	var failure *sourceFailure
	if !errors.As(cause, &failure) {
		return asError(cause)
	}
	d.Outcome = OutcomeFailed
	for i := range d.Secrets {
		if s := &d.Secrets[i]; s.Outcome == OutcomeReleased {
			s.Outcome, s.Code, s.Lease = OutcomeFailed, codeNotReleased, nil
		}
	}
	d.Secrets = append(d.Secrets, SecretDecision{
		Secret: w.Secret, Version: result.Version, Outcome: OutcomeFailed, Code: codeSource + result.source.Code,
		Policy: judged.Digest, Policies: judged.Results, Matched: judged.Matched, Source: result.source,
	})
	answer := &Error{Code: CodeUnavailable, Message: "where a secret lies cannot be asked now", RetryAfter: retryUnavailable, Err: cause}
	if b.limitDenials(d) != nil {
		return answer // which the observer was told of
	}
	if _, err := b.recordDecision(ctx, EventRelease, d, nil); err != nil {
		return err
	}
	b.observer.Judged(d.Protocol, d.Outcome, b.now().Sub(start))
	answer.Decision = d.ID
	return answer
}

// CheckSecret says whether a version of a secret, 0 for the current one, would be answered if a policy allowed it. No value is asked for. Custodians may.
func (b *Broker) CheckSecret(ctx context.Context, who access.Caller, namespace, name string, version uint64) (source.Probe, error) {
	if err := authorizeOn(who, namespace, access.Paths(name), access.Custodian); err != nil {
		return source.Probe{}, err
	}
	record, _, err := b.secretRecord(ctx, namespace, name)
	if err != nil {
		return source.Probe{}, err
	}
	v := record.find(version)
	switch {
	case v == nil:
		return source.Probe{}, notFound("secret %q has no such version", name)
	case v.Destroyed != nil:
		return source.Probe{Detail: "the version was destroyed"}, nil
	case v.Source == nil:
		return source.Probe{Answers: true, Detail: fmt.Sprintf("version %d is stored here: %d bytes", v.Version, v.Size)}, nil
	}
	s := b.issues.sources[v.Source.Kind]
	if s == nil {
		return source.Probe{Detail: fmt.Sprintf("this broker has no source of kind %q; it has %v", v.Source.Kind, b.SourceKinds())}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	probe, err := s.Probe(ctx, v.Source.Parameters, source.Request{Namespace: namespace, Secret: name})
	var failure *source.Failure
	if errors.As(err, &failure) {
		b.logger.WarnContext(ctx, "a source cannot be checked", "kind", v.Source.Kind, "secret", name, "cause", err)
		return source.Probe{Detail: failure.Detail}, nil
	}
	if err != nil {
		return source.Probe{}, asError(err)
	}
	return probe, nil
}
