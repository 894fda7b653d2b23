package approval

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vouchsafe/vouchsafe/policy"
)

const (
	docKind = "ApprovalRules"
	// changesName is how what is asked of a change of the rules is called in tallies. No rule can have it.
	changesName = "changes"
)

// ways are the ways of authenticating that a rule may name. That of init is not among them: it is no person's.
var ways = []string{"token", "oidc", "certificate", "vault"}

// parsing is the state of reading one document.
type parsing struct {
	*policy.Reader
	out *Rules
}

// Parse parses a document of at most policy.MaxSource bytes. filename is for messages only. The error is *policy.Problems and tells everything that
// is wrong, except that a mistake in the YAML itself ends the reading.
func Parse(filename string, source []byte) (*Rules, error) {
	p := &parsing{policy.NewReader(source), &Rules{source: slices.Clone(source), digest: policy.Digest(source)}}
	if members, root := p.Document(docKind, "spec"); root != nil {
		if spec := members["spec"]; spec == nil {
			p.Missing(root, "", "spec", "rules")
		} else {
			p.spec(spec)
		}
	}
	if err := p.Err(filename); err != nil {
		return nil, err
	}
	return p.out, nil
}

func (p *parsing) spec(n *yaml.Node) {
	m := p.Members(n, "spec", "rules", "changes")
	if n.Kind != yaml.MappingNode {
		return
	}
	rules := m["rules"]
	if rules == nil {
		p.Missing(n, "spec", "rules", "a list of at least one rule")
		return
	}
	items := p.Items(rules, "spec.rules", MaxRules)
	if rules.Kind == yaml.SequenceNode && len(rules.Content) == 0 {
		p.Problem(rules, "spec.rules", policy.Problem{Message: "there is no rule", Expected: "at least one; to have no rules, retire them"})
	}
	most := 1 // who alone may lift what is immutable?
	for i, item := range items {
		rule := p.rule(item, fmt.Sprintf("spec.rules[%d]", i))
		most = max(most, rule.Approvals)
		p.out.rules = append(p.out.rules, rule)
	}
	p.changes(m["changes"], most)
}

func (p *parsing) rule(n *yaml.Node, path string) Rule {
	r := Rule{Rollback: DefaultRollback, Expires: DefaultExpires}
	m := p.Members(n, path, "name", "policies", "secrets", "references", "approvals", "approvers", "via", "breakGlass", "rollback", "immutable", "expires")
	if n.Kind != yaml.MappingNode {
		return r
	}
	if at := m["name"]; at == nil {
		p.Missing(n, path, "name", "a name, by which messages call the rule")
	} else if r.Name, _ = p.Name(at, path+".name"); r.Name != "" {
		if r.Name == changesName || slices.ContainsFunc(p.out.rules, func(other Rule) bool { return other.Name == r.Name }) {
			p.Problem(at, path+".name", policy.Problem{Message: fmt.Sprintf("rule %q is there twice", r.Name)})
		}
	}
	r.Policies = p.globs(m["policies"], path+".policies")
	r.References = p.globs(m["references"], path+".references")
	r.Secrets = p.list(m["secrets"], path+".secrets", policy.CheckPattern)
	if m["policies"] == nil && m["secrets"] == nil && m["references"] == nil {
		p.Problem(n, path, policy.Problem{Message: "the rule covers nothing", Expected: "policies, secrets or references"})
	}
	if at := m["immutable"]; at != nil {
		if at.Kind != yaml.ScalarNode || at.Value != "true" && at.Value != "false" {
			p.Wrong(at, path+".immutable", "true or false")
		}
		r.Immutable = at.Value == "true"
	}
	if at := m["approvals"]; at == nil && !r.Immutable {
		p.Missing(n, path, "approvals", "how many persons must approve, besides the author")
	} else if at != nil {
		r.Approvals = p.number(at, path+".approvals", 1, MaxApprovals)
	}
	p.who(&r, m, path)
	if at := m["rollback"]; at != nil {
		r.Rollback = p.duration(at, path+".rollback", 0, MaxTerm)
	}
	if at := m["expires"]; at != nil {
		r.Expires = p.duration(at, path+".expires", MinExpires, MaxTerm)
	}
	return r
}

