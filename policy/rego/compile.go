package rego

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// module is the package that a policy's module must be.
const module = "data.policy"

// Compiler compiles one module at a time. One that does not end in time cannot be ended, since the engine's compiler asks nobody; it keeps the place until it
// does, so that whoever sends such modules holds one processor at most.
type Compiler struct {
	place chan struct{}
}

// NewCompiler returns a Compiler. A process needs one.
func NewCompiler() *Compiler { return &Compiler{place: make(chan struct{}, 1)} }

// Compile parses, checks and compiles a module. name is for messages. What is wrong with the module is *Problems; any other error is that ctx ended, or
// ErrBusy.
func (c *Compiler) Compile(ctx context.Context, name string, source []byte, query Query) (*Policy, error) {
	if query != Allow && query != TrustClaims {
		return nil, fmt.Errorf("rego: no policy is asked for %q", query)
	}
	if wrong := measure(name, source); wrong != nil {
		return nil, wrong
	}
	limited, cancel := context.WithTimeout(ctx, CompileTime)
	defer cancel()
	select {
	case c.place <- struct{}{}:
	case <-limited.Done():
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, ErrBusy
	}
	done := make(chan compiled, 1)
	go func() {
		defer func() { <-c.place }()
		defer func() {
			if p := recover(); p != nil {
				done <- compiled{err: refuse(name, 0, 0, "the module cannot be compiled: the compiler panicked: %v", p)}
			}
		}()
		p, err := compile(name, string(source), query)
		done <- compiled{p, err}
	}()
	select {
	case got := <-done:
		return got.policy, got.err
	case <-limited.Done():
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, refuse(name, 0, 0, "compiling the module takes more than %v", CompileTime)
	}
}

// compiled is how compiling ended.
type compiled struct {
	policy *Policy
	err    error
}

// measure refuses what the parser should not see.
func measure(name string, source []byte) error {
	if len(source) > MaxSource {
		return refuse(name, 0, 0, "the module has %d bytes, over %d", len(source), MaxSource)
	}
	// Brackets in strings and comments count too: a module that needs so many there can be written otherwise.
	depth, line, column := 0, 1, 0
	for _, c := range source {
		column++
		switch c {
		case '\n':
			line, column = line+1, 0
		case '(', '[', '{':
			if depth++; depth > MaxDepth {
				return refuse(name, line, column, "brackets stand within each other more than %d deep", MaxDepth)
			}
		case ')', ']', '}':
			depth = max(0, depth-1)
		}
	}
	return nil
}

func compile(name, source string, query Query) (*Policy, error) {
	capabilities := capabilities()
	parsed, syntax, err := parse(name, source, capabilities)
	if err != nil {
		return nil, err
	}
	if parsed.Package.Path.String() != module {
		at := parsed.Package.Location
		return nil, refuse(name, at.Row, at.Col, "the package is %s: this is asked for %s, so it must be \"package policy\"",
			strings.TrimPrefix(parsed.Package.Path.String(), "data."), query)
	}
	if wrong := inspect(name, parsed); wrong != nil {
		return nil, wrong
	}
	if wrong := unfold(name, parsed); wrong != nil {
		return nil, wrong
	}
	compiler := ast.NewCompiler().WithCapabilities(capabilities).WithBuiltins(map[string]*ast.Builtin{references.Name: references}).
		WithDefaultRegoVersion(version(syntax)).SetErrorLimit(maxErrors)
	compiler.Compile(map[string]*ast.Module{name: parsed})
	if compiler.Failed() {
		return nil, problems(name, compiler.Errors)
	}
	answers := ast.MustParseRef(string(query))
	if len(compiler.GetRulesExact(answers)) == 0 {
		return nil, refuse(name, 0, 0, "the module has no rule %s", answers[len(answers)-1].Value)
	}
	if wrong := reroute(name, compiler); wrong != nil {
		return nil, wrong
	}
	body, err := compiler.QueryCompiler().Compile(ast.NewBody(ast.Equality.Expr(ast.NewTerm(answer), ast.NewTerm(answers))))
	if err != nil {
		return nil, problems(name, err)
	}
	return &Policy{
		name: name, digest: digestOf([]byte(source)), query: query, syntax: syntax, compiler: compiler, body: body, builtins: functions(),
		places: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}, nil
}

