package policy

import (
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Request is one judgement to make.
type Request struct {
	Claims      *attest.Claims // what the evidence proved; not changed, and not kept
	Secret      string         // path of the secret asked for
	EvidenceAge time.Duration  // since the evidence was verified; negative is an error, which refuses
	Time        time.Time      // of the judgement: what expressions call now
	References  References     // reference values of the namespace; nil means there are none

	// Rego is what the namespace's Rego resource policy says of the secret, and nil where none is active. It is called at most once, and only where
	// a policy guards the secret. It joins the results as one policy more: all must allow.
	Rego func() Result
}

// References finds named sets of reference values.
type References interface {
	// Lookup returns the values of the set that count at the given time; false when there is no such set, or none of its values is active.
	Lookup(name string, at time.Time) (Values, bool)
}

// Values is a set of reference values.
type Values interface {
	// Contains reports whether value is in the set, in time that does not depend on the set's size.
	Contains(value string) bool
}

// Match is a reference value that evidence was found equal to.
type Match struct {
	Set    string  `json:"set"`
	Value  string  `json:"value"`
	Origin *Origin `json:"origin,omitempty"` // of a value that was imported with a signed statement
}

// Outcome is the result of one rule.
type Outcome string

// The outcomes of a rule. Only pass and waived let a secret go.
const (
	Pass   Outcome = "pass"
	Fail   Outcome = "fail"   // the expression is false
	Error  Outcome = "error"  // the expression could not be evaluated: a claim is absent, a reference set is unknown, it cost too much
	Waived Outcome = "waived" // a rule of the baseline failed, and the policy waives it
)

// refuses reports whether a rule of this outcome keeps a secret back.
func (o Outcome) refuses() bool { return o != Pass && o != Waived }

// Result is what one policy says, for the record of the decision.
type Result struct {
	Policy  string       `json:"policy"`
	Version uint64       `json:"version"`
	Digest  string       `json:"digest"` // of the policy's source
	Allow   bool         `json:"allow"`
	Rules   []RuleResult `json:"rules"` // the baseline's, the evidence age, Rego where it is required, then the policy's own in the order written
}

// RuleResult is what one rule says.
type RuleResult struct {
	Rule    string  `json:"rule"` // baseline.no-debug, release.max-evidence-age, or the plain name of the policy's own rule
	That    string  `json:"that"` // the expression, or what a built-in rule demands
	Outcome Outcome `json:"outcome"`
	Message string  `json:"message,omitempty"` // why it failed: the policy's own message, the built-in rule's, or the error
	Reason  string  `json:"reason,omitempty"`  // why it is waived
	Saw     Seen    `json:"saw,omitempty"`     // the values it names; a JSON object by path
}

// evidenceAgeRule is the built-in rule that release.maxEvidenceAge makes.
const evidenceAgeRule = "release.max-evidence-age"

// evaluation is one request under judgement, by one policy or several. It is the activation that expressions are evaluated in.
type evaluation struct {
	Request
	builtIn [len(baseline)]RuleResult
	matched []Match
	bare    bool // without what only a record needs: what rules saw, the text of errors, the values that matched
	tracing bool // with the values that were not found, for a diagnosis
	missed  []Match
	rego    *Result // what Request.Rego said; nil where there is none
}

// newEvaluation judges the request by the baseline, which is the same for every policy but for waivers.
func newEvaluation(req Request) *evaluation {
	e := &evaluation{Request: req}
	e.judgeBaseline()
	return e
}

func (e *evaluation) judgeBaseline() {
	if e.Claims == nil {
		e.Claims = new(attest.Claims) // proves nothing: every rule that matters fails
	}
	paths, err := baselinePaths()
	for i := range baseline {
		rule, result := &baseline[i], &e.builtIn[i]
		*result = RuleResult{Rule: baselineNames[i], That: rule.demands, Outcome: Pass, Saw: e.saw(paths[i], nil)}
		if err != nil {
			result.Outcome, result.Message = Error, err.Error()
		} else if why := rule.violation(e.Claims); why != "" {
			result.Outcome, result.Message = Fail, why
		}
	}
	if e.Rego != nil {
		said := e.Rego()
		e.rego = &said
	}
}

// onlyStale reports whether nothing refuses but the age of the evidence.
func (r *Result) onlyStale() bool {
	for i := range r.Rules {
		outcome := r.Rules[i].Outcome
		if outcome.refuses() && (r.Rules[i].Rule != evidenceAgeRule || outcome != Fail) {
			return false
		}
	}
	return !r.Allow
}

// Evaluate judges a request by this policy. It does not ask whether the policy guards the request's secret: [Set.Judge] does.
// Every rule is evaluated, also after one has failed. It never panics and never allows what it could not evaluate.
func (p *Policy) Evaluate(req Request) Result { return p.evaluate(newEvaluation(req), nil) }

// evaluate judges by this policy. The results of its rules take the place of what is in rules, where there is space.
func (p *Policy) evaluate(e *evaluation, rules []RuleResult) Result {
	result := Result{Policy: p.name, Digest: p.digest, Allow: true, Rules: slices.Grow(rules[:0], len(baseline)+2+len(p.rules))}
	result.Rules = append(result.Rules, e.builtIn[:]...)
	for i := range result.Rules {
		if rule, reason := &result.Rules[i], p.waived[i]; reason != "" && rule.Outcome == Fail {
			rule.Outcome, rule.Reason = Waived, reason
		}
	}
	result.Rules = append(result.Rules, e.evidenceAge(p))
	if p.rego {
		result.Rules = append(result.Rules, e.needsRego())
	}
	for i := range p.rules {
		result.Rules = append(result.Rules, p.rules[i].evaluate(e))
	}
	for i := range result.Rules {
		if result.Rules[i].Outcome.refuses() {
			result.Allow = false
		}
	}
	return result
}

// regoRule is the built-in rule that spec.rego makes.
const regoRule = "rego.required"

// needsRego judges by the Rego resource policy. Where none is active, what relies on it is refused: retiring it must not allow what it kept back.
func (e *evaluation) needsRego() RuleResult {
	result := RuleResult{Rule: regoRule, That: "the namespace's Rego resource policy allows", Outcome: Pass}
	switch {
	case e.rego == nil:
		result.Outcome, result.Message = Error, "the namespace has no active Rego resource policy"
	case !e.rego.Allow:
		result.Outcome, result.Message = Fail, "the Rego resource policy refuses"
	}
	return result
}

func (e *evaluation) evidenceAge(p *Policy) RuleResult {
	result := RuleResult{Rule: evidenceAgeRule, That: p.ageDemand, Outcome: Pass, Saw: e.saw(nil, ageOnly)}
	switch {
	case e.EvidenceAge < 0:
		result.Outcome, result.Message = Error, "the evidence was verified after the time of the judgement"
	case e.EvidenceAge > p.terms.MaxEvidenceAge:
		result.Outcome, result.Message = Fail, "the evidence is older than the policy accepts"
	}
	return result
}

var ageOnly = []string{varEvidenceAge}

func (r *rule) evaluate(e *evaluation) RuleResult {
	result := RuleResult{Rule: r.name, That: r.that, Outcome: Error, Saw: e.saw(r.claims, r.variables)}
	value, _, err := r.program.Eval(e)
	switch {
	case err != nil:
		if !e.bare {
			result.Message = seenText(err.Error())
		}
	case value == types.True:
		result.Outcome = Pass
	case value == types.False:
		result.Outcome, result.Message = Fail, r.message
	default:
		result.Message = "the expression is neither true nor false"
	}
	return result
}

// saw reads the values that a rule names, whether or not the expression will reach them.
func (e *evaluation) saw(claims []path, variables []string) Seen {
	if e.bare || len(claims)+len(variables) == 0 {
		return nil
	}
	out := make(Seen, 0, len(claims)+len(variables))
	for _, p := range claims {
		out = append(out, SeenValue{p.text, p.read(e.Claims)})
	}
	for _, name := range variables {
		switch name {
		case varSecret:
			out = append(out, SeenValue{name, e.Secret})
		case varNow:
			out = append(out, SeenValue{name, e.Time})
		case varEvidenceAge:
			out = append(out, SeenValue{name, e.EvidenceAge.String()})
		}
	}
	return out
}

// ResolveName implements CEL's activation.
func (e *evaluation) ResolveName(name string) (any, bool) {
	switch name {
	case varClaims:
		return e.Claims, true
	case varSecret:
		return types.String(e.Secret), true
	case varNow:
		return types.Timestamp{Time: e.Time}, true
	case varEvidenceAge:
		return types.Duration{Duration: e.EvidenceAge}, true
	}
	set, ok := strings.CutPrefix(name, referenceVariable)
	if !ok {
		return nil, false
	}
	if e.References != nil {
		if values, ok := e.References.Lookup(set, e.Time); ok && values != nil {
			return &referenceSet{name: set, values: values, eval: e}, true
		}
	}
	e.miss(set, "")
	return types.NewErr("there is no reference set %q with an active value", set).(*types.Err), true
}

// Parent implements CEL's activation.
func (e *evaluation) Parent() interpreter.Activation { return nil }

// maxMatched bounds the matches of one judgement; a rule in a loop over devices could otherwise repeat them.
const maxMatched = 64

func (e *evaluation) match(set string, values Values, value string) {
	if e.bare {
		return
	}
	m := Match{Set: set, Value: value}
	if origins, ok := values.(Origins); ok {
		m.Origin = origins.Origin(value)
	}
	if len(e.matched) < maxMatched && !slices.Contains(e.matched, m) {
		e.matched = append(e.matched, m)
	}
}
