package vaulttest_test

import (
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/pgtest"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// TestEngines mounts everything that the package promises.
func TestEngines(t *testing.T) {
	s := vaulttest.Shared(t)
	for _, engine := range []string{"kv", "transit", "pki", "ssh", "database"} {
		s.Mount(t, engine, nil)
	}
	for _, method := range []string{"approle", "cert", "jwt", "kubernetes", "userpass"} {
		s.MountAuth(t, method)
	}
}

// TestDatabase: what Vault issues for a real PostgreSQL works, and does not once it is revoked.
func TestDatabase(t *testing.T) {
	s, pg := vaulttest.Shared(t), pgtest.Start(t)
	mount := s.Mount(t, "database", nil)
	s.Write(t, mount+"/config/pg", map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "guest", "connection_url": pg.VaultURL(),
		"username": pgtest.Superuser, "password": pg.Password,
	})
	s.Write(t, mount+"/roles/guest", map[string]any{
		"db_name": "pg", "default_ttl": "1h",
		"creation_statements": `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`,
	})
	issued, err := s.Client(t).Logical().ReadWithContext(t.Context(), mount+"/creds/guest")
	if err != nil {
		t.Fatal(err)
	}
	role, password := issued.Data["username"].(string), issued.Data["password"].(string)
	if got, err := pg.Query(t.Context(), role, password, "SELECT current_user"); err != nil || got != role {
		t.Errorf("got %q, %v", got, err)
	}
	if err := s.Client(t).Sys().RevokeWithContext(t.Context(), issued.LeaseID); err != nil {
		t.Fatal(err)
	}
	if _, err := pg.Query(t.Context(), role, password, "SELECT 1"); err == nil || !strings.Contains(err.Error(), "authentication failed") {
		t.Errorf("after its lease was revoked: %v", err)
	}
}