func version(s Syntax) ast.RegoVersion {
	if s == V0 {
		return ast.RegoV0
	}
	return ast.RegoV1
}

// parse reads a module as v1, else as v0. The errors are those of v1, which is what a module should be.
func parse(name, source string, capabilities *ast.Capabilities) (*ast.Module, Syntax, error) {
	m, err := ast.ParseModuleWithOpts(name, source, ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: capabilities})
	if err == nil {
		return checked(name, m, V1)
	}
	if m, err := ast.ParseModuleWithOpts(name, source, ast.ParserOptions{RegoVersion: ast.RegoV0}); err == nil {
		return checked(name, m, V0)
	}
	return nil, "", problems(name, err)
}

func checked(name string, m *ast.Module, syntax Syntax) (*ast.Module, Syntax, error) {
	if m == nil { // only blanks and comments
		return nil, "", refuse(name, 0, 0, "the module is empty")
	}
	return m, syntax, nil
}

// inspect refuses what the compiler would take and the limits cannot: numbers that are too long, and replacing anything but input.
func inspect(name string, m *ast.Module) error {
	var wrong error
	fail := func(at *ast.Location, format string, args ...any) {
		if wrong == nil && at != nil {
			wrong = refuse(name, at.Row, at.Col, format, args...)
		} else if wrong == nil {
			wrong = refuse(name, 0, 0, format, args...)
		}
	}
	ast.WalkTerms(m, func(t *ast.Term) bool {
		if n, ok := t.Value.(ast.Number); ok && !short(n) {
			fail(t.Location, "a number has more than %d digits", maxDigits)
		}
		return wrong != nil
	})
	ast.WalkWiths(m, func(w *ast.With) bool {
		target, ok := w.Target.Value.(ast.Ref)
		if v, single := w.Target.Value.(ast.Var); single {
			target, ok = ast.Ref{ast.NewTerm(v)}, true
		}
		if !ok || !target.HasPrefix(ast.InputRootRef) {
			fail(w.Location, "\"with\" may replace input and nothing else")
		}
		return wrong != nil
	})
	return wrong
}

// reroute has the compiled module call metered functions through the meter. Every call is in an expression by now; one that is not would be a way
// round it, and is refused.
func reroute(name string, compiler *ast.Compiler) error {
	var wrong error
	visit := func(x any) bool {
		switch x := x.(type) {
		case *ast.Expr:
			if !x.IsCall() {
				break
			}
			if to, ok := metered[x.Operator().String()]; ok && to.cost != nil {
				x.Terms.([]*ast.Term)[0] = ast.NewTerm(ast.Ref{ast.VarTerm(meterPrefix), ast.StringTerm(x.Operator().String())}).SetLocation(x.Location)
			}
		case ast.Call:
			wrong = refuse(name, 0, 0, "the module calls %s where it cannot be bounded", x[0])
		}
		return wrong != nil
	}
	for _, m := range compiler.Modules {
		ast.NewGenericVisitor(visit).Walk(m)
	}
	return wrong
}

// functions returns what the evaluator calls by names that it does not know.
func functions() map[string]*topdown.Builtin {
	out := map[string]*topdown.Builtin{references.Name: {Decl: references, Func: queryReference}}
	for name, f := range metered {
		if f.cost == nil {
			continue
		}
		decl := *ast.BuiltinMap[name]
		decl.CanSkipBctx = false // or the function does not learn whose meter it is
		decl.Name = ast.Ref{ast.VarTerm(meterPrefix), ast.StringTerm(name)}.String()
		out[decl.Name] = &topdown.Builtin{Decl: &decl, Func: through(topdown.GetBuiltin(name), f.cost)}
	}
	return out
}
