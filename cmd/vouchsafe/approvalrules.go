package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/approval"
)

func (p *program) approvalRulesCommand() *cobra.Command {
	commands := []*cobra.Command{p.rulesPut(), p.rulesShow(), p.rulesPropose(), p.rulesActivate(), p.rulesHistory(), p.rulesDiff()}
	return group("admin", "approval-rules", "Say who must agree before what judges may change", append(commands, p.deskCommands()...)...)
}

func (p *program) rulesPut() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "put FILE", Short: "Add a draft of the approval rules, which changes nothing", Args: cobra.ExactArgs(1),
		Long: `Add a draft of the approval rules, a document of kind ApprovalRules. It changes nothing until it is activated: by one approver where no rules are in force,
otherwise by a proposal that meets every rule in force.`,
		Example: "  vouchsafe approval-rules put approval-rules.yaml --reason 'two for the root keys'",
	}
	reasonFlag(c, &why, false)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		source, err := readInput(nil, args[0], policy.MaxSource)
		if err != nil {
			return err
		}
		rules, err := approval.Parse(args[0], source)
		if err != nil {
			return no{err}
		}
		info, err := a.PutApprovalRules(c.Context(), wire.PolicyPut{Source: string(source), Filename: args[0], Reason: why})
		if err != nil {
			return err
		}
		if p.json() {
			return p.printJSON(info)
		}
		fmt.Fprintf(p.out, "approval rules: version %d is kept as a draft; version %s is in force\n", newestVersion(info).Version, orNone(info.Active))
		return p.warnOfTokens(rules)
	})
}

// warnOfTokens warns of rules that count approvals by tokens where persons matter: whoever makes tokens says whose they are. Programs are not warned: to them
// what is on standard error is the error.
func (p *program) warnOfTokens(rules *approval.Rules) error {
	if p.json() {
		return nil
	}
	var several, named []string
	list, changes := rules.List()
	for _, r := range append(list, changes) {
		switch {
		case len(r.Via) > 0:
		case len(r.Approvers) > 0:
			named = append(named, r.Name)
		case r.Approvals > 1:
			several = append(several, r.Name)
		}
	}
	var err error
	if len(named) > 0 {
		err = p.warn(strings.Join(named, ", ") + ": approvers are named, and approvals by tokens count: whoever makes tokens can make one of any approver's name; say via, see docs/release-desk.md")
	}
	if len(several) > 0 && err == nil {
		err = p.warn(strings.Join(several, ", ") + ": several must approve, and approvals by tokens count: whoever is operator and approver can make tokens for as many persons as they like; say via, see docs/release-desk.md")
	}
	return err
}

func (p *program) rulesShow() *cobra.Command {
	var version uint64
	c := &cobra.Command{
		Use: "show", Short: "Print the approval rules and their versions", Args: cobra.NoArgs,
		Long: "Print the approval rules: those in force or, where there are none, the newest draft; and their versions.",
	}
	c.Flags().Uint64Var(&version, "version", 0, "another `VERSION`")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		got, err := a.ApprovalRules(c.Context(), wire.RulesQuery{Version: version})
		if err != nil || p.json() {
			return p.orJSON(got, err)
		}
		fmt.Fprintf(p.out, "%s\n\n", strings.TrimSuffix(got.Source, "\n"))
		return p.table("VERSION STATE DIGEST CREATED BY REASON", func(row func(...any)) {
			for _, v := range got.Policy.Versions {
				row(v.Version, v.State, short(v.Digest), when(v.Created), v.CreatedBy, orDash(v.Reason))
			}
		})
	})
}

