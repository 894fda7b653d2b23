package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// rule is one compiled requirement.
type rule struct {
	name, that, message string
	program             cel.Program
	claims              []path   // the claims the expression names
	variables           []string // the other variables it names
	references          []string // the reference sets it names
	node                scalar   // where the expression stands in the document
}

// fault is something wrong in an expression, at a character of it.
type fault struct {
	offset                     int // in characters
	message, expected, nearest string
}

// compile parses, checks and plans an expression. Faults are everything wrong with it; the checked tree is returned for [Check].
func (l *language) compile(expression string) (rule, *ast.AST, []fault) {
	c := &compiler{language: l, rule: rule{that: expression}}
	parsed, issues := l.env.Parse(expression)
	if issues.Err() != nil {
		return rule{}, nil, c.report(issues)
	}
	c.source = parsed.NativeRep().SourceInfo()
	c.examine(parsed.NativeRep().Expr(), nil)
	if len(c.faults) > 0 {
		return rule{}, nil, c.faults
	}
	checked, issues := l.env.Check(parsed)
	if issues.Err() != nil {
		return rule{}, nil, c.report(issues)
	}
	tree := checked.NativeRep()
	c.source = tree.SourceInfo()
	if !checked.OutputType().IsExactType(cel.BoolType) {
		c.fault(tree.Expr(), fault{message: "the expression is of type " + checked.OutputType().String(), expected: "bool"})
		return rule{}, nil, c.faults
	}
	estimate, err := l.env.EstimateCost(checked, sizes{})
	if err != nil {
		c.faults = append(c.faults, fault{message: "the cost cannot be estimated: " + err.Error()})
		return rule{}, nil, c.faults
	}
	if estimate.Min > MaxCost {
		c.faults = append(c.faults, fault{message: fmt.Sprintf("the expression costs at least %d", estimate.Min), expected: fmt.Sprintf("at most %d", MaxCost)})
		return rule{}, nil, c.faults
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if estimate.Max > MaxCost {
		options = append(options, cel.EvalOptions(cel.OptOptimize, cel.OptTrackCost), cel.CostLimit(MaxCost))
	}
	original := ast.Copy(tree)
	c.lower(tree)
	c.program, err = l.env.PlanProgram(tree, options...)
	if err != nil {
		c.faults = append(c.faults, fault{message: "the expression cannot be planned: " + err.Error()})
		return rule{}, nil, c.faults
	}
	return c.rule, original, nil
}

type compiler struct {
	*language
	rule
	source *ast.SourceInfo
	faults []fault
}

func (c *compiler) fault(at ast.Expr, f fault) {
	where := c.source.GetStartLocation(at.ID())
	f.offset = characterAt(c.that, where.Line(), where.Column())
	c.faults = append(c.faults, f)
}

// report turns CEL's issues into faults.
func (c *compiler) report(issues *cel.Issues) []fault {
	for _, issue := range issues.Errors() {
		f := fault{message: issue.Message, offset: characterAt(c.that, issue.Location.Line(), issue.Location.Column())}
		if mismatch := overload.FindStringSubmatch(issue.Message); mismatch != nil {
			f.message, f.expected = mistyped(mismatch[1], strings.Split(mismatch[2], ", "))
		}
		c.faults = append(c.faults, f)
	}
	return c.faults
}

// overload is how CEL says that an operator or function does not take what it is given, with its own name for operators.
var overload = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '(?:[^(]*\.)?\(([^']*)\)'$`)

// mistyped says the same as a person would.
func mistyped(name string, types []string) (message, expected string) {
	operator := strings.Trim(name, "_")
	for i, t := range types {
		if t == referenceType.String() {
			types[i] = "a set of reference values"
		}
	}
	switch {
	case name == operators.Equals || name == operators.NotEquals || name == operators.Less || name == operators.LessEquals ||
		name == operators.Greater || name == operators.GreaterEquals:
		message, expected = fmt.Sprintf("%s cannot compare %s with %s", operator, types[0], types[len(types)-1]), "both sides of one type"
		if slices.Contains(types, "string") && slices.ContainsFunc(types, func(t string) bool { return t == "int" || t == "bool" }) {
			expected += "; numbers, true and false are written without quotes"
		}
	case name == operators.In:
		message, expected = fmt.Sprintf("in cannot look for %s in %s", types[0], types[len(types)-1]), "a list or set of the same type, or a map with such keys"
	case operator != name || strings.HasPrefix(name, "@") || strings.HasPrefix(name, "!") || strings.HasPrefix(name, "-"):
		message = fmt.Sprintf("%s cannot be applied to %s", strings.Trim(operator, "_"), strings.Join(types, " and "))
	default:
		message = fmt.Sprintf("%s does not take %s", name, strings.Join(types, " and "))
	}
	return message, expected
}

