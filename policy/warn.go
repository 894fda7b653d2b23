package policy

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"

	"github.com/vouchsafe/vouchsafe/attest"
)

// warnings returns what is doubtful in a document that parsed.
func (r *parsing) warnings(o options) []Problem {
	var found problems
	admitted, constrained := r.admitted()
	if !constrained {
		found.add(Problem{
			Line: r.specAt.Line, Column: r.specAt.Column, Path: "spec.require",
			Message:  "no rule says which kinds of evidence are accepted, so every kind that the server verifies is",
			Expected: `a rule such as claims.kind in ["snp"]`,
		})
	}
	if constrained && len(admitted) == 0 {
		found.add(Problem{
			Line: r.specAt.Line, Column: r.specAt.Column, Path: "spec.require",
			Message:  "the rules together accept no kind of evidence, so the policy refuses everything",
			Expected: "rules that can all be true at once",
		})
	}
	if constrained {
		r.strangers(admitted, &found)
	}
	for i := range r.out.rules {
		w := &warner{parsing: r, rule: &r.out.rules[i], tree: r.trees[i], path: fmt.Sprintf("spec.require[%d].that", i), found: &found}
		w.constant()
		w.kinds(r.trees[i].Expr())
		w.patterns(r.trees[i].Expr())
		w.spelling(r.trees[i].Expr())
		if constrained {
			w.unprovable(admitted)
		}
		if o.known {
			w.references(o.references)
		}
	}
	for i, waiver := range r.out.waivers {
		found.add(Problem{
			Line: r.waiverAt[i].Line, Column: r.waiverAt[i].Column, Path: fmt.Sprintf("spec.waive[%d]", i),
			Message: fmt.Sprintf("baseline rule %s does not count for this policy: %s", waiver.Rule, waiver.Reason),
		})
	}
	if len(r.out.tests) == 0 {
		found.add(Problem{Path: "tests", Message: "the policy has no tests", Expected: "one that is allowed, and one that each rule refuses"})
	}
	return found.sorted()
}

// admitted returns the kinds that the rules together let pass, as far as rules of the plain forms claims.kind == "snp" and
// claims.kind in ["snp"] say so; constrained is false when there is no such rule.
func (r *parsing) admitted() (kinds []attest.Kind, constrained bool) {
	kinds = attest.Kinds()
	for _, tree := range r.trees {
		for _, term := range conjuncts(tree.Expr()) {
			if only, ok := kindsOf(term); ok {
				constrained = true
				kinds = slices.DeleteFunc(kinds, func(k attest.Kind) bool { return !slices.Contains(only, k) })
			}
		}
	}
	return kinds, constrained
}

// conjuncts splits a && b.
func conjuncts(e ast.Expr) []ast.Expr {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != operators.LogicalAnd {
		return []ast.Expr{e}
	}
	var out []ast.Expr
	for _, arg := range e.AsCall().Args() {
		out = append(out, conjuncts(arg)...)
	}
	return out
}

// kindsOf returns the kinds for which e holds, when e is a plain condition on claims.kind.
func kindsOf(e ast.Expr) ([]attest.Kind, bool) {
	if e.Kind() != ast.CallKind {
		return nil, false
	}
	call := e.AsCall()
	switch call.FunctionName() {
	case operators.LogicalOr:
		var out []attest.Kind
		for _, arg := range call.Args() {
			kinds, ok := kindsOf(arg)
			if !ok {
				return nil, false
			}
			out = append(out, kinds...)
		}
		return out, true
	case operators.Equals, operators.In:
		if _, literals, ok := kindComparison(call); ok {
			return literals, true
		}
	}
	return nil, false
}

// kindComparison returns the literals that claims.kind is compared with, and where they stand.
func kindComparison(call ast.CallExpr) (at []ast.Expr, kinds []attest.Kind, ok bool) {
	args := call.Args()
	if len(args) != 2 {
		return nil, nil, false
	}
	other := args[1]
	if !isKind(args[0]) {
		if other = args[0]; !isKind(args[1]) || call.FunctionName() == operators.In {
			return nil, nil, false
		}
	}
	elements := []ast.Expr{other}
	if other.Kind() == ast.ListKind {
		elements = other.AsList().Elements()
	}
	for _, element := range elements {
		if element.Kind() != ast.LiteralKind {
			return nil, nil, false
		}
		text, isText := element.AsLiteral().(types.String)
		if !isText {
			return nil, nil, false
		}
		at, kinds = append(at, element), append(kinds, attest.Kind(text))
	}
	return at, kinds, true
}

func isKind(e ast.Expr) bool {
	if e.Kind() != ast.SelectKind || e.AsSelect().FieldName() != "kind" {
		return false
	}
	operand := e.AsSelect().Operand()
	return operand.Kind() == ast.IdentKind && operand.AsIdent() == varClaims
}

// warner looks at one rule.
type warner struct {
	*parsing
	rule  *rule
	tree  *ast.AST
	path  string
	found *problems
}