func (p *program) rulesPropose() *cobra.Command {
	var (
		why    string
		retire bool
	)
	c := &cobra.Command{
		Use: "propose [VERSION]", Short: "Propose that a draft comes into force, or that no rules do", Args: cobra.MaximumNArgs(1),
		Long: "Propose that a version of the approval rules comes into force, the newest unless another is named; with --retire, that there be no rules.",
	}
	c.Flags().BoolVar(&retire, "retire", false, "propose that there be no rules")
	reasonFlag(c, &why, true)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		in := wire.Proposed{Type: broker.ChangeRulesRetire, Reason: why}
		switch {
		case retire && len(args) > 0:
			return errors.New("--retire takes no version: it proposes that there be no rules")
		case !retire:
			version, err := p.rulesVersion(c, a, args)
			if err != nil {
				return err
			}
			in.Type, in.Version = broker.ChangeRulesActivate, version
		}
		return p.propose(c, a, in)
	})
}

// rulesVersion is the version that was named, or the newest.
func (p *program) rulesVersion(c *cobra.Command, a *admin.Client, args []string) (uint64, error) {
	if len(args) == 1 {
		return parseVersion(args[0])
	}
	got, err := a.ApprovalRules(c.Context(), wire.RulesQuery{})
	if err != nil {
		return 0, err
	}
	return newestVersion(got.Policy).Version, nil
}

func (p *program) rulesActivate() *cobra.Command {
	var (
		glass bool
		why   string
	)
	c := &cobra.Command{
		Use: "activate [VERSION|PROPOSAL]", Short: "Put a version of the rules in force, or carry out a proposal", Args: cobra.MaximumNArgs(1),
		Long: `Put a version of the approval rules in force, the newest unless another is named. Where rules are in force, that takes a proposal with its approvals,
which is found by itself. With --break-glass as many persons as changes.breakGlass says may do without.`,
	}
	c.Flags().BoolVar(&glass, "break-glass", false, "do without the approvals; needs --reason")
	reasonFlag(c, &why, false)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		if len(args) == 1 && isProposal(args[0]) {
			return p.carryOut(c, a, args[0], glass, why)
		}
		version, err := p.rulesVersion(c, a, args)
		if err != nil {
			return err
		}
		info, err := a.ActivateApprovalRules(c.Context(), version)
		if needsApproval(err) {
			id, err := proposalOf(c, a, broker.Change{Type: broker.ChangeRulesActivate, Version: version})
			if err != nil {
				return err
			}
			if id != "" {
				return p.carryOut(c, a, id, glass, why)
			}
		}
		if err != nil || p.json() {
			return p.orJSON(info, err)
		}
		fmt.Fprintf(p.out, "approval rules: version %d is in force\n", info.Active)
		return nil
	})
}

func (p *program) rulesHistory() *cobra.Command {
	c := &cobra.Command{Use: "history", Short: "Tell what was done to the rules, by whom, when and why", Args: cobra.NoArgs}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		h, err := a.ApprovalRulesHistory(c.Context())
		if err != nil || p.json() {
			return p.orJSON(h, err)
		}
		return p.printHistory(h)
	})
}

func (p *program) rulesDiff() *cobra.Command {
	c := &cobra.Command{
		Use: "diff [OLD [NEW]]", Short: "Show what differs between two versions of the rules", Args: cobra.MaximumNArgs(2),
		Long: "Show what differs between two versions of the approval rules: by default between those in force and the newest.",
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		got, err := a.ApprovalRules(c.Context(), wire.RulesQuery{})
		if err != nil {
			return err
		}
		versions := [2]uint64{got.Policy.Active, newestVersion(got.Policy).Version}
		for i, text := range args {
			if versions[i], err = parseVersion(text); err != nil {
				return err
			}
		}
		return p.diffRules(c, a, versions)
	})
}

// diffRules prints what differs between two versions of the rules; 0 is none.
func (p *program) diffRules(c *cobra.Command, a *admin.Client, versions [2]uint64) error {
	var texts [2]string
	for i, version := range versions {
		if version == 0 {
			continue
		}
		got, err := a.ApprovalRules(c.Context(), wire.RulesQuery{Version: version})
		if err != nil {
			return err
		}
		texts[i] = got.Source
	}
	return p.printDiff("approval rules version "+orNone(versions[0]), "approval rules version "+orNone(versions[1]), texts[0], texts[1])
}
