package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/store"
)

// Want names a secret that a workload asks for.
type Want struct {
	Secret  string
	Version uint64 // 0 for the current one
}

// Release is the answer to a request for secrets. It exists only once the record of it is durable.
type Release struct {
	Decision  string
	Issued    time.Time
	Nonce     string
	Recipient string // thumbprint
	Evidence  string // digest
	Results   []Result
	Receipt   []byte // C2SP tlog-proof of the log entry
}

// Result is what became of one secret of a release.
type Result struct {
	Secret      string
	Version     uint64 // the version released
	Outcome     Outcome
	Stale       bool   // denied, but only because the evidence is older than the policies accept
	Policy      string // digest over the policies that allowed it
	ContentType string
	Lease       *Lease
	Envelope    []byte // JSON: the secret, encrypted to the recipient key

	source *SourceDecision // of a secret whose value lies elsewhere
	issue  *issue          // what its source issued
}

// MaxRelease bounds the envelopes of one release together, in bytes: eight secrets of the largest size in base64, or all that one may ask for of the
// usual ones. An answer is signed and so held in memory as a whole.
const MaxRelease = 12 << 20

// Release judges each secret for an attested workload, wraps those that are allowed, and records the decision. An error means that
// nothing is released; a secret that is denied is not an error but a result. A name of a secret that does not exist is denied like any other
// unless a policy allows it, so that who may not read a secret cannot learn that there is one.
func (b *Broker) Release(ctx context.Context, a *Attested, want []Want) (*Release, error) {
	start := b.now()
	if err := b.checkWants(want); err != nil {
		return nil, err
	}
	if a == nil || !start.Before(a.expires) {
		return nil, &Error{Code: CodeSession, Message: "the attestation has expired: attest again"}
	}
	if err := b.admit(ctx, a.namespace); err != nil {
		return nil, err
	}
	id, err := b.newID()
	if err != nil {
		return nil, asError(err)
	}
	rules, err := b.rules.of(ctx, a.namespace)
	if err != nil {
		return nil, asError(err)
	}
	d := &Decision{
		ID: id, Time: start, Namespace: a.namespace, Protocol: a.protocol, Outcome: OutcomeDenied, Remote: a.remote, Kind: a.kind,
		Evidence: a.evidence, Recipient: a.recipient.Thumbprint(), AttestedAt: a.at, Claims: a.claims,
	}
	r := &Release{Decision: id, Issued: start, Nonce: a.nonce, Recipient: d.Recipient, Evidence: a.evidence}
	var (
		writes   []store.Write
		issued   []*issue
		recorded bool
	)
	defer func() {
		if !recorded {
			b.issues.abandon(issued)
		}
	}()
	size := 0
	inRego := b.judgeRego(ctx, a, rules.rego, start)
	for i, w := range want {
		judged := rules.policies.Judge(policy.Request{
			Claims: a.claims, Secret: w.Secret, EvidenceAge: start.Sub(a.at), Time: start, References: rules.references,
			Rego: inRego(w.Secret),
		})
		result, lease, err := b.serve(ctx, question{a, d, w, i, judged})
		if result.issue != nil {
			issued = append(issued, result.issue)
		}
		if err != nil {
			return nil, b.failed(ctx, d, w, judged, result, err, start)
		}
		if size += len(result.Envelope); size > MaxRelease {
			return nil, invalid("the secrets asked for are too large for one answer: ask for fewer at once")
		}
		r.Results = append(r.Results, result)
		d.Secrets = append(d.Secrets, SecretDecision{
			Secret: w.Secret, Version: result.Version, Outcome: result.Outcome, Code: result.code(judged),
			Policy: judged.Digest, Policies: judged.Results, Matched: judged.Matched, Lease: result.Lease, Source: result.source,
		})
		if lease != nil {
			writes = append(writes, *lease)
		}
	}
	if d.Outcome = outcomeOf(d.Secrets); d.Outcome != OutcomeReleased {
		if err := b.limitDenials(d); err != nil {
			return nil, err
		}
	}
	receipt, err := b.recordDecision(ctx, EventRelease, d, writes)
	if err != nil {
		return nil, err
	}
	recorded = true
	b.uses.note(d)
	b.issues.hold(issued)
	if r.Receipt, err = receipt.MarshalText(); err != nil {
		return nil, asError(err)
	}
	b.observer.Judged(a.protocol, d.Outcome, b.now().Sub(start))
	return r, nil
}

// denialSize is how large the record of a denial is, in bytes, that counts as one against Limits.RefusalsPerSecond: a guest's claims and a policy's
// results. A workload can make it larger, by its init-data and by asking for many secrets, and then it counts as several.
const denialSize = 8 << 10

// limitDenials refuses to record more denials than Limits.RefusalsPerSecond. Genuine hardware can be rented: whoever has it may be denied as often as
// he likes, but not fill the disk with it.
func (b *Broker) limitDenials(d *Decision) error {
	text, err := encode(d)
	if err != nil {
		return asError(err)
	}
	if !b.denials.AllowN(d.Time, min(1+len(text)/denialSize, b.denials.Burst())) {
		b.observer.Unrecorded(d.Kind)
		return &Error{Code: CodeOverloaded, Message: "too many requests are being denied", RetryAfter: retryOverloaded}
	}
	return nil
}

