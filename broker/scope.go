package broker

import (
	"context"
	"fmt"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy"
)

// Whoever holds roles for some paths works with the policies that lie there as others do with all: with their drafts, their proposals and their history. A policy
// lies in a scope when all of its patterns do, in every version that is kept. What does not lie there is not there for them, and the answer is that for a
// name or an id that nothing has. Sets of reference values and rules of approval belong to the whole namespace: policies of others go by them.

// authorizeIn succeeds when the namespace can be one and the caller has one of the roles in the whole of it: for what belongs to no path of secrets. The form
// matters as much as the role: a "namespace" of several segments would reach into the records of another, where what is a policy's source to one
// method is a secret's value to the next.
func authorizeIn(who access.Caller, namespace string, roles ...access.Role) error {
	return authorizeOn(who, namespace, access.Whole(), roles...)
}

// authorizeOn is authorizeIn for an object in the namespace: callers with a scope may do there what lies in it.
func authorizeOn(who access.Caller, namespace string, on access.Object, roles ...access.Role) error {
	if err := CheckNamespace(namespace); err != nil {
		return err
	}
	return authorize(who, namespace, on, roles...)
}

// authorizeEverywhere succeeds when the caller has one of the roles in all namespaces.
func authorizeEverywhere(who access.Caller, roles ...access.Role) error {
	return authorize(who, access.AllNamespaces, access.Whole(), roles...)
}

func authorize(who access.Caller, namespace string, on access.Object, roles ...access.Role) error {
	if err := access.AuthorizeAny(who, namespace, on, roles...); err != nil {
		return asError(err)
	}
	return nil
}

// patterns are those of every version of a policy that is kept. Whoever has a scope may touch, and see, only a policy that never guarded anything beyond it: a
// version that takes the place of another takes away what that guarded.
func (p *policyRecord) patterns() []string {
	var all []string
	for i := range p.Versions {
		all = append(all, p.Versions[i].Secrets...)
	}
	return all
}

// authorizePolicy succeeds when the caller has one of the roles for a policy and for what is to become a version of it.
func authorizePolicy(who access.Caller, namespace string, record *policyRecord, p *policy.Policy, roles ...access.Role) error {
	err := authorizeOn(who, namespace, access.Paths(append(record.patterns(), p.Secrets()...)...), roles...)
	if err == nil || authorizeOn(who, namespace, access.Some(), roles...) != nil {
		return err
	}
	return &Error{Code: CodeForbidden, Err: err, Message: fmt.Sprintf(
		"%q may do this only with policies all of whose patterns are at or below %s, in every version that is kept: that is not so of %q; take other patterns, or another name",
		who.Name, who.Scope, p.Name())}
}

// policyFor is policyRecord for a caller who needs one of the roles.
func (b *Broker) policyFor(ctx context.Context, who access.Caller, namespace, name string, roles ...access.Role) (policyRecord, uint64, error) {
	if err := authorizeOn(who, namespace, access.Some(), roles...); err != nil {
		return policyRecord{}, 0, err
	}
	record, at, err := b.policyRecord(ctx, namespace, name)
	if err == nil && authorizeOn(who, namespace, access.Paths(record.patterns()...), roles...) == nil {
		return record, at, nil
	}
	if err == nil || codeIs(err, CodeNotFound) {
		err = absent(who, "policy %q", name)
	}
	return policyRecord{}, 0, err
}

// proposalFor is proposal for a caller.
func (b *Broker) proposalFor(ctx context.Context, who access.Caller, namespace, id string) (*Proposal, uint64, error) {
	p, at, err := b.proposal(ctx, namespace, id)
	if err == nil {
		var seen bool
		if seen, err = b.sees(ctx, who, namespace, p.Change.Type, p.Change.Name); seen {
			return p, at, nil
		}
	}
	if !who.Scope.All() && (err == nil || codeIs(err, CodeNotFound)) {
		err = absent(who, "proposal %q", clip(id))
	}
	return nil, 0, err
}

// sees reports whether a change, of which type and name are known, is one that is there for a caller who works with policies.
func (b *Broker) sees(ctx context.Context, who access.Caller, namespace string, of ChangeType, name string) (bool, error) {
	if who.Scope.All() {
		return true, nil
	}
	if !of.ofPolicy() {
		return false, nil
	}
	_, _, err := b.policyFor(ctx, who, namespace, name, readers...)
	if codeIs(err, CodeNotFound) {
		return false, nil
	}
	return err == nil, err
}

// scopeFor is what of a caller's scope has to do with a policy, for a record that others read: where else they work is not for them.
func (b *Broker) scopeFor(ctx context.Context, who access.Caller, namespace string, c *Change) (access.Scope, error) {
	if who.Scope.All() {
		return nil, nil
	}
	record, _, err := b.policyFor(ctx, who, namespace, c.Name, readers...)
	if err != nil {
		return nil, err
	}
	return who.Scope.Of(record.patterns()...), nil // at least one: all patterns are covered, and there are some
}

// absent says that there is no such thing and, to a caller with a scope, no more than that: there may be one elsewhere, or none.
func absent(who access.Caller, format string, args ...any) *Error {
	what := fmt.Sprintf(format, args...)
	if who.Scope.All() {
		return notFound("there is no %s", what)
	}
	return notFound("there is no %s at or below %s", what, who.Scope)
}

// visible returns what of a decision a caller may see: all of it, or, of a scope, the secrets within that, with the number of those that were left out; false
// where there are none. The claims stay: they are about the workload that asked. The outcome is that of what is left: whether the workload got anything else is not
// for the caller.
func visible(who access.Caller, d Decision) (Decision, bool) {
	if who.Scope.All() {
		return d, true
	}
	var within []SecretDecision
	for _, s := range d.Secrets {
		if who.Scope.Covers(s.Secret) {
			within = append(within, s)
		}
	}
	d.Withheld = len(d.Secrets) - len(within)
	if d.Secrets = within; d.Withheld > 0 && len(within) > 0 {
		d.Outcome = outcomeOf(within)
	}
	return d, len(within) > 0
}
