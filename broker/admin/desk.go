package admin

import (
	"context"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

// PutPolicy adds a draft of a policy. What is wrong with the document is in the Problems of an [*Error].
func (c *Client) PutPolicy(ctx context.Context, in wire.PolicyPut) (broker.PolicyInfo, error) {
	return call(ctx, c, wire.PutPolicy, in)
}

// RollBackPolicy has the version judge again that did before.
func (c *Client) RollBackPolicy(ctx context.Context, in wire.PolicyRollback) (broker.PolicyInfo, error) {
	return call(ctx, c, wire.RollBackPolicy, in)
}

// PolicyHistory tells what was done to a policy.
func (c *Client) PolicyHistory(ctx context.Context, name string) (broker.PolicyHistory, error) {
	return call(ctx, c, wire.PolicyHistory, wire.PolicyName{Name: name})
}

// Propose proposes a change.
func (c *Client) Propose(ctx context.Context, in wire.Proposed) (broker.Proposal, error) {
	return call(ctx, c, wire.Propose, in)
}

// Proposals lists proposals: all of them, there is one page.
func (c *Client) Proposals(ctx context.Context, in wire.ProposalsQuery) (wire.List[broker.Proposal], error) {
	return call(ctx, c, wire.ListProposals, in)
}

// Proposal reads a proposal.
func (c *Client) Proposal(ctx context.Context, id string) (broker.Proposal, error) {
	return call(ctx, c, wire.GetProposal, wire.ProposalID{ID: id})
}

// ApproveProposal approves a proposal.
func (c *Client) ApproveProposal(ctx context.Context, in wire.ProposalApprove) (broker.Proposal, error) {
	return call(ctx, c, wire.ApproveProposal, in)
}

// WithdrawProposal ends a proposal.
func (c *Client) WithdrawProposal(ctx context.Context, in wire.ProposalWithdraw) (broker.Proposal, error) {
	return call(ctx, c, wire.WithdrawProposal, in)
}

// ActivateProposal carries out a proposal.
func (c *Client) ActivateProposal(ctx context.Context, in wire.ProposalActivate) (broker.Proposal, error) {
	return call(ctx, c, wire.ActivateProposal, in)
}

// AcknowledgeBreakGlass says that an auditor knows of a break-glass.
func (c *Client) AcknowledgeBreakGlass(ctx context.Context, in wire.ProposalAcknowledge) (broker.Proposal, error) {
	return call(ctx, c, wire.AcknowledgeBreakGlass, in)
}

// PutApprovalRules adds a draft of the rules of approval. What is wrong with the document is in the Problems of an [*Error].
func (c *Client) PutApprovalRules(ctx context.Context, in wire.PolicyPut) (broker.PolicyInfo, error) {
	return call(ctx, c, wire.PutApprovalRules, in)
}

// ApprovalRules reads the rules of approval.
func (c *Client) ApprovalRules(ctx context.Context, in wire.RulesQuery) (wire.PolicySource, error) {
	return call(ctx, c, wire.GetApprovalRules, in)
}

// ActivateApprovalRules puts rules in force where there are none.
func (c *Client) ActivateApprovalRules(ctx context.Context, version uint64) (broker.PolicyInfo, error) {
	return call(ctx, c, wire.ActivateApprovalRules, wire.RulesActivate{Version: version})
}

// Apply makes what judges as documents state it, or says what differs. What is wrong with a document is in the Problems of an [*Error].
func (c *Client) Apply(ctx context.Context, in wire.ApplyDocuments) (broker.ApplyResult, error) {
	return call(ctx, c, wire.Apply, in)
}

// ApprovalRulesHistory tells what was done to the rules of approval.
func (c *Client) ApprovalRulesHistory(ctx context.Context) (broker.PolicyHistory, error) {
	return call(ctx, c, wire.ApprovalRulesHistory, wire.None{})
}
