package broker

import (
	"strings"

	"github.com/vouchsafe/vouchsafe/broker/access"
)

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

// visible returns what of a decision a caller may see: all of it, or, of a scope, the secrets within that, with the number of those that were left out; false
// where there are none. The claims stay: they are about the workload that asked.
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
	d.Secrets = within
	return d, len(within) > 0
}

// leasePath is the secret of a lease, whose name in a listing ends with its id.
func leasePath(name string) string {
	return name[:max(strings.LastIndexByte(name, '/'), 0)]
}
