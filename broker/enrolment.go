package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/store"
)

// Enrolments reads enrolled TPM attestation keys from a store, for the verifier of TPM evidence.
type Enrolments struct{ store store.Store }

// NewEnrolments returns the enrolments that a Broker over the same store makes.
func NewEnrolments(s store.Store) Enrolments { return Enrolments{s} }

var _ tpm.Enrolments = Enrolments{}

// Lookup implements tpm.Enrolments.
func (e Enrolments) Lookup(ctx context.Context, namespace, akDigest string) (*tpm.Enrolment, error) {
	enrolment, _, err := load[tpm.Enrolment](ctx, e.store, enrolmentKey(namespace, akDigest))
	if errors.Is(err, store.ErrNotFound) {
		return nil, tpm.ErrNotEnrolled
	}
	if err != nil {
		return nil, err
	}
	// A name that was given to another TPM since is not this one's any more: a machine that was replaced may still run somewhere.
	owner, _, err := loadOrZero[hostRecord](ctx, e.store, hostKey(namespace, enrolment.Host))
	if err != nil {
		return nil, err
	}
	if owner.EKDigest != enrolment.EKDigest {
		return nil, tpm.ErrNotEnrolled
	}
	return &enrolment, nil
}

func enrolmentKey(namespace, akDigest string) string {
	return store.Key(namespace, "enrolment", akDigest)
}

// hostRecord says which TPM a host's name belongs to.
type hostRecord struct {
	Host     string `json:"host"`
	EKDigest string `json:"ek_spki_sha256"`
}

// hostKey is the key of a host's record. Names may have characters that keys cannot.
func hostKey(namespace, host string) string {
	return store.Key(namespace, "enrolment-host", strings.TrimPrefix(digest([]byte(host)), "sha256:"))
}

// revokedRecord says that a key of a TPM was revoked: only an operator enrols one of that TPM's again.
type revokedRecord struct {
	EKDigest string    `json:"ek_spki_sha256"`
	At       time.Time `json:"at"`
}

func revokedKey(namespace, ekDigest string) string {
	return store.Key(namespace, "enrolment-revoked", ekDigest)
}

func pendingKey(namespace, id string) string { return store.Key(namespace, "enrolment-pending", id) }

// MaxHost is the longest name of an enrolled host in bytes: that of a DNS name.
const MaxHost = 253

// MaxPendingEnrolments is how many enrolments may wait for their second half. Hosts are enrolled by people or at a rack's first boot; those
// that never come back are removed when they have expired.
const MaxPendingEnrolments = 1000

// BeginEnrolment challenges a host to prove that its attestation key is in the same TPM as a certified endorsement key. Enrollers and
// operators may.
func (b *Broker) BeginEnrolment(ctx context.Context, who access.Caller, namespace, host string, req tpm.Request) (id string, challenge *tpm.Challenge, err error) {
	if err := authorizeIn(who, namespace, access.Enroller, access.Operator); err != nil {
		return "", nil, err
	}
	if b.enroller == nil {
		return "", nil, invalid("this broker trusts no TPM maker: give the server their root certificates first")
	}
	if host == "" || len(host) > MaxHost || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", nil, invalid("the host's name is empty, over %d bytes or has characters that are not printable ASCII", MaxHost)
	}
	if err := b.prunePending(ctx, namespace); err != nil {
		return "", nil, err
	}
	challenge, pending, err := b.enroller.Challenge(req, host, b.now())
	var refusal *attest.Refusal
	if errors.As(err, &refusal) {
		// Who enrols hosts is trusted with the reason: without it nobody could mend what is wrong with a TPM's certificate.
		return "", nil, &Error{Code: CodeEvidence, Message: refusal.Error(), Err: err}
	}
	if err != nil {
		return "", nil, asError(err)
	}
	if id, err = b.newID(); err != nil {
		return "", nil, asError(err)
	}
	record, err := write(pendingKey(namespace, id), 0, pending)
	if err != nil {
		return "", nil, asError(err)
	}
	event := Event{Type: EventEnrolmentBegin, Object: host, Digest: "sha256:" + pending.Enrolment.AKSPKIDigest}
	if err := b.commit(ctx, who, namespace, event, record); err != nil {
		return "", nil, err
	}
	return id, challenge, nil
}

