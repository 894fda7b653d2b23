package secretsengine

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

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
	wider := "apiVersion: vouchsafe/v1\nkind: ReleasePolicy\nmetadata: {name: demo}\nspec:\n  secrets: [\"demo/**\"]\n  require:\n    - {name: virtual, that: claims.kind == \"virtual\"}\n"
	b.must(t, "policies", map[string]any{"source": wider})
	for path, data := range map[string]map[string]any{
		"policy-apply": {"source": wider}, "policy-activate/demo": {"version": 2}, "policy-retire/demo": {}, "reference-apply/images": {"values": []any{map[string]any{"value": "00ff"}}},
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
