package api

import (
	"context"
	"errors"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

func (a *API) routeRules() {
	b := a.broker
	bind(a, wire.ListPolicies, func(ctx context.Context, who access.Caller, in wire.Page) (wire.List[broker.PolicyInfo], error) {
		page, more, err := b.Policies(ctx, who, a.namespace, in.After, in.Limit)
		return list(page, more, func(p broker.PolicyInfo) string { return p.Name }), err
	})
	bind(a, wire.GetPolicy, func(ctx context.Context, who access.Caller, in wire.PolicyQuery) (wire.PolicySource, error) {
		info, source, err := b.Policy(ctx, who, a.namespace, in.Name, in.Version)
		return wire.PolicySource{Policy: info, Source: string(source)}, err
	})
	bind(a, wire.ApplyPolicy, func(ctx context.Context, who access.Caller, in wire.PolicyApply) (broker.PolicyInfo, error) {
		return b.ApplyPolicy(ctx, who, a.namespace, in.Filename, []byte(in.Source), in.Draft)
	})
	bind(a, wire.ActivatePolicy, func(ctx context.Context, who access.Caller, in wire.PolicyActivate) (broker.PolicyInfo, error) {
		if in.Version == 0 { // which means to retire it, to the core
			return broker.PolicyInfo{}, invalid(errors.New("the version to activate is missing"))
		}
		return b.ActivatePolicy(ctx, who, a.namespace, in.Name, in.Version)
	})
	bind(a, wire.RetirePolicy, func(ctx context.Context, who access.Caller, in wire.PolicyName) (broker.PolicyInfo, error) {
		return b.ActivatePolicy(ctx, who, a.namespace, in.Name, 0)
	})

	route(a, wire.ReplayPolicy, a.replay)

	bind(a, wire.ListReferences, func(ctx context.Context, who access.Caller, in wire.Page) (wire.List[string], error) {
		page, more, err := b.ReferenceSets(ctx, who, a.namespace, in.After, in.Limit)
		return list(page, more, func(name string) string { return name }), err
	})
	bind(a, wire.GetReferences, func(ctx context.Context, who access.Caller, in wire.ReferenceName) (reference.Set, error) {
		return b.References(ctx, who, a.namespace, in.Name)
	})
	bind(a, wire.PutReferences, func(ctx context.Context, who access.Caller, in wire.ReferencesPut) (reference.Set, error) {
		values := make([]reference.Value, len(in.Values))
		for i, v := range in.Values {
			if v.State == reference.Retired {
				return reference.Set{}, invalid(errors.New("a value cannot be put as retired: retire it"))
			}
			values[i] = reference.Value{
				Value: v.Value, State: v.State, NotBefore: v.NotBefore, Expires: v.Expires, Provenance: v.Provenance, Note: v.Note,
			}
		}
		return b.PutReferences(ctx, who, a.namespace, in.Name, values)
	})
	bind(a, wire.ImportReferences, func(ctx context.Context, who access.Caller, in wire.ReferencesImport) (broker.Imported, error) {
		return b.ImportReferences(ctx, who, a.namespace, broker.Import{
			Set: in.Name, Format: in.Format, Document: in.Document, Signature: in.Signature, Artefact: in.Artefact, Name: in.Source, Values: in.Values,
			NotBefore: in.NotBefore, Expires: in.Expires, Note: in.Note, Activate: in.Activate,
		})
	})
	bind(a, wire.ActivateReferences, func(ctx context.Context, who access.Caller, in wire.ReferencesActivate) (reference.Set, error) {
		return b.ActivateReferences(ctx, who, a.namespace, in.Name, in.Values)
	})
	bind(a, wire.ReferenceUses, func(ctx context.Context, who access.Caller, in wire.ReferenceName) (broker.ReferenceUses, error) {
		return b.ReferenceUses(ctx, who, a.namespace, in.Name)
	})
	bind(a, wire.ReferenceReleases, func(ctx context.Context, who access.Caller, in wire.ReferenceReleasesQuery) (wire.List[broker.ReferenceRelease], error) {
		page, next, err := b.ReferenceReleases(ctx, who, a.namespace, in.Name, in.Values, in.After)
		found := list(page, false, nil)
		found.Next = next
		return found, err
	})
	bind(a, wire.RetireReferences, func(ctx context.Context, who access.Caller, in wire.ReferencesRetire) (reference.Set, error) {
		return b.RetireReferences(ctx, who, a.namespace, in.Name, in.Values)
	})

	bind(a, wire.ListDecisions, func(ctx context.Context, who access.Caller, in wire.DecisionsQuery) (wire.List[broker.DecisionSummary], error) {
		page, next, err := b.Decisions(ctx, who, a.namespace, broker.DecisionFilter{
			Since: in.Since, Until: in.Until, Outcome: in.Outcome, Kind: in.Kind, Secret: in.Secret, Policy: in.Policy, Code: in.Code, Remote: in.Remote,
		}, in.After, in.Limit)
		found := list(page, false, nil)
		found.Next = next
		return found, err
	})
	bind(a, wire.Explain, func(ctx context.Context, who access.Caller, in wire.DecisionID) (broker.Explanation, error) {
		return b.Explain(ctx, who, a.namespace, in.ID)
	})
}
