package access

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestRolesAreApart(t *testing.T) {
	for _, have := range Roles() {
		caller := Caller{Name: "x", Roles: SetOf(have), Namespace: AllNamespaces}
		for _, need := range Roles() {
			want := have == need || have == Operator && need == Enroller
			if caller.Allowed(need) != want {
				t.Errorf("%s does the work of %s: %v", have, need, !want)
			}
			err := Authorize(caller, need, "default")
			var forbidden *Forbidden
			if (err == nil) != want || err != nil && (!errors.As(err, &forbidden) || !slices.Equal(forbidden.Roles, []Role{need})) {
				t.Errorf("%s for %s: %v", have, need, err)
			}
		}
	}
}

// TestAuthorizeAny: who lacks every role is told all that would do, and who has one is told what else is wrong.
func TestAuthorizeAny(t *testing.T) {
	caller := Caller{Name: "x", Roles: SetOf(Approver), Namespace: "a"}
	for want, roles := range map[string][]Role{
		"": {Auditor, Approver},
		"the role auditor or author and has approver": {Auditor, Author},
		"the role  and": nil,
	} {
		if err := AuthorizeAny(caller, "a", Whole(), roles...); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", roles, err, want)
		}
	}
	if err := AuthorizeAny(caller, "b", Whole(), Approver, Author); err == nil || !strings.Contains(err.Error(), `in namespace "b", only in "a"`) {
		t.Errorf("elsewhere: %v", err)
	}
}

func TestAuthorizeNamespaces(t *testing.T) {
	tests := []struct {
		have, need string
		want       bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", AllNamespaces, false}, {"a", "", false},
		{AllNamespaces, "a", true}, {AllNamespaces, AllNamespaces, true}, {AllNamespaces, "", false},
		{"", "", false}, {"", "a", false}, {"", AllNamespaces, false},
	}
	for _, test := range tests {
		err := Authorize(Caller{Name: "x", Roles: SetOf(Auditor), Namespace: test.have}, Auditor, test.need)
		if (err == nil) != test.want {
			t.Errorf("in %q for %q: %v", test.have, test.need, err)
		}
		if err != nil && !strings.Contains(err.Error(), "namespace") {
			t.Errorf("in %q for %q: %q does not say why", test.have, test.need, err)
		}
	}
	for _, need := range append(Roles(), roleCount, 255) {
		if Authorize(Caller{}, need, "a") == nil || need >= roleCount && Authorize(Caller{Roles: 0xff, Namespace: "*"}, need, "a") == nil {
			t.Errorf("nobody may be %v", need)
		}
	}
}

func TestSetJSON(t *testing.T) {
	for s := range Set(1 << roleCount) {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Set
		if err := json.Unmarshal(text, &back); err != nil || back != s || SetOf(back.Roles()...) != s {
			t.Errorf("%s became %v, %v", text, back, err)
		}
	}
	for _, bad := range []string{`null1`, `"auditor"`, `["root"]`, `["auditor","auditor"]`, `["Auditor"]`, `[""]`, `[1]`} {
		var s Set
		if err := json.Unmarshal([]byte(bad), &s); err == nil {
			t.Errorf("%s became %v", bad, s)
		}
	}
	if got := Administrator().String(); got != "custodian,author,approver,auditor,operator" {
		t.Error(got)
	}
	if !slices.Equal(SetOf(Operator, Custodian, Operator, roleCount).Roles(), []Role{Custodian, Operator}) {
		t.Error("a set is not a set")
	}
}

func TestTokensSayWhoMadeThem(t *testing.T) {
	f := newFixture(t)
	r := request
	r.Subject, r.Makers = "alice@example.com", []string{"bob", "init"}
	token, _ := f.create(t, r)
	caller, err := f.Authenticate(t.Context(), token.Reveal())
	if err != nil || caller.Subject != r.Subject || !slices.Equal(caller.Makers, r.Makers) {
		t.Errorf("%+v, %v", caller, err)
	}
	for name, change := range map[string]func(*Request){
		"a subject that does not print": func(r *Request) { r.Subject = "a\x00b" },
		"a long subject":                func(r *Request) { r.Subject = strings.Repeat("x", MaxSubject+1) },
		"a maker without a name":        func(r *Request) { r.Makers = []string{""} },
		"too many makers":               func(r *Request) { r.Makers = slices.Repeat([]string{"x"}, MaxMakers+1) },
	} {
		bad := request
		change(&bad)
		if _, _, _, err := f.Prepare(bad); err == nil {
			t.Errorf("%s: a token was made", name)
		}
	}
	full := request
	full.Name, full.Subject, full.Makers = strings.Repeat("<", MaxName), strings.Repeat(">", MaxSubject), slices.Repeat([]string{strings.Repeat("&", MaxSubject)}, MaxMakers)
	token, _ = f.create(t, full)
	if _, err := f.Authenticate(t.Context(), token.Reveal()); err != nil {
		t.Errorf("the longest record: %v", err)
	}
}