// changes reads what is asked of a change of the document; most is the largest number that one of its rules asks for.
func (p *parsing) changes(n *yaml.Node, most int) {
	r := Rule{Name: changesName, Approvals: most, Expires: DefaultExpires}
	for _, rule := range p.out.rules {
		r.Expires = min(r.Expires, rule.Expires)
	}
	if n != nil {
		m := p.Members(n, "spec.changes", "approvals", "approvers", "via", "breakGlass")
		if at := m["approvals"]; at != nil {
			if r.Approvals = p.number(at, "spec.changes.approvals", 1, MaxApprovals); r.Approvals > 0 && r.Approvals < most {
				p.Problem(at, "spec.changes.approvals", policy.Problem{
					Message:  fmt.Sprintf("%d approvals change the rules, and one of these asks for %d", r.Approvals, most),
					Expected: fmt.Sprintf("at least %d: whoever could not make a change must not be able to lift the rule either", most),
				})
			}
		}
		p.who(&r, m, "spec.changes")
	}
	p.out.changes = r
}

// who reads the members that say who counts.
func (p *parsing) who(r *Rule, m map[string]*yaml.Node, path string) {
	r.Approvers = p.list(m["approvers"], path+".approvers", func(s string) error {
		if len(s) > MaxSubject {
			return fmt.Errorf("a subject of %d bytes; at most %d", len(s), MaxSubject)
		}
		return CheckSubject(s)
	})
	r.Via = p.list(m["via"], path+".via", func(s string) error {
		if !slices.Contains(ways, s) {
			return fmt.Errorf("there is no way of authenticating %q: %s", s, strings.Join(ways, ", "))
		}
		return nil
	})
	if at := m["breakGlass"]; at != nil {
		r.BreakGlass = p.number(at, path+".breakGlass", MinBreakGlass, MaxApprovals)
	}
	at := m["approvers"]
	if at == nil || len(r.Approvers) == 0 {
		return
	}
	var persons []Person
	for _, s := range r.Approvers {
		persons = append(persons, Person{Subject: s})
	}
	if have := len(people(persons, nil)); have < max(r.Approvals, r.BreakGlass) {
		p.Problem(at, path+".approvers", policy.Problem{
			Message:  fmt.Sprintf("the list has %d persons", have),
			Expected: fmt.Sprintf("at least the %d who must approve, and one more for each who is to be an author, too", max(r.Approvals, r.BreakGlass)),
		})
	}
}

func (p *parsing) globs(n *yaml.Node, path string) []string {
	return p.list(n, path, func(text string) error {
		if name := strings.ReplaceAll(text, "*", "a"); strings.Contains(text, "**") || policy.CheckName(name) != nil {
			return fmt.Errorf("%q is not a name, nor one with * in the place of any text", text)
		}
		return nil
	})
}

// list reads a list of at least one text, each of which check accepts and is there once.
func (p *parsing) list(n *yaml.Node, path string, check func(string) error) []string {
	if n == nil {
		return nil
	}
	var out []string
	items := p.Items(n, path, MaxEntries)
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		p.Problem(n, path, policy.Problem{Message: "the list is empty", Expected: "at least one entry, or no list"})
	}
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", path, i)
		text, ok := p.Text(item, at, policy.MaxText)
		if !ok {
			continue
		}
		switch err := check(text); {
		case err != nil:
			p.Problem(item, at, policy.Problem{Message: err.Error()})
		case slices.Contains(out, text):
			p.Problem(item, at, policy.Problem{Message: fmt.Sprintf("%q is there twice", text)})
		default:
			out = append(out, text)
		}
	}
	return out
}

// number reads a whole number, written in digits.
func (p *parsing) number(n *yaml.Node, path string, least, most int) int {
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil || strconv.Itoa(v) != n.Value {
		p.Wrong(n, path, "a whole number")
		return 0
	}
	if v < least || v > most {
		p.Problem(n, path, policy.Problem{Message: fmt.Sprintf("%d is out of range", v), Expected: fmt.Sprintf("%d to %d", least, most)})
		return 0
	}
	return v
}

// duration reads a duration as Go writes it, or a number of days with a d.
func (p *parsing) duration(n *yaml.Node, path string, least, most time.Duration) time.Duration {
	d, err := time.ParseDuration(n.Value)
	if days, ok := strings.CutSuffix(n.Value, "d"); ok {
		var count uint64
		if count, err = strconv.ParseUint(days, 10, 16); err == nil {
			d = time.Duration(count) * 24 * time.Hour
		}
	}
	switch {
	case n.Kind != yaml.ScalarNode || err != nil:
		p.Wrong(n, path, "a duration such as 90m, 24h or 7d")
	case d < least || d > most:
		p.Problem(n, path, policy.Problem{Message: n.Value + " is out of range", Expected: fmt.Sprintf("%v to %v", least, most)})
	default:
		return d
	}
	return 0
}
