package broker

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/initdata"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/session"
)

// Scope is what a challenge is issued for. Evidence that answers it must come by the same protocol, for the same namespace and kind, with the
// same hash and session.
type Scope struct {
	Protocol  Protocol
	Namespace string
	Kind      attest.Kind
	Hash      crypto.Hash
	Session   string // what the KBS protocol calls the session id, which its cookie carries; "" in the native protocol
}

func (s Scope) nonces() session.Scope {
	return session.Scope{Protocol: string(s.Protocol), Namespace: s.Namespace, Kind: s.Kind, Hash: s.Hash, Session: s.Session}
}

// Challenge is a fresh nonce.
type Challenge struct {
	Nonce   string // standard base64 of 32 bytes
	Expires time.Time
}

// Challenge issues a nonce. It costs a MAC and no memory, so anyone may ask.
func (b *Broker) Challenge(_ context.Context, s Scope) (Challenge, error) {
	if err := CheckNamespace(s.Namespace); err != nil {
		return Challenge{}, err
	}
	if !b.accepts(s.Kind) {
		return Challenge{}, invalid("this broker does not verify evidence of kind %q; it verifies %v", s.Kind, b.Kinds())
	}
	nonce, expires, err := b.nonces.Issue(s.nonces())
	if err != nil {
		return Challenge{}, asError(err)
	}
	return Challenge{Nonce: nonce, Expires: expires}, nil
}

func (b *Broker) accepts(kind attest.Kind) bool {
	for _, k := range b.Kinds() {
		if k == kind {
			return !kind.Device()
		}
	}
	return false
}

// AttestRequest is evidence in answer to a challenge.
type AttestRequest struct {
	Scope      Scope
	Nonce      string              // as the challenge gave it
	Recipient  *envelope.Recipient // the key that the evidence vouches for
	Evidence   attest.Evidence     // its Init is made of InitData
	InitData   []byte              // the init-data document as presented; nil when none was
	Additional string              // the additional evidence exactly as presented: the primary evidence covers it
	Remote     string              // the peer's address without its port, for the record
}

// Attested is a workload whose evidence was verified: who it is, proved by nothing but the broker that made it. Only this package
// makes one.
type Attested struct {
	protocol  Protocol
	namespace string
	kind      attest.Kind
	nonce     string
	remote    string
	evidence  string // digest
	decision  string // the id of the record of its acceptance, or ""
	claims    *attest.Claims
	recipient *envelope.Recipient
	at        time.Time
	expires   time.Time
}

// Recipient returns the key that the evidence vouched for.
func (a *Attested) Recipient() *envelope.Recipient { return a.recipient }

// thumbprint returns the recipient's thumbprint, "" where none is known: of a passport that was refused, nobody can say whose it is.
func (a *Attested) thumbprint() string {
	if a.recipient == nil {
		return ""
	}
	return a.recipient.Thumbprint()
}

// Namespace returns the namespace whose secrets it may ask for.
func (a *Attested) Namespace() string { return a.namespace }

// Nonce returns the nonce that the evidence covered.
func (a *Attested) Nonce() string { return a.nonce }

// Evidence returns the digest of the evidence, "sha256:" and hex.
func (a *Attested) Evidence() string { return a.evidence }

// Expires returns when the attestation is no longer good.
func (a *Attested) Expires() time.Time { return a.expires }

// Decision returns the id of the record of its acceptance.
func (a *Attested) Decision() string { return a.decision }

