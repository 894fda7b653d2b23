package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/policy"
)

func (p *program) policyTest() *cobra.Command {
	var (
		coverage, strict bool
		junit            string
	)
	c := &cobra.Command{
		Use:   "test FILE|DIR…",
		Short: "Run the tests of release policies, and say what no test shows",
		Long: `Run the tests in release policies without a broker; of a folder, those of every policy below it, and those in documents of their own, of kind
PolicyTests, that name one. Files of claims that a test names are read from the folder of its document; "vouchsafe evidence verify" makes them.

With --coverage it says, rule by rule, in how many tests it let pass, in how many it refused, and in how many it alone did. A rule that no
test sees refuse may be one that refuses nothing. With --strict such a rule, and a policy without tests, is a failure.

Exit codes: 0 every test passed; 1 one failed, or a policy has errors.`,
		Example: `  vouchsafe policy test --coverage policies/
  vouchsafe policy test --strict --junit report.xml policies/`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			found, err := findPolicies(args)
			if err != nil {
				return err
			}
			var reports []testReport
			for _, file := range found.policies {
				report, err := p.testPolicy(file, found.tests)
				if err != nil {
					return err
				}
				if strict {
					report.beStrict()
				}
				reports = append(reports, report)
			}
			if err := found.strays(reports); err != nil {
				return no{err}
			}
			if junit != "" {
				suites := make([]junitSuite, len(reports))
				for i, r := range reports {
					suites[i] = r.junit()
				}
				if err := writeJUnit(junit, p.out, suites); err != nil {
					return err
				}
			}
			return p.printTests(reports, coverage || strict, junit == "-")
		},
	}
	c.Flags().BoolVar(&coverage, "coverage", false, "say of each rule what the tests show of it")
	c.Flags().BoolVar(&strict, "strict", false, "fail where a rule is not seen both to let pass and to refuse")
	c.Flags().StringVar(&junit, "junit", "", "also write a report in the XML of JUnit to this `FILE`; - for standard output alone")
	return c
}

// testReport is what became of one policy's tests.
type testReport struct {
	File     string            `json:"file"`
	Policy   string            `json:"policy,omitempty"`
	Errors   []policy.Problem  `json:"errors,omitempty"`
	Results  []testResult      `json:"results"`
	Coverage []policy.Coverage `json:"coverage,omitempty"`
	Missing  []string          `json:"missing,omitempty"` // what the tests do not show, where that is a failure
}

// testResult is a result with the document that the test is in.
type testResult struct {
	File string `json:"file"`
	policy.TestResult
}

// testPolicy runs the tests of the policy in a file, and those in further files by the policy's name.
func (p *program) testPolicy(file string, apart map[string][]string) (testReport, error) {
	report := testReport{File: file, Results: []testResult{}}
	source, err := readInput(p.in, file, policy.MaxSource+1)
	if err != nil {
		return report, err
	}
	parsed, err := policy.Parse(file, source)
	var problems *policy.Problems
	if errors.As(err, &problems) {
		report.Errors = problems.List
		return report, nil
	}
	if err != nil {
		return report, err
	}
	report.Policy = parsed.Name()
	if err := report.run(parsed, file, parsed.Tests()); err != nil {
		return report, err
	}
	for _, further := range apart[parsed.Name()] {
		source, err := readInput(nil, further, policy.MaxSource+1)
		if err != nil {
			return report, err
		}
		tests, err := policy.ParseTests(further, source, parsed)
		if err != nil {
			return report, no{err}
		}
		if err := report.run(parsed, further, tests); err != nil {
			return report, err
		}
	}
	results := make([]policy.TestResult, len(report.Results))
	for i, r := range report.Results {
		results[i] = r.TestResult
	}
	report.Coverage = policy.Cover(parsed, results)
	return report, nil
}

