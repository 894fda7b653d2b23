package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

// deskCommands are the verbs of the release desk that a proposal has, whatever it changes.
func (p *program) deskCommands() []*cobra.Command {
	return []*cobra.Command{p.proposals(), p.approve(), p.withdraw(), p.acknowledge()}
}

// reasonFlag adds the flag that says why.
func reasonFlag(c *cobra.Command, text *string, needed bool) {
	c.Flags().StringVar(text, "reason", "", "why, as `TEXT` for those who approve and audit it")
	if needed {
		_ = c.MarkFlagRequired("reason") // the flag is there: one line above
	}
}

func (p *program) policyPropose() *cobra.Command {
	var (
		why    string
		retire bool
		set    string
	)
	c := &cobra.Command{
		Use:   "propose NAME [VERSION] | propose --reference SET VALUE…",
		Short: "Propose that a draft judge, a policy retire, or values count",
		Long: `Propose a change of what judges requests, for others to approve: that a version of a policy judges, the newest unless another is named; with
--retire that none does any more; with --reference that values of a set of reference values count or, with --retire, do not.

Nothing changes until the proposal is activated. Whoever proposes is an author of the change, and so none of those who approve it.`,
		Example: `  vouchsafe policy propose payments-db --reason 'release 2.1'
  vouchsafe policy propose --reference payments-image 6a6519d757e6… --reason 'release 2.1'`,
		Args: cobra.MinimumNArgs(1),
	}
	c.Flags().BoolVar(&retire, "retire", false, "propose that it judges no more")
	c.Flags().StringVar(&set, "reference", "", "the `SET` of reference values that the arguments are values of")
	reasonFlag(c, &why, true)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		in := wire.Proposed{Reason: why}
		switch {
		case set != "" && retire:
			in.Type, in.Name, in.Retire = broker.ChangeReferenceRetire, set, args
		case set != "":
			in.Type, in.Name = broker.ChangeReferencePut, set
			for _, v := range args {
				in.Values = append(in.Values, wire.ReferencePut{Value: v})
			}
		case retire && len(args) == 1:
			in.Type, in.Name = broker.ChangePolicyRetire, args[0]
		case !retire && len(args) <= 2:
			version, err := p.versionToPropose(c, a, args)
			if err != nil {
				return err
			}
			in.Type, in.Name, in.Version = broker.ChangePolicyActivate, args[0], version
		default:
			return errors.New("one policy at a time: its name and, unless it is to be retired, a version")
		}
		return p.propose(c, a, in)
	})
}

// versionToPropose is the version that was named, or the newest.
func (p *program) versionToPropose(c *cobra.Command, a *admin.Client, args []string) (uint64, error) {
	if len(args) == 2 {
		return parseVersion(args[1])
	}
	got, err := a.Policy(c.Context(), wire.PolicyQuery{PolicyName: wire.PolicyName{Name: args[0]}})
	if err != nil {
		return 0, err
	}
	return newestVersion(got.Policy).Version, nil
}

func newestVersion(info broker.PolicyInfo) broker.PolicyVersion {
	return info.Versions[len(info.Versions)-1]
}

func (p *program) propose(c *cobra.Command, a *admin.Client, in wire.Proposed) error {
	proposal, err := a.Propose(c.Context(), in)
	if err != nil || p.json() {
		return p.orJSON(proposal, err)
	}
	p.printProposed(proposal)
	return nil
}

// printProposed says what was proposed, and what comes next.
func (p *program) printProposed(proposal broker.Proposal) {
	fmt.Fprintf(p.out, "%s: proposed as %s\n", plain(changeText(proposal)), proposal.ID)
	if lacking := lackingText(proposal); lacking != "" {
		fmt.Fprintf(p.out, "  it needs %s\n", lacking)
	}
	fmt.Fprintf(p.out, "  read it:   vouchsafe policy proposals %s\n", proposal.ID)
	if undecided(proposal) {
		fmt.Fprintf(p.out, "  approve:   vouchsafe policy approve %s %s\n", proposal.ID, proposal.Digest)
	}
	fmt.Fprintf(p.out, "  carry out: vouchsafe policy activate %s\n", proposal.ID)
}

// changeText names a change for people.
func changeText(proposal broker.Proposal) string {
	c := proposal.Change
	switch c.Type {
	case broker.ChangePolicyActivate:
		return fmt.Sprintf("policy %s version %d", c.Name, c.Version)
	case broker.ChangePolicyRetire:
		return fmt.Sprintf("policy %s retired", c.Name)
	case broker.ChangeRulesActivate:
		return fmt.Sprintf("approval rules version %d", c.Version)
	case broker.ChangeRulesRetire:
		return "approval rules retired"
	case broker.ChangeReferencePut:
		return fmt.Sprintf("reference %s: %d values put", c.Name, len(c.Values))
	}
	return fmt.Sprintf("reference %s: %d values retired", c.Name, len(c.Retire))
}