// outcomeOf is the outcome of a decision about these secrets, of which there is one at least, and of what of one is left when others may not be seen.
func outcomeOf(secrets []SecretDecision) Outcome {
	some := func(o Outcome) bool {
		return slices.ContainsFunc(secrets, func(s SecretDecision) bool { return s.Outcome == o })
	}
	for _, o := range []Outcome{OutcomeReleased, OutcomeFailed, OutcomeDenied} {
		if some(o) {
			return o
		}
	}
	return OutcomeNotFound
}

// checkWants refuses a request for secrets that could not be answered whatever the evidence.
func (b *Broker) checkWants(want []Want) error {
	if len(want) == 0 || len(want) > b.limits.Secrets {
		return invalid("%d secrets were asked for, not 1 to %d", len(want), b.limits.Secrets)
	}
	seen := make(map[Want]struct{}, len(want))
	for _, w := range want {
		if err := checkSecretName(w.Secret); err != nil {
			return err
		}
		if _, twice := seen[w]; twice {
			return invalid("secret %q is asked for twice", w.Secret)
		}
		seen[w] = struct{}{}
	}
	return nil
}

// clip shortens a name that someone else chose before it goes into a message.
func clip(name string) string {
	const most = 100
	if len(name) > most {
		return name[:most] + "…"
	}
	return name
}

// code is that of a secret in the record: the policies', unless its source refused what they allowed.
func (r *Result) code(judged policy.Judgement) string {
	if r.source != nil && r.Outcome == OutcomeDenied {
		return codeSource + r.source.Code
	}
	return string(judged.Code)
}

// serve makes the result of one secret, with its lease when it is released. The result tells what a source issued, also with an error.
func (b *Broker) serve(ctx context.Context, q question) (Result, *store.Write, error) {
	a, d, w, judged := q.attested, q.decision, q.want, q.judged
	result := Result{Secret: w.Secret, Version: w.Version, Outcome: OutcomeDenied, Policy: judged.Digest, Stale: judged.Code == policy.CodeStale}
	if !judged.Allow {
		return result, nil, nil
	}
	bound := envelope.Context{Secret: w.Secret, PolicyDigest: judged.Digest, Nonce: a.nonce, Decision: d.ID}
	found, err := b.reveal(ctx, q, func(version uint64, plaintext []byte) ([]byte, error) {
		bound.Version = version
		return a.recipient.Seal(bound, plaintext)
	})
	result.source, result.issue = found.source, found.issue
	if errors.As(err, new(refusedBySource)) { // the policies allowed it, and what they allowed cannot be
		return result, nil, nil
	}
	if errors.Is(err, store.ErrNotFound) {
		result.Outcome = OutcomeNotFound
		return result, nil, nil
	}
	if err != nil {
		return result, nil, err
	}
	lease := &Lease{
		ID: q.lease(), Secret: w.Secret, Version: found.version, Evidence: a.evidence, Recipient: d.Recipient,
		Policy: judged.Digest, Decision: d.ID, Issued: d.Time, Expires: d.Time.Add(judged.Terms.Lease),
	}
	found.leased(lease)
	record, err := write(leaseKey(a.namespace, w.Secret, lease.ID), 0, lease)
	if err != nil {
		return result, nil, err
	}
	result.Version, result.Outcome, result.ContentType = found.version, OutcomeReleased, found.contentType
	result.Lease, result.Envelope = lease, found.sealed
	return result, &record, nil
}

// revealed is a secret that was encrypted to a workload's key.
type revealed struct {
	version     uint64
	contentType string
	sealed      []byte
	source      *SourceDecision // of a secret whose value lies elsewhere, also with an error
	issue       *issue          // what its source issued, also with an error
}

// leased completes the lease of what a source gave: it ends no later than what was issued.
func (r *revealed) leased(lease *Lease) {
	if r.source != nil {
		lease.Source = r.source.Kind
	}
	if r.issue != nil && r.issue.record.Handle != "" {
		lease.Revocable, lease.Expires = true, r.issue.record.Ends
	}
}

// reveal is the one door: the only place that reads a secret's plaintext, or has its source asked for it, which it gives to wrap and then overwrites. A secret, or a
// version of it, that is not there is an error wrapping store.ErrNotFound; a value that is gone without having been destroyed is not that, but
// store.ErrCorrupt: the workload must come back, not go on without.
func (b *Broker) reveal(ctx context.Context, q question, wrap func(version uint64, plaintext []byte) ([]byte, error)) (out revealed, err error) {
	namespace, w := q.attested.namespace, q.want
	secret, _, err := load[secretRecord](ctx, b.store, secretKey(namespace, w.Secret))
	if err != nil {
		return out, err
	}
	v := secret.find(w.Version)
	if v == nil || v.Destroyed != nil {
		return out, fmt.Errorf("%w: version %d of %s", store.ErrNotFound, w.Version, w.Secret)
	}
	out.version, out.contentType = v.Version, v.ContentType
	if v.Source != nil {
		var value source.Value
		value, out.source, out.issue, err = b.ask(ctx, q, v)
		defer clear(value.Bytes)
		if err == nil {
			out.sealed, err = wrap(v.Version, value.Bytes)
		}
		return out, err
	}
	record, err := b.store.Get(ctx, valueKey(namespace, w.Secret, v.Version))
	if errors.Is(err, store.ErrNotFound) {
		return out, b.vanished(ctx, namespace, w.Secret, v.Version)
	}
	if err != nil {
		return out, err
	}
	defer clear(record.Value)
	out.sealed, err = wrap(v.Version, record.Value)
	return out, err
}

