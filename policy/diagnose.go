package policy

import (
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/parser"
)

// Diagnosis says which parts of a rule refuse, for a rule that did.
type Diagnosis struct {
	Rule  string `json:"rule"`
	Parts []Part `json:"parts"` // of a rule a && b && c: a, b and c. Those that pass are there too
}

// Part is one part of a rule, all of which must hold, judged by itself.
type Part struct {
	That    string  `json:"that"` // the expression
	Outcome Outcome `json:"outcome"`
	Message string  `json:"message,omitempty"` // of an error
	Saw     Seen    `json:"saw,omitempty"`
	Missed  []Match `json:"missed,omitempty"` // values that it looked for in sets of reference values which do not hold them; "" for a set none of whose values counts
}

// Diagnose judges each part of each rule of the policy's own that refuses, by itself: a rule ends at its first part that does not hold, and a part that errs because
// an earlier one was to keep it from being reached says so by its message. The built-in rules say themselves what they demand.
func (p *Policy) Diagnose(req Request) []Diagnosis {
	l, err := theLanguage()
	if err != nil {
		return nil
	}
	var out []Diagnosis
	e := newEvaluation(req)
	e.tracing = true
	for i := range p.rules {
		rule := &p.rules[i]
		if rule.evaluate(e).Outcome == Pass {
			continue
		}
		d := Diagnosis{Rule: rule.name}
		for _, that := range l.parts(rule.that) {
			part, _, faults := l.compile(that)
			if len(faults) > 0 { // a part of what compiled compiles; if not, the whole says enough
				continue
			}
			e.missed = nil
			result := part.evaluate(e)
			d.Parts = append(d.Parts, Part{That: that, Outcome: result.Outcome, Message: result.Message, Saw: result.Saw, Missed: e.missed})
		}
		out = append(out, d)
	}
	return out
}

// parts returns the expressions that && joins at the top of one, or it alone.
func (l *language) parts(expression string) []string {
	parsed, issues := l.env.Parse(expression)
	if issues.Err() != nil {
		return []string{expression}
	}
	tree := parsed.NativeRep()
	var out []string
	for _, term := range conjuncts(tree.Expr()) {
		text, err := parser.Unparse(term, tree.SourceInfo())
		if err != nil || term.Kind() == ast.UnspecifiedExprKind {
			return []string{expression}
		}
		out = append(out, text)
	}
	return out
}

// miss notes a value that a set does not hold.
func (e *evaluation) miss(set, value string) {
	if !e.tracing {
		return
	}
	m := Match{Set: set, Value: seenText(value)}
	if len(e.missed) < maxMatched && !slices.Contains(e.missed, m) {
		e.missed = append(e.missed, m)
	}
}
