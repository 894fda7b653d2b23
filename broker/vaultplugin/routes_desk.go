package vaultplugin

import (
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

// Desk are the routes of what is proposed, approved and put back. Who is a person to the rules of approval is Vault's
// entity: all tokens without one are one person, since whoever has such a token can make more of them.
func Desk() []Route {
	name, id := framework.GenericNameRegex("name"), framework.GenericNameRegex("id")
	const example = "1f0c5a6e7b8d4c3f9a2b1d0e5f6a7b8c"
	rules := map[string]any{"source": "apiVersion: vouchsafe/v1\nkind: ApprovalRules\n…"}
	return []Route{
		{
			Pattern: "policy-put", Example: "policy-put", Synopsis: "Add a draft of a release policy, with a reason.",
			About: "It judges nothing. For authors.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.PutPolicy), sample: document}},
		},
		{
			Pattern: "policy-rollback/" + name, Example: "policy-rollback/payments-db", Synopsis: "Have the version of a release policy judge again that did before.",
			About: "For as long as the rules of approval allow it. For approvers.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.RollBackPolicy), sample: map[string]any{"reason": "it stops production"}}},
		},
		{
			Pattern: "policy-history/" + name, Example: "policy-history/payments-db", Synopsis: "Tell what was done to a release policy, by whom, when and why.",
			About: "For everyone who works with policies.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: of(wire.PolicyHistory)}},
		},
		{
			Pattern: "proposals/?$", Example: "proposals/", Synopsis: "List proposals, and propose a change of what judges requests.",
			About: "Whoever proposes counts as an author of the change. For authors.",
			Does: []Does{
				{Operation: logical.ListOperation, endpoint: of(wire.ListProposals), list: member("id")},
				{Operation: logical.UpdateOperation, endpoint: of(wire.Propose), sample: map[string]any{"type": "policy.activate", "name": "payments-db", "version": 3, "reason": "release 2.1"}},
			},
		},
		{
			Pattern: "proposals/" + id, Example: "proposals/" + example, Synopsis: "Read a proposal, with what it still lacks.",
			About: "For everyone who works with policies.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: of(wire.GetProposal)}},
		},
		{
			Pattern: "proposal-approve/" + id, Example: "proposal-approve/" + example, Synopsis: "Approve a proposal.",
			About: "The digest is that of the proposal, in full: what is approved is what was read. For approvers.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.ApproveProposal), sample: map[string]any{"digest": "sha256:6a65…"}}},
		},
		{
			Pattern: "proposal-withdraw/" + id, Example: "proposal-withdraw/" + example, Synopsis: "End a proposal.",
			About: "For approvers.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.WithdrawProposal), sample: map[string]any{"reason": "the image is another"}}},
		},
		{
			Pattern: "proposal-activate/" + id, Example: "proposal-activate/" + example, Synopsis: "Carry out a proposal that has the approvals it needs, or break glass.",
			About: "For approvers.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.ActivateProposal)}},
		},
		{
			Pattern: "proposal-acknowledge/" + id, Example: "proposal-acknowledge/" + example, Synopsis: "Say that an auditor knows of a break-glass.",
			About: "Whoever had a hand in it cannot. For auditors.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.AcknowledgeBreakGlass), sample: map[string]any{"reason": "looked at"}}},
		},
		{
			Pattern: "apply", Example: "apply", Synopsis: "Make what judges as documents state it, all at once.",
			About: "Policies, sets of reference values and rules of approval. For those who are author and approver in one person; apply-plan says what differs.",
			Does: []Does{{
				Operation: logical.UpdateOperation, endpoint: of(wire.Apply), roles: authorAndApprover, fixed: map[string]any{"dry_run": false},
				sample: map[string]any{"documents": []any{document}},
			}},
		},
		{
			Pattern: "apply-plan", Example: "apply-plan", Synopsis: "Say what differs between documents and what judges.",
			About: "Policies, sets of reference values and rules of approval, as apply takes them. It changes nothing. For everyone who works with policies.",
			Does: []Does{{
				Operation: logical.UpdateOperation, endpoint: of(wire.Apply), fixed: map[string]any{"dry_run": true}, sample: map[string]any{"documents": []any{document}},
			}},
		},
		{
			Pattern: "approval-rules/?$", Example: "approval-rules", Synopsis: "Read the rules of approval, and add drafts.",
			About: "A draft changes nothing. Writing is for authors, reading for everyone who works with policies.",
			Does: []Does{
				{Operation: logical.ReadOperation, endpoint: of(wire.GetApprovalRules)},
				{Operation: logical.UpdateOperation, endpoint: of(wire.PutApprovalRules), sample: rules},
			},
		},
		{
			Pattern: "approval-rules-activate", Example: "approval-rules-activate", Synopsis: "Put rules of approval in force where there are none.",
			About: "Where there are some, every change of them is proposed. For approvers.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.ActivateApprovalRules), sample: map[string]any{"version": 1}}},
		},
		{
			Pattern: "approval-rules-history", Example: "approval-rules-history", Synopsis: "Tell what was done to the rules of approval, by whom, when and why.",
			About: "For everyone who works with policies.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: of(wire.ApprovalRulesHistory)}},
		},
	}
}