// prunePending removes enrolments that waited too long, and refuses another one when too many still wait.
func (b *Broker) prunePending(ctx context.Context, namespace string) error {
	var stale []store.Write
	waiting := 0
	err := each(ctx, b.store, pendingKey(namespace, ""), func(key string) error {
		pending, version, err := load[tpm.Pending](ctx, b.store, key)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if b.now().After(pending.Expires) {
			stale = append(stale, store.Write{Key: key, Version: version})
		} else {
			waiting++
		}
		return nil
	})
	if err == nil && len(stale) > 0 {
		err = b.store.Apply(ctx, stale...)
	}
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return asError(err)
	}
	if waiting >= MaxPendingEnrolments {
		return &Error{Code: CodeOverloaded, Message: "too many enrolments wait for their hosts", RetryAfter: retryUnavailable}
	}
	return nil
}

// CompleteEnrolment takes the secret that the host's TPM recovered and enrols its attestation key. The challenge is spent
// whatever comes of it. A key that is enrolled already is enrolled anew. Policies may know a host by its name, and an enroller's token lies on
// hosts: so a name belongs to the first TPM that is enrolled under it, and only an operator may give it to another TPM, or a key another
// name, or enrol a TPM again of which a key was revoked. Enrollers and operators may.
func (b *Broker) CompleteEnrolment(ctx context.Context, who access.Caller, namespace, id string, secret []byte) (*tpm.Enrolment, error) {
	if err := authorizeIn(who, namespace, access.Enroller, access.Operator); err != nil {
		return nil, err
	}
	pending, version, err := load[tpm.Pending](ctx, b.store, pendingKey(namespace, clip(id)))
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalid) {
		return nil, notFound("no enrolment waits under this id: begin again")
	}
	if err != nil {
		return nil, asError(err)
	}
	// Spent before the answer is looked at, and by compare-and-swap: two tries at one challenge cannot both be judged.
	if err := b.store.Apply(ctx, store.Write{Key: pendingKey(namespace, id), Version: version}); err != nil {
		return nil, asError(err)
	}
	enrolment, err := pending.Complete(secret, b.now())
	if err != nil {
		return nil, &Error{Code: CodeEvidence, Message: fmt.Sprintf("host %q did not prove that its attestation key is in the certified TPM", pending.Enrolment.Host), Err: err}
	}
	key := enrolmentKey(namespace, enrolment.AKSPKIDigest)
	old, at, err := loadOrZero[tpm.Enrolment](ctx, b.store, key)
	if err != nil {
		return nil, asError(err)
	}
	if at != 0 && old.Host != enrolment.Host && !who.Roles.Has(access.Operator) {
		return nil, &Error{Code: CodeForbidden, Message: fmt.Sprintf("this key is enrolled as %q: an operator may give it another name", old.Host)}
	}
	name, err := b.takeName(ctx, who, namespace, enrolment)
	if err != nil {
		return nil, err
	}
	pardon, err := b.pardon(ctx, who, namespace, enrolment)
	if err != nil {
		return nil, err
	}
	record, err := write(key, at, enrolment)
	if err != nil {
		return nil, asError(err)
	}
	event := Event{Type: EventEnrolmentDone, Object: enrolment.Host, Digest: "sha256:" + enrolment.AKSPKIDigest}
	// On a store that is not atomic: a key counts when its name is its TPM's, and a revocation is forgotten last.
	if err := b.commit(ctx, who, namespace, event, append(append([]store.Write{record}, name...), pardon...)...); err != nil {
		return nil, err
	}
	return enrolment, nil
}

