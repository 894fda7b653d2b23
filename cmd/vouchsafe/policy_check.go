package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/policy"
)

func (p *program) policyCheck() *cobra.Command {
	var junit string
	c := &cobra.Command{
		Use:   "check FILE|DIR…",
		Short: "Check release policies: syntax, types, names, what is doubtful",
		Long: `Check release policies: syntax, types, unknown names with the nearest known one, and warnings about what is allowed but doubtful, such as a
policy that does not say which kinds of evidence it accepts, a rule that is always true, and every waiver. Of a folder, every policy below it.

It needs no broker. With --broker it asks one, and also warns of reference sets that there are not, and says which secrets a policy guards there and
which policies guard them already.

Exit codes: 0 no errors (there may be warnings); 1 errors.`,
		Example: `  vouchsafe policy check policies/
  vouchsafe policy check --broker payments-db.yaml`,
		Args: cobra.MinimumNArgs(1),
	}
	c.Flags().StringVar(&junit, "junit", "", "also write a report in the XML of JUnit to this `FILE`; - for standard output alone")
	return p.consult(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		found, err := findPolicies(args)
		if err != nil {
			return err
		}
		there, err := p.look(c.Context(), a)
		if err != nil {
			return err
		}
		reports, suites, bad := []checkReport{}, []junitSuite{}, false
		for _, file := range found.policies {
			report, err := checkPolicy(file, p.in, there)
			if err != nil {
				return err
			}
			bad = bad || len(report.Errors) > 0
			reports, suites = append(reports, report), append(suites, report.junit())
		}
		if junit != "" {
			if err := writeJUnit(junit, p.out, suites); err != nil {
				return err
			}
		}
		if junit != "-" {
			if err := p.printChecks(reports); err != nil {
				return err
			}
		}
		if bad {
			return silent{exitNo}
		}
		return nil
	})
}

// checkReport is what is said of one file.
type checkReport struct {
	File     string           `json:"file"`
	Policy   string           `json:"policy,omitempty"` // its name, when it has no errors
	Digest   string           `json:"digest,omitempty"`
	Errors   []policy.Problem `json:"errors"`
	Warnings []policy.Problem `json:"warnings"`
	Guards   *guarded         `json:"guards,omitempty"` // what it guards at the broker that was asked
}

func (r checkReport) junit() junitSuite {
	s := junitSuite{Name: r.File}
	for _, problem := range r.Errors {
		s.add(cmp.Or(problem.Path, "document"), r.File, problem.Line, problem.String())
	}
	if len(r.Errors) == 0 {
		s.add("check "+r.Policy, r.File, 0, "")
	}
	return s
}

func checkPolicy(file string, in io.Reader, there *brokerView) (checkReport, error) {
	report := checkReport{File: file, Errors: []policy.Problem{}, Warnings: []policy.Problem{}}
	source, err := readInput(in, file, policy.MaxSource+1)
	if err != nil {
		return report, err
	}
	checked, warnings, err := policy.Check(file, source, there.options()...)
	var problems *policy.Problems
	switch {
	case errors.As(err, &problems):
		report.Errors = problems.List
	case err != nil:
		return report, err
	default:
		report.Policy, report.Digest, report.Guards = checked.Name(), checked.Digest(), there.guards(checked)
	}
	report.Warnings = append(report.Warnings, warnings...)
	return report, nil
}

func (p *program) printChecks(reports []checkReport) error {
	if p.json() {
		return p.printJSON(reports)
	}
	for _, r := range reports {
		for _, problem := range r.Errors {
			fmt.Fprintf(p.out, "%s:%s\n", r.File, problem)
		}
		for _, problem := range r.Warnings {
			fmt.Fprintf(p.out, "%s:%s (warning)\n", r.File, problem)
		}
		if len(r.Errors) == 0 {
			fmt.Fprintf(p.out, "%s: policy %q is good\n", r.File, r.Policy)
		}
		r.Guards.print(p.out)
	}
	return nil
}
