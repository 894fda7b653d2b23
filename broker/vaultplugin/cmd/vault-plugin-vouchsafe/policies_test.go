package main

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// policyFiles are the policies that are shipped for roles.
const policyFiles = "../../../../deploy/vault"

// user returns a client that has the shipped policies for a mount, and no others.
func (m *mount) user(t *testing.T, shipped, path string, names ...string) *api.Client {
	t.Helper()
	var policies []string
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(policyFiles, name+".hcl"))
		if err != nil {
			t.Fatal(err)
		}
		own := strings.ReplaceAll(path, "/", "-") + "-" + name
		if err := m.client.Sys().PutPolicyWithContext(t.Context(), own, strings.ReplaceAll(string(text), `"`+shipped+"/", `"`+path+"/")); err != nil {
			t.Fatal(err)
		}
		policies = append(policies, own)
	}
	orphan, err := m.client.Auth().Token().CreateOrphanWithContext(t.Context(), &api.TokenCreateRequest{Policies: policies, NoDefaultPolicy: true, DisplayName: names[0]})
	if err != nil {
		t.Fatal(err)
	}
	c := m.server.Client(t)
	c.SetToken(orphan.Auth.ClientToken)
	return c
}

// deed is something that a role may or may not do.
type deed struct {
	name string
	do   func(t *testing.T, m *mount, c *api.Client) error
}

func writes(path string, body map[string]any) deed {
	return deed{"write " + path, func(t *testing.T, m *mount, c *api.Client) error {
		_, err := c.Logical().WriteWithContext(t.Context(), m.path+"/"+path, body)
		return err
	}}
}

func reads(path string) deed {
	return deed{"read " + path, func(t *testing.T, m *mount, c *api.Client) error {
		answer, err := c.Logical().ReadRawWithContext(t.Context(), m.path+"/"+path) // what is below log/ is no JSON
		if answer != nil {
			_ = answer.Body.Close()
		}
		return err
	}}
}

func lists(path string) deed {
	return deed{"list " + path, func(t *testing.T, m *mount, c *api.Client) error {
		_, err := c.Logical().ListWithContext(t.Context(), m.path+"/"+path)
		return err
	}}
}

// TestShippedPolicies gives users the policies of deploy/vault and has each try everything: what its role may do works, and nothing else does.
func TestShippedPolicies(t *testing.T) {
	m := newMount(t, vaulttest.Shared(t))
	m.fill(t)
	draft := samplePolicy("draft", "other/*", `claims.kind == "snp"`)
	value := map[string]any{"values": []any{map[string]any{"value": "aa"}}}
	deeds := []deed{
		writes("secrets/demo/app/user", map[string]any{"value": "YWE="}), writes("secret-generate/demo/app/user", map[string]any{"length": 16, "encoding": "hex"}),
		writes("secret-activate/demo/app/password", map[string]any{"version": 1}),
		reads("secrets/demo/app/password"), lists("secrets"),
		writes("policies", draft), writes("policy-test", draft), writes("references/images", value),
		writes("policy-activate/demo", map[string]any{"version": 1}), writes("reference-retire/images", map[string]any{"values": []string{"bb"}}),
		writes("reference-activate/images", map[string]any{"values": []string{"bb"}}), reads("reference-uses/images"), writes("reference-releases/images", nil),
		writes("policy-apply", draft), writes("reference-apply/others", value),
		reads("policies/demo"), lists("policies"), lists("references"),
		lists("decisions"), lists("leases"), reads("log/tile/entries/000.p/1"), reads("log/receipt/0"),
		reads("config"), writes("config", map[string]any{"max_secrets": 5}), lists("keys"), writes("key-rotate", map[string]any{"purpose": "token"}),
		writes("enrolment-begin", map[string]any{"host": "h", "request": map[string]any{}}), lists("enrolments"),
	}
	may := map[string]string{
		"custodian": "write secrets write secret-generate write secret-activate read secrets list secrets list leases",
		"author":    "write policies write policy-test write references read policies list policies list references read reference-uses list decisions",
		"approver":  "write policy-activate write reference-retire write reference-activate read reference-uses write reference-releases read policies list policies list references",
		"auditor": "read secrets list secrets read policies list policies list references read reference-uses write reference-releases list decisions list leases " +
			"read log read config list keys list enrolments",
		"operator":            "read config write config list keys write key-rotate write enrolment-begin list enrolments",
		"enroller":            "write enrolment-begin",
		"author-and-approver": "write policy-apply write reference-apply",
	}
	for role, allowed := range may {
		c := m.user(t, "vouchsafe", m.path, role)
		for _, d := range deeds {
			what, _, _ := strings.Cut(d.name, "/")
			want := strings.Contains(" "+allowed+" ", " "+what+" ")
			err := d.do(t, m, c)
			// An enrolment needs a TPM, and some a value that is there: here it is enough that it gets to the broker. A listing of nothing is no error.
			unmet := []string{"write enrolment-begin", "write reference-retire", "write reference-activate", "read reference-uses"}
			if want && err != nil && !slices.Contains(unmet, what) || deniedByVault(err) == want {
				t.Errorf("%s may %s: %v, and got %v", role, d.name, want, err)
			}
		}
	}
}

// deniedByVault reports whether Vault's own policies said no, or the broker for a role that the path does not give.
func deniedByVault(err error) bool {
	var failed *api.ResponseError
	return errors.As(err, &failed) && failed.StatusCode == http.StatusForbidden
}

func TestShippedAuthPolicies(t *testing.T) {
	m := newAuthMount(t, vaulttest.Shared(t))
	c := m.user(t, "auth/vouchsafe", m.path, "auth-operator")
	for _, d := range []deed{writes("role/payments", map[string]any{"token_policies": "payments"}), reads("role/payments"), lists("role"), reads("config")} {
		if err := d.do(t, m, c); err != nil {
			t.Errorf("%s: %v", d.name, err)
		}
	}
	for _, d := range []deed{writes("policy-apply", samplePolicy("x", "auth/x", "true")), lists("decisions")} {
		if err := d.do(t, m, c); !deniedByVault(err) {
			t.Errorf("%s: %v", d.name, err)
		}
	}
}

// TestActorsAreWhoVaultSays reads in the audit log who did something: the name that Vault gives, and nothing of the token.
func TestActorsAreWhoVaultSays(t *testing.T) {
	m := newMount(t, vaulttest.Shared(t))
	c := m.user(t, "vouchsafe", m.path, "custodian")
	if _, err := c.Logical().WriteWithContext(t.Context(), m.path+"/secrets/demo/app/x", map[string]any{"value": "YWE="}); err != nil {
		t.Fatal(err)
	}
	status, body := m.raw(t, "log/tile/entries/000.p/1")
	if status != http.StatusOK || !strings.Contains(string(body), `"name":"token-custodian"`) || !strings.Contains(string(body), `"token":"token:`) {
		t.Errorf("%d %q", status, body)
	}
	if strings.Contains(string(body), c.Token()) {
		t.Error("the log has the token")
	}
}