// characterAt returns the offset in characters of a line, from 1, and a column, from 0.
func characterAt(text string, line, column int) int {
	offset := 0
	for ; line > 1; line-- {
		before, after, ok := strings.Cut(text, "\n")
		if !ok {
			break
		}
		offset += utf8.RuneCountInString(before) + 1
		text = after
	}
	return max(offset+column, 0)
}

// examine finds, before CEL's own check, what it would say less helpfully or would accept: names that are not there, with the nearest that
// is; patterns and reference names that are not written out; objects. It collects what the expression touches on its way. bound are the
// variables of the loops around e.
func (c *compiler) examine(e ast.Expr, bound []string) {
	if p, known, ok := c.claimPath(e); ok {
		if known && len(c.claims) < maxSeenPaths && !slices.ContainsFunc(c.claims, func(q path) bool { return q.text == p.text }) {
			c.claims = append(c.claims, p)
		}
		return
	}
	switch e.Kind() {
	case ast.IdentKind:
		c.examineIdent(e, bound)
	case ast.SelectKind:
		c.examine(e.AsSelect().Operand(), bound)
	case ast.CallKind:
		c.examineCall(e, bound)
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			c.examine(element, bound)
		}
	case ast.MapKind, ast.StructKind:
		c.fault(e, fault{message: "expressions make no maps or objects"})
	case ast.ComprehensionKind:
		loop := e.AsComprehension()
		if slices.Contains(variableNames(), loop.IterVar()) {
			c.fault(e, fault{message: fmt.Sprintf("the loop's variable hides %s", loop.IterVar()), expected: "another name"})
			return
		}
		inside := append(bound[:len(bound):len(bound)], loop.IterVar(), loop.AccuVar())
		c.examine(loop.IterRange(), bound)
		c.examine(loop.AccuInit(), bound)
		c.examine(loop.LoopCondition(), inside)
		c.examine(loop.LoopStep(), inside)
		c.examine(loop.Result(), inside)
	}
}

func (c *compiler) examineIdent(e ast.Expr, bound []string) {
	name := e.AsIdent()
	if slices.Contains(bound, name) {
		return
	}
	if !slices.Contains(variableNames(), name) {
		c.fault(e, fault{
			message:  fmt.Sprintf("there is no variable %q", name),
			expected: "one of " + strings.Join(variableNames(), ", "),
			nearest:  nearest(name, variableNames()),
		})
		return
	}
	if name != varClaims && !slices.Contains(c.variables, name) {
		c.variables = append(c.variables, name)
	}
}

func (c *compiler) examineCall(e ast.Expr, bound []string) {
	call := e.AsCall()
	if known := c.functionNames(); !slices.Contains(known, call.FunctionName()) {
		c.fault(e, fault{
			message: fmt.Sprintf("there is no function %q", call.FunctionName()),
			nearest: nearest(call.FunctionName(), wordsOnly(known)),
		})
	}
	if call.IsMemberFunction() {
		c.examine(call.Target(), bound)
	}
	for _, arg := range call.Args() {
		c.examine(arg, bound)
	}
	switch call.FunctionName() {
	case fnReference:
		c.examineReference(e)
	case overloads.Matches:
		if args := call.Args(); len(args) > 0 {
			c.examinePattern(args[len(args)-1])
		}
	}
}

// examinePattern wants the pattern of matches written out: a guest that chooses it decides the answer.
func (c *compiler) examinePattern(e ast.Expr) {
	if e.Kind() != ast.LiteralKind {
		c.fault(e, fault{message: "the pattern of matches is computed", expected: "a pattern written out"})
		return
	}
	text, _ := e.AsLiteral().(types.String)
	if _, err := regexp.Compile(string(text)); err != nil {
		c.fault(e, fault{message: err.Error(), expected: "a pattern in the syntax of RE2"})
	}
}

func (c *compiler) examineReference(e ast.Expr) {
	args := e.AsCall().Args()
	name, ok := types.String(""), false
	if len(args) == 1 && args[0].Kind() == ast.LiteralKind {
		name, ok = args[0].AsLiteral().(types.String)
	}
	if !ok || CheckName(string(name)) != nil {
		c.fault(e, fault{message: "reference takes the name of a set, written out", expected: `reference("name"), ` + nameGrammar})
		return
	}
	if !slices.Contains(c.references, string(name)) {
		c.references = append(c.references, string(name))
	}
}

func (c *compiler) functionNames() []string { return append(slices.Clone(standard), fnReference) }

