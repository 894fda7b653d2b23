package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// Test is one embedded test: claims, and what the policy must say of them.
type Test struct {
	Name        string
	Allow       bool          // expect: allow or deny
	By          string        // the rule that must be among those that refuse; "" for any
	Secret      string        // path asked for; an example of the first pattern where the document names none
	Time        time.Time     // of the judgement; TestTime where the document names none
	EvidenceAge time.Duration // 0 where the document names none
	Rego        string        // what the Rego resource policy says: allow or deny, "" where the document names none, and none is active

	references map[string][]string
	file       string         // a file of claims, or ""
	values     map[string]any // claims written out, or nil
	set        []assignment   // in the order written
	line       int
}

// assignment sets or removes one claim.
type assignment struct {
	path   path
	value  any
	remove bool
}

// TestTime is the time of a test that names none. It is fixed, so that a test says the same on every day.
var TestTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// TestResult is the outcome of one embedded test.
type TestResult struct {
	Name   string `json:"name"`
	Line   int    `json:"line"` // of the test in the document
	Pass   bool   `json:"pass"`
	Detail string `json:"detail,omitempty"` // why it did not pass
	Result Result `json:"result"`           // what the policy said; zero when the claims could not be read
}

// maxClaimsFile bounds a file of claims in bytes: far above what verifiers make.
const maxClaimsFile = 1 << 20

// RunTests runs the embedded tests. open returns the content of a file of claims, by its name as written in the document; it decides which
// names are allowed. Such a file is JSON: the claims, {"kind":…,"claims":{…}} as "vouchsafe evidence verify" prints them, or a decision as "vouchsafe
// explain --format=json" does. Claims count as bound unless the test sets bound itself, since recorded evidence never is.
func RunTests(p *Policy, open func(name string) ([]byte, error)) []TestResult {
	return RunEach(p, p.tests, open)
}

// RunEach runs tests as RunTests does, of the policy or of a document apart from it.
func RunEach(p *Policy, tests []Test, open func(name string) ([]byte, error)) []TestResult {
	out := make([]TestResult, 0, len(tests))
	for _, test := range tests {
		out = append(out, test.run(p, open))
	}
	return out
}

func (t Test) run(p *Policy, open func(name string) ([]byte, error)) TestResult {
	result := TestResult{Name: t.Name, Line: t.line}
	claims, err := t.claims(open)
	if err != nil {
		result.Detail = err.Error()
		return result
	}
	result.Result = p.Evaluate(Request{
		Claims: claims, Secret: t.Secret, Time: t.Time, EvidenceAge: t.EvidenceAge, References: listedReferences(t.references),
		Rego: t.rego(),
	})
	var refused, told []string
	for _, rule := range result.Result.Rules {
		if rule.Outcome.refuses() {
			refused = append(refused, rule.Rule)
			told = append(told, rule.told())
		}
	}
	switch {
	case t.Allow && !result.Result.Allow:
		result.Detail = "expected allow; refused by " + strings.Join(told, ", ")
	case !t.Allow && result.Result.Allow:
		result.Detail = "expected deny; every rule allows"
	case t.By != "" && !slices.Contains(refused, t.By):
		result.Detail = fmt.Sprintf("expected deny by %s; refused by %s", t.By, strings.Join(told, ", "))
	default:
		result.Pass = true
	}
	return result
}

// told is the rule's name, and what went wrong where it could not be evaluated: a test sees seldom that on purpose.
func (r RuleResult) told() string {
	if r.Outcome == Error && r.Message != "" {
		return r.Rule + " (" + r.Message + ")"
	}
	return r.Rule
}

func (t Test) claims(open func(name string) ([]byte, error)) (*attest.Claims, error) {
	values := t.values
	if t.file != "" {
		if open == nil {
			return nil, fmt.Errorf("file %q cannot be opened here", t.file)
		}
		content, err := open(t.file)
		if err != nil {
			return nil, fmt.Errorf("file %q: %w", t.file, err)
		}
		if values, err = claimsFile(content); err != nil {
			return nil, fmt.Errorf("file %q: %w", t.file, err)
		}
		values["bound"] = true
	} else {
		values = clone(values).(map[string]any)
		if _, ok := values["bound"]; !ok {
			values["bound"] = true
		}
	}
	for _, a := range t.set {
		if err := a.apply(values); err != nil {
			return nil, err
		}
	}
	return decodeClaims(values)
}

// ReadClaims reads a file of claims in any of the forms that [RunTests] takes. Whether they are bound is as the file says.
func ReadClaims(content []byte) (*attest.Claims, error) {
	values, err := claimsFile(content)
	if err != nil {
		return nil, err
	}
	return decodeClaims(values)
}

