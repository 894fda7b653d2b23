package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

func authenticated(t *testing.T, b *brokertest.Broker, token string) access.Caller {
	t.Helper()
	who, err := b.Authenticate(t.Context(), token, "192.0.2.3")
	if err != nil {
		t.Fatal(err)
	}
	return who
}

// TestTokensCannotEscalate has callers make tokens that could do more than they.
func TestTokensCannotEscalate(t *testing.T) {
	b, _ := started(t, brokertest.Config{})
	operator := authenticated(t, b, b.CreateToken(access.Operator))
	local, _, err := b.Broker.CreateToken(t.Context(), b.Admin, access.Request{Name: "local", Roles: access.SetOf(access.Operator, access.Auditor), Namespace: "tenant"})
	if err != nil {
		t.Fatal(err)
	}
	localOperator := authenticated(t, b, local.Reveal())
	for name, test := range map[string]struct {
		who       access.Caller
		roles     access.Set
		namespace string
		allowed   bool
	}{
		"an operator, an operator":             {operator, access.SetOf(access.Operator), access.AllNamespaces, true},
		"an operator, for one namespace":       {operator, access.SetOf(access.Operator), "tenant", true},
		"an operator, an enroller":             {operator, access.SetOf(access.Enroller), ns, true},
		"an operator, a custodian":             {operator, access.SetOf(access.Custodian), ns, false},
		"an operator, an administrator":        {operator, access.Administrator(), access.AllNamespaces, false},
		"of a namespace, there":                {localOperator, access.SetOf(access.Operator), "tenant", true},
		"of a namespace, its auditor":          {localOperator, access.SetOf(access.Auditor), "tenant", true},
		"of a namespace, elsewhere":            {localOperator, access.SetOf(access.Operator), ns, false},
		"of a namespace, everywhere":           {localOperator, access.SetOf(access.Operator), access.AllNamespaces, false},
		"of a namespace, everywhere, by name":  {localOperator, access.SetOf(access.Operator), "", false},
		"an auditor":                           {access.Caller{Name: "a", Roles: access.SetOf(access.Auditor), Namespace: "*"}, access.SetOf(access.Auditor), ns, false},
		"an enroller, an enroller":             {access.Caller{Name: "e", Roles: access.SetOf(access.Enroller), Namespace: "*"}, access.SetOf(access.Enroller), ns, false},
		"nobody":                               {access.Caller{}, access.SetOf(access.Auditor), ns, false},
		"no roles at all":                      {b.Admin, 0, ns, false},
		"a role that does not exist":           {b.Admin, 1 << 7, ns, false},
		"enroller and more":                    {b.Admin, access.SetOf(access.Enroller, access.Auditor), ns, false},
		"a namespace that cannot be":           {b.Admin, access.SetOf(access.Auditor), "a/b", false},
		"the namespace of the store's records": {b.Admin, access.SetOf(access.Auditor), "sys", false},
	} {
		token, _, err := b.Broker.CreateToken(t.Context(), test.who, access.Request{Name: "made", Roles: test.roles, Namespace: test.namespace, Lifetime: time.Hour})
		if (err == nil) != test.allowed || err != nil && token.Reveal() != "" && token.Reveal() != (access.Token{}).Reveal() {
			t.Errorf("%s: %v", name, err)
		}
		if code := codeOf(err); err != nil && code != broker.CodeForbidden && code != broker.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := b.Broker.CreateToken(t.Context(), b.Admin, access.Request{Name: "x", Roles: access.SetOf(access.Auditor), Namespace: ns, Lifetime: -time.Second}); codeOf(err) != broker.CodeInvalid {
		t.Errorf("a negative lifetime: %v", err)
	}
}

func TestTokensEnd(t *testing.T) {
	clock := newClock()
	b, _ := started(t, brokertest.Config{Now: clock.now})
	token, record, err := b.Broker.CreateToken(t.Context(), b.Admin, access.Request{Name: "short", Roles: access.SetOf(access.Auditor), Namespace: "tenant", Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	who := authenticated(t, b, token.Reveal())
	if who.Namespace != "tenant" || who.Remote != "192.0.2.3" || who.Token != record.ID {
		t.Errorf("%+v", who)
	}
	other := authenticated(t, b, b.CreateToken(access.Auditor))
	for name, err := range map[string]error{
		"by another auditor":       b.RevokeToken(t.Context(), other, record.ID),
		"by nobody":                b.RevokeToken(t.Context(), access.Caller{}, record.ID),
		"a token that is not":      b.RevokeToken(t.Context(), other, "0123456789abcdef"),
		"an id that is a path":     b.RevokeToken(t.Context(), other, "../keys"),
		"by another's local admin": b.RevokeToken(t.Context(), access.Caller{Name: "x", Roles: access.Administrator(), Namespace: "other"}, record.ID),
	} {
		if codeOf(err) != broker.CodeForbidden {
			t.Errorf("revoked %s: %v", name, err)
		}
	}
	if err := b.RevokeToken(t.Context(), b.Admin, strings.Repeat("0", len(record.ID))); codeOf(err) != broker.CodeNotFound {
		t.Errorf("revoking what is not there: %v", err)
	}
	if err := b.RevokeToken(t.Context(), who, record.ID); err != nil {
		t.Errorf("its own: %v", err)
	}
	if _, err := b.Authenticate(t.Context(), token.Reveal(), ""); codeOf(err) != broker.CodeUnauthenticated {
		t.Errorf("revoked: %v", err)
	}
	clock.add(access.DefaultLifetime + time.Hour)
	if _, err := b.Authenticate(t.Context(), b.Token, ""); codeOf(err) != broker.CodeUnauthenticated {
		t.Errorf("expired: %v", err)
	}
	for _, text := range []string{"", "x", b.Token[:len(b.Token)-1], b.Token + "A", strings.ToUpper(b.Token), strings.Repeat("v", 1<<16)} {
		if _, err := b.Authenticate(t.Context(), text, ""); codeOf(err) != broker.CodeUnauthenticated {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// TestRolesOfRulesAndOperation tries what each role may do to rules, keys and the log.
func TestRolesOfRulesAndOperation(t *testing.T) {
	b, _ := started(t, brokertest.Config{})
	source := []byte(brokertest.AllowVirtual("a/*"))
	values := func(state reference.State) []reference.Value { return []reference.Value{{Value: "00", State: state}} }
	for name, test := range map[string]struct {
		roles []access.Role
		do    func(access.Caller) error
	}{
		"draft": {[]access.Role{access.Author}, func(who access.Caller) error {
			return second(b.Broker.ApplyPolicy(t.Context(), who, ns, "p", source, true))
		}},
		"activate": {[]access.Role{access.Approver}, func(who access.Caller) error {
			return second(b.ActivatePolicy(t.Context(), who, ns, "allow-virtual", 1))
		}},
		"stage": {[]access.Role{access.Author}, func(who access.Caller) error {
			return second(b.PutReferences(t.Context(), who, ns, "r", values(reference.Staged)))
		}},
		"retire": {[]access.Role{access.Approver}, func(who access.Caller) error {
			if err := second(b.PutReferences(t.Context(), b.Admin, ns, "s", values(reference.Active))); err != nil {
				return err
			}
			return second(b.RetireReferences(t.Context(), who, ns, "s", []string{"00"}))
		}},
		"rotate":   {[]access.Role{access.Operator}, func(who access.Caller) error { return second(b.RotateKey(t.Context(), who, keys.Token)) }},
		"data key": {[]access.Role{access.Operator}, func(who access.Caller) error { return b.RecordDataKeyRotation(t.Context(), who) }},
		"backup":   {[]access.Role{access.Operator}, func(who access.Caller) error { return b.RecordBackup(t.Context(), who, []string{"age1"}) }},
		"audit":    {[]access.Role{access.Auditor}, func(who access.Caller) error { return second(b.Audit(t.Context(), who, broker.OwnLog)) }},
		"tokens":   {[]access.Role{access.Operator}, func(who access.Caller) error { _, _, err := b.Tokens(t.Context(), who, "", 0); return err }},
		"keys":     {[]access.Role{access.Operator, access.Auditor}, func(who access.Caller) error { return second(b.SigningKeys(t.Context(), who)) }},
		"decisions": {[]access.Role{access.Auditor, access.Author}, func(who access.Caller) error {
			_, _, err := b.Decisions(t.Context(), who, ns, broker.DecisionFilter{}, "", 0)
			return err
		}},
	} {
		for _, role := range access.Roles() {
			allowed := false
			for _, r := range test.roles {
				allowed = allowed || r == role
			}
			err := test.do(access.Caller{Name: "x", Roles: access.SetOf(role), Namespace: access.AllNamespaces})
			if (err == nil) != allowed || !allowed && codeOf(err) != broker.CodeForbidden {
				t.Errorf("%s by %s: %v", name, role, err)
			}
		}
	}
	// What counts at once needs an approver as well.
	author := access.Caller{Name: "x", Roles: access.SetOf(access.Author), Namespace: ns}
	wantCode(t, second(b.Broker.ApplyPolicy(t.Context(), author, ns, "p", source, false)), broker.CodeForbidden)
	wantCode(t, second(b.PutReferences(t.Context(), author, ns, "r", values(reference.Active))), broker.CodeForbidden)
	wantCode(t, second(b.PutReferences(t.Context(), author, ns, "r", values(""))), broker.CodeForbidden)
	// What concerns every namespace is not for who has one.
	local := access.Caller{Name: "x", Roles: access.Administrator(), Namespace: ns}
	for name, err := range map[string]error{
		"rotate": second(b.RotateKey(t.Context(), local, keys.Token)), "backup": b.RecordBackup(t.Context(), local, []string{"age1"}),
		"audit": second(b.Audit(t.Context(), local, broker.OwnLog)), "data key": b.RecordDataKeyRotation(t.Context(), local), "keys": second(b.SigningKeys(t.Context(), local)),
	} {
		if codeOf(err) != broker.CodeForbidden {
			t.Errorf("%s by an administrator of one namespace: %v", name, err)
		}
	}
	wantCode(t, second(b.RotateKey(t.Context(), b.Admin, keys.Log)), broker.CodeInvalid)
	for _, recipients := range [][]string{nil, {""}, {"a b"}, {strings.Repeat("a", 3000)}, make([]string, 17)} {
		wantCode(t, b.RecordBackup(t.Context(), b.Admin, recipients), broker.CodeInvalid)
	}
}
