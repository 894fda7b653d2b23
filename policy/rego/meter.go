package rego

import (
	"runtime/metrics"
	"strings"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// meterPrefix is what the names of metered functions begin with once a module is compiled.
const meterPrefix = "metered"

// meter bounds one evaluation. It is what the evaluator asks whether it was cancelled, before each expression; counting that is counting steps.
type meter struct {
	references func(string) any
	cancelled  atomic.Bool
	steps      atomic.Int64 // an evaluation is in one goroutine, but for who cancels it
	bytes      int64
	allocated  uint64                // by the process, when the evaluation was first found long
	spent      atomic.Pointer[error] // which limit ended the evaluation
}

// Cancel implements topdown.Cancel.
func (m *meter) Cancel() { m.cancelled.Store(true) }

// Cancelled implements topdown.Cancel.
func (m *meter) Cancelled() bool {
	switch n := m.steps.Add(1); {
	case n > MaxSteps:
		m.end(ErrSteps)
	case n%64 == 0 && n >= 1024:
		m.watch()
	}
	return m.cancelled.Load()
}

// maxAllocated is what the whole process may allocate while one evaluation is at more than its first 1024 steps, in bytes: what evaluations keep cannot be told
// apart from what they and others drop. An evaluation of so many steps that meets it is one that makes very much.
const maxAllocated = 512 << 20

// watch ends an evaluation that makes too much.
func (m *meter) watch() {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return
	}
	now := sample[0].Value.Uint64()
	if m.allocated == 0 {
		m.allocated = now
	}
	if now-m.allocated > maxAllocated {
		m.end(ErrSize)
	}
}

func (m *meter) end(err error) {
	m.spent.CompareAndSwap(nil, &err)
	m.cancelled.Store(true)
}

// estimate bounds what a call makes or costs, in bytes, before it is made. tooMuch is a bound that no budget covers.
type estimate func(operands []*ast.Term) int64

const tooMuch = int64(1) << 40

// through returns f behind the meter.
func through(f topdown.BuiltinFunc, cost estimate) topdown.BuiltinFunc {
	return func(b topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
		m := b.Cancel.(*meter)
		if m.bytes += cost(operands); m.bytes > MaxBytes {
			m.end(ErrSize)
			return topdown.Halt{Err: ErrSize}
		}
		return f(b, operands, iter)
	}
}

func queryReference(b topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
	m := b.Cancel.(*meter)
	id, ok := operands[0].Value.(ast.String)
	if !ok {
		return iter(ast.NullTerm())
	}
	var value any
	if m.references != nil {
		value = m.references(string(id))
	}
	term, err := ast.InterfaceToValue(value)
	if err != nil {
		return topdown.Halt{Err: err}
	}
	return iter(ast.NewTerm(term))
}

// scalar is what a value without parts counts, beside its text.
const scalar = 16

// size walks a value and returns its bytes, roughly. What stands in it twice counts twice, so the walk ends once it is over the budget.
func size(v ast.Value, left int64) int64 {
	total := int64(scalar)
	part := func(t *ast.Term) bool {
		total += size(t.Value, left-total)
		return total > left
	}
	switch v := v.(type) {
	case ast.String:
		total += int64(len(v))
	case ast.Number:
		total += int64(len(v))
	case *ast.Array:
		v.Until(part)
	case ast.Set:
		v.Until(part)
	case ast.Object:
		v.Until(func(k, v *ast.Term) bool { return part(k) || part(v) })
	}
	return total
}

// sizes is the estimate of what makes no more than its operands together, or compares them.
func sizes(operands []*ast.Term) int64 {
	var total int64
	for _, o := range operands {
		switch v := o.Value.(type) {
		case ast.Boolean, ast.Null:
		case ast.Number:
			if !short(v) {
				return tooMuch
			}
		case ast.String:
			total += int64(len(v)) / 8 // is compared and copied at once
		default:
			if total += size(v, MaxBytes); total > MaxBytes {
				return tooMuch
			}
		}
	}
	return total
}

// whole is the size of each operand, and of all.
func whole(operands []*ast.Term) (each []int64, total int64) {
	for _, o := range operands {
		s := size(o.Value, MaxBytes)
		each = append(each, s)
		total += s
	}
	return each, total
}

