package policy

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// guarding returns a policy of a name over patterns, with one rule.
func guarding(t testing.TB, name, that string, patterns ...string) *Policy {
	t.Helper()
	doc := strings.Replace(document(t, that), "name: test", "name: "+name, 1)
	text, _ := json.Marshal(patterns)
	return mustParse(t, strings.Replace(doc, `["**"]`, string(text), 1))
}

func newSet(t testing.TB, policies ...*Policy) *Set {
	t.Helper()
	items := make([]Active, len(policies))
	for i, p := range policies {
		items[i] = Active{p, uint64(i + 1)}
	}
	set, err := NewSet(items)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestPatterns(t *testing.T) {
	patterns := []string{"a", "*", "**", "a/b", "a/*", "*/b", "a/**", "*/**", "a/*/c", "a/b/**", "*/*/*/*/*/*/*/*", "*/*/*/*/*/*/*/**"}
	var policies []*Policy
	for i, text := range patterns {
		policies = append(policies, guarding(t, fmt.Sprintf("p%02d", i), "true", text))
	}
	set := newSet(t, policies...)
	for path, want := range map[string][]string{
		"a":               {"a", "*", "**"},
		"b":               {"*", "**"},
		"a/b":             {"**", "a/b", "a/*", "*/b", "a/**", "*/**"},
		"x/b":             {"**", "*/b", "*/**"},
		"a/b/c":           {"**", "a/**", "*/**", "a/*/c", "a/b/**"},
		"1/2/3/4/5/6/7/8": {"**", "*/**", "*/*/*/*/*/*/*/*", "*/*/*/*/*/*/*/**"},
		"A":               {"*", "**"},
		// Not paths of secrets: no policy, so refused, even under "**".
		"": nil, "/a": nil, "a/": nil, "a//b": nil, "..": nil, "a/../b": nil, "a b": nil, "*": nil, "**": nil, "a/*": nil, "1/2/3/4/5/6/7/8/9": nil,
		"a\x00": nil, "é": nil, "a/.hidden": nil, strings.Repeat("a", MaxSegment+1): nil,
	} {
		var got []string
		for _, item := range set.Matching(path) {
			got = append(got, item.Policy.Secrets()[0])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
		for _, p := range policies {
			if p.Matches(path) != slices.Contains(want, p.Secrets()[0]) {
				t.Errorf("%q: %s alone says %v", path, p.Secrets()[0], p.Matches(path))
			}
		}
	}
}

func TestJudge(t *testing.T) {
	allow, deny := `claims.kind == "snp"`, `claims.kind == "tpm"`
	short := mustParse(t, strings.Replace(document(t, allow), "name: test", "name: short", 1)+"  release: {maxEvidenceAge: 2m, lease: 10m}\n")
	for _, tc := range []struct {
		name     string
		policies []*Policy
		code     Code
		terms    ReleaseTerms
	}{
		{"none", nil, CodeNoPolicy, ReleaseTerms{}},
		{"another secret's", []*Policy{guarding(t, "a", allow, "payments/db")}, CodeNoPolicy, ReleaseTerms{}},
		{"one allows", []*Policy{guarding(t, "a", allow, "**")}, CodeAllowed, ReleaseTerms{DefaultMaxEvidenceAge, DefaultLease}},
		{"one denies", []*Policy{guarding(t, "a", deny, "**")}, CodeDenied, ReleaseTerms{DefaultMaxEvidenceAge, DefaultLease}},
		{"one of two denies", []*Policy{guarding(t, "b", deny, "payments/**"), guarding(t, "a", allow, "**"), short}, CodeDenied, ReleaseTerms{2 * time.Minute, 10 * time.Minute}},
		{"twice the same", []*Policy{guarding(t, "a", allow, "**", "payments/**", "payments/*/password")}, CodeAllowed, ReleaseTerms{DefaultMaxEvidenceAge, DefaultLease}},
		{"two allow", []*Policy{short, guarding(t, "a", allow, "*/*/*")}, CodeAllowed, ReleaseTerms{2 * time.Minute, 10 * time.Minute}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := newSet(t, tc.policies...).Judge(request(snpClaims()))
			if j.Code != tc.code || j.Allow != (tc.code == CodeAllowed) || j.Terms != tc.terms {
				t.Errorf("%s, allow %v, terms %v", j.Code, j.Allow, j.Terms)
			}
			if !slices.IsSortedFunc(j.Results, func(a, b Result) int { return strings.Compare(a.Policy, b.Policy) }) {
				t.Errorf("results are out of order")
			}
			reversed := slices.Clone(tc.policies)
			slices.Reverse(reversed)
			if other := newSet(t, reversed...).Judge(request(snpClaims())); len(reversed) > 1 && other.Digest == j.Digest {
				t.Error("the versions are not in the digest") // they follow the order in newSet
			}
		})
	}
	if _, err := NewSet([]Active{{short, 1}, {short, 2}}); err == nil {
		t.Error("a policy is active twice")
	}
	if _, err := NewSet([]Active{{}}); err == nil {
		t.Error("an item without a policy is accepted")
	}
}

// TestStale tells evidence that is only too old, which fresh evidence cures, from evidence that is refused whatever its age.
func TestStale(t *testing.T) {
	allow, deny := `claims.kind == "snp"`, `claims.kind == "tpm"`
	terms := "  release: {maxEvidenceAge: 2m}\n"
	young := func(name, that string) *Policy {
		return mustParse(t, strings.Replace(document(t, that), "name: test", "name: "+name, 1)+terms)
	}
	for _, tc := range []struct {
		name     string
		age      time.Duration
		policies []*Policy
		code     Code
	}{
		{"as old as may be", 2 * time.Minute, []*Policy{young("a", allow)}, CodeAllowed},
		{"older", 3 * time.Minute, []*Policy{young("a", allow)}, CodeStale},
		{"older for one of two", 3 * time.Minute, []*Policy{young("a", allow), guarding(t, "b", allow, "**")}, CodeStale},
		{"older, and denied", 3 * time.Minute, []*Policy{young("a", deny)}, CodeDenied},
		{"older for one, denied by another", 3 * time.Minute, []*Policy{young("a", allow), guarding(t, "b", deny, "**")}, CodeDenied},
		{"from the future", -time.Second, []*Policy{young("a", allow)}, CodeDenied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := request(snpClaims())
			req.EvidenceAge = tc.age
			if j := newSet(t, tc.policies...).Judge(req); j.Code != tc.code || j.Allow != (tc.code == CodeAllowed) {
				t.Errorf("%s, allow %v, want %s", j.Code, j.Allow, tc.code)
			}
		})
	}
}