// claimsFile reads a file of claims in any of its forms.
func claimsFile(content []byte) (map[string]any, error) {
	if len(content) > maxClaimsFile {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(content), maxClaimsFile)
	}
	var values map[string]any
	if err := strictjson.Unmarshal(content, &values); err != nil {
		return nil, fmt.Errorf("it is no JSON object: %w", err)
	}
	// Again, for whole numbers beyond what a float holds.
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		return nil, fmt.Errorf("it is no JSON object: %w", err)
	}
	if decision, ok := values["decision"].(map[string]any); ok {
		values = decision
	}
	if inner, ok := values["claims"].(map[string]any); ok {
		values = inner
	}
	if values == nil {
		return nil, errors.New("it is null")
	}
	return values, nil
}

// decodeClaims makes typed claims of JSON values, strictly.
func decodeClaims(values map[string]any) (*attest.Claims, error) {
	text, err := json.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	claims := new(attest.Claims)
	if err := strictjson.Unmarshal(text, claims); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	return claims, nil
}

// clone copies the maps of a JSON value; lists are never changed in place.
func clone(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = clone(v)
	}
	return out
}

// apply changes one claim, making the objects on its way.
func (a assignment) apply(values map[string]any) error {
	at := values
	for i, step := range a.path.steps {
		name := fmt.Sprint(step.key)
		if step.field != nil {
			name = step.field.name
		}
		if i == len(a.path.steps)-1 {
			if a.remove {
				delete(at, name)
			} else {
				at[name] = clone(a.value)
			}
			return nil
		}
		next, ok := at[name].(map[string]any)
		if !ok {
			if at[name] != nil {
				return fmt.Errorf("%s: %s is no object", a.path.text, name)
			}
			if a.remove {
				return nil
			}
			next = map[string]any{}
			at[name] = next
		}
		at = next
	}
	return nil
}

// Listed returns sets of reference values that are written out, all of whose values count.
func Listed(sets map[string][]string) References { return listedReferences(sets) }

// listedReferences are the reference sets of a test.
type listedReferences map[string][]string

type listedValues []string

func (r listedReferences) Lookup(name string, _ time.Time) (Values, bool) {
	values, ok := r[name]
	return listedValues(values), ok
}

func (v listedValues) Contains(value string) bool { return slices.Contains(v, value) }

// Limits of a test's references.
const (
	maxTestSets   = 20
	maxTestValues = 100
)

// test reads one embedded test.
func (r *parsing) test(n *yaml.Node, at string) {
	m := r.members(n, at, "name", "claims", "reference", "secret", "time", "evidenceAge", "rego", "expect", "by")
	if n.Kind != yaml.MappingNode {
		return
	}
	t := Test{line: n.Line, Time: TestTime}
	if name := m["name"]; name == nil {
		r.missing(n, at, "name", "text that says what is tested")
	} else if t.Name, _ = r.text(name, at+".name", MaxText); t.Name != "" &&
		slices.ContainsFunc(r.out.tests, func(other Test) bool { return other.Name == t.Name }) {
		r.at(name, at+".name", Problem{Message: fmt.Sprintf("test %q is there twice", seenText(t.Name))})
	}
	if n := m["rego"]; n != nil {
		t.Rego, _ = r.oneOf(n, at+".rego", "allow", "deny")
	}
	if expect := m["expect"]; expect == nil {
		r.missing(n, at, "expect", "allow or deny")
	} else {
		word, _ := r.oneOf(expect, at+".expect", "allow", "deny")
		t.Allow = word == "allow"
	}
	if claims := m["claims"]; claims == nil {
		r.missing(n, at, "claims", "file or values")
	} else {
		r.testClaims(&t, claims, at+".claims")
	}
	if sets := m["reference"]; sets != nil {
		t.references = r.testReferences(sets, at+".reference")
	}
	if by := m["by"]; by != nil {
		r.testBy(&t, by, at+".by")
	}
	if age := m["evidenceAge"]; age != nil {
		t.EvidenceAge, _ = r.duration(age, at+".evidenceAge")
	}
	if when := m["time"]; when != nil {
		parsed, err := time.Parse(time.RFC3339, when.Value)
		if err != nil {
			r.at(when, at+".time", Problem{Message: fmt.Sprintf("%q is not a time", seenText(when.Value)), Expected: "a time such as 2026-01-01T00:00:00Z"})
		}
		t.Time = parsed
	}
	if secret := m["secret"]; secret != nil {
		if text, ok := r.text(secret, at+".secret", MaxSegments*(MaxSegment+1)); ok {
			t.Secret = text
			if !r.out.Matches(text) {
				r.at(secret, at+".secret", Problem{Message: fmt.Sprintf("the policy does not guard %q", seenText(text)), Expected: "a path that spec.secrets covers"})
			}
		}
	} else if len(r.out.patterns) > 0 {
		t.Secret = r.out.patterns[0].example()
	}
	r.out.tests = append(r.out.tests, t)
}

