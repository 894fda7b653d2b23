package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/api"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
)

// bodies are requests that get past decoding, by operation. What they do does not matter here, only who may.
var bodies = map[string]string{
	"putSecret":         `{"value":"dmFsdWU="}`,
	"generateSecret":    `{"length":16,"encoding":"hex"}`,
	"activateSecret":    `{"version":1}`,
	"destroySecret":     `{"version":7}`,
	"applyPolicy":       `{"source":"x","draft":true}`,
	"activatePolicy":    `{"version":1}`,
	"replayPolicy":      `{"source":"x"}`,
	"putRego":           `{"source":"x","draft":true}`,
	"activateRego":      `{"version":1}`,
	"putRegoReferences": `{"values":{"x":{"value":null}}}`,
	"putReferences":     `{"values":[{"value":"x","state":"staged"}]}`,
	"retireReferences":  `{"values":["x"]}`,
	"beginEnrolment":    `{"host":"h","request":{"ek_certificate":"","ek_public":"","ak_public":""}}`,
	"completeEnrolment": `{"id":"x","secret":""}`,
	"createToken":       `{"name":"x","roles":[]}`,
	"rotateKey":         `{"purpose":"reply"}`,
	"backup":            `{"recipients":["age1x"]}`,

	"putPolicy":             `{"source":"x"}`,
	"rollBackPolicy":        `{"reason":"x"}`,
	"propose":               `{"type":"policy.retire","name":"nothing","reason":"x"}`,
	"approveProposal":       `{"digest":"x"}`,
	"withdrawProposal":      `{"reason":"x"}`,
	"activateProposal":      `{"reason":"x"}`,
	"acknowledgeBreakGlass": `{"reason":"x"}`,
	"putApprovalRules":      `{"source":"x"}`,
	"apply":                 `{"documents":[],"dry_run":true}`,
	"activateApprovalRules": `{"version":1}`,
	"createNamespace":       `{"secrets":1}`,
	"setQuota":              `{"secrets":1}`,
	"importReferences":      `{"format":"json","document":"W3sidmFsdWUiOiJ4In1d"}`,
	"activateReferences":    `{"values":["x"]}`,
	"referenceReleases":     `{"values":["x"]}`,
}

// target fills the path of an operation with names that are well-formed.
func target(op api.Operation) string {
	return strings.NewReplacer("{name...}", "app/key", "{kind}", "attestation", "{name}", "name", "{id}", "0123456789abcdef", "{digest}", "00", "{index}", "0",
		"{path...}", "entries/000.p/1", "{log}", "0").Replace(op.Path)
}

func body(op api.Operation) []byte {
	if text := bodies[op.ID]; text != "" {
		return []byte(text)
	}
	return nil
}

