package broker_test

import (
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// scopedTo returns a caller who holds roles for paths, by a token of the store.
func scopedTo(t *testing.T, b *brokertest.Broker, paths []string, roles ...access.Role) access.Caller {
	t.Helper()
	token, _, err := b.Broker.CreateToken(t.Context(), b.Admin, access.Request{
		Name: "scoped", Roles: access.SetOf(roles...), Namespace: ns, Scope: paths,
	})
	if err != nil {
		t.Fatal(err)
	}
	who, err := b.Authenticate(t.Context(), token.Reveal(), "192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	return who
}

func TestScopedCustodian(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	b.ApplyPolicy(brokertest.AllowVirtual("**"))
	for _, name := range []string{"payments/db", "payments2/db", "other", "payments"} {
		b.PutSecret(name, []byte("x"))
		g.mustFetch(name)
	}
	who := scopedTo(t, b, []string{"payments/"}, access.Custodian)
	for _, name := range []string{"payments2/db", "other"} {
		for what, err := range map[string]error{
			"put":      second(b.Broker.PutSecret(t.Context(), who, ns, broker.PutSecret{Name: name})),
			"generate": second(b.GenerateSecret(t.Context(), who, ns, broker.GenerateSecret{Name: name, Length: 16, Encoding: "hex"})),
			"read":     second(b.Secret(t.Context(), who, ns, name)), "activate": second(b.ActivateSecret(t.Context(), who, ns, name, 1)),
			"destroy": second(b.DestroySecret(t.Context(), who, ns, name, 1)), "destroy all": second(b.DestroyAll(t.Context(), who, ns, name)),
			"check": second(b.CheckSecret(t.Context(), who, ns, name, 0)),
		} {
			t.Run(what+" "+name, func(t *testing.T) { wantCode(t, err, broker.CodeForbidden) })
		}
	}
	if _, err := b.Broker.PutSecret(t.Context(), who, ns, broker.PutSecret{Name: "payments/x/y", Value: []byte("x")}); err != nil {
		t.Error(err)
	}
	page, more, err := b.Secrets(t.Context(), who, ns, "", "", 2)
	if err != nil || !more || len(page) != 2 || page[0].Name != "payments" || page[1].Name != "payments/db" {
		t.Errorf("%v %v %v", page, more, err)
	}
	if page, more, err = b.Secrets(t.Context(), who, ns, "", "payments/db", 2); err != nil || more || len(page) != 1 || page[0].Name != "payments/x/y" {
		t.Errorf("%v %v %v", page, more, err)
	}
	leases, _, err := b.Leases(t.Context(), who, ns, "", "", 0)
	if err != nil || len(leases) != 2 {
		t.Errorf("%v %v", leases, err)
	}
	all, _, err := b.Leases(t.Context(), b.Admin, ns, "", "", 0)
	if err != nil || len(all) != 4 {
		t.Fatalf("%v %v", all, err)
	}
	for _, lease := range all {
		_, err := b.RevokeLease(t.Context(), who, ns, lease.ID)
		if within := who.Scope.Covers(lease.Secret); within != (err == nil) {
			t.Errorf("%s: %v", lease.Secret, err)
		} else if !within {
			wantCode(t, err, broker.CodeNotFound)
		}
	}
}

// TestSourcesAreNotForTenants: a source reads with the broker's rights, which are not those of one tenant, nor of some paths.
func TestSourcesAreNotForTenants(t *testing.T) {
	b, _ := started(t, brokertest.Config{})
	put := broker.PutSecret{Name: "payments/db", Source: &source.Document{Kind: "x"}}
	who := scopedTo(t, b, []string{"payments"}, access.Custodian)
	wantCode(t, second(b.Broker.PutSecret(t.Context(), who, ns, put)), broker.CodeForbidden)
	wantCode(t, second(b.Broker.PutSecret(t.Context(), b.Admin, "tenant", put)), broker.CodeForbidden)
	wantCode(t, second(b.Broker.PutSecret(t.Context(), b.Admin, ns, put)), broker.CodeInvalid) // no such kind
}

func TestScopedRules(t *testing.T) {
	b, _ := started(t, brokertest.Config{})
	who := scopedTo(t, b, []string{"payments"}, access.Author, access.Approver)
	apply := func(name, pattern string, draft bool) error {
		return second(b.Broker.ApplyPolicy(t.Context(), who, ns, "x.yaml", []byte(document(name, pattern, "true")), draft))
	}
	for _, pattern := range []string{"*/x", "**", "payments2/**", "other", "*"} {
		wantCode(t, apply("mine", pattern, true), broker.CodeForbidden)
	}
	for _, pattern := range []string{"payments/**", "payments", "payments/*/x"} {
		if err := apply("mine", pattern, false); err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
	}
	b.ApplyPolicy(document("guard", "other/**", "true"))
	// A policy of theirs must not take the place of one that guards what is not.
	wantCode(t, apply("guard", "payments/**", true), broker.CodeForbidden)
	wantCode(t, second(b.ActivatePolicy(t.Context(), who, ns, "guard", 0)), broker.CodeNotFound)
	if _, _, err := b.Policy(t.Context(), who, ns, "guard", 0); codeOf(err) != broker.CodeNotFound {
		t.Errorf("read: %v", err)
	}
	// Nor one that only once did.
	b.ApplyPolicy(document("guard", "payments/**", "true"))
	wantCode(t, apply("guard", "payments/a", true), broker.CodeForbidden)
	page, more, err := b.Policies(t.Context(), who, ns, "", 1)
	if err != nil || more || len(page) != 1 || page[0].Name != "mine" {
		t.Errorf("%v %v %v", page, more, err)
	}
	values := []reference.Value{{Value: "x", State: reference.Staged}}
	wantCode(t, second(b.PutReferences(t.Context(), who, ns, "images", values)), broker.CodeForbidden)
	if _, err := b.PutReferences(t.Context(), b.Admin, ns, "images", values); err != nil {
		t.Fatal(err)
	}
	wantCode(t, second(b.RetireReferences(t.Context(), who, ns, "images", []string{"x"})), broker.CodeForbidden)
	if _, err := b.References(t.Context(), who, ns, "images"); err != nil {
		t.Error(err)
	}
}

func TestScopedAuditor(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	b.ApplyPolicy(brokertest.AllowVirtual("**"))
	b.PutSecret("payments/db", []byte("x"))
	b.PutSecret("other/db", []byte("x"))
	both, err := g.fetch("other/db", "payments/db")
	if err != nil {
		t.Fatal(err)
	}
	other, err := g.fetch("other/db")
	if err != nil {
		t.Fatal(err)
	}
	g.attest()
	who := scopedTo(t, b, []string{"payments"}, access.Auditor)
	e, err := b.Explain(t.Context(), who, ns, both.Decision)
	if err != nil || len(e.Decision.Secrets) != 1 || e.Decision.Secrets[0].Secret != "payments/db" || e.Decision.Withheld != 1 {
		t.Errorf("%+v %v", e.Decision.Secrets, err)
	}
	wantCode(t, second(b.Explain(t.Context(), who, ns, other.Decision)), broker.CodeNotFound)
	page, next, err := b.Decisions(t.Context(), who, ns, broker.DecisionFilter{}, "", 0)
	if err != nil || next != "" || len(page) != 1 || page[0].ID != both.Decision || len(page[0].Secrets) != 1 {
		t.Errorf("%+v %v %v", page, next, err)
	}
	if page, next, err = b.Decisions(t.Context(), b.Admin, ns, broker.DecisionFilter{}, "", 2); err != nil || next == "" || len(page) != 2 {
		t.Errorf("%+v %v %v", page, next, err)
	}
	for what, err := range map[string]error{
		"log": second(b.Audit(t.Context(), who, broker.OwnLog)), "keys": second(b.SigningKeys(t.Context(), who)),
	} {
		t.Run(what, func(t *testing.T) { wantCode(t, err, broker.CodeForbidden) })
	}
	if _, _, err := b.Enrolments(t.Context(), who, ns, "", 0); codeOf(err) != broker.CodeForbidden {
		t.Errorf("enrolments: %v", err)
	}
}

// TestScopedMaker: nobody makes a token for more than is theirs, and roles that are about no path are held for none.
func TestScopedMaker(t *testing.T) {
	b, _ := started(t, brokertest.Config{})
	who := b.Admin
	who.Scope = access.Scope{"payments/"}
	for _, scope := range []access.Scope{nil, {"payments/db"}, {"other"}} {
		_, _, err := b.Broker.CreateToken(t.Context(), who, access.Request{Name: "x", Roles: access.SetOf(access.Auditor), Namespace: ns, Scope: scope})
		wantCode(t, err, broker.CodeForbidden)
	}
	for _, scope := range []access.Scope{{"a/*"}, {""}, {"../a"}} {
		_, _, err := b.Broker.CreateToken(t.Context(), b.Admin, access.Request{Name: "x", Roles: access.SetOf(access.Auditor), Namespace: ns, Scope: scope})
		wantCode(t, err, broker.CodeInvalid)
	}
	_, _, err := b.Broker.CreateToken(t.Context(), b.Admin, access.Request{Name: "x", Roles: access.SetOf(access.Operator), Namespace: ns, Scope: access.Scope{"a"}})
	wantCode(t, err, broker.CodeInvalid)
}
