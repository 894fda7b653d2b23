package rego

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Limits of policies and their evaluation. They are far above what policies in the field need: the reference server's default policies have up to 16 KiB and take
// some hundred steps.
const (
	// MaxSource is the largest module in bytes.
	MaxSource = 64 << 10
	// MaxDepth is how deep brackets may stand within each other: the parser and compiler call themselves for each.
	MaxDepth = 100
	// MaxSteps is how many expressions one evaluation may begin. The evaluator goes on where it is in its stack, so a step may hold 3 KiB of
	// stack until the end: these hold 64 MiB, and Go ends a process at 1 GiB.
	MaxSteps = 20_000
	// MaxBytes is how large what metered functions make may be in one evaluation, together, in bytes.
	MaxBytes = 4 << 20
	// CompileTime is how long compiling a module may take.
	CompileTime = 5 * time.Second
	// EvalTime is how long an evaluation may take, waiting for others of the same policy included. It is a last resort: MaxSteps ends most before.
	EvalTime = 2 * time.Second

	// grace is how long an evaluation that was told to end may take to.
	grace = time.Second
	// maxClaims bounds the claims of a vector; there are eight.
	maxClaims = 16
	// maxDigits is how many digits a number may have, with its exponent: RSA moduli do not belong into arithmetic.
	maxDigits = 400
)

// Query is what a policy is asked for.
type Query string

// The queries.
const (
	Allow       Query = "data.policy.allow"        // of a resource policy
	TrustClaims Query = "data.policy.trust_claims" // of an attestation policy
)

// Syntax is the version of the language that a module was read as.
type Syntax string

// The syntaxes.
const (
	V1 Syntax = "v1"
	V0 Syntax = "v0"
)

// Why an evaluation, or with ErrBusy a compilation, has no result. They are wrapped with what happened.
var (
	ErrUndefined = errors.New("the policy gives no answer")
	ErrAnswer    = errors.New("the policy's answer is not of the form that is asked for")
	ErrSteps     = fmt.Errorf("the policy takes more than %d steps", MaxSteps)
	ErrSize      = fmt.Errorf("the policy makes more than %d bytes, or numbers of over %d digits", MaxBytes, maxDigits)
	ErrTime      = fmt.Errorf("the policy takes more than %v", EvalTime)
	ErrStuck     = errors.New("the policy did not stop when it was told to, and is not evaluated until it does: replace it")
	ErrBusy      = errors.New("another policy is being compiled, and takes long: try again")
	ErrFailed    = errors.New("the policy could not be evaluated")
)

// Policy is a compiled module. It is safe for concurrent use, and does not change but for being stuck.
type Policy struct {
	name     string
	digest   string
	query    Query
	syntax   Syntax
	compiler *ast.Compiler
	body     ast.Body
	builtins map[string]*topdown.Builtin
	places   chan struct{} // of evaluations at once: as many as there are processors
	stuck    atomic.Int64  // evaluations that nobody waits for any more
}

// Name returns the name that the policy was compiled under.
func (p *Policy) Name() string { return p.name }

// Digest returns "sha256:" and the lower-case hex SHA-256 of the exact source bytes.
func (p *Policy) Digest() string { return p.digest }

// Syntax returns which version of the language the module was read as.
func (p *Policy) Syntax() Syntax { return p.syntax }

// Request is what a policy is evaluated on.
type Request struct {
	Input      any              // as encoding/json decodes it, with numbers as json.Number, int or float64; it is not kept
	Data       map[string]any   // the base document, of the same types
	Time       time.Time        // what time.now_ns gives
	References func(string) any // what query_reference_value gives; nil, or a nil result, is null
}

// Allows asks a resource policy. Without an error the answer is the policy's own; undefined is an error, ErrUndefined, and refuses like any other.
func (p *Policy) Allows(ctx context.Context, r Request) (bool, error) {
	if p.query != Allow {
		return false, fmt.Errorf("%w: %s is no resource policy", ErrFailed, p.name)
	}
	v, err := p.evaluate(ctx, r)
	if err != nil {
		return false, err
	}
	allow, ok := v.(ast.Boolean)
	if !ok {
		return false, fmt.Errorf("%w: allow is %s, not a boolean", ErrAnswer, ast.ValueName(v))
	}
	return bool(allow), nil
}