// TestRoles tries every operation with every role, in all namespaces and in one, and without a good token.
func TestRoles(t *testing.T) {
	f := start(t, brokertest.Config{})
	tokens := map[string]string{}
	makeToken := func(name string, roles access.Set, namespace string) string {
		token, record, err := f.Broker.Broker.CreateToken(t.Context(), f.Admin, access.Request{Name: name, Roles: roles, Namespace: namespace})
		if err != nil {
			t.Fatal(err)
		}
		tokens[name] = record.ID
		return token.Reveal()
	}
	revoked := makeToken("revoked", access.Administrator(), access.AllNamespaces)
	if err := f.RevokeToken(t.Context(), f.Admin, tokens["revoked"]); err != nil {
		t.Fatal(err)
	}
	expired := "vst_0123456789abcdef_" + strings.Repeat("A", 43)
	foreign := makeToken("foreign", access.Administrator(), "other")
	local := makeToken("local", access.Administrator(), "default")
	byRole := map[access.Role]string{}
	for _, role := range access.Roles() {
		if role == access.Enroller { // an administrator is none, and cannot make one: the first token can
			continue
		}
		byRole[role] = makeToken(role.String(), access.SetOf(role), access.AllNamespaces)
	}
	byRole[access.Enroller] = makeEnroller(t, f)

	admin := 0
	for _, op := range f.api.Operations() {
		if strings.HasPrefix(op.Path, "/v1/admin/") {
			if admin++; len(op.Roles) == 0 {
				t.Errorf("%s asks for no role", op.ID)
			}
		}
		if len(op.Roles) == 0 {
			continue
		}
		if wire.HasBody(op.In) != (bodies[op.ID] != "") {
			t.Errorf("%s: the test has a body for it: %v", op.ID, bodies[op.ID] != "")
		}
		for role, token := range byRole {
			allowed := slices.ContainsFunc(op.Roles, func(r access.Role) bool { return access.Caller{Roles: access.SetOf(role)}.Allowed(r) })
			status, e := f.code(op, token)
			if got := status != http.StatusForbidden; got != allowed || status >= 500 {
				t.Errorf("%s by %s: %d %s, allowed should be %v", op.ID, role, status, e, allowed)
			}
		}
		if status, e := f.code(op, foreign); status != http.StatusForbidden && op.ID != "revokeToken" && op.ID != "whoAmI" {
			t.Errorf("%s by an administrator of another namespace: %d %s", op.ID, status, e)
		}
		if status, e := f.code(op, local); (status == http.StatusForbidden) != op.Everywhere && op.ID != "revokeToken" {
			t.Errorf("%s by an administrator of this namespace only: %d %s", op.ID, status, e)
		}
		for name, token := range map[string]string{
			"no token": "", "junk": "junk", "a revoked token": revoked, "an unknown token": expired, "a token's id": tokens["local"],
			"a token and more": f.Token + "A", "half a token": f.Token[:40], "two tokens": f.Token + " " + f.Token,
		} {
			status, header, answer := f.send(op.Method, target(op), token, body(op))
			if status != http.StatusUnauthorized || header.Get("WWW-Authenticate") == "" || !strings.Contains(string(answer), `"unauthenticated"`) {
				t.Errorf("%s by %s: %d %s", op.ID, name, status, answer)
			}
		}
	}
	if admin < 25 {
		t.Errorf("%d administrative operations were tried", admin)
	}
	for _, secret := range []string{f.Token, revoked, foreign, local} {
		if strings.Contains(f.seen(), secret) || strings.Contains(f.seen(), secret[len(secret)-43:]) {
			t.Errorf("the token %s… is in an answer or a log", secret[:20])
		}
	}
}

