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

func (p *program) policyCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE…",
		Short: "Check release policies: syntax, types, names, what is doubtful",
		Long: `Check release policies without a broker: syntax, types, unknown names with the nearest known one, and warnings about what is allowed
but doubtful, such as a policy that does not say which kinds of evidence it accepts, and every waiver.

Exit codes: 0 no errors (there may be warnings); 1 errors.`,
		Example: "  vouchsafe policy check policies/*.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var reports []checkReport
			bad := false
			for _, file := range args {
				report, err := checkPolicy(file)
				if err != nil {
					return err
				}
				bad = bad || len(report.Errors) > 0
				reports = append(reports, report)
			}
			if err := p.printChecks(reports); err != nil {
				return err
			}
			if bad {
				return silent{exitNo}
			}
			return nil
		},
	}
}

// checkReport is what is said of one file.
type checkReport struct {
	File     string           `json:"file"`
	Policy   string           `json:"policy,omitempty"` // its name, when it has no errors
	Digest   string           `json:"digest,omitempty"`
	Errors   []policy.Problem `json:"errors"`
	Warnings []policy.Problem `json:"warnings"`
}

func checkPolicy(file string) (checkReport, error) {
	report := checkReport{File: file, Errors: []policy.Problem{}, Warnings: []policy.Problem{}}
	source, err := readInput(nil, file, policy.MaxSource+1)
	if err != nil {
		return report, err
	}
	checked, warnings, err := policy.Check(file, source)
	var problems *policy.Problems
	switch {
	case errors.As(err, &problems):
		report.Errors = problems.List
	case err != nil:
		return report, err
	default:
		report.Policy, report.Digest = checked.Name(), checked.Digest()
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
	}
	return nil
}

func (p *program) policyTest() *cobra.Command {
	return &cobra.Command{
		Use:   "test FILE…",
		Short: "Run the tests that release policies carry",
		Long: `Run the tests in release policies without a broker. Files of claims that a test names are read from the folder of its policy;
"vouchsafe evidence verify" makes them.

Exit codes: 0 every test passed; 1 one failed, or a policy has errors.`,
		Example: "  vouchsafe policy test policies/*.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var reports []testReport
			for _, file := range args {
				report, err := testPolicy(file)
				if err != nil {
					return err
				}
				reports = append(reports, report)
			}
			return p.printTests(reports)
		},
	}
}

// testReport is what became of one file's tests.
type testReport struct {
	File    string              `json:"file"`
	Policy  string              `json:"policy,omitempty"`
	Errors  []policy.Problem    `json:"errors,omitempty"`
	Results []policy.TestResult `json:"results"`
}

func testPolicy(file string) (testReport, error) {
	report := testReport{File: file, Results: []policy.TestResult{}}
	source, err := readInput(nil, file, policy.MaxSource+1)
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
	folder, err := os.OpenRoot(filepath.Dir(file)) // a test cannot read outside its policy's folder
	if err != nil {
		return report, err
	}
	defer folder.Close()
	report.Results = append(report.Results, policy.RunTests(parsed, folder.ReadFile)...)
	return report, nil
}

func (p *program) printTests(reports []testReport) error {
	passed, failed := 0, 0
	for _, r := range reports {
		failed += len(r.Errors)
		for _, result := range r.Results {
			if result.Pass {
				passed++
			} else {
				failed++
			}
		}
	}
	if p.json() {
		if err := p.printJSON(reports); err != nil {
			return err
		}
	} else {
		p.printTestTable(reports)
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
			fmt.Fprintf(p.out, "%s %s:%d %s\n", verdict, r.File, result.Line, result.Name)
			if result.Detail != "" && !result.Pass {
				fmt.Fprintf(p.out, "       %s\n", strings.ReplaceAll(result.Detail, "\n", "\n       "))
			}
		}
	}
}
