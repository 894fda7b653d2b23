package wire

import (
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
)

var (
	author   = []access.Role{access.Author}
	approver = []access.Role{access.Approver}
)

// The operations of the release desk: how policies, reference values and the rules of approval are proposed, approved and put back.
var (
	PutPolicy = Endpoint[PolicyPut, broker.PolicyInfo]{Operation{
		ID: "putPolicy", Method: "POST", Path: "/v1/admin/policy-put", Roles: author, Limit: maxPolicy,
		Summary: "Add a draft of a policy, which judges nothing",
	}}
	RollBackPolicy = Endpoint[PolicyRollback, broker.PolicyInfo]{Operation{
		ID: "rollBackPolicy", Method: "POST", Path: "/v1/admin/policy-rollback/{name}", Roles: approver,
		Summary: "Have the version judge again that did before",
	}}
	PolicyHistory = Endpoint[PolicyName, broker.PolicyHistory]{Operation{
		ID: "policyHistory", Method: "GET", Path: "/v1/admin/policy-history/{name}", Roles: readRules,
		Summary: "Tell what was done to a policy, by whom, when and why",
	}}

	Propose = Endpoint[Proposed, broker.Proposal]{Operation{
		ID: "propose", Method: "POST", Path: "/v1/admin/proposals", Roles: []access.Role{access.Author, access.Approver}, Limit: maxReferences,
		Summary: "Propose a change of what judges requests",
	}}
	ListProposals = Endpoint[ProposalsQuery, List[broker.Proposal]]{Operation{
		ID: "listProposals", Method: "GET", Path: "/v1/admin/proposals", Roles: readRules,
		Summary: "List proposals, with what they still lack",
	}}
	GetProposal = Endpoint[ProposalID, broker.Proposal]{Operation{
		ID: "getProposal", Method: "GET", Path: "/v1/admin/proposals/{id}", Roles: readRules,
		Summary: "Read a proposal, with what it still lacks",
	}}
	ApproveProposal = Endpoint[ProposalApprove, broker.Proposal]{Operation{
		ID: "approveProposal", Method: "POST", Path: "/v1/admin/proposal-approve/{id}", Roles: approver,
		Summary: "Approve a proposal, whose digest is named in full",
	}}
	WithdrawProposal = Endpoint[ProposalWithdraw, broker.Proposal]{Operation{
		ID: "withdrawProposal", Method: "POST", Path: "/v1/admin/proposal-withdraw/{id}", Roles: []access.Role{access.Approver, access.Author},
		Summary: "End a proposal: its proposer may, and every approver",
	}}
	ActivateProposal = Endpoint[ProposalActivate, broker.Proposal]{Operation{
		ID: "activateProposal", Method: "POST", Path: "/v1/admin/proposal-activate/{id}", Roles: approver,
		Summary: "Carry out a proposal that has the approvals it needs, or break glass",
	}}
	AcknowledgeBreakGlass = Endpoint[ProposalAcknowledge, broker.Proposal]{Operation{
		ID: "acknowledgeBreakGlass", Method: "POST", Path: "/v1/admin/proposal-acknowledge/{id}", Roles: auditor,
		Summary: "Say that an auditor knows of a break-glass",
	}}

	PutApprovalRules = Endpoint[PolicyPut, broker.PolicyInfo]{Operation{
		ID: "putApprovalRules", Method: "POST", Path: "/v1/admin/approval-rules", Roles: author, Limit: maxPolicy,
		Summary: "Add a draft of the rules of approval, which changes nothing",
	}}
	GetApprovalRules = Endpoint[RulesQuery, PolicySource]{Operation{
		ID: "getApprovalRules", Method: "GET", Path: "/v1/admin/approval-rules", Roles: readRules,
		Summary: "Read the rules of approval",
	}}
	ActivateApprovalRules = Endpoint[RulesActivate, broker.PolicyInfo]{Operation{
		ID: "activateApprovalRules", Method: "POST", Path: "/v1/admin/approval-rules-activate", Roles: approver,
		Summary: "Put rules of approval in force where there are none; where there are some, they are proposed",
	}}
	Apply = Endpoint[ApplyDocuments, broker.ApplyResult]{Operation{
		ID: "apply", Method: "POST", Path: "/v1/admin/apply", Roles: readRules, Limit: maxApply,
		Summary: "Make what judges as documents state it, all at once, which authors and approvers may; or say what differs",
	}}
	ApprovalRulesHistory = Endpoint[None, broker.PolicyHistory]{Operation{
		ID: "approvalRulesHistory", Method: "GET", Path: "/v1/admin/approval-rules-history", Roles: readRules,
		Summary: "Tell what was done to the rules of approval, by whom, when and why",
	}}
)