// warn adds a warning at a part of the expression.
func (w *warner) warn(e ast.Expr, p Problem) {
	where := w.tree.SourceInfo().GetStartLocation(e.ID())
	offset := characterAt(w.rule.that, where.Line(), where.Column())
	trimmed := strings.TrimLeft(w.rule.node.value, " \t\r\n")
	skipped := len([]rune(w.rule.node.value)) - len([]rune(trimmed))
	p.Line, p.Column = w.rule.node.locate(w.source, offset+skipped)
	p.Path = w.path
	w.found.add(p)
}

// constant warns of a rule whose answer does not depend on anything.
func (w *warner) constant() {
	fold, err := cel.NewConstantFoldingOptimizer()
	if err != nil {
		return
	}
	optimizer, err := cel.NewStaticOptimizer(fold)
	if err != nil {
		return
	}
	// The optimizer needs the Ast of its own package, so the expression is compiled again; it is known to be good.
	checked, issues := w.language.env.Compile(w.rule.that)
	if issues.Err() != nil {
		return
	}
	folded, issues := optimizer.Optimize(w.language.env, checked)
	if issues.Err() != nil || folded.NativeRep().Expr().Kind() != ast.LiteralKind {
		return
	}
	w.warn(w.tree.Expr(), Problem{Message: fmt.Sprintf("rule %s is always %v", w.rule.name, folded.NativeRep().Expr().AsLiteral().Value())})
}

// kinds warns of a comparison with a kind that no verifier of this version proves: most likely a misspelling, and with != one that admits.
func (w *warner) kinds(root ast.Expr) {
	ast.PostOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || !slices.Contains([]string{operators.Equals, operators.NotEquals, operators.In}, e.AsCall().FunctionName()) {
			return
		}
		at, kinds, ok := kindComparison(e.AsCall())
		if !ok {
			return
		}
		var names []string
		for _, kind := range attest.Kinds() {
			names = append(names, string(kind))
		}
		for i, kind := range kinds {
			if !slices.Contains(names, string(kind)) {
				w.warn(at[i], Problem{
					Message:  fmt.Sprintf("this version verifies no evidence of kind %q", kind),
					Expected: "one of " + strings.Join(names, ", "), Nearest: nearest(string(kind), names),
				})
			}
		}
	}))
}

// patterns warns of a pattern that matches anywhere in the text.
func (w *warner) patterns(root ast.Expr) {
	ast.PostOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != overloads.Matches || len(e.AsCall().Args()) == 0 {
			return
		}
		args := e.AsCall().Args()
		literal := args[len(args)-1]
		if literal.Kind() != ast.LiteralKind {
			return
		}
		text, _ := literal.AsLiteral().(types.String)
		if !strings.HasPrefix(string(text), "^") || !strings.HasSuffix(string(text), "$") {
			w.warn(literal, Problem{Message: "the pattern matches anywhere in the text", Expected: "^ at its beginning and $ at its end"})
		}
	}))
}

// minHex is how many digits of hex are taken for a digest or identifier rather than a word: 16 bytes, as in sets of reference values.
const minHex = 32

// spelling warns of hex in upper case, which no claim is written in: equal to nothing, and with != to everything unequal.
func (w *warner) spelling(root ast.Expr) {
	ast.PostOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.LiteralKind {
			return
		}
		text, _ := e.AsLiteral().(types.String)
		lower := strings.ToLower(string(text))
		if len(text) < minHex || lower == string(text) || strings.Trim(lower, "0123456789abcdef") != "" {
			return
		}
		w.warn(e, Problem{Message: "claims are hex in lower case, so none is equal to this", Expected: seenText(lower)})
	}))
}

// unprovable warns of a claim that none of the admitted kinds can prove.
func (w *warner) unprovable(admitted []attest.Kind) {
	for _, claim := range w.rule.claims {
		if claim.kinds == nil || len(admitted) == 0 {
			continue
		}
		if !slices.ContainsFunc(admitted, func(k attest.Kind) bool { return slices.Contains(claim.kinds, k) }) {
			w.warn(w.tree.Expr(), Problem{
				Message: fmt.Sprintf("%s is proved by kinds %s, and this policy admits only %s", claim.text, proves(claim.kinds), proves(admitted)),
			})
		}
	}
}

// missingSets is the part of the warnings that a document with errors has, too: the sets that are not there.
func (r *parsing) missingSets(o options) []Problem {
	if r == nil || !o.known {
		return nil
	}
	var found problems
	for i := range r.out.rules {
		if r.trees[i] != nil {
			w := &warner{parsing: r, rule: &r.out.rules[i], tree: r.trees[i], path: fmt.Sprintf("spec.require[%d].that", i), found: &found}
			w.references(o.references)
		}
	}
	return found.sorted()
}

// references warns of sets that do not exist.
func (w *warner) references(known []string) {
	for _, name := range w.rule.references {
		if !slices.Contains(known, name) {
			w.warn(w.tree.Expr(), Problem{
				Message: fmt.Sprintf("there is no reference set %q, so the rule refuses", name), Nearest: nearest(name, known),
			})
		}
	}
}
