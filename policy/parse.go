package policy

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"cel.dev/cel-go/common/ast"
)

// The document's identity.
const (
	docVersion = "vouchsafe/v1"
	// DocumentKind is the member kind of a release policy.
	DocumentKind = "ReleasePolicy"
)

// Option changes how a document is parsed or checked.
type Option func(*options)

type options struct {
	references []string
	known      bool
}

// WithReferences tells [Check] which reference sets there are, so that it can warn of others. It does not make [Parse] refuse anything: a
// set may be made after the policy that names it, and until then the rule refuses.
func WithReferences(names []string) Option {
	return func(o *options) { o.references, o.known = slices.Clone(names), true }
}

// Parse parses, type-checks and compiles a document. filename is for messages only. The error is *[Problems] and tells everything that is
// wrong, except that one with the YAML itself ends the reading.
func Parse(filename string, source []byte) (*Policy, error) {
	p, _, err := parse(filename, source)
	return p, err
}

// Check is Parse for a person: it also returns what is doubtful, and a listing of the waivers. A policy with warnings counts all the same. Where there are
// errors, it still says which reference sets there are not, for what could be read.
func Check(filename string, source []byte, opts ...Option) (*Policy, []Problem, error) {
	var o options
	for _, option := range opts {
		option(&o)
	}
	p, r, err := parse(filename, source)
	if err != nil {
		return nil, r.missingSets(o), err
	}
	return p, r.warnings(o), nil
}

// parsing is the state of reading one document.
type parsing struct {
	reader
	out      *Policy
	language *language
	trees    []*ast.AST   // checked expressions by rule
	waiverAt []*yaml.Node // places of the waivers
	specAt   *yaml.Node
}

func parse(filename string, source []byte) (*Policy, *parsing, error) {
	l, err := theLanguage()
	if err != nil {
		return nil, nil, fmt.Errorf("policy: the language of expressions: %w", err)
	}
	r := &parsing{
		reader:   reader{source: slices.Clone(source)},
		out:      &Policy{terms: ReleaseTerms{DefaultMaxEvidenceAge, DefaultLease}},
		language: l,
	}
	if root := r.document(); root != nil {
		r.policy(root)
	}
	if len(r.list) > 0 {
		return nil, r, &Problems{File: filename, List: r.sorted()}
	}
	r.out.source = r.source
	r.out.digest = digestOf(r.out.source)
	r.out.ageDemand = "evidence_age <= " + r.out.terms.MaxEvidenceAge.String()
	return r.out, r, nil
}

func (r *parsing) policy(root *yaml.Node) {
	m := r.members(root, "", "apiVersion", "kind", "metadata", "spec", "tests")
	if root.Kind != yaml.MappingNode {
		return
	}
	r.identity(root, m, DocumentKind)
	if n := m["metadata"]; n == nil {
		r.missing(root, "", "metadata", "a name")
	} else {
		r.metadata(n)
	}
	if n := m["spec"]; n == nil {
		r.missing(root, "", "spec", "secrets and require")
	} else {
		r.spec(n)
	}
	if n := m["tests"]; n != nil {
		for i, item := range r.items(n, "tests", MaxTests) {
			r.test(item, fmt.Sprintf("tests[%d]", i))
		}
	}
}

func (r *parsing) metadata(n *yaml.Node) {
	m := r.members(n, "metadata", "name", "description")
	if name := m["name"]; name == nil {
		r.missing(n, "metadata", "name", nameGrammar)
	} else {
		r.out.name, _ = r.name(name, "metadata.name")
	}
	if description := m["description"]; description != nil {
		r.out.description, _ = r.text(description, "metadata.description", MaxText)
	}
}

func (r *parsing) spec(n *yaml.Node) {
	r.specAt = n
	m := r.members(n, "spec", "secrets", "require", "rego", "waive", "release")
	if secrets := m["secrets"]; secrets == nil {
		r.missing(n, "spec", "secrets", "a list of patterns such as payments/db/*")
	} else {
		r.secrets(secrets)
	}
	if at := m["rego"]; at != nil {
		r.oneOf(at, "spec.rego", "required")
		r.out.rego = true
	}
	// A policy without rules would release to every genuine machine in the world, unless Rego has the rules.
	if require := m["require"]; require == nil && r.out.rego {
	} else if require == nil {
		r.missing(n, "spec", "require", "a list of at least one rule")
	} else {
		items := r.items(require, "spec.require", MaxRules)
		if require.Kind == yaml.SequenceNode && len(require.Content) == 0 && !r.out.rego {
			r.at(require, "spec.require", Problem{Message: "there is no rule", Expected: "at least one"})
		}
		for i, item := range items {
			r.rule(item, fmt.Sprintf("spec.require[%d]", i))
		}
	}
	if waive := m["waive"]; waive != nil {
		for i, item := range r.items(waive, "spec.waive", len(baseline)) {
			r.waiver(item, fmt.Sprintf("spec.waive[%d]", i))
		}
	}
	if release := m["release"]; release != nil {
		r.release(release)
	}
}

