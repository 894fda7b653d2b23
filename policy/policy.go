package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// Limits of a document. They are far above what policies need and bound what one costs to parse, keep and evaluate.
const (
	// MaxSource is the largest document in bytes: some hundred rules with room for comments.
	MaxSource = 64 << 10
	// MaxDocument is the largest document of any kind in bytes: a set of reference values may be longer than a policy.
	MaxDocument = 1 << 20
	// MaxRules is the largest number of rules in one policy; the built-in baseline is not counted.
	MaxRules = 200
	// MaxPatterns is the largest number of secret patterns in one policy.
	MaxPatterns = 100
	// MaxTests is the largest number of embedded tests.
	MaxTests = 200
	// MaxText is the largest length of a description, message or reason in bytes: they are copied into records.
	MaxText = 1024
	// MaxExpression is the largest length of one expression in characters.
	MaxExpression = 4096
)

// Release terms of a policy that does not set its own.
const (
	// DefaultMaxEvidenceAge is how old evidence may be at release, from its verification: as long as an attested session lives.
	DefaultMaxEvidenceAge = 5 * time.Minute
	// DefaultLease is how long a released secret may be held before it has to be asked for again.
	DefaultLease = time.Hour
)

// MaxTerm is the longest evidence age or lease a policy may set. A longer one is as good as none.
const MaxTerm = 366 * 24 * time.Hour

// Policy is a parsed, type-checked and compiled document. It is immutable and safe for concurrent use.
type Policy struct {
	name        string
	description string
	source      []byte
	digest      string
	patterns    []pattern
	rules       []rule
	waivers     []Waiver
	waived      [len(baseline)]string // reason by index of the baseline rule, "" when it is not waived
	terms       ReleaseTerms
	ageDemand   string // what terms.MaxEvidenceAge demands, as records have it
	tests       []Test
	rego        bool // spec.rego: required
}

// Waiver says that one rule of the baseline does not count for a policy, and why.
type Waiver struct {
	Rule   string `json:"rule"`   // without the prefix: no-debug
	Reason string `json:"reason"` // never empty
}

// ReleaseTerms are the conditions under which an allowed secret is handed out.
type ReleaseTerms struct {
	MaxEvidenceAge time.Duration // age of the evidence, from its verification, above which a release is refused
	Lease          time.Duration // how long the secret may be held
}

// Name returns metadata.name: lower-case letters, digits and hyphens, 1 to 63 of them.
func (p *Policy) Name() string { return p.name }

// Description returns metadata.description.
func (p *Policy) Description() string { return p.description }

// Source returns a copy of the document exactly as it was parsed.
func (p *Policy) Source() []byte { return slices.Clone(p.source) }

// Digest returns "sha256:" and the lower-case hex SHA-256 of the exact source bytes.
func (p *Policy) Digest() string { return p.digest }

// Secrets returns the patterns of the secrets the policy guards, as written.
func (p *Policy) Secrets() []string {
	out := make([]string, len(p.patterns))
	for i, pattern := range p.patterns {
		out[i] = pattern.text
	}
	return out
}

// Matches reports whether the policy guards the secret at path. A path that [CheckPath] refuses matches nothing.
func (p *Policy) Matches(path string) bool {
	if CheckPath(path) != nil {
		return false
	}
	return slices.ContainsFunc(p.patterns, func(pattern pattern) bool { return pattern.matches(path) })
}

// Example returns the path of a secret that the policy guards: its first pattern with something in the place of each "*".
func (p *Policy) Example() string { return p.patterns[0].example() }

// Waivers returns the rules of the baseline that do not count for this policy.
func (p *Policy) Waivers() []Waiver { return slices.Clone(p.waivers) }

// NeedsRego reports whether the policy allows only what the namespace's Rego resource policy allows: spec.rego is "required".
func (p *Policy) NeedsRego() bool { return p.rego }

// Tests returns the embedded tests; [RunTests] runs them.
func (p *Policy) Tests() []Test { return slices.Clone(p.tests) }

// Release returns the release terms, the defaults filled in.
func (p *Policy) Release() ReleaseTerms { return p.terms }

func digestOf(source []byte) string {
	sum := sha256.Sum256(source)
	return "sha256:" + hex.EncodeToString(sum[:])
}
