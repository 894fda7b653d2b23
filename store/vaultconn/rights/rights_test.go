package rights_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
	"github.com/vouchsafe/vouchsafe/store/vaultconn/rights"
)

// TestPolicy holds the printed policy against a real Vault, in both of its forms: what is needed is allowed, and what is beside it is not.
func TestPolicy(t *testing.T) {
	s := vaulttest.Shared(t)
	kv, transit := s.Mount(t, "kv", map[string]string{"version": "2"}), s.Mount(t, "transit", nil)
	s.Write(t, transit+"/keys/seal", nil)
	s.Write(t, transit+"/keys/other", nil)
	s.Write(t, kv+"/data/apps/db", map[string]any{"data": map[string]any{"x": "y"}})
	n := rights.Needs{
		Store: &rights.Store{Mount: kv, Prefix: "team/vouchsafe"}, Seal: &rights.Transit{Mount: transit, Key: "seal"},
		KV: []rights.KV{{Mount: kv, Path: "apps/*"}}, Issuers: []rights.Issuer{{Path: "database/creds/app"}, {Path: "pki/issue/web", Write: true}},
	}
	if err := n.Check(); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(rights.JSON(n.Rights()))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"hcl": rights.HCL(n.Rights()), "json": string(asJSON)} {
		c, err := vaultconn.Open(t.Context(), vaultconn.Config{
			Address: s.Address, Development: true, Logger: slog.New(slog.DiscardHandler), Auth: vaultconn.Auth{Method: vaultconn.MethodToken, Token: s.Token(t, text, time.Hour)},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // nothing to lose
		value := map[string]any{"data": map[string]string{"x": "y"}}
		lease := func(id string) map[string]any { return map[string]any{"lease_id": id, "sync": true} }
		for _, x := range []struct {
			method, path string
			body         any
			allowed      bool
		}{
			{"POST", kv + "/data/team/vouchsafe/a/b", value, true},
			{"GET", kv + "/data/team/vouchsafe/a/b", nil, true},
			{"GET", kv + "/subkeys/team/vouchsafe/a/b", nil, true},
			{"GET", kv + "/metadata/team/vouchsafe/a/b", nil, true},
			{"LIST", kv + "/metadata/team/vouchsafe/", nil, true},
			{"LIST", kv + "/metadata/team/vouchsafe", nil, true},
			{"DELETE", kv + "/metadata/team/vouchsafe/a/b", nil, true},
			{"GET", kv + "/config", nil, true},
			{"GET", kv + "/data/apps/db", nil, true},
			{"POST", transit + "/encrypt/seal", map[string]string{"plaintext": "AAAA"}, true},
			{"GET", transit + "/keys/seal", nil, true},
			{"POST", "sys/capabilities-self", map[string]any{"paths": []string{"x"}}, true},
			{"PUT", "sys/leases/revoke", lease("database/creds/app/x"), true},
			{"PUT", "sys/leases/revoke", lease("pki/issue/web/x"), true},

			{"POST", kv + "/config", map[string]int{"max_versions": 9}, false},
			{"LIST", kv + "/metadata/", nil, false},
			{"LIST", kv + "/metadata/team/", nil, false},
			{"POST", kv + "/data/team/vouchsafe2/a", value, false},
			{"GET", kv + "/data/other", nil, false},
			{"POST", kv + "/data/apps/db", value, false},
			{"DELETE", kv + "/data/team/vouchsafe/a/b", nil, false},
			{"POST", kv + "/metadata/team/vouchsafe/a/b", map[string]int{"max_versions": 9}, false},
			{"POST", transit + "/encrypt/other", map[string]string{"plaintext": "AAAA"}, false},
			{"POST", transit + "/keys/seal/rotate", nil, false},
			{"GET", transit + "/export/encryption-key/seal", nil, false},
			{"PUT", "sys/leases/revoke", lease("database/creds/admin/x"), false},
			{"PUT", "sys/leases/revoke", lease("auth/token/create/x"), false},
			{"PUT", "sys/leases/revoke-prefix/database/creds/app", nil, false},
			{"POST", "auth/token/create", nil, false},
			{"GET", "sys/mounts", nil, false},
			{"PUT", "sys/policies/acl/x", map[string]string{"policy": ""}, false},
		} {
			_, err := c.Do(t.Context(), vaultconn.Request{Method: x.method, Path: x.path, Body: x.body})
			if forbidden := errors.Is(err, vaultconn.ErrForbidden); forbidden == x.allowed {
				t.Errorf("%s: %s %s: %v", name, x.method, x.path, err)
			}
		}
	}
	if !strings.Contains(string(asJSON), `"lease_id":["database/creds/app/*","pki/issue/web/*"]`) {
		t.Errorf("%s", asJSON)
	}
}

// TestNothingWidens: no mount, prefix, key or path makes a policy mean more than it says.
func TestNothingWidens(t *testing.T) {
	for _, bad := range []string{"", "*", "a/*", "a/+/b", "a\"", "a\n", "../sys", "a/../../sys", "/a", "a/", "a//b", "{{identity.entity.id}}", "${x}", `a\`} {
		for i, n := range []rights.Needs{
			{Store: &rights.Store{Mount: bad, Prefix: "p"}}, {Store: &rights.Store{Mount: "m", Prefix: bad}},
			{Seal: &rights.Transit{Mount: bad, Key: "k"}}, {Seal: &rights.Transit{Mount: "m", Key: bad}},
			{KV: []rights.KV{{Mount: bad, Path: "p"}}}, {KV: []rights.KV{{Mount: "m", Path: bad}}}, {Issuers: []rights.Issuer{{Path: bad}}},
		} {
			if i >= 5 && bad == "a/*" {
				continue
			}
			if n.Check() == nil {
				t.Errorf("%d: %q was taken", i, bad)
			}
		}
	}
}