func TestMatched(t *testing.T) {
	set := newSet(t, guarding(t, "a", `claims.measurement in reference("images")`, "**"),
		guarding(t, "b", `claims.measurement in reference("images") && !(claims.report_data in reference("images"))`, "**"))
	j := set.Judge(request(snpClaims()))
	if !j.Allow || !slices.Equal(j.Matched, []Match{{Set: "images", Value: "6a65"}}) {
		t.Errorf("%v %v", j.Allow, j.Matched)
	}
}

// TestConcurrentJudgements shares one set among many; run with -race.
func TestConcurrentJudgements(t *testing.T) {
	set := newSet(t, guarding(t, "a", `claims.kind == "tpm" || claims.devices.all(d, d.kind != "snp") || claims.measurement in reference("images")`, "**"),
		guarding(t, "b", `claims.devices.all(a, claims.devices.all(b, a.kind == b.kind))`, "**"))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 200 {
				claims := snpClaims()
				if set.Judge(request(claims)).Allow {
					t.Error("claims.devices is absent and the policy allows")
				}
			}
		})
	}
	group.Wait()
}

// TestResultJSON holds the record of a decision: null for an absent claim, values cut, and read again as they were written.
func TestResultJSON(t *testing.T) {
	claims := tpmClaims()
	claims.Boot.CommandLine = strings.Repeat("é", 1000)
	for i := range 40 {
		claims.Boot.BootLoaders = append(claims.Boot.BootLoaders, fmt.Sprint(i))
	}
	p := mustParse(t, document(t, `claims.tpm.pcrs[7] == "aa" && claims.tpm.pcrs[3] == "" && claims.vmpl == 0 && secret != "" && now > timestamp("2020-01-01T00:00:00Z")`,
		`claims.boot.command_line == "" && claims.boot.boot_loaders == ["1"] && has(claims.boot) && has(claims.snp) && size(claims.tpm.pcrs) == 2 && claims.tpm.clock == 0`))
	text, err := json.Marshal(p.Evaluate(request(claims)))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"saw":{"claims.tpm.pcrs[7]":"aa","claims.tpm.pcrs[3]":null,"claims.vmpl":null,"secret":"payments/db/password","now":"2026-05-04T03:02:01Z"}`,
		`"and 24 more"]`, `"claims.boot":"present","claims.snp":null,"claims.tpm.pcrs":"2 entries","claims.tpm.clock":0`,
		`"outcome":"error","message":"no such key: 3`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if len(text) > 8000 {
		t.Errorf("the record has %d bytes", len(text))
	}
	var again Result
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	second, err := json.Marshal(again)
	if err != nil || string(second) != string(text) {
		t.Errorf("read again and written: %v\n%s\n%s", err, text, second)
	}
}

// TestSchemaCoversClaims fails when a claim gets a type that expressions cannot have, and holds presence against encoding/json.
func TestSchemaCoversClaims(t *testing.T) {
	s, err := claimSchema()
	if err != nil {
		t.Fatal(err)
	}
	for _, claims := range []any{*snpClaims(), *tpmClaims()} {
		text, _ := json.Marshal(claims)
		var members map[string]any
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
		pointer := reflect.New(reflect.TypeOf(claims))
		pointer.Elem().Set(reflect.ValueOf(claims))
		for _, f := range s.root.fields {
			v, ok := f.value(pointer.Interface())
			if _, written := members[f.name]; !ok || written != f.present(v) {
				t.Errorf("%s: present %v, written %v", f.name, f.present(v), written)
			}
		}
	}
}
