package policy

import (
	"slices"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// Limits of one expression.
const (
	// maxNodes bounds the syntax tree; an expression of MaxExpression characters that people write has some hundred nodes.
	maxNodes = 2000
	// maxDepth bounds recursion in the parser and in everything that walks the tree.
	maxDepth = 64
	// maxComprehensions bounds loops within loops: devices, and a list within a device.
	maxComprehensions = 2
	// maxRegexSize bounds the compiled program of a pattern, in RE2 instructions.
	maxRegexSize = 2000
	// MaxCost bounds the work of one evaluation in CEL's cost units, roughly one for each operation and each ten bytes of text compared:
	// about ten milliseconds. Expressions whose cost is proved to be smaller when they are parsed are evaluated without counting.
	MaxCost = 100_000
)

// Upper bounds of the sizes of claims, for the proof that an expression is cheap. Verifiers take digests and identifiers from fields of fixed
// width; text that the guest chooses is bounded by the size of evidence.
const (
	assumedText     = 512     // bytes of a claim of text, unless it is listed in freeText
	assumedFreeText = 1 << 20 // bytes of text that the guest chooses
	assumedItems    = 4096    // elements of a list or map of claims
)

// freeText are the members whose text the guest, or a person, chooses.
var freeText = []string{"command_line", "init_data_claims", "host", "svn", "report_data"}

// Names of the variables and the function of expressions.
const (
	varClaims      = "claims"
	varSecret      = "secret"
	varNow         = "now"
	varEvidenceAge = "evidence_age"
	fnReference    = "reference"
)

// variables are the variables of expressions, in the order of the documentation.
var variables = []struct {
	name, doc string
	cel       *types.Type
}{
	{varClaims, "what the evidence proved", types.NewObjectType(claimsType)},
	{varSecret, "path of the secret asked for", types.StringType},
	{varNow, "time of the judgement", types.TimestampType},
	{varEvidenceAge, "time since the evidence was verified", types.DurationType},
}

func variableNames() []string {
	out := make([]string, len(variables))
	for i, v := range variables {
		out[i] = v.name
	}
	return out
}

// standard are the functions of CEL's standard library that expressions have. Left out are those that take types away (dyn, type) and those
// that make binary data, which no claim holds.
var standard = []string{
	operators.Conditional, operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.NotStrictlyFalse,
	operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals,
	operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo, operators.Negate,
	operators.In, operators.Index,
	overloads.Size, overloads.Contains, overloads.StartsWith, overloads.EndsWith, overloads.Matches,
	overloads.TypeConvertInt, overloads.TypeConvertString, overloads.TypeConvertDuration, overloads.TypeConvertTimestamp,
	overloads.TimeGetFullYear, overloads.TimeGetMonth, overloads.TimeGetDayOfWeek, overloads.TimeGetHours, overloads.TimeGetMinutes,
}

// macros are the loops and the presence test. The standard map is left out: it makes values, and rules only ask.
var macros = []string{operators.Has, operators.All, operators.Exists, operators.ExistsOne, operators.Filter}

// language is what every expression is compiled with.
type language struct {
	env    *cel.Env
	schema *schema
}

// theLanguage returns the language. It is built at the first call, which takes a few milliseconds, and not changed after.
var theLanguage = sync.OnceValues(func() (*language, error) {
	schema, err := claimSchema()
	if err != nil {
		return nil, err
	}
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	subset := env.NewLibrarySubset().AddIncludedMacros(macros...)
	for _, name := range standard {
		subset.AddIncludedFunctions(env.NewFunction(name))
	}
	p := &provider{Provider: registry, base: registry, schema: schema}
	options := []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(subset)),
		cel.CustomTypeProvider(p),
		cel.CustomTypeAdapter(p),
		cel.Function(fnReference, cel.Overload("reference_string", []*cel.Type{cel.StringType}, referenceType, cel.LateFunctionBinding())),
		cel.Function(operators.In, cel.Overload("in_reference", []*cel.Type{cel.StringType, referenceType}, cel.BoolType)),
		cel.EnableHiddenAccumulatorName(true),
		cel.EnableMacroCallTracking(), // so that a part of an expression can be written out again
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(MaxExpression),
		cel.ParserRecursionLimit(maxDepth),
		cel.ExpressionNodeLimit(maxNodes),
		cel.RegexProgramSizeLimit(maxRegexSize),
		cel.ASTValidators(
			cel.ValidateDurationLiterals(),
			cel.ValidateTimestampLiterals(),
			cel.ValidateRegexLiterals(),
			cel.ValidateRegexProgramSizeLimit(maxRegexSize),
			cel.ValidateHomogeneousAggregateLiterals(),
			cel.ValidateComprehensionNestingLimit(maxComprehensions),
		),
	}
	for _, v := range variables {
		options = append(options, cel.Variable(v.name, v.cel))
	}
	e, err := cel.NewCustomEnv(options...)
	if err != nil {
		return nil, err
	}
	return &language{env: e, schema: schema}, nil
})

// sizes tells CEL's cost estimate how large claims can be.
type sizes struct{}

func (sizes) EstimateSize(element cost.AstNode) *cost.SizeEstimate {
	path := element.Path()
	if len(path) == 0 || path[0] != varClaims && path[0] != varSecret {
		return nil
	}
	most := uint64(assumedText)
	switch element.Type().Kind() {
	case types.ListKind, types.MapKind:
		most = assumedItems
	case types.StringKind:
		if slices.ContainsFunc(path, func(name string) bool { return slices.Contains(freeText, name) }) {
			most = assumedFreeText
		}
	}
	return &cost.SizeEstimate{Min: 0, Max: most}
}

func (sizes) EstimateCallCost(function, overload string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	if function == fnReference || overload == "in_reference" {
		return &cost.CallEstimate{CostEstimate: cost.CostEstimate{Min: 1, Max: 1}}
	}
	return nil
}
