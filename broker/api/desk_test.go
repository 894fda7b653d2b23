package api_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
)

const deskRules = `apiVersion: vouchsafe/v1
kind: ApprovalRules
spec: {rules: [{name: all, secrets: ["**"], policies: ["*"], references: ["*"], approvals: 2, breakGlass: 2}]}
`

// deskClients are clients of an author and two approvers.
func deskClients(f *fixture) (author, alice, bob *admin.Client) {
	return f.admin(f.token("writer", access.Author)), f.admin(f.token("alice", access.Approver)), f.admin(f.token("bob", access.Approver))
}

// token makes a token of somebody.
func (f *fixture) token(name string, role access.Role) string {
	f.t.Helper()
	token, _, err := f.Broker.Broker.CreateToken(f.t.Context(), f.Admin, access.Request{Name: name, Roles: access.SetOf(role), Namespace: access.AllNamespaces})
	if err != nil {
		f.t.Fatal(err)
	}
	return token.Reveal()
}

// runDesk runs the operations of the release desk.
func (a *answers) runDesk(quote func(string) string) {
	a.t.Helper()
	f, run := a.fixture, a.run
	put := `{"source":` + quote(strings.Replace(brokertest.AllowVirtual("desk/*"), "allow-virtual", "desk", 1)) + `,"filename":"desk.yaml","reason":"a test"}`
	run("putPolicy", "/v1/admin/policy-put", put)
	status, _, answer := f.send("POST", "/v1/admin/policy-activate/desk", f.Token, []byte(`{"version":1}`))
	if status != http.StatusOK {
		a.t.Fatalf("%s", answer)
	}
	if status, _, answer = f.send("POST", "/v1/admin/policy-retire/desk", f.Token, nil); status != http.StatusOK {
		a.t.Fatalf("%s", answer)
	}
	run("rollBackPolicy", "/v1/admin/policy-rollback/desk", `{"reason":"a test"}`)
	run("apply", "/v1/admin/apply", `{"documents":[{"source":`+quote(strings.Replace(brokertest.AllowVirtual("applied/*"), "allow-virtual", "applied", 1))+`,"filename":"applied.yaml"}],"reason":"a test"}`)
	run("putApprovalRules", "/v1/admin/approval-rules", `{"source":`+quote(deskRules)+`,"reason":"a test"}`)
	run("activateApprovalRules", "/v1/admin/approval-rules-activate", `{"version":1}`)
	run("getApprovalRules", "/v1/admin/approval-rules", "")
	run("approvalRulesHistory", "/v1/admin/approval-rules-history", "")

	var p broker.Proposal
	if err := json.Unmarshal(run("propose", "/v1/admin/proposals", `{"type":"policy.retire","name":"desk","reason":"a test"}`), &p); err != nil {
		a.t.Fatal(err)
	}
	run("withdrawProposal", "/v1/admin/proposal-withdraw/"+p.ID, `{"reason":"a test"}`)

	author, alice, bob := deskClients(f)
	p, err := author.Propose(a.t.Context(), wire.Proposed{Type: broker.ChangeReferencePut, Name: "desk", Values: []wire.ReferencePut{{Value: "x"}}, Reason: "a test"})
	if err != nil {
		a.t.Fatal(err)
	}
	for _, c := range []*admin.Client{alice, bob} {
		if _, err := c.ApproveProposal(a.t.Context(), wire.ProposalApprove{ProposalID: wire.ProposalID{ID: p.ID}, Digest: p.Digest}); err != nil {
			a.t.Fatal(err)
		}
	}
	run("getProposal", "/v1/admin/proposals/"+p.ID, "")
	// The administrator made all of these tokens, so that theirs would be nobody else's approval: of a proposal of theirs it is refused below.
	run("listProposals", "/v1/admin/proposals?state=all", "")
	administrator := a.Token
	a.Token = f.token("carol", access.Approver)
	run("activateProposal", "/v1/admin/proposal-activate/"+p.ID, `{"break_glass":true,"reason":"a test"}`)
	a.Token = f.token("auditor", access.Auditor)
	run("acknowledgeBreakGlass", "/v1/admin/proposal-acknowledge/"+p.ID, `{"reason":"a test"}`)
	a.Token = administrator
	run("policyHistory", "/v1/admin/policy-history/desk", "")

	// The administrator approves what a stranger to them proposed.
	stranger := access.Caller{Token: "oidc", Name: "stranger", Subject: "stranger", Via: access.ViaOIDC, Roles: access.Administrator(), Namespace: access.AllNamespaces}
	p, err = f.Propose(a.t.Context(), stranger, "default", broker.Change{Type: broker.ChangePolicyRetire, Name: "desk"}, "a test")
	if err != nil {
		a.t.Fatal(err)
	}
	run("approveProposal", "/v1/admin/proposal-approve/"+p.ID, `{"digest":"`+p.Digest+`"}`)
}

// TestApprovalsOverTheWire is the refusal as a program sees it.
func TestApprovalsOverTheWire(t *testing.T) {
	f := start(t, brokertest.Config{})
	author, alice, bob := deskClients(f)
	all := f.admin(f.Token)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(all.ApplyPolicy(t.Context(), wire.PolicyApply{Source: brokertest.AllowVirtual("app/*")}))
	must(author.PutApprovalRules(t.Context(), wire.PolicyPut{Source: deskRules}))
	must(alice.ActivateApprovalRules(t.Context(), 1))
	refused := func(what string, _ any, err error) {
		t.Helper()
		var e *admin.Error
		if statusOf(err) != http.StatusForbidden || !errors.As(err, &e) || e.Code != broker.CodeApproval {
			t.Errorf("%s: %v", what, err)
		}
	}
	info, err := all.ApplyPolicy(t.Context(), wire.PolicyApply{Source: brokertest.AllowVirtual("**")})
	refused("apply", info, err)
	info, err = all.RetirePolicy(t.Context(), "allow-virtual")
	refused("retire", info, err)
	_, err = all.PutReferences(t.Context(), wire.ReferencesPut{ReferenceName: wire.ReferenceName{Name: "s"}, Values: []wire.ReferencePut{{Value: "v"}}})
	refused("put references", nil, err)

	p, err := author.Propose(t.Context(), wire.Proposed{Type: broker.ChangePolicyRetire, Name: "allow-virtual", Reason: "why"})
	must(p, err)
	approve := wire.ProposalApprove{ProposalID: wire.ProposalID{ID: p.ID}, Digest: p.Digest}
	_, err = all.ApproveProposal(t.Context(), approve) // who made the author's token
	if statusOf(err) != http.StatusForbidden {
		t.Error(err)
	}
	must(alice.ApproveProposal(t.Context(), approve))
	_, err = alice.ActivateProposal(t.Context(), wire.ProposalActivate{ProposalID: wire.ProposalID{ID: p.ID}})
	refused("one approval", nil, err)
	must(bob.ApproveProposal(t.Context(), approve))
	must(alice.ActivateProposal(t.Context(), wire.ProposalActivate{ProposalID: wire.ProposalID{ID: p.ID}}))
	if _, err := author.PutApprovalRules(t.Context(), wire.PolicyPut{Source: strings.Replace(deskRules, "approvals", "aprovals", 1)}); statusOf(err) != http.StatusBadRequest {
		t.Error(err)
	} else if e := (*admin.Error)(nil); !errors.As(err, &e) || len(e.Problems) == 0 || e.Problems[0].Nearest != "approvals" {
		t.Errorf("%+v", e)
	}
}