// wordsOnly drops operators, which nobody misspells.
func wordsOnly(names []string) []string {
	out := slices.Clone(macros)
	for _, name := range names {
		if !strings.ContainsAny(name, "_@!-") {
			out = append(out, name)
		}
	}
	return out
}

// claimPath returns the path of a chain of selections and constant indices that begins at claims. ok is false when e is none; known is false
// when it goes where there is nothing, which is then reported.
func (c *compiler) claimPath(e ast.Expr) (p path, known, ok bool) {
	var operand ast.Expr
	var key any
	switch e.Kind() {
	case ast.IdentKind:
		return path{text: varClaims}, true, e.AsIdent() == varClaims
	case ast.SelectKind:
		operand, key = e.AsSelect().Operand(), e.AsSelect().FieldName()
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != operators.Index || len(call.Args()) != 2 || call.Args()[1].Kind() != ast.LiteralKind {
			return path{}, false, false
		}
		operand = call.Args()[0]
		switch literal := call.Args()[1].AsLiteral().(type) {
		case types.String:
			key = string(literal)
		case types.Int:
			key = int(literal)
		default:
			return path{}, false, false
		}
	default:
		return path{}, false, false
	}
	p, known, ok = c.claimPath(operand)
	if !ok || !known {
		return p, false, ok
	}
	next, err := c.schema.extend(p, key)
	if err == nil {
		return next, true, true
	}
	c.unknownClaim(e, p, key, err)
	return p, false, true
}

func (c *compiler) unknownClaim(e ast.Expr, p path, key any, err error) {
	f := fault{message: err.Error()}
	if st, _ := c.schema.at(p); st != nil {
		name := fmt.Sprint(key)
		f.nearest = nearest(name, st.names)
		if f.nearest == "" {
			f.expected = "one of " + strings.Join(st.names, ", ")
		} else if next, err := c.schema.extend(p, f.nearest); err == nil && next.kinds != nil {
			f.message += "; " + next.text + " is proved by kinds " + proves(next.kinds)
		}
		// A claim of another part is the second likeliest mistake: claims.vmpl written as claims.snp.vmpl.
		if f.nearest == "" && slices.Contains(c.schema.root.names, name) {
			f.nearest, f.expected = varClaims+"."+name, ""
		}
	}
	c.fault(e, f)
}

// referenceVariable is the hidden variable that stands for reference(name). A colon is in no identifier.
const referenceVariable = "reference:"

// lower rewrites a checked tree for evaluation.
//
// CEL's && and || forgive an error on one side when the other side decides. Invariant 3 wants an expression that touches an absent claim
// to refuse, so a || b becomes a ? true : b, and a && b becomes a ? b : false: left to right, an error ends it, and what is not reached is not
// touched. Calls of reference become variables, which the evaluation resolves without a function call.
func (c *compiler) lower(tree *ast.AST) {
	factory := ast.NewExprFactory()
	next := ast.MaxID(tree)
	literal := func(v types.Bool) ast.Expr {
		next++
		tree.SetType(next, types.BoolType)
		return factory.NewLiteral(next, v)
	}
	ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		switch call.FunctionName() {
		case operators.LogicalOr, operators.LogicalAnd:
			args := call.Args()
			lowered := args[len(args)-1]
			for i := len(args) - 2; i >= 0; i-- {
				id := e.ID()
				if i > 0 {
					next++
					id = next
					tree.SetType(id, types.BoolType)
				}
				tree.SetReference(id, ast.NewFunctionReference(overloads.Conditional))
				if call.FunctionName() == operators.LogicalOr {
					lowered = factory.NewCall(id, operators.Conditional, args[i], literal(types.True), lowered)
				} else {
					lowered = factory.NewCall(id, operators.Conditional, args[i], lowered, literal(types.False))
				}
			}
			e.SetKindCase(lowered)
		case fnReference:
			name := string(call.Args()[0].AsLiteral().(types.String))
			tree.SetReference(e.ID(), ast.NewIdentReference(referenceVariable+name, nil))
			e.SetKindCase(factory.NewIdent(e.ID(), referenceVariable+name))
		}
	}))
}

// nameGrammar describes what CheckName accepts.
const nameGrammar = "1 to 63 of a-z 0-9 -, beginning and ending with a letter or digit"

// CheckName checks the name of a policy, rule, test set of references or reference set.
func CheckName(name string) error {
	ok := len(name) >= 1 && len(name) <= 63 && name[0] != '-' && name[len(name)-1] != '-'
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
	}
	if !ok {
		return fmt.Errorf("name %s is not %s", strconv.Quote(seenText(name)), nameGrammar)
	}
	return nil
}
