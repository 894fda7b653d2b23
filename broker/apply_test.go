package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// referenceDocument states a set of values that count.
func referenceDocument(name string, values ...string) string {
	list := ""
	for _, v := range values {
		list += fmt.Sprintf("\n    - value: %q", v)
	}
	if list == "" {
		list = " []"
	}
	return fmt.Sprintf("apiVersion: vouchsafe/v1\nkind: ReferenceSet\nmetadata: {name: %s}\nspec:\n  values:%s\n", name, list)
}

// asks is a policy that asks sets of reference values.
func asks(name, secrets, description string, sets ...string) string {
	that := `claims.kind == "virtual"`
	for _, set := range sets {
		that += fmt.Sprintf(` && claims.measurement in reference("%s")`, set)
	}
	return strings.Replace(document(name, secrets, that), "metadata: {name: "+name+"}", "metadata: {name: "+name+", description: "+description+"}", 1)
}

func apply(in broker.Apply, documents ...string) broker.Apply {
	for i, source := range documents {
		in.Documents = append(in.Documents, broker.Document{Filename: fmt.Sprintf("%d.yaml", i), Source: []byte(source)})
	}
	return in
}

func (o *office) applyAs(who access.Caller, in broker.Apply, documents ...string) error {
	return second(o.Apply(o.t.Context(), who, ns, apply(in, documents...)))
}

// applied applies documents and returns what was done, as lines.
func (o *office) applied(who access.Caller, in broker.Apply, documents ...string) string {
	o.t.Helper()
	r, err := o.Apply(o.t.Context(), who, ns, apply(in, documents...))
	o.must(err)
	return summary(r)
}

// entries is how many entries the logs have.
func (o *office) entries() int { return len(entriesOf(o.t, o.Broker)) }