// products is the estimate of what may put one of its operands in many places of another: that of the two largest multiplied, in units of
// which an element has one and a text one for each byte.
func products(operands []*ast.Term) int64 {
	if len(operands) == 1 {
		return sizes(operands)
	}
	var first, second int64 = 1, 1
	for _, o := range operands {
		s := max(1, size(o.Value, MaxBytes)-scalar)
		if s > MaxBytes {
			return tooMuch
		}
		if s > first {
			first, second = s, first
		} else {
			second = max(second, s)
		}
	}
	return first*second/8 + first
}

// parts is the estimate of what makes a value of each byte.
func parts(operands []*ast.Term) int64 {
	_, total := whole(operands)
	return total * 8
}

// maxPattern bounds a regular expression or glob in bytes: compiling one costs more than its length.
const maxPattern = 1024

// patterns is the estimate of matching: every pattern's length by the text's. The engine keeps compiled ones for all policies, and they are small.
func patterns(operands []*ast.Term) int64 {
	if len(operands) > 0 {
		if p, ok := operands[0].Value.(ast.String); ok && (len(p) > maxPattern || repeats(string(p)) > maxPattern) {
			return tooMuch
		}
	}
	return products(operands)
}

// repeats bounds how often counted repetitions repeat what they stand for, all of them within each other: the regexp package refuses over 1000 of one.
func repeats(pattern string) int {
	product := 1
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '{' {
			continue
		}
		n, most := 0, 0
		for i++; i < len(pattern) && pattern[i] != '}'; i++ {
			if c := pattern[i]; c >= '0' && c <= '9' && n < 10_000 {
				n = 10*n + int(c-'0')
			} else {
				n = 0
			}
			most = max(most, n)
		}
		if product *= max(1, most); product > maxPattern {
			break
		}
	}
	return product
}

// formats is the estimate of sprintf: each verb may print the largest argument, and as many blanks as its width, which may be a number in the text only.
func formats(operands []*ast.Term) int64 {
	text, ok := operands[0].Value.(ast.String)
	if !ok {
		return sizes(operands)
	}
	_, total := whole(operands)
	verbs := int64(strings.Count(string(text), "%"))
	digits, width := 0, int64(0)
	for i := range len(text) {
		switch c := text[i]; {
		case c == '*':
			return tooMuch
		case c >= '0' && c <= '9':
			if digits++; digits > 3 {
				return tooMuch // a longer number that is no width can be an argument
			}
			width = 1000
		default:
			digits = 0
		}
	}
	return total + verbs*(width+total)
}

// numbers is the estimate of arithmetic: nothing, unless a number is too long.
func numbers(operands []*ast.Term) int64 {
	for _, o := range operands {
		switch v := o.Value.(type) {
		case ast.Number:
			if !short(v) {
				return tooMuch
			}
		case ast.String:
			if len(v) > maxDigits || !short(ast.Number(v)) {
				return tooMuch
			}
		case *ast.Array:
			if v.Until(func(t *ast.Term) bool { n, ok := t.Value.(ast.Number); return ok && !short(n) }) || v.Len() > maxDigits*10 {
				return tooMuch
			}
		case ast.Set:
			if v.Until(func(t *ast.Term) bool { n, ok := t.Value.(ast.Number); return ok && !short(n) }) || v.Len() > maxDigits*10 {
				return tooMuch
			}
		}
	}
	return scalar
}

// maxShift is the most places that a number may be shifted.
const maxShift = 512

func shifts(operands []*ast.Term) int64 {
	if n, ok := operands[1].Value.(ast.Number); ok {
		if places, ok := n.Int(); !ok || places > maxShift {
			return tooMuch
		}
	}
	return numbers(operands)
}

// short reports whether a number has few digits, and an exponent that adds few.
func short(n ast.Number) bool {
	if len(n) > maxDigits {
		return false
	}
	i := strings.IndexAny(string(n), "eE")
	if i < 0 {
		return true
	}
	exponent := 0
	for _, c := range strings.TrimLeft(string(n[i+1:]), "+-") {
		if c < '0' || c > '9' {
			return true // no number, or in hex: then it has no exponent
		}
		if exponent = 10*exponent + int(c-'0'); exponent > maxDigits {
			return false
		}
	}
	return true
}
