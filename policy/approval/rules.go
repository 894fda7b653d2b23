package approval

import (
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/policy"
)

// Defaults of a rule, and of changes that no rule covers.
const (
	// DefaultRollback is how long what judged before may be put back by one approver: a change that stops production shows within a day.
	DefaultRollback = 24 * time.Hour
	// DefaultExpires is how long a proposal stays open: a working week with its weekend.
	DefaultExpires = 7 * 24 * time.Hour
)

// Limits of a document.
const (
	// MaxRules is the largest number of rules.
	MaxRules = 100
	// MaxEntries is the largest number of entries in each list of a rule.
	MaxEntries = 100
	// MaxApprovals is the largest number of approvals that a rule may ask for.
	MaxApprovals = 20
	// MinBreakGlass is the smallest number of persons that break-glass may need: a change that needs approval is never one person's.
	MinBreakGlass = 2
	// MaxTerm is the longest that a proposal may stay open and a rollback be possible: whoever wants longer has forgotten it.
	MaxTerm = 90 * 24 * time.Hour
	// MinExpires is the shortest that a proposal may stay open.
	MinExpires = time.Minute
	// MaxSubject is the longest subject in bytes: as long as those of package access.
	MaxSubject = 256
)

// Rules is a parsed document. It is immutable. A nil *Rules is that of a namespace without rules: it covers nothing.
type Rules struct {
	source  []byte
	digest  string
	rules   []Rule
	changes Rule // named "changes"
}

// Rule says who must agree to what it covers.
type Rule struct {
	Name       string
	Policies   []string // names, in which "*" stands for any text
	Secrets    []string // patterns of secrets, as policies have them
	References []string // names of sets of reference values, in which "*" stands for any text
	Approvals  int
	Approvers  []string // subjects that count, by their bytes; empty: all
	Via        []string // ways of authenticating that count; empty: all
	BreakGlass int      // persons; 0: not possible
	Rollback   time.Duration
	Immutable  bool
	Expires    time.Duration
}

// Source returns a copy of the document as it was written.
func (r *Rules) Source() []byte { return slices.Clone(r.source) }

// Digest returns "sha256:" and the hex SHA-256 of the source; "" of nil.
func (r *Rules) Digest() string {
	if r == nil {
		return ""
	}
	return r.digest
}

// List returns the rules, and what is asked of a change of the document.
func (r *Rules) List() (rules []Rule, changes Rule) {
	if r == nil {
		return nil, Rule{}
	}
	return slices.Clone(r.rules), r.changes
}

// Touched is what a change touches.
type Touched struct {
	Policies   []Policy // of a policy: as it judges now and as it shall; of reference values: every policy that judges by them
	References []string // names of sets
}

// Policy is one version of a policy.
type Policy struct {
	Name    string
	Secrets []string // its patterns
}

// Covering returns what is demanded of a change that touches t.
func (r *Rules) Covering(t Touched) Demand {
	var d Demand
	if r == nil {
		return d
	}
	for _, rule := range r.rules {
		if rule.covers(t) {
			d.rules = append(d.rules, rule)
		}
	}
	d.glass = d.rules
	return d
}

// OfChange returns what is demanded of a change of the rules themselves.
func (r *Rules) OfChange() Demand {
	if r == nil {
		return Demand{}
	}
	d := Demand{glass: []Rule{r.changes}}
	for _, rule := range append(slices.Clone(r.rules), r.changes) {
		rule.Immutable, rule.Rollback = false, 0
		d.rules = append(d.rules, rule)
	}
	return d
}

func (r *Rule) covers(t Touched) bool {
	for _, p := range t.Policies {
		if matchesAny(r.Policies, p.Name) {
			return true
		}
		for _, pattern := range p.Secrets {
			if slices.ContainsFunc(r.Secrets, func(mine string) bool { return policy.PatternsMeet(mine, pattern) }) {
				return true
			}
		}
	}
	return slices.ContainsFunc(t.References, func(name string) bool { return matchesAny(r.References, name) })
}

func matchesAny(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { return globMatches(g, name) })
}

// globMatches reports whether name is the glob with its stars replaced by any texts.
func globMatches(glob, name string) bool {
	parts := strings.Split(glob, "*")
	if len(parts) == 1 {
		return glob == name
	}
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}
