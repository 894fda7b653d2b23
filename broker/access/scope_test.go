package access

import (
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/policy"
)

func scopeOf(t testing.TB, prefixes ...string) Scope {
	t.Helper()
	s, err := ParseScope(prefixes...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestScopeCovers(t *testing.T) {
	s := scopeOf(t, "payments", "shared/ca/")
	for path, want := range map[string]bool{
		"payments": true, "payments/db": true, "payments/db/password": true, "payments/*": true, "payments/**": true, "payments/*/x": true,
		"shared/ca/root": true, "shared/ca": true,
		"payments2": false, "payments2/db": false, "payment": false, "shared": false, "shared/cab": false, "shared/x": false, "Payments/db": false,
		"*": false, "**": false, "*/db": false, "*/x": false, "shared/*": false, "shared/**": false, "": false,
	} {
		if s.Covers(path) != want {
			t.Errorf("%q: %v", path, !want)
		}
		if !(Scope{}).Covers(path) {
			t.Errorf("no scope does not cover %q", path)
		}
	}
}

func TestScopeWithin(t *testing.T) {
	for name, test := range map[string]struct {
		inner, outer []string
		want         bool
	}{
		"the same": {[]string{"a"}, []string{"a/"}, true}, "below": {[]string{"a/b", "c"}, []string{"a", "c"}, true},
		"above": {[]string{"a"}, []string{"a/b"}, false}, "beside": {[]string{"ab"}, []string{"a"}, false}, "one of two": {[]string{"a", "b"}, []string{"a"}, false},
		"all in all": {nil, nil, true}, "some in all": {[]string{"a"}, nil, true}, "all in some": {nil, []string{"a"}, false},
	} {
		if scopeOf(t, test.inner...).Within(scopeOf(t, test.outer...)) != test.want {
			t.Errorf("%s: not %v", name, test.want)
		}
	}
}

func TestParseScope(t *testing.T) {
	if got := scopeOf(t, "b", "a/b", "a/", "a/c/d", "b/"); !slices.Equal(got, Scope{"a/", "b/"}) {
		t.Errorf("%q", got)
	}
	for name, bad := range map[string][]string{
		"empty": {""}, "slash": {"/"}, "absolute": {"/a"}, "two slashes": {"a//"}, "wildcard": {"a/*"}, "relative": {"a/../b"}, "space": {"a b"},
		"many": slices.Repeat([]string{"a"}, MaxScope+1), "long": {strings.Repeat("a/", 7) + strings.Repeat("b", 250)}, "deep": {strings.Repeat("a/", 9)},
	} {
		if s, err := ParseScope(bad...); err == nil {
			t.Errorf("%s: %q", name, s)
		}
	}
}

func TestAuthorizeOn(t *testing.T) {
	c := Caller{Name: "x", Roles: SetOf(Custodian), Namespace: "a", Scope: scopeOf(t, "payments")}
	for name, test := range map[string]struct {
		role Role
		ns   string
		on   Object
		want bool
	}{
		"within": {Custodian, "a", Paths("payments/x"), true}, "all within": {Custodian, "a", Paths("payments/x", "payments/**"), true},
		"one without": {Custodian, "a", Paths("payments/x", "other"), false}, "whole": {Custodian, "a", Whole(), false}, "no paths": {Custodian, "a", Paths(), false},
		"some": {Custodian, "a", Some(), true}, "another role": {Auditor, "a", Paths("payments/x"), false}, "another namespace": {Custodian, "b", Paths("payments/x"), false},
		"everywhere": {Custodian, AllNamespaces, Some(), false},
	} {
		err := AuthorizeOn(c, test.role, test.ns, test.on)
		if (err == nil) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := AuthorizeOn(c, Custodian, "a", Paths("other")); !strings.Contains(err.Error(), "payments/") || strings.Contains(err.Error(), "other") {
		t.Errorf("%v does not say where, or says what is elsewhere", err)
	}
	for _, roles := range []Set{SetOf(Operator), SetOf(Custodian, Operator), SetOf(Enroller)} {
		if Check(roles, "a", c.Scope) == nil || Check(roles, "a", nil) != nil {
			t.Errorf("%s for a path", roles)
		}
	}
}

// checkScope holds what is covered to what segments say.
func checkScope(t testing.TB, prefix, path string) {
	t.Helper()
	s, err := ParseScope(prefix)
	if err != nil || policy.CheckPath(path) != nil {
		return
	}
	want, have := strings.Split(strings.TrimSuffix(prefix, "/"), "/"), strings.Split(path, "/")
	below := len(have) >= len(want) && slices.Equal(have[:len(want)], want)
	if s.Covers(path) != below || s.check() != nil {
		t.Errorf("%q covers %q: %v", prefix, path, !below)
	}
}

func FuzzScope(f *testing.F) {
	f.Add("payments/", "payments/db")
	f.Add("payments", "payments2")
	f.Fuzz(func(t *testing.T, prefix, path string) { checkScope(t, prefix, path) })
}

func TestMutationsScope(t *testing.T) {
	mutate.Run(t, [][]byte{[]byte("payments/ payments/db"), []byte("a/b a/bc"), []byte("a a")}, func(t *testing.T, input []byte) {
		prefix, path, _ := strings.Cut(string(input), " ")
		checkScope(t, prefix, path)
	})
}

func TestScopeOf(t *testing.T) {
	s := Scope{"hr/", "payments/", "shared/ca/"}
	for _, test := range []struct {
		patterns []string
		want     Scope
	}{
		{[]string{"payments/*", "payments"}, Scope{"payments/"}},
		{[]string{"hr/x", "shared/ca/**"}, Scope{"hr/", "shared/ca/"}},
		{[]string{"payments2/x", "*/x", "**", "shared"}, nil},
		{nil, nil},
	} {
		if got := s.Of(test.patterns...); !slices.Equal(got, test.want) {
			t.Errorf("of %q: %q, want %q", test.patterns, got, test.want)
		}
	}
}