func summary(r broker.ApplyResult) string {
	var lines []string
	for _, c := range r.Changes {
		line := fmt.Sprintf("%s %s", c.Action, c.Kind)
		if c.Name != "" {
			line += " " + c.Name
		}
		for word, there := range map[string]bool{" made": c.Made, " proposed": c.Proposal != "", " refused": c.Refused != ""} {
			if there {
				line += word
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func openPlain(t *testing.T) *office {
	o := openOffice(t, twoForRoot)
	o.must(o.ApplyPolicyAs(o.Admin, o.document("plain", "plain/*", "one")))
	return o
}

// TestApply brings three kinds of documents up, finds nothing to do the second time, changes, prunes, and says all of it beforehand.
func TestApply(t *testing.T) {
	o := openPlain(t)
	who := o.person("ci")
	policy, set := asks("app", "app/*", "one", "images"), referenceDocument("images", "a", "b")
	documents := []string{policy, set, o.document("plain", "plain/*", "one")}
	want := "create ReferenceSet images\ncreate ReleasePolicy app\nunchanged ReleasePolicy plain"
	before := o.judging()
	if got := o.applied(who, broker.Apply{DryRun: true}, documents...); got != want {
		t.Errorf("dry run: %s", got)
	}
	if o.judging() != before {
		t.Error("a dry run changed something")
	}
	entries := o.entries()
	if got := o.applied(who, broker.Apply{Reason: "release 1"}, documents...); got != strings.ReplaceAll(strings.ReplaceAll(want, "images", "images made"), "app", "app made") {
		t.Errorf("apply: %s", got)
	}
	if n := o.entries() - entries; n != 1 {
		t.Errorf("%d entries in the log", n)
	}
	last := o.judging()
	if got := o.applied(who, broker.Apply{}, documents...); strings.Count(got, "unchanged") != 3 || o.entries() != entries+1 || o.judging() != last {
		t.Errorf("the second time: %s", got)
	}
	if policy, source, err := o.Policy(t.Context(), who, ns, "app", 0); err != nil || string(source) != documents[0] || policy.Active != 1 {
		t.Errorf("%+v, %v", policy, err)
	}

	// Something else is stated, and the rest no more.
	documents[1] = referenceDocument("images", "b", "c")
	o.applied(who, broker.Apply{}, documents...)
	got, err := o.References(t.Context(), who, ns, "images")
	o.must(err)
	if text := fmt.Sprint(got.Values[0].State, got.Values[1].State, got.Values[2].State); text != "retiredactiveactive" {
		t.Errorf("%s", text)
	}
	if got := o.applied(who, broker.Apply{DryRun: true, Prune: true}, documents[1:]...); !strings.Contains(got, "retire ReleasePolicy app") || !strings.Contains(got, "retire ReleasePolicy root-key") {
		t.Errorf("prune: %s", got)
	}
}

// TestApplyRefuses: then nothing has changed.
func TestApplyRefuses(t *testing.T) {
	o := openPlain(t)
	who := o.person("ci")
	good := o.document("plain", "plain/*", "two")
	first, err := o.Apply(t.Context(), who, ns, apply(broker.Apply{DryRun: true}, good))
	o.must(err)
	author := who
	author.Roles = access.SetOf(access.Author)
	auditor := who
	auditor.Roles = access.SetOf(access.Auditor)
	before, entries := o.judging(), o.entries()
	for name, c := range map[string]struct {
		who       access.Caller
		in        broker.Apply
		documents []string
		code      broker.Code
		text      string
	}{
		"nothing":        {who, broker.Apply{}, nil, broker.CodeInvalid, "no documents"},
		"one is bad":     {who, broker.Apply{}, []string{good, "kind: ReleasePolicy"}, broker.CodeInvalid, "1.yaml:1:"},
		"no YAML":        {who, broker.Apply{}, []string{good, "\t"}, broker.CodeInvalid, "1.yaml:"},
		"another kind":   {who, broker.Apply{}, []string{"kind: Secret"}, broker.CodeInvalid, `"Secret" is no kind`},
		"too many":       {who, broker.Apply{}, slices.Repeat([]string{good}, broker.MaxPage+1), broker.CodeInvalid, "at most"},
		"twice":          {who, broker.Apply{}, []string{good, good}, broker.CodeInvalid, `0.yaml and 1.yaml both state the policy "plain"`},
		"approvals":      {who, broker.Apply{}, []string{good, o.document("root-key", "root/*", "two")}, broker.CodeApproval, `the policy "root-key": approvals: 2 by rule root`},
		"no reason":      {who, broker.Apply{Propose: true}, []string{good}, broker.CodeInvalid, "a reason is needed"},
		"another base":   {who, broker.Apply{Base: first.Base}, []string{good, referenceDocument("x", "y")}, broker.CodeConflict, "has changed since this was planned"},
		"author":         {author, broker.Apply{}, []string{good}, broker.CodeApproval, "needs the role approver"},
		"auditor":        {auditor, broker.Apply{}, []string{good}, broker.CodeForbidden, "author"},
		"author retires": {author, broker.Apply{Prune: true}, []string{good}, broker.CodeApproval, `"root-key"`},
		"no such base":   {who, broker.Apply{Base: "sha256:00"}, []string{good}, broker.CodeConflict, "changed"},
	} {
		err := o.applyAs(c.who, c.in, c.documents...)
		if codeOf(err) != c.code || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
		if o.judging() != before || o.entries() != entries {
			t.Fatalf("%s: something was changed", name)
		}
	}
	// Somebody changes it between the plan and the application.
	o.must(o.ApplyPolicyAs(o.Admin, o.document("plain", "plain/*", "three")))
	if err := o.applyAs(who, broker.Apply{Base: first.Base}, good); codeOf(err) != broker.CodeConflict {
		t.Error(err)
	}
	if _, err := o.Apply(t.Context(), auditor, ns, apply(broker.Apply{DryRun: true}, good)); err != nil {
		t.Error("an auditor may look:", err)
	}
}

// TestApplyProposes has what needs approvals proposed, once, and what depends on it wait.
func TestApplyProposes(t *testing.T) {
	o := openPlain(t)
	who := o.person("ci")
	documents := []string{
		o.document("root-key", "root/*", "two"), o.document("plain", "plain/*", "two"), referenceDocument("root-image", "v"),
		asks("wide", "*/db", "one"),
	}
	in := broker.Apply{Propose: true, Reason: "release 2"}
	if got := o.applied(who, in, documents[:3]...); !strings.Contains(got, "ReleasePolicy plain made") || !strings.Contains(got, "root-key proposed") || !strings.Contains(got, "root-image proposed") {
		t.Errorf("%s", got)
	}
	count := func() int {
		list, err := o.Proposals(t.Context(), who, ns, false)
		o.must(err)
		return len(list)
	}
	if got := o.applied(who, in, documents[:3]...); count() != 2 || !strings.Contains(got, "unchanged ReleasePolicy plain") {
		t.Errorf("the second time there are %d proposals: %s", count(), got)
	}
	list, err := o.Proposals(t.Context(), who, ns, false)
	o.must(err)
	for _, p := range list {
		o.approve(p, "alice", "bob")
		o.must(o.activate(p))
	}
	if got := o.applied(who, in, documents[:3]...); strings.Count(got, "unchanged") != 3 {
		t.Errorf("after they were carried out: %s", got)
	}

	// plain/db is guarded by what waits, too.
	documents[1] = o.document("plain", "plain/*", "three")
	if got := o.applied(who, in, documents...); !strings.Contains(got, "change ReleasePolicy plain proposed") || !strings.Contains(got, "create ReleasePolicy wide proposed") {
		t.Errorf("%s", got)
	}
	// An author proposes everything, but what is staged.
	author := who
	author.Roles, author.Subject = access.SetOf(access.Author), "author2"
	staged := strings.Replace(referenceDocument("images", "x"), `"x"`, `"x"`+"\n      state: staged", 1)
	if got := o.applied(author, in, o.document("mine", "mine/*", "one"), staged); got != "create ReferenceSet images made\ncreate ReleasePolicy mine proposed" {
		t.Errorf("%s", got)
	}
	list, err = o.Proposals(t.Context(), who, ns, false)
	o.must(err)
	for _, p := range list {
		if p.Change.Name == "mine" { // which no rule covers: an approver carries it out
			o.must(o.activate(p))
		}
	}
}

// TestApplyRules puts the first rules in force together with what they will cover from then on.
func TestApplyRules(t *testing.T) {
	o := &office{t: t, clock: newClock()}
	o.Broker = brokertest.Start(t, brokertest.Config{Now: o.clock.now})
	who := o.person("ci")
	documents := []string{o.document("root-key", "root/*", "one"), twoForRoot, referenceDocument("root-image", "v")}
	if got := o.applied(who, broker.Apply{}, documents...); got != "create ApprovalRules made\ncreate ReferenceSet root-image made\ncreate ReleasePolicy root-key made" {
		t.Errorf("%s", got)
	}
	if got := o.applied(who, broker.Apply{Prune: true}, documents...); strings.Count(got, "unchanged") != 3 {
		t.Errorf("%s", got)
	}
	if err := o.applyAs(who, broker.Apply{}, strings.ReplaceAll(twoForRoot, "2", "1")); codeOf(err) != broker.CodeInvalid && codeOf(err) != broker.CodeApproval {
		t.Error(err)
	}
}

// TestApplyInOrder tries what meets, and what does not, on a store that makes one write after the other; on another it is all done.
func TestApplyInOrder(t *testing.T) {
	o := openPlain(t)
	who := o.person("ci")
	base := []string{asks("a", "a/*", "one", "images"), referenceDocument("images", "1"), asks("b", "b/*", "one")}
	o.must(o.applyAs(who, broker.Apply{}, base...)) // the set is new: it comes first
	for name, c := range map[string]struct {
		documents []string
		meet      bool
	}{
		"apart":                {[]string{asks("a", "a/*", "two", "images"), asks("b", "b/*", "two")}, false},
		"a set and its policy": {[]string{asks("a", "a/*", "three", "images"), referenceDocument("images", "2")}, true},
		"a set alone":          {[]string{referenceDocument("images", "3"), asks("b", "b/*", "three")}, false},
		"a set for another":    {[]string{asks("a", "a/*", "four", "images2"), referenceDocument("images2", "1"), referenceDocument("images", "4")}, false},
		"one secret":           {[]string{asks("b", "b/*", "five"), asks("c", "b/x", "five")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := o.judging()
			err := o.applyAs(who, broker.Apply{}, c.documents...)
			if refused := c.meet && !o.Data.Store.Atomic(); refused && (codeOf(err) != broker.CodeConflict || o.judging() != before) || !refused && err != nil {
				t.Error(err)
			}
			o.must(o.applyAs(who, broker.Apply{}, base[2]))
			for _, d := range []string{base[1], base[0]} {
				o.must(o.applyAs(who, broker.Apply{}, d))
			}
			if _, _, err := o.Policy(o.t.Context(), who, ns, "c", 0); err == nil {
				o.must(second(o.ActivatePolicy(o.t.Context(), who, ns, "c", 0)))
			}
		})
	}
}

// TestApplyRaces has several apply at once, at two brokers of the store: each is made as a whole, or not at all.
func TestApplyRaces(t *testing.T) {
	o := openPlain(t)
	other, err := broker.New(t.Context(), configOf(t, o.Broker))
	o.must(err)
	made := 0
	for round := range 10 {
		var wg sync.WaitGroup
		results := make([]error, 4)
		for i := range results {
			b := []*broker.Broker{o.Broker.Broker, other}[i%2]
			wg.Go(func() {
				text := fmt.Sprintf("r%dx%d", round, i)
				results[i] = second(b.Apply(t.Context(), o.person("ci"), ns,
					apply(broker.Apply{}, o.document("x", "x/*", text), o.document("y", "y/*", text), referenceDocument("z", text))))
			})
		}
		wg.Wait()
		for i, err := range results {
			switch code := codeOf(err); {
			case code == "":
				made++
			case code == broker.CodeConflict:
			case code == broker.CodeUnavailable && !o.Data.Store.Atomic():
			default:
				t.Errorf("%d: %v", i, err)
			}
		}
		if !o.Data.Store.Atomic() {
			continue
		}
		set, err := o.References(t.Context(), o.Admin, ns, "z")
		o.must(err)
		counts := slices.DeleteFunc(slices.Clone(set.Values), func(v reference.Value) bool { return v.State != reference.Active })
		for _, name := range []string{"x", "y"} {
			_, source, err := o.Policy(t.Context(), o.Admin, ns, name, 0)
			o.must(err)
			if len(counts) != 1 || !strings.Contains(string(source), counts[0].Value) {
				t.Fatalf("round %d: %s is of another apply than %v: %s", round, name, counts, source)
			}
		}
	}
	if made == 0 {
		t.Error("none was made")
	}
	entriesOf(t, o.Broker)
}