func (r *parsing) testClaims(t *Test, n *yaml.Node, at string) {
	m := r.members(n, at, "file", "values", "set", "unset")
	if n.Kind != yaml.MappingNode {
		return
	}
	file, values := m["file"], m["values"]
	switch {
	case file != nil && values != nil:
		r.at(values, at, Problem{Message: "both file and values are there", Expected: "one of them"})
	case file != nil:
		t.file, _ = r.text(file, at+".file", MaxText)
	case values != nil:
		if parsed, ok := r.json(values, at+".values"); ok {
			t.values, ok = parsed.(map[string]any)
			if !ok {
				r.wrongType(values, at+".values", "members")
			} else if _, err := decodeClaims(t.values); err != nil {
				r.at(values, at+".values", Problem{Message: err.Error(), Expected: "members of claims"})
			}
		}
	default:
		r.missing(n, at, "file", "file or values")
	}
	if set := m["set"]; set != nil {
		for _, p := range r.pairs(set, at+".set") {
			if where, ok := r.testPath(p.key, at+".set"); ok {
				if value, ok := r.json(p.value, join(at+".set", p.key.Value)); ok {
					t.set = append(t.set, assignment{path: where, value: value})
				}
			}
		}
	}
	if unset := m["unset"]; unset != nil {
		for i, item := range r.items(unset, at+".unset", MaxRules) {
			if where, ok := r.testPath(item, fmt.Sprintf("%s.unset[%d]", at, i)); ok {
				t.set = append(t.set, assignment{path: where, remove: true})
			}
		}
	}
}

// testPath reads the path of a claim, dotted and without "claims.".
func (r *parsing) testPath(n *yaml.Node, at string) (path, bool) {
	text, ok := r.text(n, at, MaxText)
	if !ok {
		return path{}, false
	}
	p, err := r.language.schema.claimPath(text)
	if err == nil {
		return p, true
	}
	problem := Problem{Message: err.Error()}
	var unknown *unknownMember
	if errors.As(err, &unknown) {
		problem.Nearest = nearest(unknown.Name, unknown.Known)
	}
	r.at(n, at, problem)
	return path{}, false
}

func (r *parsing) testReferences(n *yaml.Node, at string) map[string][]string {
	out := map[string][]string{}
	pairs := r.pairs(n, at)
	if len(pairs) > maxTestSets {
		r.at(n, at, Problem{Message: fmt.Sprintf("there are %d sets", len(pairs)), Expected: fmt.Sprintf("at most %d", maxTestSets)})
		return nil
	}
	for _, p := range pairs {
		name, ok := r.name(p.key, at)
		if !ok {
			continue
		}
		values := []string{}
		for i, item := range r.items(p.value, join(at, name), maxTestValues) {
			if text, ok := r.text(item, fmt.Sprintf("%s[%d]", join(at, name), i), MaxText); ok {
				values = append(values, text)
			}
		}
		out[name] = values
	}
	return out
}

// rego is the Rego resource policy of a test.
func (t Test) rego() func() Result {
	if t.Rego == "" {
		return nil
	}
	return func() Result { return Result{Policy: "rego", Allow: t.Rego == "allow"} }
}

// testBy reads the rule that must refuse. A rule that cannot is a mistake in the test.
func (r *parsing) testBy(t *Test, n *yaml.Node, at string) {
	name, ok := r.text(n, at, MaxText)
	if !ok {
		return
	}
	t.By = name
	names := []string{evidenceAgeRule}
	if r.out.rego {
		names = append(names, regoRule)
	}
	for i, b := range baseline {
		if r.out.waived[i] == "" {
			names = append(names, BaselinePrefix+b.name)
		} else if name == BaselinePrefix+b.name {
			r.at(n, at, Problem{Message: fmt.Sprintf("%s is waived, so it refuses nothing", name)})
			return
		}
	}
	for _, rule := range r.out.rules {
		names = append(names, rule.name)
	}
	switch {
	case !slices.Contains(names, name):
		r.at(n, at, Problem{Message: fmt.Sprintf("there is no rule %q", seenText(name)), Nearest: nearest(name, names)})
	case t.Allow:
		r.at(n, at, Problem{Message: "a test that expects allow names a rule that refuses"})
	}
}

// References returns the names of the reference sets that the policy's rules ask, sorted.
func (p *Policy) References() []string {
	names := map[string]bool{}
	for _, rule := range p.rules {
		for _, name := range rule.references {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
