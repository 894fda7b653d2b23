package rego

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"
)

// maxUnfolded bounds how many parts a structure of a module has when what it is built of is written out. The evaluator writes structures out in one step, which
// nothing ends, and forty lines, each of which names the one before twice, are 2⁴⁰ parts. Policies of the field have some hundred.
const maxUnfolded = 1 << 14

// weight is how many parts a value has, as constant + factor × the parts of the function's arguments.
type weight struct{ constant, factor float64 }

func (w weight) plus(o weight) weight { return weight{w.constant + o.constant, w.factor + o.factor} }

func (w weight) most(o weight) weight {
	return weight{max(w.constant, o.constant), max(w.factor, o.factor)}
}

// one is the weight of what has no parts.
var one = weight{1, 0}

// unfolding estimates weights in a module as it was parsed. It errs on the side of more.
type unfolding struct {
	rules   map[string][]*ast.Rule
	known   map[string]weight
	heavy   *ast.Location // of the first thing that is too large
	visited map[string]bool
}

// unfold refuses a module that builds structures which are too large when written out.
func unfold(name string, m *ast.Module) error {
	u := &unfolding{rules: map[string][]*ast.Rule{}, known: map[string]weight{}, visited: map[string]bool{}}
	for _, r := range m.Rules {
		for ; r != nil; r = r.Else {
			u.rules[string(r.Head.Name)] = append(u.rules[string(r.Head.Name)], r)
		}
	}
	for rule := range u.rules {
		u.rule(rule)
	}
	if u.heavy != nil {
		return refuse(name, u.heavy.Row, u.heavy.Col, "written out, this has over %d parts, because what it is built of is named again and again", maxUnfolded)
	}
	return nil
}

// rule returns the weight of a rule's value. The compiler refuses recursion, so what comes back to itself here is a name used twice.
func (u *unfolding) rule(name string) weight {
	if w, ok := u.known[name]; ok {
		return w
	}
	if u.visited[name] {
		return one
	}
	u.visited[name] = true
	w := one
	for _, r := range u.rules[name] {
		w = w.most(u.scope(r))
	}
	u.known[name] = w
	return w
}

// scope is the local variables of one rule.
type scope struct {
	*unfolding
	parameters  map[ast.Var]bool
	definitions map[ast.Var][]*ast.Term
	known       map[ast.Var]weight
	open        map[ast.Var]bool
}

// scope returns the weight of the value of one definition of a rule, having looked at everything in it.
func (u *unfolding) scope(r *ast.Rule) weight {
	s := &scope{u, map[ast.Var]bool{}, map[ast.Var][]*ast.Term{}, map[ast.Var]weight{}, map[ast.Var]bool{}}
	for _, a := range r.Head.Args {
		ast.WalkVars(a, func(v ast.Var) bool { s.parameters[v] = true; return false })
	}
	ast.WalkExprs(r, s.define)
	look := func(t *ast.Term) weight {
		if t == nil {
			return weight{}
		}
		return s.term(t)
	}
	ast.WalkExprs(r, func(e *ast.Expr) bool {
		switch terms := e.Terms.(type) {
		case *ast.Term:
			look(terms)
		case []*ast.Term:
			for _, t := range terms[1:] {
				look(t)
			}
		}
		return false
	})
	return look(r.Head.Value).plus(look(r.Head.Key))
}

// define notes what the variables of an expression may stand for: each side of an equation for those of the other, and a call for its operands, of which
// the last may be its result.
func (s *scope) define(e *ast.Expr) bool {
	note := func(variables, value *ast.Term) {
		ast.WalkVars(variables, func(v ast.Var) bool {
			s.definitions[v] = append(s.definitions[v], value)
			return false
		})
	}
	switch terms := e.Terms.(type) {
	case []*ast.Term:
		if (e.IsEquality() || e.IsAssignment()) && len(terms) == 3 {
			note(terms[1], terms[2])
			if e.IsEquality() {
				note(terms[2], terms[1])
			}
			return false
		}
		if len(terms) > 1 {
			if last := terms[len(terms)-1]; isVar(last) {
				note(last, ast.NewTerm(ast.Call(terms[:len(terms)-1])))
			}
		}
	case *ast.SomeDecl:
		for _, symbol := range terms.Symbols { // "some x in y" is a call of member
			if call, ok := symbol.Value.(ast.Call); ok && len(call) > 2 {
				for _, t := range call[1 : len(call)-1] {
					note(t, call[len(call)-1])
				}
			}
		}
	}
	return false
}

func isVar(t *ast.Term) bool { _, ok := t.Value.(ast.Var); return ok }

func (s *scope) variable(v ast.Var) weight {
	switch {
	case s.parameters[v]:
		return weight{0, 1}
	case s.definitions[v] == nil:
		if s.rules[string(v)] != nil {
			return s.rule(string(v))
		}
		return one
	case s.open[v]:
		return one
	}
	if w, ok := s.known[v]; ok {
		return w
	}
	s.open[v] = true
	w := one
	for _, t := range s.definitions[v] {
		w = w.most(s.term(t))
	}
	s.open[v] = false
	s.known[v] = w
	return w
}

// term returns the weight of a term's value, and notes it when it is too much.
func (s *scope) term(t *ast.Term) weight {
	w := s.weigh(t)
	if w.constant+w.factor > maxUnfolded && s.heavy == nil && t.Location != nil {
		s.heavy = t.Location
	}
	return w
}

func (s *scope) weigh(t *ast.Term) weight {
	switch v := t.Value.(type) {
	case ast.Var:
		return s.variable(v)
	case ast.Ref:
		if rule := localRule(v); rule != "" {
			return s.rule(rule)
		}
		return s.term(v[0])
	case ast.Call:
		return s.call(v)
	case *ast.Array:
		w := one
		v.Foreach(func(t *ast.Term) { w = w.plus(s.term(t)) })
		return w
	case ast.Set:
		w := one
		v.Foreach(func(t *ast.Term) { w = w.plus(s.term(t)) })
		return w
	case ast.Object:
		w := one
		v.Foreach(func(k, v *ast.Term) { w = w.plus(s.term(k)).plus(s.term(v)) })
		return w
	case *ast.ArrayComprehension: // how many elements there are, the steps bound
		return one.plus(s.term(v.Term))
	case *ast.SetComprehension:
		return one.plus(s.term(v.Term))
	case *ast.ObjectComprehension:
		return one.plus(s.term(v.Key)).plus(s.term(v.Value))
	}
	return one
}

func (s *scope) call(c ast.Call) weight {
	arguments := one
	for _, t := range c[1:] {
		arguments = arguments.plus(s.term(t))
	}
	name := ""
	if ref, ok := c[0].Value.(ast.Ref); ok {
		if name = localRule(ref); name == "" && len(ref) == 1 {
			if v, ok := ref[0].Value.(ast.Var); ok {
				name = string(v)
			}
		}
	}
	if s.rules[name] == nil { // a built-in function, which the meter bounds
		if b := ast.BuiltinMap[c[0].String()]; b != nil {
			switch b.Decl.Result().(type) {
			case types.Boolean, types.Number, types.String:
				return one
			}
		}
		return arguments
	}
	f := s.rule(name)
	return weight{f.constant + f.factor*arguments.constant, f.factor * arguments.factor}
}

// localRule returns the rule that data.policy.NAME is, or "".
func localRule(ref ast.Ref) string {
	if len(ref) < 3 || !ref[0].Equal(ast.DefaultRootDocument) || !ref[1].Equal(ast.StringTerm("policy")) {
		return ""
	}
	name, _ := ref[2].Value.(ast.String)
	return string(name)
}