func (r *testReport) run(parsed *policy.Policy, file string, tests []policy.Test) error {
	folder, err := os.OpenRoot(filepath.Dir(file)) // a test cannot read outside its document's folder
	if err != nil {
		return err
	}
	defer folder.Close()
	for _, result := range policy.RunEach(parsed, tests, folder.ReadFile) {
		r.Results = append(r.Results, testResult{file, result})
	}
	return nil
}

// beStrict makes a failure of what the tests do not show.
func (r *testReport) beStrict() {
	if len(r.Errors) == 0 && len(r.Results) == 0 {
		r.Missing = append(r.Missing, "there are no tests")
		return
	}
	for _, rule := range r.Coverage {
		switch {
		case rule.Refused == 0:
			r.Missing = append(r.Missing, fmt.Sprintf("no test sees rule %s refuse", rule.Rule))
		case rule.Passed == 0:
			r.Missing = append(r.Missing, fmt.Sprintf("no test sees rule %s let pass", rule.Rule))
		}
	}
}

func (r testReport) failures() int {
	failed := len(r.Errors) + len(r.Missing)
	for _, result := range r.Results {
		if !result.Pass {
			failed++
		}
	}
	return failed
}

func (r testReport) junit() junitSuite {
	s := junitSuite{Name: r.File}
	for _, problem := range r.Errors {
		s.add("document", r.File, problem.Line, problem.String())
	}
	for _, result := range r.Results {
		why := ""
		if !result.Pass {
			why = result.Detail
		}
		s.add(result.Name, result.File, result.Line, why)
	}
	for _, missing := range r.Missing {
		s.add("coverage: "+missing, r.File, 0, missing)
	}
	return s
}

func (p *program) printTests(reports []testReport, coverage, quiet bool) error {
	passed, failed := 0, 0
	for _, r := range reports {
		failed += r.failures()
		for _, result := range r.Results {
			if result.Pass {
				passed++
			}
		}
	}
	switch {
	case quiet:
	case p.json():
		if err := p.printJSON(reports); err != nil {
			return err
		}
	default:
		p.printTestTable(reports)
		if coverage {
			if err := p.printCoverage(reports); err != nil {
				return err
			}
		}
		fmt.Fprintf(p.out, "%d passed, %d failed\n", passed, failed)
	}
	if failed > 0 {
		return silent{exitNo}
	}
	return nil
}

func (p *program) printTestTable(reports []testReport) {
	for _, r := range reports {
		for _, problem := range r.Errors {
			fmt.Fprintf(p.out, "%s:%s\n", r.File, problem)
		}
		if len(r.Errors) == 0 && len(r.Results) == 0 {
			fmt.Fprintf(p.out, "%s: no tests\n", r.File)
		}
		for _, result := range r.Results {
			verdict := "ok  "
			if !result.Pass {
				verdict = "FAIL"
			}
			fmt.Fprintf(p.out, "%s %s:%d %s\n", verdict, result.File, result.Line, plain(result.Name))
			if result.Detail != "" && !result.Pass {
				fmt.Fprintf(p.out, "       %s\n", strings.ReplaceAll(plain(result.Detail), "\n", "\n       "))
			}
		}
		for _, missing := range r.Missing {
			fmt.Fprintf(p.out, "FAIL %s: %s\n", r.File, missing)
		}
	}
}

func (p *program) printCoverage(reports []testReport) error {
	fmt.Fprintln(p.out)
	err := p.table("POLICY RULE PASSED REFUSED ALONE REMARK", func(row func(...any)) {
		for _, r := range reports {
			for _, rule := range r.Coverage {
				remark := ""
				switch {
				case rule.Refused == 0:
					remark = "no test sees it refuse"
				case rule.Passed == 0:
					remark = "no test sees it let pass"
				case rule.Alone == 0:
					remark = "never alone: another rule refuses with it"
				}
				row(r.Policy, rule.Rule, rule.Passed, rule.Refused, rule.Alone, remark)
			}
		}
	})
	fmt.Fprintln(p.out)
	return err
}
