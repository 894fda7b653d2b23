package policy

import (
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// TestsKind is the kind of a document with tests of a policy that stand apart from it.
const TestsKind = "PolicyTests"

// ErrOtherPolicy says that a document of tests is for another policy.
var ErrOtherPolicy = errors.New("the tests are of another policy")

// KindOf returns the members kind and metadata.name of a YAML document, as far as it has them, without judging the rest: for telling the documents of a
// folder apart. What is longer than MaxDocument has none.
func KindOf(source []byte) (kind, name string, err error) {
	if len(source) > MaxDocument {
		return "", "", nil
	}
	var document yaml.Node
	if err := yaml.Unmarshal(source, &document); err != nil {
		return "", "", fmt.Errorf("policy: no YAML: %w", err)
	}
	if len(document.Content) == 0 {
		return "", "", nil
	}
	root := document.Content[0]
	if at := member(root, "kind"); at != nil {
		kind = at.Value
	}
	if at := member(root, "metadata"); at != nil {
		if at = member(at, "name"); at != nil {
			name = at.Value
		}
	}
	return kind, name, nil
}

// member returns a member of a mapping, nil where there is none.
func member(n *yaml.Node, name string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// ParseTests parses a document of tests that stand apart from their policy, p:
//
//	apiVersion: vouchsafe/v1
//	kind: PolicyTests
//	metadata: {name: payments-db}
//	tests: […]
//
// They are as those in a policy, and share their names. The error wraps ErrOtherPolicy when the document names another policy, and is *[Problems] when something is wrong with it.
func ParseTests(filename string, source []byte, p *Policy) ([]Test, error) {
	l, err := theLanguage()
	if err != nil {
		return nil, fmt.Errorf("policy: the language of expressions: %w", err)
	}
	out := *p
	r := &parsing{reader: reader{source: slices.Clone(source)}, out: &out, language: l}
	if root := r.document(); root != nil {
		if err := r.testsDocument(root, p.name); err != nil {
			return nil, err
		}
	}
	if len(r.list) > 0 {
		return nil, &Problems{File: filename, List: r.sorted()}
	}
	return out.tests[len(p.tests):], nil
}

func (r *parsing) testsDocument(root *yaml.Node, policy string) error {
	m := r.members(root, "", "apiVersion", "kind", "metadata", "tests")
	if root.Kind != yaml.MappingNode {
		return nil
	}
	r.identity(root, m, TestsKind)
	if n := m["metadata"]; n == nil {
		r.missing(root, "", "metadata", "the name of the policy")
	} else if name := r.members(n, "metadata", "name")["name"]; name == nil {
		r.missing(n, "metadata", "name", "the name of the policy")
	} else if text, ok := r.name(name, "metadata.name"); ok && text != policy {
		return fmt.Errorf("%w: %q, not %q", ErrOtherPolicy, text, policy)
	}
	n := m["tests"]
	if n == nil {
		r.missing(root, "", "tests", "a list of tests")
		return nil
	}
	for i, item := range r.items(n, "tests", MaxTests) {
		r.test(item, fmt.Sprintf("tests[%d]", i))
	}
	return nil
}
