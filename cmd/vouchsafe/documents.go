package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"

	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/approval"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// approvalKind is the member kind of the approval rules.
const approvalKind = "ApprovalRules"

// ourDocument matches a document that says it is one of ours. A folder may hold others.
var ourDocument = regexp.MustCompile(`(?m)^["']?apiVersion["']?:\s*["']?vouchsafe/`)

// documentFiles are the files that state what is to judge, and the tests of policies among them.
type documentFiles struct {
	policies, sets, rules []string
	tests                 map[string][]string // by the name of the policy
}

// findDocuments returns the documents below the files and folders that are named. Symbolic links in a folder are not followed. What is YAML of somebody else is passed over; what says it is
// ours, and is of no kind that is known, is an error: with --prune it would be missing.
func findDocuments(paths []string) (documentFiles, error) {
	found := documentFiles{tests: map[string][]string{}}
	for _, root := range paths {
		info, err := os.Stat(root)
		if err != nil {
			return found, err
		}
		if !info.IsDir() {
			if err := found.sort(root); err != nil {
				return found, err
			}
			continue
		}
		if err := eachYAML(root, found.sort); err != nil {
			return found, err
		}
	}
	if len(found.policies)+len(found.sets)+len(found.rules) == 0 {
		return found, fmt.Errorf("there is no document to apply in %q: none that says kind: ReleasePolicy, ReferenceSet or ApprovalRules", paths)
	}
	return found, nil
}

func (f *documentFiles) sort(path string) error {
	source, err := readInput(nil, path, policy.MaxDocument)
	if err != nil {
		return err
	}
	switch kind, name, err := policy.KindOf(source); {
	case err != nil && ourDocument.Match(source), kind == policy.DocumentKind:
		f.policies = append(f.policies, path) // whose parser says where the mistake is
	case err != nil:
		return no{fmt.Errorf("%s: %w", path, err)}
	case kind == policy.TestsKind:
		f.tests[name] = append(f.tests[name], path)
	case kind == reference.DocumentKind:
		f.sets = append(f.sets, path)
	case kind == approvalKind:
		f.rules = append(f.rules, path)
	case ourDocument.Match(source):
		return no{fmt.Errorf("%s: %q is no kind of document: %s, %s, %s or %s", path, kind, policy.DocumentKind, policy.TestsKind, reference.DocumentKind, approvalKind)}
	}
	return nil
}

// goodDocuments reads the documents below paths and refuses them all when one has errors, a test fails, or two state one thing.
func (p *program) goodDocuments(paths []string) ([]wire.ApplyDocument, error) {
	found, err := findDocuments(paths)
	if err != nil {
		return nil, err
	}
	var (
		documents []wire.ApplyDocument
		wrong     error
		tested    []testReport
	)
	add := func(file string, source []byte, err error) {
		wrong = errors.Join(wrong, err)
		documents = append(documents, wire.ApplyDocument{Source: string(source), Filename: file})
	}
	for _, file := range found.policies {
		source, err := p.goodPolicy(file, found.tests)
		add(file, source, err)
		if _, name, err := policy.KindOf(source); err == nil {
			tested = append(tested, testReport{File: file, Policy: name})
		}
	}
	for _, file := range found.sets {
		source, err := readInput(nil, file, policy.MaxDocument)
		if err == nil {
			_, err = reference.ParseDocument(file, source)
		}
		add(file, source, err)
	}
	for _, file := range found.rules {
		source, err := readInput(nil, file, policy.MaxSource)
		if err == nil {
			var rules *approval.Rules
			if rules, err = approval.Parse(file, source); err == nil {
				err = p.warnOfTokens(rules)
			}
		}
		add(file, source, err)
	}
	if wrong == nil {
		wrong = (&policyFiles{tests: found.tests}).strays(tested)
	}
	if wrong != nil {
		return nil, no{wrong}
	}
	return documents, nil
}
