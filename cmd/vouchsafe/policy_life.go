package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

func (p *program) policyPut() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use:   "put FILE…",
		Short: "Add drafts of release policies, which judge nothing",
		Long: `Add a draft of each release policy. It judges nothing until it is activated, after a proposal where the approval rules want one. Every file is
checked, and the tests in it are run, before the first is sent; a file that was not changed since changes nothing.`,
		Example: "  vouchsafe policy put policies/payments.yaml --reason 'release 2.1'",
		Args:    cobra.MinimumNArgs(1),
	}
	reasonFlag(c, &why, false)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		sources, err := p.goodPolicies(args)
		if err != nil {
			return err
		}
		put := []broker.PolicyInfo{}
		for i, source := range sources {
			info, err := a.PutPolicy(c.Context(), wire.PolicyPut{Source: string(source), Filename: args[i], Reason: why})
			if err != nil {
				return aboutFile{args[i], err}
			}
			if put = append(put, info); !p.json() {
				p.printApplied(info, true)
			}
		}
		if p.json() {
			return p.printJSON(put)
		}
		return nil
	})
}

// goodPolicies reads policies, and refuses them all when one has errors or its tests fail.
func (p *program) goodPolicies(files []string) ([][]byte, error) {
	sources := make([][]byte, len(files))
	for i, file := range files {
		source, err := p.goodPolicy(file, nil)
		if err != nil {
			return nil, err
		}
		sources[i] = source
	}
	return sources, nil
}

// applyPolicy has a policy judge or, where that needs approvals, proposes it.
func (p *program) applyPolicy(c *cobra.Command, a *admin.Client, file string, source []byte, draft bool, why string) (info broker.PolicyInfo, proposal *broker.Proposal, err error) {
	info, err = a.ApplyPolicy(c.Context(), wire.PolicyApply{Source: string(source), Filename: file, Draft: draft})
	if !needsApproval(err) {
		return info, nil, err
	}
	if info, err = a.PutPolicy(c.Context(), wire.PolicyPut{Source: string(source), Filename: file, Reason: why}); err != nil {
		return info, nil, err
	}
	change := broker.Change{Type: broker.ChangePolicyActivate, Name: info.Name, Version: newestVersion(info).Version}
	if id, err := proposalOf(c, a, change); id != "" || err != nil {
		if err != nil {
			return info, nil, err
		}
		x, err := a.Proposal(c.Context(), id)
		return info, &x, err
	}
	if why == "" {
		why = "vouchsafe policy apply " + file
	}
	x, err := a.Propose(c.Context(), wire.Proposed{Type: change.Type, Name: change.Name, Version: change.Version, Reason: why})
	return info, &x, err
}

func (p *program) policyActivate() *cobra.Command {
	var (
		glass bool
		why   string
	)
	c := &cobra.Command{
		Use:   "activate NAME VERSION | activate PROPOSAL",
		Short: "Have a version judge, or carry out a proposal of whatever kind",
		Long: `Have a version of a policy judge: a draft, or one from before. Where the approval rules cover the policy, that takes a proposal with its approvals, which
is found by itself; or name the proposal, of whatever kind it is.

With --break-glass it does without the approvals, if the rules allow it and as many persons as they say have approved within the last hour, an author
counting as one. That is an event of its own in the audit log, an error in the log of the server, and at the top of listings until an auditor acknowledges it.`,
		Example: `  vouchsafe policy activate payments-db 4
  vouchsafe policy activate 1f0c5a6e7b8d4c3f9a2b1d0e5f6a7b8c`,
		Args: cobra.RangeArgs(1, 2),
	}
	c.Flags().BoolVar(&glass, "break-glass", false, "do without the approvals; needs --reason")
	reasonFlag(c, &why, false)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		if len(args) == 1 {
			if !isProposal(args[0]) {
				return fmt.Errorf("%q is not the id of a proposal; to activate a policy say which version, too: vouchsafe policy activate %s VERSION", args[0], args[0])
			}
			return p.carryOut(c, a, args[0], glass, why)
		}
		version, err := parseVersion(args[1])
		if err != nil {
			return err
		}
		change := broker.Change{Type: broker.ChangePolicyActivate, Name: args[0], Version: version}
		info, err := a.ActivatePolicy(c.Context(), wire.PolicyActivate{PolicyName: wire.PolicyName{Name: args[0]}, Version: version})
		if needsApproval(err) {
			if id, err := proposalOf(c, a, change); id != "" || err != nil {
				if err != nil {
					return err
				}
				return p.carryOut(c, a, id, glass, why)
			}
		}
		if err != nil || p.json() {
			return p.orJSON(info, err)
		}
		fmt.Fprintf(p.out, "%s: version %d judges\n", info.Name, info.Active)
		return nil
	})
}

