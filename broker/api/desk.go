package api

import (
	"context"
	"errors"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

func (a *API) routeDesk() {
	b := a.broker
	bind(a, wire.PutPolicy, func(ctx context.Context, who access.Caller, in wire.PolicyPut) (broker.PolicyInfo, error) {
		return b.PutPolicy(ctx, who, a.namespace, broker.PutPolicy{Filename: in.Filename, Source: []byte(in.Source), Reason: in.Reason})
	})
	bind(a, wire.RollBackPolicy, func(ctx context.Context, who access.Caller, in wire.PolicyRollback) (broker.PolicyInfo, error) {
		return b.RollBack(ctx, who, a.namespace, in.Name, in.Version, in.Reason)
	})
	bind(a, wire.PolicyHistory, func(ctx context.Context, who access.Caller, in wire.PolicyName) (broker.PolicyHistory, error) {
		return b.PolicyHistory(ctx, who, a.namespace, in.Name)
	})

	bind(a, wire.Propose, func(ctx context.Context, who access.Caller, in wire.Proposed) (broker.Proposal, error) {
		change := broker.Change{Type: in.Type, Name: in.Name, Version: in.Version, Retire: in.Retire}
		for _, v := range in.Values {
			if v.State != "" && v.State != reference.Active {
				return broker.Proposal{}, invalid(errors.New("values are proposed to count: leave state out"))
			}
			change.Values = append(change.Values, reference.Value{
				Value: v.Value, NotBefore: v.NotBefore, Expires: v.Expires, Provenance: v.Provenance, Note: v.Note,
			})
		}
		return b.Propose(ctx, who, a.namespace, change, in.Reason)
	})
	bind(a, wire.ListProposals, func(ctx context.Context, who access.Caller, in wire.ProposalsQuery) (wire.List[broker.Proposal], error) {
		if in.State != "" && in.State != "open" && in.State != "all" {
			return wire.List[broker.Proposal]{}, invalid(errors.New("state is open or all"))
		}
		all, err := b.Proposals(ctx, who, a.namespace, in.State == "all")
		return list(all, false, func(p broker.Proposal) string { return p.ID }), err
	})
	bind(a, wire.GetProposal, func(ctx context.Context, who access.Caller, in wire.ProposalID) (broker.Proposal, error) {
		return b.Proposal(ctx, who, a.namespace, in.ID)
	})
	bind(a, wire.ApproveProposal, func(ctx context.Context, who access.Caller, in wire.ProposalApprove) (broker.Proposal, error) {
		return b.ApproveProposal(ctx, who, a.namespace, in.ID, in.Digest, in.BreakGlass)
	})
	bind(a, wire.WithdrawProposal, func(ctx context.Context, who access.Caller, in wire.ProposalWithdraw) (broker.Proposal, error) {
		return b.WithdrawProposal(ctx, who, a.namespace, in.ID, in.Reason)
	})
	bind(a, wire.ActivateProposal, func(ctx context.Context, who access.Caller, in wire.ProposalActivate) (broker.Proposal, error) {
		return b.ActivateProposal(ctx, who, a.namespace, in.ID, broker.Activation{BreakGlass: in.BreakGlass, Reason: in.Reason})
	})
	bind(a, wire.AcknowledgeBreakGlass, func(ctx context.Context, who access.Caller, in wire.ProposalAcknowledge) (broker.Proposal, error) {
		return b.AcknowledgeBreakGlass(ctx, who, a.namespace, in.ID, in.Reason)
	})

	bind(a, wire.PutApprovalRules, func(ctx context.Context, who access.Caller, in wire.PolicyPut) (broker.PolicyInfo, error) {
		return b.PutApprovalRules(ctx, who, a.namespace, broker.PutPolicy{Filename: in.Filename, Source: []byte(in.Source), Reason: in.Reason})
	})
	bind(a, wire.GetApprovalRules, func(ctx context.Context, who access.Caller, in wire.RulesQuery) (wire.PolicySource, error) {
		info, source, err := b.ApprovalRules(ctx, who, a.namespace, in.Version)
		return wire.PolicySource{Policy: info, Source: string(source)}, err
	})
	bind(a, wire.ActivateApprovalRules, func(ctx context.Context, who access.Caller, in wire.RulesActivate) (broker.PolicyInfo, error) {
		if in.Version == 0 { // which means to retire them, to the core, and where there are some that is proposed
			return broker.PolicyInfo{}, invalid(errors.New("the version to put in force is missing"))
		}
		return b.ActivateApprovalRules(ctx, who, a.namespace, in.Version)
	})
	bind(a, wire.Apply, func(ctx context.Context, who access.Caller, in wire.ApplyDocuments) (broker.ApplyResult, error) {
		what := broker.Apply{Prune: in.Prune, Propose: in.Propose, DryRun: in.DryRun, Base: in.Base, Reason: in.Reason}
		for _, d := range in.Documents {
			what.Documents = append(what.Documents, broker.Document{Filename: d.Filename, Source: []byte(d.Source)})
		}
		return b.Apply(ctx, who, a.namespace, what)
	})
	bind(a, wire.ApprovalRulesHistory, func(ctx context.Context, who access.Caller, _ wire.None) (broker.PolicyHistory, error) {
		return b.ApprovalRulesHistory(ctx, who, a.namespace)
	})
}
