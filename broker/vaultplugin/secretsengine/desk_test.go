package secretsengine

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// widerPolicy asks for less than the bench's policy.
const widerPolicy = `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: demo}
spec:
  secrets: ["demo/**"]
  require:
    - {name: virtual, that: claims.kind == "virtual"}
`

// TestTokensWithoutAnEntityAreOnePerson: whoever has such a token makes others of them, and so approves once, however often, and not what another of them
// proposed.
func TestTokensWithoutAnEntityAreOnePerson(t *testing.T) {
	b := newBench(t)
	b.configure(t)
	b.must(t, "approval-rules", map[string]any{"source": `apiVersion: vouchsafe/v1
kind: ApprovalRules
spec: {rules: [{name: demo, secrets: ["demo/**"], approvals: 2}]}
`})
	b.must(t, "approval-rules-activate", map[string]any{"version": 1})
	as := func(entity, token, path string, data map[string]any) (int, map[string]any) {
		t.Helper()
		r, err := b.backend.HandleRequest(t.Context(), &logical.Request{
			Operation: logical.UpdateOperation, Path: path, Data: data, Storage: b.storage, DisplayName: "token", EntityID: entity, ClientToken: token,
		})
		if err != nil {
			t.Fatal(err)
		}
		return statusOf(r), r.Data
	}
	if status, answer := as("author", "t", "policies", map[string]any{"source": widerPolicy}); status != http.StatusOK {
		t.Fatal(status, answer)
	}
	propose := map[string]any{"type": "policy.activate", "name": "demo", "version": 2, "reason": "wider"}
	for _, test := range []struct {
		name      string
		author    [2]string // entity and token
		approvers [][2]string
		counts    []int // the status of each approval
		met       int   // that of activating it
	}{
		{"the second token of one approver", [2]string{"author", "t"}, [][2]string{{"", "a"}, {"", "b"}}, []int{200, 200}, 403},
		{"an author's other token", [2]string{"", "t"}, [][2]string{{"", "a"}, {"alice", "b"}}, []int{403, 200}, 403},
		{"one of them is one person", [2]string{"author", "t"}, [][2]string{{"", "a"}, {"alice", "b"}}, []int{200, 200}, 200},
	} {
		status, proposal := as(test.author[0], test.author[1], "proposals", propose)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", test.name, status, proposal[logical.HTTPRawBody])
		}
		id, digest := proposal["id"].(string), proposal["digest"].(string)
		for i, who := range test.approvers {
			if status, answer := as(who[0], who[1], "proposal-approve/"+id, map[string]any{"digest": digest}); status != test.counts[i] {
				t.Errorf("%s: approval %d: %d %s", test.name, i, status, answer[logical.HTTPRawBody])
			}
		}
		if status, answer := as("carol", "c", "proposal-activate/"+id, nil); status != test.met {
			t.Errorf("%s: activating: %d %s", test.name, status, answer[logical.HTTPRawBody])
		}
		if status, answer := as("carol", "c", "proposal-withdraw/"+id, map[string]any{"reason": "over"}); test.met != http.StatusOK && status != http.StatusOK {
			t.Errorf("%s: withdrawing: %d %s", test.name, status, answer[logical.HTTPRawBody])
		}
	}
}

// TestApprovalsHoldInAMount tries each path that changes what judges, by one caller whom Vault lets use every path, and then has two others approve.
func TestApprovalsHoldInAMount(t *testing.T) {
	b := newBench(t)
	b.configure(t)
	b.must(t, "approval-rules", map[string]any{"source": `apiVersion: vouchsafe/v1
kind: ApprovalRules
spec: {rules: [{name: demo, secrets: ["demo/**"], references: [images], approvals: 2}]}
`})
	b.must(t, "approval-rules-activate", map[string]any{"version": 1})
	as := func(entity, path string, data map[string]any) (int, string, map[string]any) {
		t.Helper()
		r, err := b.backend.HandleRequest(t.Context(), &logical.Request{
			Operation: logical.UpdateOperation, Path: path, Data: data, Storage: b.storage, DisplayName: entity, EntityID: entity, ClientToken: "salted-" + entity,
		})
		if err != nil {
			t.Fatal(err)
		}
		body, _ := r.Data[logical.HTTPRawBody].([]byte)
		return statusOf(r), string(body), r.Data
	}
	b.must(t, "policies", map[string]any{"source": widerPolicy})
	for path, data := range map[string]map[string]any{
		"policy-apply": {"source": widerPolicy}, "apply": {"documents": []any{map[string]any{"source": widerPolicy}}}, "policy-activate/demo": {"version": 2}, "policy-retire/demo": {}, "reference-apply/images": {"values": []any{map[string]any{"value": "00ff"}}},
		"policy-rollback/demo": {"version": 2, "reason": "why"},
	} {
		if status, body, _ := as("mallory", path, data); status != http.StatusForbidden || !strings.Contains(body, "approval_required") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	status, body, proposal := as("author", "proposals", map[string]any{"type": "policy.activate", "name": "demo", "version": 2, "reason": "wider"})
	if status != http.StatusOK {
		t.Fatal(status, body)
	}
	id, digest := proposal["id"].(string), proposal["digest"].(string)
	for _, who := range []struct {
		entity string
		status int
	}{{"author", 403}, {"alice", 200}, {"alice", 200}, {"bob", 200}} {
		if who.entity == "bob" {
			if status, body, _ := as("mallory", "proposal-activate/"+id, nil); status != http.StatusForbidden {
				t.Errorf("with one approval: %d %s", status, body)
			}
		}
		if status, body, _ := as(who.entity, "proposal-approve/"+id, map[string]any{"digest": digest}); status != who.status {
			t.Errorf("%s: %d %s", who.entity, status, body)
		}
	}
	if status, body, _ := as("mallory", "proposal-activate/"+id, nil); status != http.StatusOK {
		t.Errorf("with two: %d %s", status, body)
	}
}
