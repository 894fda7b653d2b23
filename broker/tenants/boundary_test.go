package tenants_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/api"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// marker is in every name that the other tenant has.
const marker = "only-b"

// expect is what becomes of an operation that names something of another tenant's, in one's own namespace.
type expect int

const (
	missing   expect = iota // it is not there
	own                     // it is about one's own, and says nothing of the other's
	forbidden               // it concerns all tenants, so that none may
	public                  // anybody may: it holds nothing of a tenant's
)

// crossings has every operation. One that is not here fails the test: whoever adds one says what a tenant may learn and do by it.
var crossings = map[string]expect{
	"challenge": public, "release": public, "keys": public, "listKinds": public, "openAPI": public,
	"checkpoint": public, "checkpointOf": public, "logKey": public, "logKeyOf": public,

	"listSecrets": own, "getSecret": missing, "putSecret": own, "generateSecret": own, "activateSecret": missing, "destroySecret": missing, "checkSecret": missing,
	"revokeLease": missing, "listLeases": own,
	"listPolicies": own, "getPolicy": missing, "applyPolicy": own, "activatePolicy": missing, "retirePolicy": missing,
	"putPolicy": own, "rollBackPolicy": missing, "policyHistory": missing, "replayPolicy": own, "apply": own,
	"propose": missing, "listProposals": own, "getProposal": missing, "approveProposal": missing, "withdrawProposal": missing, "activateProposal": missing,
	"acknowledgeBreakGlass": missing,
	"putApprovalRules":      own, "getApprovalRules": own, "activateApprovalRules": missing, "approvalRulesHistory": own,
	"listRego": own, "getRego": missing, "putRego": own, "activateRego": missing, "retireRego": missing, "getRegoReferences": own, "putRegoReferences": own,
	"listReferences": own, "getReferences": missing, "putReferences": own, "retireReferences": missing,
	"importReferences": own, "activateReferences": missing, "referenceUses": missing, "referenceReleases": own,
	"listDecisions": own, "explain": missing,
	"listEnrolments": own, "beginEnrolment": own, "completeEnrolment": missing, "revokeEnrolment": missing,
	"whoAmI": own, "createToken": own, "revokeToken": forbidden,
	"entries": own, "entriesOf": own,

	"listTokens": forbidden, "listKeys": forbidden, "rotateKey": forbidden, "rotateDataKey": forbidden, "backup": forbidden,
	"tile": forbidden, "tileOf": forbidden, "receipt": forbidden, "receiptOf": forbidden, "consistency": forbidden, "consistencyOf": forbidden, "listLogs": forbidden,
	"listNamespaces": forbidden, "createNamespace": forbidden, "setQuota": forbidden,
}

// tenant makes a namespace with something of everything, whose names begin with prefix.
func (f *fixture) tenant(namespace, prefix string) names {
	f.t.Helper()
	ctx := f.t.Context()
	_, err := f.CreateNamespace(ctx, f.Admin, namespace, broker.Quota{})
	f.check(err)
	n := names{secret: prefix + "/type/key", policy: prefix, set: prefix, name: namespace, digest: "00", index: "0"}
	_, err = f.Broker.Broker.PutSecret(ctx, f.Admin, namespace, broker.PutSecret{Name: n.secret, Value: []byte(plaintext), Activate: true})
	f.check(err)
	_, err = f.Broker.Broker.ApplyPolicy(ctx, f.Admin, namespace, "x.yaml", []byte(allowSample(n.policy, "**")), false)
	f.check(err)
	_, err = f.PutReferences(ctx, f.Admin, namespace, n.set, []reference.Value{{Value: "x"}})
	f.check(err)
	got, err := f.guest(namespace).Get(ctx, n.secret)
	f.check(err)
	if string(got) != plaintext {
		f.t.Fatalf("the tenant's own guest got %q", got)
	}
	leases, _, err := f.Leases(ctx, f.Admin, namespace, "", "", 0)
	f.check(err)
	n.lease, n.decision = leases[0].ID, leases[0].Decision
	proposed, err := f.Propose(ctx, f.Admin, namespace, broker.Change{Type: broker.ChangePolicyRetire, Name: n.policy}, "a test")
	f.check(err)
	n.proposal = proposed.ID
	rules := []byte("apiVersion: vouchsafe/v1\nkind: ApprovalRules\nspec:\n  rules:\n    - {name: " + prefix + ", policies: [\"none-*\"], approvals: 2}\n")
	_, err = f.PutApprovalRules(ctx, f.Admin, namespace, broker.PutPolicy{Source: rules})
	f.check(err)
	_, n.token = f.token(namespace, nil, access.Administrator().Roles()...)
	return n
}

// state is every record of a namespace, with its version.
func (f *fixture) state(namespace string) string {
	f.t.Helper()
	var all strings.Builder
	after := ""
	for {
		entries, err := f.Data.Store.List(context.Background(), namespace+"/", after, 1000)
		f.check(err)
		for _, e := range entries {
			fmt.Fprintln(&all, e.Key, e.Version)
			after = e.Key
		}
		if len(entries) < 1000 {
			return all.String()
		}
	}
}