// Attest verifies evidence and records that it was accepted or refused. The nonce is spent whatever comes of it, unless the broker is
// overloaded: then the same request can be made again.
func (b *Broker) Attest(ctx context.Context, req AttestRequest) (*Attested, error) {
	a, err := b.appraise(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := b.admit(ctx, a.namespace); err != nil {
		return nil, err
	}
	if err := b.recordAttested(ctx, a); err != nil {
		return nil, err
	}
	return a, nil
}

// AttestAndRelease is a whole native release: it verifies evidence and releases secrets, with one record of both.
func (b *Broker) AttestAndRelease(ctx context.Context, req AttestRequest, want []Want) (*Release, *Attested, error) {
	if err := b.checkWants(want); err != nil {
		return nil, nil, err
	}
	a, err := b.appraise(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	r, err := b.Release(ctx, a, want)
	return r, a, err
}

// appraise spends the nonce and verifies the evidence. It records a refusal, and nothing when the evidence is good.
func (b *Broker) appraise(ctx context.Context, req AttestRequest) (a *Attested, err error) {
	if !b.accepts(req.Scope.Kind) { // no nonce was issued for it, and an observer must not be told of kinds that strangers invent
		return nil, &Error{Code: CodeNonce, Message: badNonce}
	}
	start := b.now()
	code := "accepted"
	defer func() {
		if e := asError(err); e != nil {
			code = string(e.Code)
		}
		b.observer.Attested(req.Scope.Protocol, req.Scope.Kind, code, b.now().Sub(start))
	}()
	if req.Recipient == nil {
		return nil, invalid("no recipient key")
	}
	if req.Evidence.Kind != req.Scope.Kind {
		return nil, &Error{Code: CodeNonce, Message: badNonce}
	}
	// A place in the queue comes first: who is told to come back must not have lost the nonce.
	if err := b.queue(); err != nil {
		return nil, err
	}
	defer b.dequeue()
	if err := b.nonces.Spend(ctx, req.Nonce, req.Scope.nonces()); err != nil {
		return nil, nonceError(err)
	}
	runtime := attest.RuntimeData{
		Hash: req.Scope.Hash, Nonce: req.Nonce, Recipient: req.Recipient.Canonical(), Additional: req.Additional,
	}
	primary, err := runtime.Primary()
	if err != nil {
		return nil, invalid("the nonce, key or additional evidence cannot be canonical JSON")
	}
	device, err := runtime.Device()
	if err != nil {
		return nil, invalid("the nonce or key cannot be canonical JSON")
	}

	claims, now, err := b.verify(ctx, req, attest.BoundTo(primary), attest.BoundTo(device))
	if errors.Is(err, errNotVerified) {
		return nil, asError(err)
	}
	a = &Attested{
		protocol: req.Scope.Protocol, namespace: req.Scope.Namespace, kind: req.Scope.Kind, nonce: req.Nonce, remote: req.Remote,
		evidence: evidenceDigest(req.Evidence), claims: claims, recipient: req.Recipient, at: now, expires: now.Add(b.limits.SessionLifetime),
	}
	if err == nil && (claims.Bound == nil || !*claims.Bound) {
		err = attest.Refuse(attest.CodeUnbound, "the verifier of %q did not hold the evidence against its binding", claims.Kind)
	}
	if err != nil {
		return nil, b.refuseEvidence(ctx, a, err)
	}
	return a, nil
}

// queue takes a place among those who verify or wait to, which dequeue gives back. It fails when too many wait already: signatures are
// the work that a stranger can make the broker do, and a queue without an end is memory without an end.
func (b *Broker) queue() error {
	select {
	case b.waiting <- struct{}{}:
		return nil
	default:
		return &Error{Code: CodeOverloaded, Message: "too much evidence is waiting to be verified", RetryAfter: retryOverloaded}
	}
}

func (b *Broker) dequeue() { <-b.waiting }

// Queued returns how many requests verify evidence or wait to, for metrics.
func (b *Broker) Queued() int { return len(b.waiting) }

// errNotVerified says that the request ended before its turn came, or that there was no document to verify with it.
var errNotVerified = errors.New("the evidence was not looked at")

// verify waits for its turn and has the evidence verified. It also returns when that was.
func (b *Broker) verify(ctx context.Context, req AttestRequest, primary, device attest.Binding) (*attest.Claims, time.Time, error) {
	select {
	case b.verifying <- struct{}{}:
		defer func() { <-b.verifying }()
	case <-ctx.Done():
		return nil, time.Time{}, fmt.Errorf("%w: %w", errNotVerified, ctx.Err())
	}
	// Reading the document costs as much as verifying, when it is made to: so not before the nonce is spent, nor beside this place.
	req.Evidence.Init = nil
	if req.InitData != nil {
		var err error
		if req.Evidence.Init, err = initdata.Parse(req.InitData); err != nil {
			return nil, time.Time{}, fmt.Errorf("%w: %w", errNotVerified, invalid("init-data: %w", err))
		}
	}
	now := b.now()
	claims, err := b.appraiser.Appraise(ctx, req.Evidence, req.Scope.Namespace, primary, device, now)
	return claims, now, err
}

// refuseEvidence turns a verifier's error into the workload's answer, and records a refusal.
func (b *Broker) refuseEvidence(ctx context.Context, a *Attested, cause error) error {
	var refusal *attest.Refusal
	if !errors.As(cause, &refusal) {
		answer := &Error{Code: CodeUnavailable, Message: "the evidence cannot be judged now", RetryAfter: attest.DefaultRetryAfter, Err: cause}
		var unavailable *attest.Unavailable
		if errors.As(cause, &unavailable) && unavailable.RetryAfter > 0 {
			answer.RetryAfter = unavailable.RetryAfter
		}
		b.logger.WarnContext(ctx, "evidence cannot be judged", "kind", a.kind, "protocol", a.protocol, "cause", cause)
		return answer
	}
	answer := &Error{Code: CodeEvidence, Message: "the evidence was refused", Err: cause}
	if !b.refusals.AllowN(a.at, 1) {
		b.observer.Unrecorded(a.kind)
		return answer
	}
	id, err := b.recordRefused(ctx, a, refusal)
	if err != nil {
		return err
	}
	answer.Decision = id
	return answer
}

// badNonce is all that a workload learns of a nonce that is no good: the reasons all have one cure.
const badNonce = "the nonce was not issued for this, has expired or was used: ask for another challenge"

// nonceError tells a workload that its nonce is no good, without saying which of the reasons it is.
func nonceError(err error) error {
	if errors.Is(err, session.ErrMalformed) || errors.Is(err, session.ErrForeign) || errors.Is(err, session.ErrExpired) || errors.Is(err, session.ErrSpent) {
		return &Error{Code: CodeNonce, Message: badNonce, Err: err}
	}
	return asError(err)
}

// evidenceDigest is the SHA-256 of the primary evidence where there is nothing else, so that sha256sum of a file gives it too, and
// otherwise that of the digests of all parts in order.
func evidenceDigest(ev attest.Evidence) string {
	if len(ev.Devices) == 0 {
		return digest(ev.Primary)
	}
	sum := sha256.Sum256(ev.Primary)
	sums := sum[:]
	for _, d := range ev.Devices {
		sum := sha256.Sum256(d.Data)
		sums = append(sums, sum[:]...)
	}
	return digest(sums)
}
