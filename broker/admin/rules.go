package admin

import (
	"context"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// Policies returns a page of policies.
func (c *Client) Policies(ctx context.Context, in wire.Page) (wire.List[broker.PolicyInfo], error) {
	return call(ctx, c, wire.ListPolicies, in)
}

// Policy returns a policy with the source of one version.
func (c *Client) Policy(ctx context.Context, in wire.PolicyQuery) (wire.PolicySource, error) {
	return call(ctx, c, wire.GetPolicy, in)
}

// ApplyPolicy adds a version of a policy. What is wrong with the document is in the Problems of an [*Error].
func (c *Client) ApplyPolicy(ctx context.Context, in wire.PolicyApply) (broker.PolicyInfo, error) {
	return call(ctx, c, wire.ApplyPolicy, in)
}

// ActivatePolicy has a version judge.
func (c *Client) ActivatePolicy(ctx context.Context, in wire.PolicyActivate) (broker.PolicyInfo, error) {
	return call(ctx, c, wire.ActivatePolicy, in)
}

// RetirePolicy has no version of a policy judge.
func (c *Client) RetirePolicy(ctx context.Context, name string) (broker.PolicyInfo, error) {
	return call(ctx, c, wire.RetirePolicy, wire.PolicyName{Name: name})
}

// ReferenceSets returns a page of the names of sets of reference values.
func (c *Client) ReferenceSets(ctx context.Context, in wire.Page) (wire.List[string], error) {
	return call(ctx, c, wire.ListReferences, in)
}

// References returns a set of reference values.
func (c *Client) References(ctx context.Context, name string) (reference.Set, error) {
	return call(ctx, c, wire.GetReferences, wire.ReferenceName{Name: name})
}

// PutReferences adds values to a set.
func (c *Client) PutReferences(ctx context.Context, in wire.ReferencesPut) (reference.Set, error) {
	return call(ctx, c, wire.PutReferences, in)
}

// ImportReferences adds the values of a document to a set, which the broker verifies.
func (c *Client) ImportReferences(ctx context.Context, in wire.ReferencesImport) (broker.Imported, error) {
	return call(ctx, c, wire.ImportReferences, in)
}

// ActivateReferences has staged values of a set count.
func (c *Client) ActivateReferences(ctx context.Context, in wire.ReferencesActivate) (reference.Set, error) {
	return call(ctx, c, wire.ActivateReferences, in)
}

// ReferenceUses says which active policies name a set, and when its values were last matched.
func (c *Client) ReferenceUses(ctx context.Context, name string) (broker.ReferenceUses, error) {
	return call(ctx, c, wire.ReferenceUses, wire.ReferenceName{Name: name})
}

// ReferenceReleases searches for secrets that values of a set let pass and that are still held. A page may have none, and still a next one.
func (c *Client) ReferenceReleases(ctx context.Context, in wire.ReferenceReleasesQuery) (wire.List[broker.ReferenceRelease], error) {
	return call(ctx, c, wire.ReferenceReleases, in)
}

// RetireReferences makes values of a set count no more.
func (c *Client) RetireReferences(ctx context.Context, in wire.ReferencesRetire) (reference.Set, error) {
	return call(ctx, c, wire.RetireReferences, in)
}

// Decisions returns a page of decisions.
func (c *Client) Decisions(ctx context.Context, in wire.DecisionsQuery) (wire.List[broker.DecisionSummary], error) {
	return call(ctx, c, wire.ListDecisions, in)
}

// Explain explains a decision.
func (c *Client) Explain(ctx context.Context, id string) (broker.Explanation, error) {
	return call(ctx, c, wire.Explain, wire.DecisionID{ID: id})
}