// vanished tells a value that was destroyed since its metadata was read from one that is missing.
func (b *Broker) vanished(ctx context.Context, namespace, name string, version uint64) error {
	secret, _, err := load[secretRecord](ctx, b.store, secretKey(namespace, name))
	if err != nil {
		return err
	}
	if v := secret.find(version); v != nil && v.Destroyed == nil {
		return damaged("the value of version %d of secret %q is missing", version, name)
	}
	return fmt.Errorf("%w: version %d of %s", store.ErrNotFound, version, name)
}

// recordDecision makes a decision durable, with the writes that are its effects, and returns the receipt of its log entry. The record
// and the entry are in one Apply: a failure leaves neither, and the caller must then answer that the broker is unavailable.
func (b *Broker) recordDecision(ctx context.Context, event string, d *Decision, effects []store.Write) (audit.Receipt, error) {
	text, err := encode(d)
	if err != nil {
		return audit.Receipt{}, asError(err)
	}
	if len(text) > maxDecision {
		return audit.Receipt{}, invalid("the record of this decision would have %d bytes, over %d: ask for fewer secrets at once", len(text), maxDecision)
	}
	entry := Event{
		Format: eventFormat, Type: event, Time: d.Time, Namespace: d.Namespace, Decision: d.ID, Outcome: d.Outcome,
		Digest: digest(text), Evidence: d.Evidence, Recipient: d.Recipient,
	}
	for _, s := range d.Secrets {
		e := EventSecret{Name: s.Secret, Version: s.Version, Outcome: s.Outcome, Policy: s.Policy}
		if s.Lease != nil {
			e.Lease = s.Lease.ID
		}
		if s.Source != nil {
			e.Source, e.SourceVersion = s.Source.Kind, s.Source.Version
		}
		entry.Secrets = append(entry.Secrets, e)
	}
	line, err := encode(entry)
	if err != nil {
		return audit.Receipt{}, asError(err)
	}
	receipt, err := b.logs.AppendFunc(ctx, func(log int, index uint64) ([]byte, []store.Write, error) {
		record := store.Write{Key: decisionKey(d.Namespace, d.ID), Value: decisionText(log, index, text)}
		return line, append(slices.Clip(effects), record), nil
	})
	b.writes.wrote(err)
	if err != nil {
		b.logger.ErrorContext(ctx, "a decision could not be recorded, so nothing was released", "decision", d.ID, "cause", err)
		return audit.Receipt{}, asError(err)
	}
	return receipt, nil
}

// maxDecision leaves room in a record for the index beside the decision, in bytes.
const maxDecision = store.MaxValue - 1024

// decisionText is a decision's record: its JSON, whose digest the log holds, beside the index of its entry, which is known only when the
// entry is placed. Where several brokers share the store it says in which log that is.
func decisionText(log int, index uint64, text []byte) []byte {
	b := make([]byte, 0, len(text)+64)
	b = append(b, '{')
	if log != 0 {
		b = fmt.Appendf(b, `"log":%d,`, log)
	}
	b = fmt.Appendf(b, `"index":%d,"decision":`, index)
	b = append(b, text...)
	return append(b, '}')
}

func (b *Broker) recordAttested(ctx context.Context, a *Attested) error {
	id, err := b.newID()
	if err != nil {
		return asError(err)
	}
	_, err = b.recordDecision(ctx, EventAttest, &Decision{
		ID: id, Time: a.at, Namespace: a.namespace, Protocol: a.protocol, Outcome: OutcomeAttested, Remote: a.remote, Kind: a.kind,
		Evidence: a.evidence, Recipient: a.recipient.Thumbprint(), AttestedAt: a.at, Claims: a.claims,
	}, nil)
	a.decision = id
	return err
}

func (b *Broker) recordRefused(ctx context.Context, a *Attested, refusal *attest.Refusal) (id string, err error) {
	if id, err = b.newID(); err != nil {
		return "", asError(err)
	}
	_, err = b.recordDecision(ctx, EventAttest, &Decision{
		ID: id, Time: a.at, Namespace: a.namespace, Protocol: a.protocol, Outcome: OutcomeRefused, Remote: a.remote, Kind: a.kind,
		Evidence: a.evidence, Recipient: a.thumbprint(),
		Refusal: &Refusal{Code: refusal.Code, Detail: refusal.Detail},
	}, nil)
	return id, err
}

func decisionKey(namespace, id string) string { return store.Key(namespace, "decision", id) }