// TestBoundary tries every operation across the boundary of two tenants: at the other's namespace, and with the other's names at one's own.
func TestBoundary(t *testing.T) {
	f := start(t)
	f.tenant("a", "mine")
	theirs := f.tenant("b", marker)
	admin, _ := f.token("a", nil, access.Administrator().Roles()...)
	before := f.state("b")

	// What makes something of the other's name in one's own namespace comes last.
	order := func(op api.Operation) int {
		switch {
		case crossings[op.ID] != own:
			return 0
		case op.Method == http.MethodGet:
			return 1
		}
		return 2
	}
	operations := slices.Clone(f.operations)
	slices.SortStableFunc(operations, func(a, b api.Operation) int { return order(a) - order(b) })
	seen := map[string]bool{}
	for _, op := range operations {
		want, known := crossings[op.ID]
		if !known {
			t.Errorf("%s is a new operation: say in crossings what a tenant may learn and do by it", op.ID)
			continue
		}
		seen[op.ID] = true
		if (want == public) != (len(op.Roles) == 0) || (want == forbidden) != (op.Everywhere || op.ID == "revokeToken") {
			t.Errorf("%s: crossings says %d, the operation roles %v, everywhere %v", op.ID, want, op.Roles, op.Everywhere)
		}
		body := bodies[op.ID]
		if op.ID == "applyPolicy" {
			body = fmt.Sprintf(`{"source":%q,"draft":true}`, allowSample(marker, "**"))
		}
		if want != public && op.ID != "whoAmI" {
			for _, at := range []string{"/ns/b", ""} {
				if status, answer := f.send(op.Method, at+target(op, theirs), admin, body); status != http.StatusForbidden || strings.Contains(answer, marker) {
					t.Errorf("%s at %q: %d %s", op.ID, at, status, answer)
				}
			}
		}
		status, answer := f.send(op.Method, "/ns/a"+target(op, theirs), admin, body)
		switch want {
		case missing:
			if status != http.StatusNotFound {
				t.Errorf("%s of the other's: %d %s", op.ID, status, answer)
			}
		case forbidden:
			if status != http.StatusForbidden {
				t.Errorf("%s: %d %s", op.ID, status, answer)
			}
		case own:
			if status >= http.StatusInternalServerError || op.Method == http.MethodGet && (status != http.StatusOK || strings.Contains(answer, marker)) {
				t.Errorf("%s: %d %s", op.ID, status, answer)
			}
		}
		for name, text := range map[string]string{"decision": theirs.decision, "lease": theirs.lease} {
			if status == http.StatusOK && strings.Contains(answer, text) {
				t.Errorf("%s answers with the other's %s: %s", op.ID, name, answer)
			}
		}
		// Nobody is nobody everywhere.
		if status, _ := f.send(op.Method, "/ns/nowhere"+target(op, theirs), f.Token, body); status != http.StatusNotFound {
			t.Errorf("%s at a namespace that there is not: %d", op.ID, status)
		}
	}
	for id := range crossings {
		if !seen[id] {
			t.Errorf("crossings has %s, which is no operation", id)
		}
	}
	if after := f.state("b"); after != before {
		t.Errorf("the other's records changed:\n%s\nwere\n%s", after, before)
	}
}

