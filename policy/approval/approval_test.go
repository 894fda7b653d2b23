package approval

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/policy"
)

const example = `apiVersion: vouchsafe/v1
kind: ApprovalRules
spec:
  rules:
    - name: root-keys
      policies: ["root-*"]
      secrets: ["payments/root/**"]
      references: ["payments-image"]
      approvals: 2
      breakGlass: 2
      rollback: 24h
      expires: 7d
    - name: listed
      policies: [listed]
      approvals: 1
      approvers: [alice, bob]
      via: [oidc]
    - name: frozen
      policies: [frozen]
      immutable: true
  changes: {approvals: 3, breakGlass: 4}
`

func parse(t testing.TB, source string) *Rules {
	t.Helper()
	r, err := Parse("rules.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// by is an approval of the proposal "sha256:p" by a subject, whose token was made by makers.
func by(subject string, makers ...string) Approval {
	return Approval{Person: Person{subject, makers}, Via: "token", Digest: "sha256:p", Time: now.Add(-time.Minute)}
}

func caseOf(approvals ...Approval) Case {
	return Case{
		Digest: "sha256:p", Created: now.Add(-time.Hour), Now: now, Approvals: approvals,
		Authors: []Person{{Subject: "writer", Makers: []string{"boss"}}, {Subject: "proposer"}},
	}
}

// TestWhatCounts tries, for a rule that wants two approvals, what somebody who cannot get two would try.
func TestWhatCounts(t *testing.T) {
	d := parse(t, example).Covering(Touched{Policies: []Policy{{Name: "root-db"}}})
	change := func(a Approval, f func(*Approval)) Approval { f(&a); return a }
	for name, test := range map[string]struct {
		approvals []Approval
		have      int
	}{
		"nobody":                                {nil, 0},
		"two":                                   {[]Approval{by("alice"), by("bob")}, 2},
		"one twice":                             {[]Approval{by("alice"), by("alice")}, 1},
		"one by two ways":                       {[]Approval{by("alice"), change(by("alice"), func(a *Approval) { a.Via = "oidc" })}, 1},
		"one by two tokens of different makers": {[]Approval{by("alice", "x"), by("alice", "y")}, 1},
		"in capitals":                           {[]Approval{by("alice@example.com"), by("Alice@EXAMPLE.com")}, 1},
		"in full width":                         {[]Approval{by("alice"), by("ａｌｉｃｅ")}, 1},
		"with a sharp s":                        {[]Approval{by("strasse"), by("straße")}, 1},
		"composed and not":                      {[]Approval{by("josé"), by("jose\u0301")}, 1},
		"with a zero-width joiner":              {[]Approval{by("alice"), by("ali\u200dce")}, 1},
		"only a zero-width joiner":              {[]Approval{by("\u200d"), by("\u200b")}, 0},
		"no subject":                            {[]Approval{by(""), by("")}, 0},
		"blank around it":                       {[]Approval{by("alice"), by(" alice ")}, 1},
		"not UTF-8":                             {[]Approval{by("a\xff"), by("a\xfe")}, 0},
		"another alphabet is another person":    {[]Approval{by("alice"), by("аlice")}, 2},
		"the writer":                            {[]Approval{by("alice"), by("writer")}, 1},
		"the proposer":                          {[]Approval{by("alice"), by("proposer")}, 1},
		"the writer in capitals":                {[]Approval{by("alice"), by("WRITER")}, 1},
		"who made the writer's token":           {[]Approval{by("alice"), by("boss")}, 1},
		"a token of the writer's making":        {[]Approval{by("alice"), by("helper", "writer")}, 1},
		"a token of a token of the writer's making": {[]Approval{by("alice"), by("helper", "x", "writer")}, 1},
		"a token of the proposer's making":          {[]Approval{by("alice"), by("helper", "PROPOSER")}, 1},
		"a token and who made it":                   {[]Approval{by("alice"), by("bob", "alice")}, 1},
		"who made two tokens, and both":             {[]Approval{by("alice"), by("bob", "alice"), by("carol", "alice")}, 2},
		"of another proposal":                       {[]Approval{by("alice"), change(by("bob"), func(a *Approval) { a.Digest = "sha256:q" })}, 1},
		"of no proposal":                            {[]Approval{by("alice"), change(by("bob"), func(a *Approval) { a.Digest = "" })}, 1},
		"older than the proposal":                   {[]Approval{by("alice"), change(by("bob"), func(a *Approval) { a.Time = now.Add(-2 * time.Hour) })}, 1},
		"from the future":                           {[]Approval{by("alice"), change(by("bob"), func(a *Approval) { a.Time = now.Add(time.Hour) })}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			v := d.Judge(caseOf(test.approvals...))
			if v.Tallies[0].Have != test.have || v.Met != (test.have >= 2) {
				t.Errorf("%+v", v)
			}
			if len(v.Tallies[0].Not) != len(test.approvals)-test.have {
				t.Errorf("the reasons of what does not count: %v", v.Tallies[0].Not)
			}
		})
	}
	if v := d.Judge(Case{Created: now, Now: now, Approvals: []Approval{{Person: Person{Subject: "a"}}, {Person: Person{Subject: "b"}}}}); v.Met {
		t.Error("a proposal without a digest was approved by approvals without one")
	}
}

func TestListsAndWays(t *testing.T) {
	d := parse(t, example).Covering(Touched{Policies: []Policy{{Name: "listed"}}})
	for subject, via := range map[string]string{"alice": "token", "carol": "oidc", "Alice": "oidc", "ａlice": "oidc", "аlice": "oidc", "alice ": "oidc"} {
		a := by(subject)
		a.Via = via
		if d.Judge(caseOf(a)).Met {
			t.Errorf("%q by way of %s counted", subject, via)
		}
	}
	a := by("alice")
	a.Via = "oidc"
	if v := d.Judge(caseOf(a)); !v.Met {
		t.Error(v)
	}
}

// TestEveryRuleIsMetByItself has approvals that one rule accepts and another does not.
func TestEveryRuleIsMetByItself(t *testing.T) {
	d := parse(t, example).Covering(Touched{Policies: []Policy{{Name: "listed", Secrets: []string{"payments/root/a"}}}})
	if !slices.Equal(d.Rules(), []string{"root-keys", "listed"}) || d.Approvals() != 2 {
		t.Fatal(d)
	}
	alice := by("alice")
	alice.Via = "oidc"
	if v := d.Judge(caseOf(by("carol"), by("dave"))); v.Met || v.Tallies[0].Have != 2 || v.Tallies[1].Have != 0 {
		t.Errorf("%+v", v)
	}
	if v := d.Judge(caseOf(alice)); v.Met {
		t.Errorf("%+v", v)
	}
	if v := d.Judge(caseOf(alice, by("dave"))); !v.Met {
		t.Errorf("%+v", v)
	}
}

// TestCovering tries to have a change escape a rule.
func TestCovering(t *testing.T) {
	r := parse(t, example)
	for name, test := range map[string]struct {
		touched Touched
		rules   string
	}{
		"nothing":                    {Touched{}, ""},
		"another policy":             {Touched{Policies: []Policy{{"db", []string{"payments/db"}}}}, ""},
		"by name":                    {Touched{Policies: []Policy{{"root-db", []string{"x"}}}}, "root-keys"},
		"a secret of it":             {Touched{Policies: []Policy{{"db", []string{"payments/root/a"}}}}, "root-keys"},
		"a folder of it":             {Touched{Policies: []Policy{{"db", []string{"payments/root/a/**"}}}}, "root-keys"},
		"everything":                 {Touched{Policies: []Policy{{"db", []string{"**"}}}}, "root-keys"},
		"stars":                      {Touched{Policies: []Policy{{"db", []string{"*/*/*"}}}}, "root-keys"},
		"too short":                  {Touched{Policies: []Policy{{"db", []string{"payments/root"}}}}, ""},
		"moved away":                 {Touched{Policies: []Policy{{"db", []string{"payments/root/a"}}, {"db", []string{"other/a"}}}}, "root-keys"},
		"moved under it":             {Touched{Policies: []Policy{{"db", []string{"other/a"}}, {"db", []string{"other/a", "payments/root/a"}}}}, "root-keys"},
		"a set by name":              {Touched{References: []string{"payments-image"}}, "root-keys"},
		"a set that a policy uses":   {Touched{References: []string{"s"}, Policies: []Policy{{"root-db", nil}}}, "root-keys"},
		"another set":                {Touched{References: []string{"payments-images"}}, ""},
		"a name that begins alike":   {Touched{Policies: []Policy{{"root", nil}}}, ""},
		"all":                        {Touched{Policies: []Policy{{"listed", []string{"**"}}, {"frozen", nil}}}, "root-keys listed frozen"},
		"nobody's name but in order": {Touched{Policies: []Policy{{"xroot-db", nil}}}, ""},
	} {
		if got := strings.Join(r.Covering(test.touched).Rules(), " "); got != test.rules {
			t.Errorf("%s: covered by %q, not %q", name, got, test.rules)
		}
	}
	var none *Rules
	if d := none.Covering(Touched{Policies: []Policy{{"a", []string{"**"}}}}); !d.Free() || d.Rollback() != DefaultRollback || !d.Judge(caseOf()).Met || d.Glass(caseOf()).Met {
		t.Error(d)
	}
}

func TestGlobs(t *testing.T) {
	for glob, names := range map[string]string{
		"a": "a", "*": "a ab b-a", "a*": "a ab", "*b": "ab", "a*b": "ab acb", "a*b*c": "abc axbyc abbc", "*a*": "a xa ax b-a",
	} {
		for name := range strings.FieldsSeq(names) {
			if !globMatches(glob, name) {
				t.Errorf("%s does not match %s", glob, name)
			}
		}
	}
	for glob, name := range map[string]string{"a*a": "a", "ab*ba": "aba", "a*b": "abc", "a*b*c": "acb", "a": "ab", "b*": "ab"} {
		if globMatches(glob, name) {
			t.Errorf("%s matches %s", glob, name)
		}
	}
}

// TestChangesOfTheRules: whoever cannot make a change under the rules cannot lift them.
func TestChangesOfTheRules(t *testing.T) {
	d := parse(t, example).OfChange()
	if d.Immutable() != "" || d.Rollback() != 0 || d.Approvals() != 3 {
		t.Errorf("%v %v %d", d.Immutable(), d.Rollback(), d.Approvals())
	}
	oidc := by("alice")
	oidc.Via = "oidc"
	if v := d.Judge(caseOf(by("alice"), by("carol"), by("dave"))); v.Met {
		t.Error("the rule listed wants alice or bob by way of oidc, and was lifted without")
	}
	if v := d.Judge(caseOf(oidc, by("carol"))); v.Met {
		t.Error("with two approvals")
	}
	if v := d.Judge(caseOf(oidc, by("carol"), by("dave"))); !v.Met {
		t.Error(v)
	}
	alone := parse(t, "apiVersion: vouchsafe/v1\nkind: ApprovalRules\nspec: {rules: [{name: a, policies: [a], immutable: true}]}\n").OfChange()
	if alone.Approvals() != 1 || alone.Free() {
		t.Error("one person alone lifts what is immutable")
	}
}

func TestImmutable(t *testing.T) {
	d := parse(t, example).Covering(Touched{Policies: []Policy{{Name: "frozen", Secrets: []string{"payments/root/x"}}}})
	c := caseOf(by("alice"), by("bob"), by("carol"), by("dave"))
	if d.Immutable() != "frozen" || d.Free() || d.Judge(c).Met || d.Glass(c).Met {
		t.Error(d)
	}
}

func TestGlass(t *testing.T) {
	d := parse(t, example).Covering(Touched{Policies: []Policy{{Name: "root-db"}}})
	old, future := by("bob"), by("bob")
	old.Time, future.Time = now.Add(-GlassAge-time.Second), now.Add(time.Hour)
	for name, test := range map[string]struct {
		approvals []Approval
		met       bool
	}{
		"nobody":                         {nil, false},
		"the author alone":               {[]Approval{by("writer")}, false},
		"the author twice":               {[]Approval{by("writer"), by("Writer")}, false},
		"the author and another":         {[]Approval{by("writer"), by("alice")}, true},
		"the author and a token of hers": {[]Approval{by("writer"), by("alice", "writer")}, false},
		"two others":                     {[]Approval{by("alice"), by("bob")}, true},
		"one of them an hour ago":        {[]Approval{by("alice"), old}, false},
		"one of them in the future":      {[]Approval{by("alice"), future}, false},
		"two authors":                    {[]Approval{by("writer"), by("proposer")}, true},
	} {
		c := caseOf(test.approvals...)
		c.Created = now.Add(-3 * time.Hour)
		if v := d.Glass(c); v.Met != test.met {
			t.Errorf("%s: %+v", name, v)
		}
	}
	listed := parse(t, example).Covering(Touched{Policies: []Policy{{Name: "listed"}}})
	if listed.Glass(caseOf(by("alice"), by("bob"), by("carol"))).Met {
		t.Error("a rule that has no breakGlass was broken")
	}
	change := parse(t, example).OfChange()
	if !change.Glass(caseOf(by("writer"), by("a"), by("b"), by("c"))).Met || change.Glass(caseOf(by("a"), by("b"), by("c"))).Met {
		t.Error("the way out when a rule's approvers are gone")
	}
}

func TestOpen(t *testing.T) {
	d := parse(t, example).Covering(Touched{Policies: []Policy{{Name: "root-db"}}})
	for name, test := range map[string]struct {
		created time.Time
		open    bool
	}{
		"new":                              {now, true},
		"almost lapsed":                    {now.Add(-7*24*time.Hour + time.Second), true},
		"lapsed":                           {now.Add(-7 * 24 * time.Hour), false},
		"from the future, within the skew": {now.Add(Skew), true},
		"from the future":                  {now.Add(Skew + time.Second), false},
		"of no time":                       {time.Time{}, false},
	} {
		c := caseOf()
		c.Created = test.created
		if err := d.Open(c); (err == nil) != test.open {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestParseRefuses has each mistake found at its place.
func TestParseRefuses(t *testing.T) {
	head := "apiVersion: vouchsafe/v1\nkind: ApprovalRules\nspec:\n  rules:\n"
	for source, want := range map[string]string{
		"": "empty",
		"apiVersion: vouchsafe/v1\nkind: ReleasePolicy\nspec: {}\n":                                           `2:7: kind: found "ReleasePolicy"; expected ApprovalRules`,
		"apiVersion: vouchsafe/v1\nkind: ApprovalRules\n":                                                     `member "spec" is missing`,
		"apiVersion: vouchsafe/v1\nkind: ApprovalRules\nspec: {rules: []}\n":                                  "there is no rule",
		head + "    - {name: a, policies: [a]}\n":                                                             `member "approvals" is missing`,
		head + "    - {name: a, approvals: 1}\n":                                                              "the rule covers nothing",
		head + "    - {name: a, approvals: 1, policies: []}\n":                                                "the list is empty",
		head + "    - {name: a, approvals: 0, policies: [a]}\n":                                               "0 is out of range",
		head + "    - {name: a, approvals: -1, policies: [a]}\n":                                              "-1 is out of range",
		head + "    - {name: a, approvals: 1e1, policies: [a]}\n":                                             "expected a whole number",
		head + "    - {name: a, approvals: 0x2, policies: [a]}\n":                                             "expected a whole number",
		head + "    - {name: a, approvals: 99, policies: [a]}\n":                                              "99 is out of range",
		head + "    - {name: a, approvals: '2', policies: [a]}\n":                                             "expected a whole number",
		head + "    - {name: a, aprovals: 2, policies: [a]}\n":                                                `did you mean "approvals"?`,
		head + "    - {name: a, approvals: 2, approvals: 1, policies: [a]}\n":                                 "is there twice",
		head + "    - {name: a, approvals: 1, policies: [A]}\n":                                               "is not a name",
		head + "    - {name: a, approvals: 1, policies: ['**']}\n":                                            "is not a name",
		head + "    - {name: a, approvals: 1, secrets: ['a*']}\n":                                             "not a segment of its own",
		head + "    - {name: changes, approvals: 1, policies: [a]}\n":                                         "is there twice",
		head + "    - {name: a, approvals: 1, policies: [a]}\n    - {name: a, approvals: 1, policies: [b]}\n": "6:14: spec.rules[1].name: rule \"a\" is there twice",
		head + "    - {name: a, approvals: 1, policies: [a], via: [init]}\n":                                  "no way of authenticating",
		head + "    - {name: a, approvals: 2, policies: [a], approvers: [x]}\n":                               "the list has 1 persons",
		head + "    - {name: a, approvals: 2, policies: [a], approvers: [x, X]}\n":                            "the list has 1 persons",
		head + "    - {name: a, approvals: 1, policies: [a], approvers: [\"jose\u0301\"]}\n":                  "normalisation form C",
		head + "    - {name: a, approvals: 1, policies: [a], approvers: [\"a\u200db\"]}\n":                    "do not show",
		head + "    - {name: a, approvals: 1, policies: [a], breakGlass: 1}\n":                                "1 is out of range; expected 2 to 20",
		head + "    - {name: a, approvals: 1, policies: [a], rollback: -1h}\n":                                "out of range",
		head + "    - {name: a, approvals: 1, policies: [a], rollback: 99999d}\n":                             "duration",
		head + "    - {name: a, approvals: 1, policies: [a], expires: 0s}\n":                                  "out of range",
		head + "    - {name: a, approvals: 1, policies: [a], expires: 91d}\n":                                 "out of range",
		head + "    - {name: a, approvals: 1, policies: [a], immutable: yes}\n":                               "true or false",
		head + "    - {name: a, approvals: 3, policies: [a]}\n  changes: {approvals: 2}\n":                    "one of these asks for 3",
		head + "    - &x {name: a, approvals: 3, policies: [a]}\n":                                            "anchors",
		head + "    - {name: a, approvals: 1, policies: [a]}\n---\na: b\n":                                    "second document",
	} {
		_, err := Parse("rules.yaml", []byte(source))
		var problems *policy.Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n  says %v\n  and not %s", source, err, want)
		}
	}
	rules, changes := parse(t, example).List()
	if len(rules) != 3 || changes.Approvals != 3 || rules[1].Rollback != DefaultRollback || rules[0].Expires != 7*24*time.Hour {
		t.Errorf("%+v %+v", rules, changes)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(strings.ReplaceAll(example, "2", "-2")))
	f.Add([]byte("apiVersion: vouchsafe/v1\nkind: ApprovalRules\nspec: {rules: [{name: a, policies: [a], immutable: true}]}\n"))
	f.Fuzz(func(t *testing.T, source []byte) {
		r, err := Parse("f", source)
		if err != nil {
			var problems *policy.Problems
			if !errors.As(err, &problems) || len(problems.List) == 0 {
				t.Fatal(err)
			}
			return
		}
		if string(r.Source()) != string(source) || r.Digest() == "" {
			t.Fatal("it is not what was parsed")
		}
		// Whatever a document says, its change asks for a person besides the author, and for no fewer than any of its rules.
		d := r.OfChange()
		rules, _ := r.List()
		if d.Approvals() < 1 || d.Judge(caseOf()).Met || len(rules) == 0 {
			t.Fatalf("%s", source)
		}
		for _, rule := range rules {
			if rule.Approvals > d.Approvals() || !rule.Immutable && rule.Approvals < 1 {
				t.Fatalf("%+v", rule)
			}
		}
	})
}

func TestDistinct(t *testing.T) {
	alice := Person{Subject: "alice"}
	for name, test := range map[string]struct {
		a, b Person
		want bool
	}{
		"two people":                      {alice, Person{Subject: "bob"}, true},
		"one person":                      {alice, Person{Subject: "alice"}, false},
		"a token that the other made":     {alice, Person{Subject: "bob", Makers: []string{"alice"}}, false},
		"made by one that the other made": {alice, Person{Subject: "carol", Makers: []string{"bob", "alice", "init"}}, false},
		"tokens that a third made":        {Person{Subject: "alice", Makers: []string{"admin"}}, Person{Subject: "bob", Makers: []string{"admin"}}, true},
		"nobody knows who":                {alice, Person{}, false},
		"neither of two is known":         {Person{}, Person{}, false},
	} {
		if Distinct(test.a, test.b) != test.want || Distinct(test.b, test.a) != test.want {
			t.Errorf("%s: distinct is not %v", name, test.want)
		}
	}
}

func FuzzDistinct(f *testing.F) {
	for _, s := range []string{"alice", "Alice", "ａlice", "straße", "İ", "ǰ", "\u0345", "\u200d", "a\xff"} {
		f.Add(s, "alice")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if Distinct(Person{Subject: a}, Person{Subject: a}) || Distinct(Person{Subject: a}, Person{Subject: b}) != Distinct(Person{Subject: b}, Person{Subject: a}) {
			t.Fatalf("%q %q", a, b)
		}
		if again := fold(fold(a)); again != fold(a) {
			t.Fatalf("%q is folded to %q and then to %q", a, fold(a), again)
		}
		if strings.ToUpper(a) == b && fold(a) != fold(b) && fmt.Sprintf("%+q", a) == fmt.Sprintf("%q", a) {
			t.Fatalf("%q and %q are two persons", a, b)
		}
	})
}
