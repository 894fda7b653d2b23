package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/vouchsafe/vouchsafe/policy"
)

// policyFiles are the documents that a command is to look at.
type policyFiles struct {
	policies []string
	tests    map[string][]string // files of tests that stand apart, by the name of their policy, in a folder that was named
}

// findPolicies returns the files that are named, and of each folder those below it that hold release policies or tests of them. Symbolic
// links in a folder are not followed.
func findPolicies(args []string) (policyFiles, error) {
	found := policyFiles{tests: map[string][]string{}}
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil || !info.IsDir() { // reading it says why it is not there
			found.policies = append(found.policies, arg)
			continue
		}
		before := len(found.policies)
		if err := eachYAML(arg, found.sort); err != nil {
			return found, err
		}
		if len(found.policies) == before {
			return found, fmt.Errorf("%s: there is no release policy below it: no file that ends with .yaml says kind: ReleasePolicy", arg)
		}
	}
	return found, nil
}

// eachYAML calls f for every YAML file below a folder. Symbolic links are not followed.
func eachYAML(folder string, f func(path string) error) error {
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || !slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(path)) {
			return err
		}
		return f(path)
	})
}

// sort puts a file of a folder where it belongs. One of another kind is passed over, and one that is no YAML is taken for a policy, which is
// then said to be a bad one rather than not there.
func (f *policyFiles) sort(path string) error {
	source, err := readInput(nil, path, policy.MaxDocument+1)
	if err != nil {
		return err
	}
	switch kind, name, err := policy.KindOf(source); {
	case kind == policy.TestsKind:
		f.tests[name] = append(f.tests[name], path)
	case kind == policy.DocumentKind || err != nil:
		f.policies = append(f.policies, path)
	}
	return nil
}

// strays returns the files of tests whose policies were not found.
func (f *policyFiles) strays(reports []testReport) error {
	var all error
	for name, files := range f.tests {
		if !slices.ContainsFunc(reports, func(r testReport) bool { return r.Policy == name || len(r.Errors) > 0 }) {
			all = errors.Join(all, fmt.Errorf("%s has tests of the policy %q, which is in none of the files", files[0], name))
		}
	}
	return all
}