// takeName returns the write by which a host's name belongs to the TPM that is being enrolled, none when it does already.
func (b *Broker) takeName(ctx context.Context, who access.Caller, namespace string, enrolment *tpm.Enrolment) ([]store.Write, error) {
	key := hostKey(namespace, enrolment.Host)
	owner, at, err := loadOrZero[hostRecord](ctx, b.store, key)
	switch {
	case err != nil:
		return nil, asError(err)
	case at != 0 && owner.EKDigest == enrolment.EKDigest:
		return nil, nil
	case at != 0 && !who.Roles.Has(access.Operator):
		return nil, &Error{Code: CodeForbidden, Message: fmt.Sprintf("the name %q is another TPM's: an operator may give it to this one", enrolment.Host)}
	}
	w, err := write(key, at, hostRecord{Host: enrolment.Host, EKDigest: enrolment.EKDigest})
	if err != nil {
		return nil, asError(err)
	}
	return []store.Write{w}, nil
}

// pardon returns the write by which a TPM of which a key was revoked counts as any other again, none when none was.
func (b *Broker) pardon(ctx context.Context, who access.Caller, namespace string, enrolment *tpm.Enrolment) ([]store.Write, error) {
	key := revokedKey(namespace, enrolment.EKDigest)
	_, at, err := loadOrZero[revokedRecord](ctx, b.store, key)
	switch {
	case err != nil:
		return nil, asError(err)
	case at == 0:
		return nil, nil
	case !who.Roles.Has(access.Operator):
		return nil, &Error{Code: CodeForbidden, Message: "a key of this TPM was revoked: an operator may enrol it again"}
	}
	return []store.Write{{Key: key, Version: at}}, nil
}

// Enrolments returns a page of enrolled keys in the order of their digests. Operators, enrollers and auditors may.
func (b *Broker) Enrolments(ctx context.Context, who access.Caller, namespace, after string, limit int) (page []tpm.Enrolment, more bool, err error) {
	if err := authorizeIn(who, namespace, access.Operator, access.Enroller, access.Auditor); err != nil {
		return nil, false, err
	}
	root := enrolmentKey(namespace, "")
	names, more, err := b.pageOf(ctx, root, root, root, after, limit)
	if err != nil {
		return nil, false, err
	}
	for _, name := range names {
		enrolment, _, err := load[tpm.Enrolment](ctx, b.store, root+name)
		if err != nil {
			return nil, false, asError(err)
		}
		page = append(page, enrolment)
	}
	return page, more, nil
}

// RevokeEnrolment makes an enrolled key count no more, and leaves it to operators to enrol another of the same TPM: a host that is not
// trusted any more may hold an enroller's token. Operators may.
func (b *Broker) RevokeEnrolment(ctx context.Context, who access.Caller, namespace, akDigest string) error {
	if err := authorizeIn(who, namespace, access.Operator); err != nil {
		return err
	}
	enrolment, version, err := load[tpm.Enrolment](ctx, b.store, enrolmentKey(namespace, clip(akDigest)))
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalid) {
		return notFound("no attestation key with the digest %q is enrolled", clip(akDigest))
	}
	if err != nil {
		return asError(err)
	}
	_, at, err := loadOrZero[revokedRecord](ctx, b.store, revokedKey(namespace, enrolment.EKDigest))
	if err != nil {
		return asError(err)
	}
	revoked, err := write(revokedKey(namespace, enrolment.EKDigest), at, revokedRecord{EKDigest: enrolment.EKDigest, At: b.now()})
	if err != nil {
		return asError(err)
	}
	event := Event{Type: EventEnrolmentRevoked, Object: enrolment.Host, Digest: "sha256:" + akDigest}
	// The mark comes first: stopped in between, the key counts still, and the call can be repeated; the other way round, whoever holds an enroller's token
	// could enrol the TPM again.
	return b.commit(ctx, who, namespace, event, revoked, store.Write{Key: enrolmentKey(namespace, akDigest), Version: version})
}