// makeEnroller makes a token of the one role that administrators do not hold.
func makeEnroller(t *testing.T, f *fixture) string {
	t.Helper()
	token, _, err := f.Broker.Broker.CreateToken(t.Context(), access.Caller{
		Token: "test", Name: "test", Subject: "test", Roles: access.SetOf(access.Operator, access.Enroller), Namespace: access.AllNamespaces,
	}, access.Request{Name: "enroller", Roles: access.SetOf(access.Enroller), Namespace: access.AllNamespaces})
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

// code performs an operation and returns its status and error code.
func (f *fixture) code(op api.Operation, token string) (int, broker.Code) {
	f.t.Helper()
	status, _, answer := f.send(op.Method, target(op), token, body(op))
	var e wire.Error
	if status != http.StatusOK {
		if err := json.Unmarshal(answer, &e); err != nil || e.Code == "" || e.Message == "" {
			f.t.Errorf("%s: %d %s is no error of this API", op.ID, status, answer)
		}
	}
	return status, e.Code
}

// TestPolicyNeedsTwoRoles: to author is not to approve.
func TestPolicyNeedsTwoRoles(t *testing.T) {
	f := start(t, brokertest.Config{})
	source := brokertest.AllowVirtual("app/*")
	author, approver := f.admin(f.CreateToken(access.Author)), f.admin(f.CreateToken(access.Approver))
	if _, err := author.ApplyPolicy(t.Context(), wire.PolicyApply{Source: source}); statusOf(err) != http.StatusForbidden {
		t.Errorf("an author made a policy judge: %v", err)
	}
	if _, err := author.ApplyPolicy(t.Context(), wire.PolicyApply{Source: source, Draft: true}); err != nil {
		t.Error(err)
	}
	if _, err := author.ActivatePolicy(t.Context(), wire.PolicyActivate{PolicyName: wire.PolicyName{Name: "allow-virtual"}, Version: 1}); statusOf(err) != http.StatusForbidden {
		t.Errorf("an author made a draft judge: %v", err)
	}
	if _, err := approver.ActivatePolicy(t.Context(), wire.PolicyActivate{PolicyName: wire.PolicyName{Name: "allow-virtual"}, Version: 1}); err != nil {
		t.Error(err)
	}
	put := wire.ReferencesPut{ReferenceName: wire.ReferenceName{Name: "images"}, Values: []wire.ReferencePut{{Value: "x"}}}
	if _, err := author.PutReferences(t.Context(), put); statusOf(err) != http.StatusForbidden {
		t.Errorf("an author made a reference value count: %v", err)
	}
}

// TestTokenCannotGrow: nobody makes a token that may do what they may not.
func TestTokenCannotGrow(t *testing.T) {
	f := start(t, brokertest.Config{})
	operator := f.admin(f.CreateToken(access.Operator))
	for _, role := range access.Roles() {
		if role == access.Operator || role == access.Enroller {
			continue
		}
		_, err := operator.CreateToken(t.Context(), wire.TokenCreate{Name: "x", Roles: access.SetOf(role), Namespace: "*"})
		if statusOf(err) != http.StatusForbidden {
			t.Errorf("an operator made a token of %s: %v", role, err)
		}
	}
	created, err := f.admin(f.Token).CreateToken(t.Context(), wire.TokenCreate{Name: "x", Roles: access.SetOf(access.Operator)})
	if err != nil || created.Record.Namespace != "default" {
		t.Fatalf("%+v, %v", created, err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", created, created, created, created.Token); strings.Contains(text, string(created.Token)) {
		t.Errorf("printed as %s", text)
	}
	local := f.admin(string(created.Token))
	if _, err := local.CreateToken(t.Context(), wire.TokenCreate{Name: "x", Roles: access.SetOf(access.Operator), Namespace: "*"}); statusOf(err) != http.StatusForbidden {
		t.Errorf("an operator of one namespace made one of all: %v", err)
	}
	for _, lifetime := range []int64{-1, wire.MaxLifetime + 1, 1 << 62} {
		if _, err := f.admin(f.Token).CreateToken(t.Context(), wire.TokenCreate{Name: "x", Roles: access.SetOf(access.Auditor), Lifetime: lifetime}); statusOf(err) != http.StatusBadRequest {
			t.Errorf("lifetime %d: %v", lifetime, err)
		}
	}
	if err := local.RevokeToken(t.Context(), created.Record.ID); err != nil {
		t.Errorf("a token could not end itself: %v", err)
	}
	if _, err := local.Secrets(t.Context(), wire.SecretsQuery{}); statusOf(err) != http.StatusUnauthorized {
		t.Errorf("after it ended itself: %v", err)
	}
}

// TestTable holds the table of endpoints to itself: what it says can be bound.
func TestTable(t *testing.T) {
	f := start(t, brokertest.Config{})
	seen := map[string]bool{}
	for _, op := range f.api.Operations() {
		if seen[op.ID] || seen[op.Method+op.Path] {
			t.Errorf("%s is there twice", op.ID)
		}
		seen[op.ID], seen[op.Method+op.Path] = true, true
		for _, field := range reflect.VisibleFields(op.In) {
			if name := field.Tag.Get("path"); name != "" && !strings.Contains(op.Path, "{"+name+"}") && !strings.Contains(op.Path, "{"+name+"...}") {
				t.Errorf("%s: path parameter %s is not in %s", op.ID, name, op.Path)
			}
			kind := field.Type.Kind()
			if (field.Tag.Get("path") != "" || field.Tag.Get("query") != "") && kind != reflect.String && kind != reflect.Uint64 && kind != reflect.Int &&
				field.Type != reflect.TypeFor[time.Time]() {
				t.Errorf("%s: %s cannot be a parameter", op.ID, field.Name)
			}
		}
		if op.Summary == "" || op.Media != "" && op.ID != "release" && op.Out != reflect.TypeFor[[]byte]() {
			t.Errorf("%s: %+v", op.ID, op)
		}
	}
}