func (r *parsing) secrets(n *yaml.Node) {
	items := r.items(n, "spec.secrets", MaxPatterns)
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		r.at(n, "spec.secrets", Problem{Message: "there is no pattern", Expected: "at least one"})
	}
	for i, item := range items {
		path := fmt.Sprintf("spec.secrets[%d]", i)
		text, ok := r.text(item, path, MaxSegments*(MaxSegment+1))
		if !ok {
			continue
		}
		if err := CheckPattern(text); err != nil {
			r.at(item, path, Problem{Message: err.Error(), Expected: "a path such as payments/db/password, payments/*/password or payments/**"})
			continue
		}
		if slices.ContainsFunc(r.out.patterns, func(p pattern) bool { return p.text == text }) {
			r.at(item, path, Problem{Message: fmt.Sprintf("pattern %q is there twice", text)})
			continue
		}
		r.out.patterns = append(r.out.patterns, newPattern(text))
	}
}

func (r *parsing) rule(n *yaml.Node, path string) {
	m := r.members(n, path, "name", "that", "message")
	if n.Kind != yaml.MappingNode {
		return
	}
	var name, message string
	if at := m["name"]; at == nil {
		r.missing(n, path, "name", nameGrammar)
	} else if name, _ = r.name(at, path+".name"); name != "" &&
		slices.ContainsFunc(r.out.rules, func(other rule) bool { return other.name == name }) {
		r.at(at, path+".name", Problem{Message: fmt.Sprintf("rule %q is there twice", name)})
	}
	if at := m["message"]; at != nil {
		message, _ = r.text(at, path+".message", MaxText)
	}
	at := m["that"]
	if at == nil {
		r.missing(n, path, "that", "an expression")
		return
	}
	text, ok := r.text(at, path+".that", MaxExpression)
	if !ok {
		return
	}
	place := scalarOf(at)
	// Blank space around an expression comes from YAML's block style and means nothing.
	trimmed := strings.TrimSpace(text)
	skipped := len([]rune(text[:strings.Index(text, trimmed)]))
	compiled, tree, faults := r.language.compile(trimmed)
	for _, f := range faults {
		line, column := place.locate(r.source, f.offset+skipped)
		r.add(Problem{Line: line, Column: column, Path: path + ".that", Message: f.message, Expected: f.expected, Nearest: f.nearest})
	}
	compiled.name, compiled.message, compiled.node = name, message, place
	r.out.rules = append(r.out.rules, compiled)
	r.trees = append(r.trees, tree)
}

func (r *parsing) waiver(n *yaml.Node, path string) {
	m := r.members(n, path, "rule", "reason")
	if n.Kind != yaml.MappingNode {
		return
	}
	var waiver Waiver
	if at := m["reason"]; at == nil {
		r.missing(n, path, "reason", "why the rule need not hold")
	} else {
		waiver.Reason, _ = r.text(at, path+".reason", MaxText)
	}
	at := m["rule"]
	if at == nil {
		r.missing(n, path, "rule", "the name of a baseline rule")
		return
	}
	name, ok := r.text(at, path+".rule", MaxText)
	if !ok {
		return
	}
	i := slices.IndexFunc(baseline[:], func(b baselineRule) bool { return b.name == name })
	switch {
	case i < 0:
		var names []string
		for _, b := range baseline {
			if b.waivable {
				names = append(names, b.name)
			}
		}
		r.at(at, path+".rule", Problem{
			Message:  fmt.Sprintf("the baseline has no rule %q", seenText(name)),
			Expected: "one of " + strings.Join(names, ", "),
			Nearest:  nearest(strings.TrimPrefix(name, BaselinePrefix), names),
		})
		return
	case !baseline[i].waivable:
		r.at(at, path+".rule", Problem{Message: fmt.Sprintf("baseline rule %q cannot be waived", name)})
		return
	case slices.ContainsFunc(r.out.waivers, func(w Waiver) bool { return w.Rule == name }):
		r.at(at, path+".rule", Problem{Message: fmt.Sprintf("baseline rule %q is waived twice", name)})
		return
	}
	waiver.Rule = name
	r.out.waived[i] = waiver.Reason
	r.out.waivers = append(r.out.waivers, waiver)
	r.waiverAt = append(r.waiverAt, at)
}

func (r *parsing) release(n *yaml.Node) {
	m := r.members(n, "spec.release", "maxEvidenceAge", "lease")
	if at := m["maxEvidenceAge"]; at != nil {
		r.out.terms.MaxEvidenceAge, _ = r.duration(at, "spec.release.maxEvidenceAge")
	}
	if at := m["lease"]; at != nil {
		r.out.terms.Lease, _ = r.duration(at, "spec.release.lease")
	}
}