func (p *program) policyRollback() *cobra.Command {
	var (
		version uint64
		why     string
	)
	c := &cobra.Command{
		Use: "rollback NAME --reason TEXT", Short: "Have the version judge again that did before", Args: cobra.ExactArgs(1),
		Long: `Have the version judge again that did before this one, or before the policy was retired. One approver may, for as long as the approval rules allow it after
that version left: a day, unless a rule says otherwise. It must have left under the rules that are in force now. After that it is proposed like any other change.`,
		Example: "  vouchsafe policy rollback payments-db --reason 'hosts of cluster b are refused'",
	}
	c.Flags().Uint64Var(&version, "version", 0, "another `VERSION` that judged before")
	reasonFlag(c, &why, true)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		info, err := a.RollBackPolicy(c.Context(), wire.PolicyRollback{PolicyName: wire.PolicyName{Name: args[0]}, Version: version, Reason: why})
		if err != nil || p.json() {
			return p.orJSON(info, err)
		}
		fmt.Fprintf(p.out, "%s: version %d judges again\n", info.Name, info.Active)
		return nil
	})
}

func (p *program) policyHistory() *cobra.Command {
	c := &cobra.Command{
		Use: "history NAME", Short: "Tell what was done to a policy, by whom, when and why", Args: cobra.ExactArgs(1),
		Long: "Tell what was done to a policy: drafts, proposals, approvals, activations. The last hundred changes are kept here; the audit log has all.",
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		h, err := a.PolicyHistory(c.Context(), args[0])
		if err != nil || p.json() {
			return p.orJSON(h, err)
		}
		return p.printHistory(h)
	})
}

func (p *program) printHistory(h broker.PolicyHistory) error {
	return p.table("TIME DID VERSION BY APPROVED REASON", func(row func(...any)) {
		for _, s := range h.Steps {
			row(when(s.Time), s.Did, orNone(s.Version), personText(s.By), orDash(strings.Join(s.Approved, ",")), orDash(strings.ReplaceAll(s.Reason, "\n", " ")))
		}
	})
}

func (p *program) policyDiff() *cobra.Command {
	c := &cobra.Command{
		Use: "diff NAME [OLD [NEW]]", Short: "Show what differs between two versions of a policy", Args: cobra.RangeArgs(1, 3),
		Long: "Show what differs between two versions of a policy: by default between the one that judges and the newest.",
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		got, err := a.Policy(c.Context(), wire.PolicyQuery{PolicyName: wire.PolicyName{Name: args[0]}})
		if err != nil {
			return err
		}
		versions := [2]uint64{got.Policy.Active, newestVersion(got.Policy).Version}
		for i, text := range args[1:] {
			if versions[i], err = parseVersion(text); err != nil {
				return err
			}
		}
		return p.diffVersions(c, a, args[0], versions[0], versions[1])
	})
}

// diffVersions prints what differs between two versions of a policy; that of 0 is empty.
func (p *program) diffVersions(c *cobra.Command, a *admin.Client, name string, before, after uint64) error {
	var texts [2]string
	for i, version := range [2]uint64{before, after} {
		if version == 0 {
			continue
		}
		got, err := a.Policy(c.Context(), wire.PolicyQuery{PolicyName: wire.PolicyName{Name: name}, Version: version})
		if err != nil {
			return err
		}
		texts[i] = got.Source
	}
	return p.printDiff(fmt.Sprintf("%s version %s", name, orNone(before)), fmt.Sprintf("%s version %s", name, orNone(after)), texts[0], texts[1])
}

// printDiff prints the lines of two texts, those of only one marked.
func (p *program) printDiff(from, to, before, after string) error {
	lines := marked(before, after)
	if p.json() {
		return p.printJSON(struct {
			From  string   `json:"from"`
			To    string   `json:"to"`
			Lines []string `json:"lines"`
		}{from, to, lines})
	}
	fmt.Fprintf(p.out, "--- %s\n+++ %s\n", from, to)
	for _, line := range lines {
		fmt.Fprintln(p.out, plain(line))
	}
	return nil
}