// lackingText says which approvals a proposal has not got yet.
func lackingText(proposal broker.Proposal) string {
	if proposal.Standing == nil {
		return ""
	}
	var parts []string
	for _, t := range proposal.Standing.Tallies {
		if t.Have < t.Need {
			parts = append(parts, fmt.Sprintf("%d of %d approvals for rule %s", t.Need-t.Have, t.Need, t.Rule))
		}
	}
	return strings.Join(parts, ", ")
}

func (p *program) proposals() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "proposals [ID]", Short: "List what is proposed, or show what one proposal changes", Args: cobra.MaximumNArgs(1),
		Long: `List the proposals that are open, and those made by break-glass that no auditor has acknowledged; with --all those too that are closed and still
kept. With an ID, print one: what it changes, by whom and why, which approvals it has, which of them do not count and why, and what it lacks.`,
	}
	c.Flags().BoolVar(&all, "all", false, "also those that are closed")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		if len(args) == 1 {
			return p.showProposal(c, a, args[0])
		}
		in := wire.ProposalsQuery{}
		if all {
			in.State = "all"
		}
		list, err := a.Proposals(c.Context(), in)
		if err != nil || p.json() {
			return p.orJSON(list.Items, err)
		}
		return p.table("ID STATE CHANGE BY CREATED NEEDS", func(row func(...any)) {
			for _, x := range list.Items {
				state := string(x.State)
				if x.Standing != nil && x.Standing.Unacknowledged {
					state = "BROKEN GLASS"
				}
				row(x.ID, state, changeText(x), x.Proposer.Subject, when(x.Created), orDash(lackingText(x)))
			}
		})
	})
}

func (p *program) showProposal(c *cobra.Command, a *admin.Client, id string) error {
	x, err := a.Proposal(c.Context(), id)
	if err != nil || p.json() {
		return p.orJSON(x, err)
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(p.out, "%-10s %s\n", name, plain(fmt.Sprintf(format, args...)))
	}
	line("proposal", "%s", x.ID)
	line("change", "%s", changeText(x))
	line("state", "%s", x.State)
	line("by", "%s, %s", personText(x.Proposer), when(x.Created))
	named := map[string]bool{} // who wrote it and proposed it is there twice, by two credentials maybe
	for _, author := range x.Authors {
		if text := personText(author); !named[text] {
			named[text] = true
			line("author", "%s", text)
		}
	}
	line("reason", "%s", x.Reason)
	for _, v := range x.Change.Values {
		line("put", "%s", v.Value)
	}
	for _, v := range x.Change.Retire {
		line("retire", "%s", v)
	}
	for _, set := range slices.Sorted(maps.Keys(x.Base.Sets)) {
		line("judges by", "reference values %s, as they are now: %s", set, orDash(short(x.Base.Sets[set])))
	}
	for _, y := range x.Approvals {
		not := ""
		if y.Not != "" {
			not = ": does not count, " + y.Not
		}
		line("approval", "%s, %s%s", personText(y.Person), when(y.Time), not)
	}
	if s := x.Standing; s != nil {
		for _, t := range s.Tallies {
			line("rule", "%s: %d of %d approvals", t.Rule, t.Have, t.Need)
		}
		for _, t := range s.BreakGlass {
			line("glass", "rule %s: %d of %d persons within the hour", t.Rule, t.Have, t.Need)
		}
		if s.Obstacle != "" {
			line("obstacle", "%s", s.Obstacle)
		} else if !s.Lapses.IsZero() {
			line("lapses", "%s", when(s.Lapses))
		}
		if s.Unacknowledged {
			line("glass", "was broken for it, and no auditor has acknowledged that")
		}
	}
	line("digest", "%s", x.Digest)
	var diff error
	switch x.Change.Type {
	case broker.ChangePolicyActivate:
		fmt.Fprintln(p.out)
		diff = p.diffVersions(c, a, x.Change.Name, x.Base.Active, x.Change.Version)
	case broker.ChangeRulesActivate, broker.ChangeRulesRetire:
		fmt.Fprintln(p.out)
		diff = p.diffRules(c, a, [2]uint64{x.Base.Active, x.Change.Version})
	}
	if diff != nil {
		return diff
	}
	if undecided(x) {
		fmt.Fprintf(p.out, "\napprove:   vouchsafe policy approve %s %s\n", x.ID, x.Digest)
	}
	if x.State == broker.ProposalApproved {
		fmt.Fprintf(p.out, "carry out: vouchsafe policy activate %s\n", x.ID)
	}
	return nil
}

// undecided reports whether a proposal can be approved. One that has what it needs can, too: where no rules cover it, it does from the beginning.
func undecided(x broker.Proposal) bool {
	return x.State == broker.ProposalOpen || x.State == broker.ProposalApproved
}

