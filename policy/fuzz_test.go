package policy

import (
	"errors"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

func fuzzSeeds(t testing.TB) [][]byte {
	seeds := [][]byte{[]byte(good), []byte(waiveAll(document(t, tenRules...)))}
	for _, that := range []string{
		`claims.devices.exists(d, has(d.debug) && !d.debug)`, `claims.boot.command_line.matches("^a+$")`,
		`claims.kind == "tpm" ? claims.tpm.pcrs[7] in reference("images") : now - timestamp("2020-01-01T00:00:00Z") > duration("1h")`,
	} {
		seeds = append(seeds, []byte(document(t, that)))
	}
	return seeds
}

// checkDocument parses whatever it is given. A document is refused with problems that have places in it, or it is a policy; and no policy
// allows claims that prove nothing, or evidence that is not bound.
func checkDocument(t *testing.T, source []byte) {
	p, _, err := Check("fuzz.yaml", source, WithReferences([]string{"images"}))
	if err != nil {
		var problems *Problems
		if !errors.As(err, &problems) || len(problems.List) == 0 || problems.Error() == "" {
			t.Fatalf("an error that is no list of problems: %v", err)
		}
		for _, problem := range problems.List {
			if problem.Line < 0 || problem.Line > 0 && problem.Column < 1 || problem.Message == "" {
				t.Fatalf("a problem without a place or text: %+v", problem)
			}
		}
		return
	}
	if len(p.rules) == 0 || len(p.patterns) == 0 || string(p.Source()) != string(source) {
		t.Fatalf("a policy with %d rules and %d patterns", len(p.rules), len(p.patterns))
	}
	unbound := snpClaims()
	unbound.Bound = attest.Ptr(false)
	for _, claims := range []*attest.Claims{nil, {}, unbound} {
		if p.Evaluate(request(claims)).Allow {
			t.Fatalf("allowed: %+v", claims)
		}
	}
	p.Evaluate(request(snpClaims()))
	p.Evaluate(request(tpmClaims()))
	RunTests(p, func(string) ([]byte, error) { return []byte(snpFile), nil })
}

func FuzzParse(f *testing.F) {
	for _, seed := range fuzzSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(checkDocument)
}

func TestMutations(t *testing.T) { mutate.Run(t, fuzzSeeds(t), checkDocument) }

// FuzzExpression compiles expressions alone: from whole documents, most inputs die in the YAML.
func FuzzExpression(f *testing.F) {
	for _, that := range expressionSeeds() {
		f.Add(string(that))
	}
	f.Fuzz(func(t *testing.T, that string) { checkExpression(t, []byte(that)) })
}

func TestExpressionMutations(t *testing.T) { mutate.Run(t, expressionSeeds(), checkExpression) }

func expressionSeeds() [][]byte {
	seeds := [][]byte{
		[]byte(`claims.devices.exists(d, has(d.debug) && !d.debug)`),
		[]byte(`claims.kind == "tpm" ? claims.tpm.pcrs[7] in reference("images") : now - timestamp("2020-01-01T00:00:00Z") > duration("1h")`),
		[]byte(`claims.boot.boot_loaders.filter(x, x.startsWith("a")).size() == 1 || claims.init_data_claims["a"] + "b" == 'ab'`),
	}
	for _, that := range tenRules {
		seeds = append(seeds, []byte(that))
	}
	return seeds
}

// checkExpression holds that what compiles is evaluated to an outcome, that faults lie inside the text, and that the strict operators never
// turn an absent claim into consent: negating a whole expression does not turn an error into anything else.
func checkExpression(t *testing.T, that []byte) {
	l, err := theLanguage()
	if err != nil {
		t.Fatal(err)
	}
	if len(that) > MaxExpression {
		return
	}
	r, _, faults := l.compile(string(that))
	for _, f := range faults {
		if f.offset < 0 || f.message == "" {
			t.Fatalf("fault %+v", f)
		}
	}
	if len(faults) > 0 {
		return
	}
	negated, _, faults := l.compile("!(" + string(that) + "\n)")
	for _, claims := range []*attest.Claims{{}, snpClaims(), tpmClaims()} {
		e := newEvaluation(request(claims))
		got := r.evaluate(e).Outcome
		if len(faults) > 0 {
			continue // grew over a limit
		}
		opposite := negated.evaluate(e).Outcome
		if want := map[Outcome]Outcome{Pass: Fail, Fail: Pass, Error: Error}[got]; opposite != want {
			t.Fatalf("%s is %s and its negation %s", that, got, opposite)
		}
	}
}
