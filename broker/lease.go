package broker

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/store"
)

func leaseKey(namespace, secret, id string) string { return store.Key(namespace, "lease", secret, id) }

// LeaseRevoked is a lease that was revoked, with what became of what its source issued.
type LeaseRevoked struct {
	Lease Lease `json:"lease"`
	// Ended is "ended" when what the source issued works no more, "pending" when the source could not be asked yet, which goes on, and "nothing" when
	// there is nothing to end: the workload has what it was given.
	Ended string `json:"ended"`
}

// RevokeLease marks a lease as revoked, and ends what a source issued for it. Of a value that was stored, or lies in a KV engine, the holder keeps what
// he has. Custodians may.
func (b *Broker) RevokeLease(ctx context.Context, who access.Caller, namespace, id string) (LeaseRevoked, error) {
	if err := authorizeOn(who, namespace, access.Some(), access.Custodian); err != nil {
		return LeaseRevoked{}, err
	}
	lease, at, err := b.findLease(ctx, namespace, id)
	if err != nil {
		return LeaseRevoked{}, err
	}
	if authorizeOn(who, namespace, access.Paths(lease.Secret), access.Custodian) != nil { // as if it were not there
		return LeaseRevoked{}, notFound("there is no lease %s", id)
	}
	if lease.Revoked == nil {
		now := b.now()
		lease.Revoked = &now
		w, err := write(leaseKey(namespace, lease.Secret, id), at, lease)
		if err != nil {
			return LeaseRevoked{}, asError(err)
		}
		event := Event{Type: EventLeaseRevoke, Object: lease.Secret + "/" + id, Version: lease.Version, Decision: lease.Decision}
		if err := b.commit(ctx, who, namespace, event, w); err != nil {
			return LeaseRevoked{}, err
		}
	}
	out := LeaseRevoked{Lease: lease, Ended: "nothing"}
	key := issuedKey(namespace, lease.Secret, id)
	record, version, err := load[issueRecord](ctx, b.store, key)
	if errors.Is(err, store.ErrNotFound) {
		if lease.Revocable {
			out.Ended = "ended"
		}
		return out, nil
	}
	out.Ended = "pending"
	if err != nil {
		b.issues.lookAt(issuedRoot)
		return out, nil // it is revoked, and found by what looks at all records
	}
	i := &issue{key: key, at: version, record: record}
	if !b.issues.found(i, "its lease was revoked") {
		return out, nil
	}
	b.issues.mu.Lock()
	i = b.issues.kept[key]
	b.issues.mu.Unlock()
	if i == nil || b.end(context.WithoutCancel(ctx), i) == nil {
		out.Ended = "ended"
	}
	return out, nil
}

// Lease returns a lease. Auditors and custodians may.
func (b *Broker) Lease(ctx context.Context, who access.Caller, namespace, id string) (Lease, error) {
	if err := authorizeIn(who, namespace, access.Auditor, access.Custodian); err != nil {
		return Lease{}, err
	}
	lease, _, err := b.findLease(ctx, namespace, id)
	return lease, err
}

// findLease finds a lease by its id, which is that of the decision and the place of the secret in it.
func (b *Broker) findLease(ctx context.Context, namespace, id string) (Lease, uint64, error) {
	decision, index, _ := strings.Cut(id, ".")
	n, err := strconv.Atoi(index)
	if parsed, bad := uuid.Parse(decision); bad != nil || parsed.String() != decision || err != nil || n < 0 || strconv.Itoa(n) != index {
		return Lease{}, 0, invalid("%q is not the id of a lease", clip(id))
	}
	e, _, err := b.readDecision(ctx, decisionKey(namespace, decision))
	if err == nil && n < len(e.Decision.Secrets) {
		var lease Lease
		var at uint64
		if lease, at, err = load[Lease](ctx, b.store, leaseKey(namespace, e.Decision.Secrets[n].Secret, id)); err == nil {
			return lease, at, nil
		}
	}
	if err == nil || errors.Is(err, store.ErrNotFound) {
		return Lease{}, 0, notFound("there is no lease %s", id)
	}
	return Lease{}, 0, asError(err)
}