// personText names a person, with how they were authenticated. Letters of other alphabets that may look like ours are shown as what they are.
func personText(person broker.Person) string {
	text := fmt.Sprintf("%+q", person.Subject)
	if text == `"`+person.Subject+`"` {
		text = person.Subject
	}
	if person.Via != "" {
		text += " (" + string(person.Via) + ")"
	}
	return text
}

func (p *program) approve() *cobra.Command {
	var glass bool
	c := &cobra.Command{
		Use: "approve ID DIGEST", Short: "Approve a proposal, by the digest that was read", Args: cobra.ExactArgs(2),
		Long: `Approve a proposal. The digest is the proposal's in full, as "vouchsafe policy proposals ID" prints it, so that nothing is approved but what was
read. An author's own approval is refused, except with --break-glass: there it counts as one person, and only there.`,
	}
	c.Flags().BoolVar(&glass, "break-glass", false, "approve what you wrote or proposed, for break-glass only")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		x, err := a.ApproveProposal(c.Context(), wire.ProposalApprove{ProposalID: wire.ProposalID{ID: args[0]}, Digest: args[1], BreakGlass: glass})
		if err != nil || p.json() {
			return p.orJSON(x, err)
		}
		if lacking := lackingText(x); lacking != "" {
			fmt.Fprintf(p.out, "%s: approved by you; it still needs %s\n", plain(changeText(x)), lacking)
			return nil
		}
		fmt.Fprintf(p.out, "%s: approved by you; it has what it needs\n  carry out: vouchsafe policy activate %s\n", plain(changeText(x)), x.ID)
		return nil
	})
}

func (p *program) withdraw() *cobra.Command {
	var why string
	c := &cobra.Command{Use: "withdraw ID", Short: "End a proposal: its proposer may, and every approver", Args: cobra.ExactArgs(1)}
	reasonFlag(c, &why, false)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		x, err := a.WithdrawProposal(c.Context(), wire.ProposalWithdraw{ProposalID: wire.ProposalID{ID: args[0]}, Reason: why})
		if err != nil || p.json() {
			return p.orJSON(x, err)
		}
		fmt.Fprintf(p.out, "%s: withdrawn\n", plain(changeText(x)))
		return nil
	})
}

func (p *program) acknowledge() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "acknowledge ID", Short: "Say, as an auditor, that you know of a break-glass", Args: cobra.ExactArgs(1),
		Long: "Say that an auditor knows of a change that was made by break-glass. Until then it is at the top of every listing. Whoever had a hand in it cannot.",
	}
	reasonFlag(c, &why, false)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		x, err := a.AcknowledgeBreakGlass(c.Context(), wire.ProposalAcknowledge{ProposalID: wire.ProposalID{ID: args[0]}, Reason: why})
		if err != nil || p.json() {
			return p.orJSON(x, err)
		}
		fmt.Fprintf(p.out, "%s: break-glass acknowledged\n", args[0])
		return nil
	})
}

// carryOut carries out a proposal.
func (p *program) carryOut(c *cobra.Command, a *admin.Client, id string, glass bool, why string) error {
	x, err := a.ActivateProposal(c.Context(), wire.ProposalActivate{ProposalID: wire.ProposalID{ID: id}, BreakGlass: glass, Reason: why})
	if err != nil || p.json() {
		return p.orJSON(x, err)
	}
	fmt.Fprintf(p.out, "%s: done\n", plain(changeText(x)))
	if glass {
		return p.warn("glass was broken: it is in the audit log, and listed until an auditor acknowledges it: vouchsafe policy acknowledge " + x.ID)
	}
	return nil
}

// isProposal reports whether an argument has the form of a proposal's id: 32 hexadecimal digits.
func isProposal(arg string) bool {
	return len(arg) == 32 && strings.Trim(arg, "0123456789abcdef") == ""
}

// proposalOf finds the open proposal of a change, "" if there is none.
func proposalOf(c *cobra.Command, a *admin.Client, change broker.Change) (string, error) {
	list, err := a.Proposals(c.Context(), wire.ProposalsQuery{})
	if err != nil {
		return "", err
	}
	for _, x := range list.Items {
		if open := x.State == broker.ProposalOpen || x.State == broker.ProposalApproved; open && x.Change.Type == change.Type && x.Change.Name == change.Name && x.Change.Version == change.Version {
			return x.ID, nil
		}
	}
	return "", nil
}

// toPropose adds to the broker's word, that values of a set may not be changed alone, the command that proposes the change. Other errors stay as they are.
func toPropose(err error, set, flags string) error {
	var e *admin.Error
	if !errors.As(err, &e) || e.Code != broker.CodeApproval {
		return err
	}
	more := *e
	more.Message += fmt.Sprintf("\nto propose: vouchsafe policy propose --reference %s%s VALUE… --reason TEXT", set, flags)
	return &more
}

// needsApproval reports whether the broker said that a change needs approvals.
func needsApproval(err error) bool {
	var e *admin.Error
	return errors.As(err, &e) && e.Code == broker.CodeApproval
}
