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
	return group("admin", "policy", "Check, test, apply and list release policies",
		p.policyCheck(), p.policyTest(), p.policyWhatIf(), p.policyReplay(), p.policyApply(), p.policyShow(), p.policyList(), p.policyActivate(), p.policyRetire())
}

func (p *program) policyApply() *cobra.Command {
	var draft bool
	c := &cobra.Command{
		Use:   "apply FILE…",
		Short: "Add a version of release policies and have them judge",
		Long: `Add a version of release policies and have them judge from now on. Every file is checked, and the tests in it are run, before the first
is sent; a file that was not changed since changes nothing.

Writing needs the role author; having a policy judge needs approver too. With --draft it is kept and judges nothing yet.`,
		Example: "  vouchsafe policy apply policies/*.yaml",
		Args:    cobra.MinimumNArgs(1),
	}
	c.Flags().BoolVar(&draft, "draft", false, "keep it without having it judge")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		sources := make([][]byte, len(args))
		for i, file := range args {
			source, err := p.goodPolicy(file)
			if err != nil {
				return err
			}
			sources[i] = source
		}
		applied := []broker.PolicyInfo{}
		for i, source := range sources {
			info, err := a.ApplyPolicy(c.Context(), wire.PolicyApply{Source: string(source), Filename: args[i], Draft: draft})
			if err != nil {
				return aboutFile{args[i], err}
			}
			applied = append(applied, info)
			if !p.json() {
				p.printApplied(info, draft)
			}
		}
		if p.json() {
			return p.printJSON(applied)
		}
		return nil
	})
}

// goodPolicy reads a policy and refuses one with errors, or whose tests fail.
func (p *program) goodPolicy(file string) ([]byte, error) {
	report, err := p.testPolicy(file, nil)
	if err != nil {
		return nil, err
	}
	if len(report.Errors) > 0 {
		return nil, no{&policy.Problems{File: file, List: report.Errors}}
	}
	for _, result := range report.Results {
		if !result.Pass {
			return nil, no{fmt.Errorf("%s:%d: the test %q fails, so nothing was applied: %s", file, result.Line, result.Name, result.Detail)}
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
		return p.table("VERSION STATE DIGEST CREATED BY WAIVES", func(row func(...any)) {
			for _, v := range got.Policy.Versions {
				row(v.Version, v.State, short(v.Digest), when(v.Created), v.CreatedBy, orDash(waived(v.Waivers)))
			}
		})
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

func (p *program) policyActivate() *cobra.Command {
	c := &cobra.Command{
		Use: "activate NAME VERSION", Short: "Have a version judge: a draft, or one from before", Args: cobra.ExactArgs(2),
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		version, err := parseVersion(args[1])
		if err != nil {
			return err
		}
		info, err := a.ActivatePolicy(c.Context(), wire.PolicyActivate{PolicyName: wire.PolicyName{Name: args[0]}, Version: version})
		if err != nil || p.json() {
			return p.orJSON(info, err)
		}
		fmt.Fprintf(p.out, "%s: version %d judges\n", info.Name, info.Active)
		return nil
	})
}

func (p *program) policyRetire() *cobra.Command {
	c := &cobra.Command{
		Use: "retire NAME", Short: "Have no version judge: what only this policy guards is denied", Args: cobra.ExactArgs(1),
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