// TestBoundaryReleases tries to have what one tenant proved count at another's.
func TestBoundaryReleases(t *testing.T) {
	f := start(t)
	mine, theirs := f.tenant("a", "mine"), f.tenant("b", marker)
	ctx := t.Context()
	at := func(namespace string) string { return f.URL + "/ns/" + namespace }

	// A session, by its cookie and by its token, and a challenge.
	guest := f.guest("a")
	var cookie string // the last that was set: a client's jar would not send it elsewhere
	next := f.HTTP.Transport
	guest.HTTP = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if err == nil && len(response.Cookies()) > 0 {
			cookie = response.Cookies()[0].Name + "=" + response.Cookies()[0].Value
		}
		return response, err
	})}
	token, err := guest.Attest(ctx)
	f.check(err)
	session := http.Header{"Cookie": {cookie}}
	if _, err := f.guest("a").Do(ctx, http.MethodGet, "resource/"+mine.secret, nil, session); err != nil {
		t.Errorf("by the session at home: %v", err)
	}
	if got, err := guest.GetBearer(ctx, token, mine.secret); err != nil || string(got) != plaintext {
		t.Errorf("at home: %q, %v", got, err)
	}
	guest.URL = at("b")
	for _, secret := range []string{theirs.secret, mine.secret} {
		if got, err := guest.GetBearer(ctx, token, secret); err == nil {
			t.Errorf("by a token of another tenant's: %q", got)
		}
		if reply, err := f.guest("b").Do(ctx, http.MethodGet, "resource/"+secret, nil, session); err == nil {
			t.Errorf("by a session of another tenant's: %+v", reply)
		}
	}
	fresh := f.guest("a")
	challenge, err := fresh.Auth(ctx)
	f.check(err)
	fresh.URL = at("b")
	if _, err := fresh.Answer(ctx, challenge); err == nil {
		t.Error("a challenge of one tenant's was answered at another's")
	}
	// The other's secret, at home.
	if got, err := f.guest("a").Get(ctx, theirs.secret); err == nil {
		t.Errorf("the other's secret: %q", got)
	}
	// Administration by the KBS protocol.
	admin, _ := f.token("a", nil, access.Administrator().Roles()...)
	for _, prefix := range []string{"/ns/b", ""} {
		for _, method := range []string{http.MethodPost, http.MethodDelete} {
			if status, answer := f.send(method, prefix+"/kbs/v0/resource/"+theirs.secret, admin, ""); status != http.StatusForbidden {
				t.Errorf("%s at %q: %d %s", method, prefix, status, answer)
			}
		}
	}
	for _, path := range []string{"/ns", "/ns/", "/ns/a", "/ns/a/../b/v1/kinds", "/ns//v1/kinds", "/ns/a//v1/kinds", "/ns/%61/v1/kinds", "/ns/sys/v1/kinds", "/ns/a/ns/b/v1/kinds", "/ns/a%2Fb/v1/kinds"} {
		if status, answer := f.send(http.MethodGet, path, "", ""); status != http.StatusNotFound && status != http.StatusTemporaryRedirect && path != "/ns/%61/v1/kinds" {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestQuotas(t *testing.T) {
	f := start(t)
	ctx := t.Context()
	n := f.tenant("a", "mine")
	set := func(q broker.Quota) {
		t.Helper()
		_, err := f.SetQuota(ctx, f.Admin, "a", q)
		f.check(err)
	}
	admin, _ := f.token("a", nil, access.Administrator().Roles()...)
	put := func(name, value string) (int, string) {
		return f.send(http.MethodPost, "/ns/a/v1/admin/secrets/"+name, admin, `{"value":"`+value+`"}`)
	}
	want := func(what string, status int, answer string) {
		t.Helper()
		if status != http.StatusForbidden || code(answer) != broker.CodeQuota {
			t.Errorf("%s: %d %s", what, status, answer)
		}
	}
	set(broker.Quota{Secrets: 1, Policies: 1})
	status, answer := put("more", "AAAA")
	want("a secret more", status, answer)
	if status, answer = put(n.secret, "AAAA"); status != http.StatusOK {
		t.Errorf("a version more: %d %s", status, answer)
	}
	status, answer = f.send(http.MethodPost, "/ns/a/v1/admin/policies", admin, fmt.Sprintf(`{"source":%q,"draft":true}`, allowSample("second", "**")))
	want("a policy more", status, answer)
	set(broker.Quota{Sets: 3}) // it has one
	references := func(set string) (int, string) {
		return f.send(http.MethodPost, "/ns/a/v1/admin/references/"+set, admin, `{"values":[{"value":"00ff"}]}`)
	}
	documents := func(sets ...string) (int, string) {
		var all []string
		for _, set := range sets {
			all = append(all, fmt.Sprintf(`{"source":%q}`, "apiVersion: vouchsafe/v1\nkind: ReferenceSet\nmetadata: {name: "+set+"}\nspec: {values: [{value: 00ff}]}\n"))
		}
		return f.send(http.MethodPost, "/ns/a/v1/admin/apply", admin, `{"documents":[`+strings.Join(all, ",")+`]}`)
	}
	status, answer = documents("one", "two", "three")
	want("three sets at once", status, answer)
	if status, answer = references("one"); status != http.StatusOK {
		t.Errorf("a set: %d %s", status, answer)
	}
	status, answer = documents("two", "three")
	want("two sets more at once", status, answer)
	if status, answer = documents("one", "two"); status != http.StatusOK {
		t.Errorf("one set more in a document: %d %s", status, answer)
	}
	status, answer = references("three")
	want("a set more", status, answer)
	status, answer = f.send(http.MethodPost, "/ns/a/v1/admin/proposals", admin, `{"type":"reference.put","name":"three","values":[{"value":"00ff"}],"reason":"why"}`)
	want("a set more in a proposal", status, answer)
	if status, answer = references("two"); status != http.StatusOK {
		t.Errorf("a value of a set that is there: %d %s", status, answer)
	}
	set(broker.Quota{Bytes: int64(len(plaintext)) + 5})
	status, answer = put("more", "AAAA")
	want("3 bytes more", status, answer)
	set(broker.Quota{Bytes: int64(len(plaintext)) + 6})
	if status, answer = put("more", "AAAA"); status != http.StatusOK {
		t.Errorf("as much as there may be: %d %s", status, answer)
	}
	set(broker.Quota{Decisions: 2})
	guest := f.guest("a")
	if _, err := guest.Get(ctx, n.secret); err != nil { // attested, and released
		t.Error(err)
	}
	if _, err := f.guest("a").Get(ctx, n.secret); err == nil {
		t.Error("a third decision in a minute")
	}
	f.tenant("b", marker) // whose guests are not held up
}