// maxApply bounds the documents that are applied together in bytes, as JSON writes them.
const maxApply = 16 << 20

// ApplyDocuments are documents that state what is to judge.
type ApplyDocuments struct {
	Documents []ApplyDocument `json:"documents" doc:"policies, sets of reference values and the approval rules, each once"`
	Prune     bool            `json:"prune,omitempty" doc:"also retire policies and reference values that no document states"`
	Propose   bool            `json:"propose,omitempty" doc:"propose what needs approvals, and apply the rest; otherwise nothing is applied then"`
	DryRun    bool            `json:"dry_run,omitempty" doc:"only say what would be done, which everyone may who may read policies"`
	Base      string          `json:"base,omitempty" doc:"of an earlier answer: refuse when something has changed since"`
	Reason    string          `json:"reason,omitempty" doc:"why; needed to propose"`
}

// ApplyDocument is one document.
type ApplyDocument struct {
	Source   string `json:"source" doc:"the document, YAML, of kind ReleasePolicy, ReferenceSet or ApprovalRules"`
	Filename string `json:"filename,omitempty" doc:"for messages only"`
}

// PolicyPut is a document that is to be kept as a draft.
type PolicyPut struct {
	Source   string `json:"source" doc:"the document, YAML"`
	Filename string `json:"filename,omitempty" doc:"for messages only"`
	Reason   string `json:"reason,omitempty" doc:"why it was written, for those who approve it"`
}

// PolicyRollback names the version to go back to.
type PolicyRollback struct {
	PolicyName
	Version uint64 `json:"version,omitempty" doc:"when absent, the one that judged last"`
	Reason  string `json:"reason" doc:"why, for those who audit it"`
}

// Proposed is a change that somebody wants made.
type Proposed struct {
	Type    broker.ChangeType `json:"type" doc:"policy.activate, policy.retire, rules.activate, rules.retire, reference.put or reference.retire"`
	Name    string            `json:"name,omitempty" doc:"of the policy, or of the set of reference values"`
	Version uint64            `json:"version,omitempty" doc:"that is to judge, or to be in force"`
	Values  []ReferencePut    `json:"values,omitempty" doc:"of reference.put: 1 to 1000"`
	Retire  []string          `json:"retire,omitempty" doc:"of reference.retire: 1 to 1000"`
	Reason  string            `json:"reason" doc:"why, for those who approve it"`
}

// ProposalsQuery says which proposals to list.
type ProposalsQuery struct {
	State string `json:"-" query:"state" doc:"open, the default, with those made by break-glass that no auditor has acknowledged; or all that are kept"`
}

// ProposalID names a proposal.
type ProposalID struct {
	ID string `json:"-" path:"id" doc:"id of the proposal"`
}

// ProposalApprove is an approval.
type ProposalApprove struct {
	ProposalID
	Digest     string `json:"digest" doc:"of the proposal, in full: what is approved is what was read"`
	BreakGlass bool   `json:"break_glass,omitempty" doc:"an author's own approval, which counts only to break glass"`
}

// ProposalWithdraw ends a proposal.
type ProposalWithdraw struct {
	ProposalID
	Reason string `json:"reason,omitempty" doc:"why, for those who audit it"`
}

// ProposalActivate carries out a proposal.
type ProposalActivate struct {
	ProposalID
	BreakGlass bool   `json:"break_glass,omitempty" doc:"do without the approvals, where the rules say how many may"`
	Reason     string `json:"reason,omitempty" doc:"of break-glass, needed there"`
}

// ProposalAcknowledge says that an auditor knows.
type ProposalAcknowledge struct {
	ProposalID
	Reason string `json:"reason,omitempty" doc:"what was found"`
}

// RulesQuery names a version of the rules of approval.
type RulesQuery struct {
	Version uint64 `json:"-" query:"version" doc:"when absent, the one in force, or the newest where none is"`
}

// RulesActivate names a version of the rules of approval.
type RulesActivate struct {
	Version uint64 `json:"version" doc:"that is to be in force"`
}