// TrustClaims asks an attestation policy. The claims are integers by the names that the policy gives them: at least one, and each fits a signed byte.
func (p *Policy) TrustClaims(ctx context.Context, r Request) (map[string]int, error) {
	if p.query != TrustClaims {
		return nil, fmt.Errorf("%w: %s is no attestation policy", ErrFailed, p.name)
	}
	v, err := p.evaluate(ctx, r)
	if err != nil {
		return nil, err
	}
	object, ok := v.(ast.Object)
	if !ok {
		return nil, fmt.Errorf("%w: trust_claims is %s, not an object", ErrAnswer, ast.ValueName(v))
	}
	if object.Len() == 0 || object.Len() > maxClaims {
		return nil, fmt.Errorf("%w: trust_claims has %d members, not 1 to %d", ErrAnswer, object.Len(), maxClaims)
	}
	claims := make(map[string]int, object.Len())
	err = object.Iter(func(k, v *ast.Term) error {
		name, ok := k.Value.(ast.String)
		if !ok || len(name) > 64 {
			return fmt.Errorf("%w: a member of trust_claims has no short text as its name", ErrAnswer)
		}
		number, ok := v.Value.(ast.Number)
		if !ok {
			return fmt.Errorf("%w: the claim %q is %s, not a number", ErrAnswer, string(name), ast.ValueName(v.Value))
		}
		n, ok := number.Int()
		if !ok || n < -128 || n > 127 {
			return fmt.Errorf("%w: the claim %q is not an integer from -128 to 127", ErrAnswer, string(name))
		}
		claims[string(name)] = n
		return nil
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}

// answer is the one variable of the query.
const answer = ast.Var("answer")

// result is how an evaluation ended.
type result struct {
	value ast.Value
	err   error
}

// evaluate runs the query within its limits.
func (p *Policy) evaluate(ctx context.Context, r Request) (ast.Value, error) {
	limited, cancel := context.WithTimeout(ctx, EvalTime)
	defer cancel()
	late := func() error {
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ErrFailed, ctx.Err())
		}
		return ErrTime
	}
	if p.stuck.Load() > 0 {
		return nil, ErrStuck
	}
	select {
	case p.places <- struct{}{}:
	case <-limited.Done():
		return nil, late()
	}
	m := &meter{references: r.References}
	done, left := make(chan result), make(chan struct{})
	go func() {
		got := p.guarded(limited, m, r)
		<-p.places
		select {
		case done <- got:
		case <-left:
			p.stuck.Add(-1)
		}
	}()
	select {
	case got := <-done:
		return got.value, got.err
	case <-limited.Done():
	}
	m.Cancel()
	wait := time.NewTimer(grace)
	defer wait.Stop()
	select {
	case got := <-done:
		if got.err == nil {
			return got.value, nil
		}
		return nil, late()
	case <-wait.C:
		p.stuck.Add(1)
		close(left)
		return nil, ErrStuck
	}
}

// guarded is run for what panics: a fault of the evaluator must not end the process.
func (p *Policy) guarded(ctx context.Context, m *meter, r Request) (got result) {
	defer func() {
		if recover() != nil { // what it says may hold claims
			got = result{err: fmt.Errorf("%w: the evaluator panicked", ErrFailed)}
		}
	}()
	value, err := p.run(ctx, m, r)
	return result{value, err}
}

func (p *Policy) run(ctx context.Context, m *meter, r Request) (ast.Value, error) {
	input, err := ast.InterfaceToValue(r.Input)
	if err != nil {
		return nil, fmt.Errorf("%w: the input: %w", ErrFailed, err)
	}
	data := r.Data
	if data == nil {
		data = map[string]any{}
	}
	documents := inmem.NewFromObjectWithOpts(data, inmem.OptRoundTripOnWrite(false))
	txn, err := documents.NewTransaction(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	defer documents.Abort(ctx, txn)
	query := topdown.NewQuery(p.body).WithCompiler(p.compiler).WithStore(documents).WithTransaction(txn).
		WithInput(ast.NewTerm(input)).WithTime(r.Time).WithSeed(noSeed{}).WithCancel(m).WithBuiltins(p.builtins)
	var value ast.Value
	err = query.Iter(ctx, func(q topdown.QueryResult) error {
		if t := q[answer]; t != nil {
			value = t.Value
		}
		return nil
	})
	switch {
	case m.spent.Load() != nil: // also where the evaluator made something else of it
		return nil, *m.spent.Load()
	case topdown.IsCancel(err) || ctx.Err() != nil:
		return nil, ErrTime
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrFailed, located(err))
	case value == nil:
		return nil, fmt.Errorf("%w: %s is undefined", ErrUndefined, p.query)
	}
	return value, nil
}

// noSeed is the randomness that policies get.
type noSeed struct{}

func (noSeed) Read([]byte) (int, error) { return 0, errors.New("policies have no randomness") }

// located returns an error of the evaluator as an *Error where it has a place. Its text names rules and types, and no values.
func located(err error) error {
	var e *topdown.Error
	if !errors.As(err, &e) {
		return err
	}
	out := &Error{Code: e.Code, Message: e.Message}
	if e.Location != nil {
		out.Line, out.Column = e.Location.Row, e.Location.Col
	}
	return out
}

func digestOf(source []byte) string {
	sum := sha256.Sum256(source)
	return "sha256:" + hex.EncodeToString(sum[:])
}
