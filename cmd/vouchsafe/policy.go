package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy"
)

func (p *program) policyCommand() *cobra.Command {
	commands := []*cobra.Command{
		p.policyCheck(), p.policyTest(), p.policyWhatIf(), p.policyReplay(), p.policyPut(), p.policyPropose(), p.policyActivate(), p.policyApply(), p.policyRollback(), p.policyRetire(),
		p.policyShow(), p.policyList(), p.policyHistory(), p.policyDiff(),
	}
	return group("admin", "policy", "Check, test, propose, approve and roll back release policies", append(commands, p.deskCommands()...)...)
}

func (p *program) policyApply() *cobra.Command {
	var (
		draft bool
		why   string
	)
	c := &cobra.Command{
		Use:   "apply FILE…",
		Short: "Have policies judge or, where that needs approvals, propose it",
		Long: `Add a version of release policies and have them judge from now on. Every file is checked, and the tests in it are run, before the first
is sent; a file that was not changed since changes nothing. Where the approval rules cover a policy it is kept as a draft and proposed.

Writing needs the role author; having a policy judge needs approver too. With --draft it is kept and judges nothing yet, as by "vouchsafe policy put".`,
		Example: "  vouchsafe policy apply policies/*.yaml",
		Args:    cobra.MinimumNArgs(1),
	}
	c.Flags().BoolVar(&draft, "draft", false, "keep it without having it judge")
	reasonFlag(c, &why, false)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		sources, err := p.goodPolicies(args)
		if err != nil {
			return err
		}
		applied := []broker.PolicyInfo{}
		for i, source := range sources {
			info, proposal, err := p.applyPolicy(c, a, args[i], source, draft, why)
			if err != nil {
				return aboutFile{args[i], err}
			}
			if proposal != nil {
				info.Versions[len(info.Versions)-1].Proposal = proposal.ID
			}
			applied = append(applied, info)
			switch {
			case p.json():
			case proposal != nil:
				p.printProposed(*proposal)
			default:
				p.printApplied(info, draft)
			}
		}
		if p.json() {
			return p.printJSON(applied)
		}
		return nil
	})
}

// goodPolicy reads a policy and refuses one with errors, or whose tests fail: those in it, and those in further files by the policy's name.
func (p *program) goodPolicy(file string, apart map[string][]string) ([]byte, error) {
	report, err := p.testPolicy(file, apart)
	if err != nil {
		return nil, err
	}
	if len(report.Errors) > 0 {
		return nil, no{&policy.Problems{File: file, List: report.Errors}}
	}
	for _, result := range report.Results {
		if !result.Pass {
			return nil, no{fmt.Errorf("%s:%d: the test %q fails, so nothing was applied: %s", result.File, result.Line, result.Name, result.Detail)}
		}
	}
	return readInput(nil, file, policy.MaxSource)
}

func (p *program) printApplied(info broker.PolicyInfo, draft bool) {
	newest := info.Versions[len(info.Versions)-1]
	if draft {
		fmt.Fprintf(p.out, "%s: version %d is kept as a draft; version %s judges\n", info.Name, newest.Version, orNone(info.Active))
		return
	}
	fmt.Fprintf(p.out, "%s: version %d judges %s\n", info.Name, info.Active, strings.Join(newest.Secrets, ", "))
	for _, w := range newest.Waivers {
		fmt.Fprintf(p.out, "  it waives %s: %s\n", w.Rule, w.Reason)
	}
}

func (p *program) policyShow() *cobra.Command {
	var version uint64
	c := &cobra.Command{
		Use: "show NAME", Short: "Print a policy's source and versions", Args: cobra.ExactArgs(1),
		Long: "Print a policy's source: of the version that judges or, where none does, the newest; and its versions.",
	}
	c.Flags().Uint64Var(&version, "version", 0, "another `VERSION`")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		got, err := a.Policy(c.Context(), wire.PolicyQuery{PolicyName: wire.PolicyName{Name: args[0]}, Version: version})
		if err != nil || p.json() {
			return p.orJSON(got, err)
		}
		fmt.Fprintf(p.out, "%s\n", strings.TrimSuffix(got.Source, "\n"))
		fmt.Fprintln(p.out)
		err = p.table("VERSION STATE DIGEST CREATED BY WAIVES", func(row func(...any)) {
			for _, v := range got.Policy.Versions {
				row(v.Version, v.State, short(v.Digest), when(v.Created), v.CreatedBy, orDash(waived(v.Waivers)))
			}
		})
		if err == nil && len(got.Policy.Broken) > 0 {
			return p.warn("glass was broken for this policy, and no auditor has acknowledged it: vouchsafe policy proposals")
		}
		return err
	})
}

func waived(waivers []policy.Waiver) string {
	names := make([]string, len(waivers))
	for i, w := range waivers {
		names[i] = w.Rule
	}
	return strings.Join(names, ",")
}

func (p *program) policyList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List policies, what they guard and what they waive", Args: cobra.NoArgs}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		all, err := pages(func(after string) (wire.List[broker.PolicyInfo], error) {
			return a.Policies(c.Context(), wire.Page{After: after})
		})
		if err != nil || p.json() {
			return p.orJSON(all, err)
		}
		return p.table("NAME ACTIVE VERSIONS SECRETS WAIVES", func(row func(...any)) {
			for _, info := range all {
				v := info.Versions[len(info.Versions)-1]
				for _, candidate := range info.Versions {
					if candidate.Version == info.Active {
						v = candidate
					}
				}
				row(info.Name, orNone(info.Active), len(info.Versions), strings.Join(v.Secrets, ","), orDash(waived(v.Waivers)))
			}
		})
	})
}

func (p *program) policyRetire() *cobra.Command {
	c := &cobra.Command{
		Use: "retire NAME", Short: "Have no version judge: what only this policy guards is denied", Args: cobra.ExactArgs(1),
		Long: `Have no version of a policy judge: what only this policy guards is denied. Where the approval rules cover the policy, propose it instead:
"vouchsafe policy propose NAME --retire".`,
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		info, err := a.RetirePolicy(c.Context(), args[0])
		if err != nil || p.json() {
			return p.orJSON(info, err)
		}
		fmt.Fprintf(p.out, "%s: retired\n", info.Name)
		return nil
	})
}
