package examples_test

import (
	"bytes"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/tpm/tpmtest"
	"github.com/vouchsafe/vouchsafe/internal/pgtest"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// vaultEnv is what the pages' commands for Vault take from the environment.
func vaultEnv(s *vaulttest.Server) []string {
	return []string{"VAULT_TOKEN=" + s.RootToken}
}

// withVault copies an example that has a Vault at https://127.0.0.1:8200 and a broker on port 8443.
func withVault(t *testing.T, example string, s *vaulttest.Server, env []string, oldnew ...string) *page {
	t.Helper()
	p := newPage(t, example, append(vaultEnv(s), env...), append(oldnew, "https://127.0.0.1:8200", s.Address, "8443", freePort(t))...)
	authority, err := os.ReadFile(s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	p.write("vault-ca.pem", string(authority), 0o644)
	return p
}

// trust writes the certificates of a TPM's maker.
func (p *page) trust(host *tpmtest.TPM) {
	p.t.Helper()
	var makers bytes.Buffer
	roots, intermediates := host.Authority()
	for _, certificate := range append(roots, intermediates...) {
		if err := pem.Encode(&makers, &pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}); err != nil {
			p.t.Fatal(err)
		}
	}
	p.write("tpm-maker.pem", makers.String(), 0o644)
}

// TestVault follows examples/vault: a broker with its records in a real Vault releases accounts of a real PostgreSQL to a host with a TPM, and they end with
// their lease and with the policy.
func TestVault(t *testing.T) {
	need(t, "bash", "jq", "psql")
	host := tpmtest.Start(t)
	vault := vaulttest.Start(t, vaulttest.WithTLS())
	postgres := pgtest.Start(t)
	_, port, err := net.SplitHostPort(postgres.Address)
	if err != nil {
		t.Fatal(err)
	}
	account, err := os.CreateTemp("/dev/shm", "account") // of this run alone
	if err != nil {
		t.Skipf("no file system in memory: %v", err)
	}
	_ = account.Close()
	t.Cleanup(func() { _ = os.Remove(account.Name()) })

	p := withVault(t, "vault", vault, []string{"TPM=" + host.Addr(), "PGUSER=" + pgtest.Superuser, "PGPASSWORD=" + postgres.Password},
		"5432", port, "/dev/shm/account.json", account.Name())
	p.trust(host)
	p.follow()

	if shown, err := os.ReadFile("vault/vouchsafe.hcl"); err != nil || string(shown) != p.read("vouchsafe.hcl") {
		t.Errorf("vouchsafe.hcl is not what the page's command prints, %v", err)
	}
	if left := postgres.Exec(t, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'"); left != "0" {
		t.Errorf("%s accounts are left", left)
	}
}

// TestMigrate follows examples/migrate: a broker moves from a file to a real Vault and back, and the host that it releases to notices nothing.
func TestMigrate(t *testing.T) {
	need(t, "bash")
	host := tpmtest.Start(t)
	p := withVault(t, "migrate", vaulttest.Start(t, vaulttest.WithTLS()), []string{"TPM=" + host.Addr()})
	p.trust(host)
	p.follow()
}

// TestPlugin follows examples/plugin: a real Vault runs the plugin, which releases to a pretended TEE.
func TestPlugin(t *testing.T) {
	need(t, "bash", "jq", "go")
	vault := vaulttest.Start(t, vaulttest.WithTLS())
	source, err := filepath.Abs("../broker/vaultplugin")
	if err != nil {
		t.Fatal(err)
	}
	withVault(t, "plugin", vault, nil, "../../broker/vaultplugin", source, "/etc/vault.d/plugins", vault.PluginDir).follow()
}
