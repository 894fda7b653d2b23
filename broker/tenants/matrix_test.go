package tenants_test

import (
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

var update = flag.Bool("update", false, "write docs/reference/roles.md anew")

const rolesPage = "../../docs/reference/roles.md"

// call is one call of the matrix.
type call struct {
	id, method, path, body string
	roles                  []access.Role
	everywhere             bool
}

// calls are all operations that ask for a role, and those of the KBS protocol, which has no table.
func (f *fixture) calls(n names) []call {
	var all []call
	for _, op := range f.operations {
		if len(op.Roles) > 0 {
			body := bodies[op.ID]
			if wire.HasBody(op.In) != (body != "") {
				f.t.Errorf("%s: bodies has one for it: %v", op.ID, body != "")
			}
			if op.ID == "applyPolicy" {
				body = fmt.Sprintf(`{"source":%q,"draft":true}`, allowSample("drafted", "mine/**"))
			}
			switch op.ID { // what lies in the scope is there, so that it is found
			case "putPolicy", "replayPolicy":
				body = fmt.Sprintf(`{"source":%q}`, allowSample("drafted", "mine/**"))
			case "propose":
				body = fmt.Sprintf(`{"type":"policy.retire","name":%q,"reason":"x"}`, n.policy)
			}
			if op.ID == "destroySecret" {
				body = `{"version":77}` // or there would be nothing to look for
			}
			if op.ID == "generateSecret" || op.ID == "putSecret" {
				body = strings.TrimSuffix(body, "}") + `,"activate":false}`
			}
			all = append(all, call{op.ID, op.Method, target(op, n), body, op.Roles, op.Everywhere})
		}
	}
	custodian := []access.Role{access.Custodian}
	return append(all,
		call{"kbsDeleteResource", http.MethodDelete, "/kbs/v0/resource/mine/type/gone", "", custodian, false},
		call{"kbsSetResource", http.MethodPost, "/kbs/v0/resource/mine/type/set", "value", custodian, false})
}

// cell is what a role may do by a call, as a real server answers it.
type cell string

const (
	may      cell = "yes"
	mayOwn   cell = "own"
	mayBelow cell = "paths" // also for who has a scope, within that
	mayNot   cell = ""
)

// TestRolesPage makes the matrix of role and call by making every call with a token of every role, with and without a scope, and holds it to what the operations
// say, and docs/reference/roles.md to it.
func TestRolesPage(t *testing.T) {
	f := start(t)
	n := f.tenant("default2", "mine")
	n.name, n.policy = "another", "scoped"
	_, err := f.Broker.Broker.ApplyPolicy(t.Context(), f.Admin, "default2", "x.yaml", []byte(allowSample("scoped", "mine/**")), false)
	f.check(err)
	proposed, err := f.Propose(t.Context(), f.Admin, "default2", broker.Change{Type: broker.ChangePolicyRetire, Name: "scoped"}, "a test")
	f.check(err)
	n.proposal = proposed.ID
	plain, within, without := map[access.Role]string{}, map[access.Role]string{}, map[access.Role]string{}
	for _, role := range access.Roles() {
		plain[role], _ = f.token("*", nil, role)
		if role != access.Operator && role != access.Enroller {
			within[role], _ = f.token("default2", access.Scope{"mine/"}, role)
			without[role], _ = f.token("default2", access.Scope{"other/"}, role)
		}
	}
	local, _ := f.token("default2", nil, access.Administrator().Roles()...)
	var rows strings.Builder
	for _, c := range f.calls(n) {
		cells := []string{}
		for _, role := range access.Roles() {
			got := mayNot
			status, answer := f.send(c.method, "/ns/default2"+c.path, plain[role], c.body)
			if status >= http.StatusInternalServerError || status == http.StatusUnauthorized {
				t.Errorf("%s by %s: %d %s", c.id, role, status, answer)
			}
			if status != http.StatusForbidden {
				got = may
			}
			allowed := slices.ContainsFunc(c.roles, func(r access.Role) bool { return access.Caller{Roles: access.SetOf(role)}.Allowed(r) })
			if c.id == "withdrawProposal" && role == access.Author { // which this one did not propose
				if got != mayNot {
					t.Errorf("an author withdrew the proposal of another: %d %s", status, answer)
				}
				got, allowed = mayOwn, false
			}
			if (got == may) != allowed {
				t.Errorf("%s by %s: %d %s, and the operation asks for %v", c.id, role, status, answer, c.roles)
			}
			if token := within[role]; token != "" {
				status, answer := f.send(c.method, "/ns/default2"+c.path, token, c.body)
				if status != http.StatusForbidden {
					if got == mayNot {
						t.Errorf("%s by %s only with a scope: %d %s", c.id, role, status, answer)
					}
					got = mayBelow
				}
				// Who has another scope learns nothing: refused, not there, or an empty answer.
				if status, answer := f.send(c.method, "/ns/default2"+c.path, without[role], c.body); c.id != "whoAmI" && strings.Contains(answer, "mine/") && !strings.Contains(answer, "there is no") {
					t.Errorf("%s by %s for other paths: %d %s", c.id, role, status, answer)
				}
			}
			cells = append(cells, string(got))
		}
		if status, answer := f.send(c.method, "/ns/default2"+c.path, local, c.body); (status == http.StatusForbidden) != c.everywhere && c.id != "revokeToken" {
			t.Errorf("%s by an administrator of the namespace: %d %s, everywhere: %v", c.id, status, answer, c.everywhere)
		}
		where := "its namespace"
		if c.everywhere {
			where = "everywhere"
		}
		fmt.Fprintf(&rows, "| `%s` | %s | %s |\n", c.id, strings.Join(cells, " | "), where)
	}
	heading, line := "| call |", "|---|"
	for _, role := range access.Roles() {
		heading, line = heading+" "+role.String()+" |", line+"---|"
	}
	page := pageText + heading + " held |\n" + line + "---|\n" + rows.String()
	if *update {
		f.check(os.WriteFile(rolesPage, []byte(page), 0o644))
	}
	if have, err := os.ReadFile(rolesPage); err != nil || string(have) != page {
		t.Errorf("docs/reference/roles.md is stale, or was not made: run go test ./broker/tenants -run TestRolesPage -update (%v)", err)
	}
	f.checkPlaintext()
}

const pageText = `# Roles and calls

Made by "make generate", from the calls themselves: a test makes every call of administrators at a running broker with a token of every role, and this is what it answered. No role, and no
number of them together, reads a secret's value through any call: the same test looks for known values in every answer and in the log.

- **yes**: the role may. **paths**: and so may who holds it for some paths of secrets only (` + "`token create --path`" + `), for what lies at or below them: of policies, and of what is proposed of them, those all of whose patterns do, in every version that is kept. **own**: only for what its holder made, with paths too. Empty: it may not.
- **held**: whether the role has to be held in all namespaces, or in the one that the call is about.
- ` + "`createToken`" + ` gives only roles, namespaces and paths that its maker has. ` + "`revokeToken`" + ` ends any token of a namespace of the operator's, and with any role one's own.
- ` + "`applyPolicy`" + ` adds a draft; to have it judge at once takes the role approver as well, and so does ` + "`putReferences`" + ` of values that count at once.

`

// checkPlaintext looks for the secret in everything that was answered to administrators, and logged.
func (f *fixture) checkPlaintext() {
	f.t.Helper()
	seen := f.answers.String() + f.Logs()
	if len(seen) < 10_000 {
		f.t.Errorf("only %d bytes were seen", len(seen))
	}
	raw := []byte(plaintext)
	forms := map[string]string{
		"itself": plaintext, "hex": hex.EncodeToString(raw), "base64url": base64.RawURLEncoding.EncodeToString(raw[:len(raw)/3*3]),
		"base64": base64.RawStdEncoding.EncodeToString(raw[:len(raw)/3*3]), "bytes": strings.Trim(strings.ReplaceAll(fmt.Sprint(raw), " ", ","), "[]"),
	}
	for form, text := range forms {
		if strings.Contains(strings.ToLower(seen), strings.ToLower(text)) {
			f.t.Errorf("the secret, as %s, is in an answer or the log", form)
		}
	}
}

// TestNoPlaintext puts, lists and spoils a known secret by every call with every role at once, and looks for it in all that is answered and logged.
func TestNoPlaintext(t *testing.T) {
	f := start(t)
	n := f.tenant("a", "mine")
	who := f.Admin
	all, _, err := f.Broker.Broker.CreateToken(t.Context(), who, access.Request{Name: "all", Roles: access.Administrator(), Namespace: "*"})
	f.check(err)
	encoded := base64.StdEncoding.EncodeToString([]byte(plaintext))
	f.answers.Reset()
	for range 2 { // the second time, after what the first changed
		for _, c := range f.calls(n) {
			body := c.body
			if c.id == "putSecret" {
				body = `{"value":"` + encoded + `","content_type":"text/plain"}`
			}
			f.send(c.method, "/ns/a"+c.path, all.Reveal(), body)
			// A value where something else belongs must not come back in an error.
			for _, bad := range []string{`{"value":"` + plaintext + `"}`, `{"value":"` + encoded + `","unknown":1}`, `{"value":{"` + plaintext + `":1}}`, plaintext} {
				if c.method == http.MethodPost && c.id != "applyPolicy" {
					f.send(c.method, "/ns/a"+c.path, all.Reveal(), bad)
				}
			}
		}
	}
	f.checkPlaintext()
}
