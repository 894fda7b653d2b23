package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// scriptVault is a real Vault that scripts share.
type scriptVault struct {
	server       *vaulttest.Server
	mount        string // where stores are, each at a prefix of its own
	transit, key string // what seals stores
	kv, pki      string // where secrets of workloads are, and where certificates are issued
}

func newScriptVault(t *testing.T) *scriptVault {
	t.Helper()
	s := vaulttest.Start(t, vaulttest.WithTLS())
	version2 := map[string]string{"version": "2"}
	v := &scriptVault{
		server: s, mount: s.Mount(t, "kv", version2), transit: s.Mount(t, "transit", nil), key: "vouchsafe", kv: s.Mount(t, "kv", version2), pki: s.Mount(t, "pki", nil),
	}
	s.Write(t, v.mount+"/config", map[string]any{"max_versions": 1})
	s.Write(t, v.transit+"/keys/"+v.key, nil)
	s.Write(t, v.kv+"/data/payments/db", map[string]any{"data": map[string]any{"password": "correct horse\n", "user": "app"}})
	s.Write(t, v.pki+"/root/generate/internal", map[string]any{"common_name": "test", "ttl": "24h"})
	s.Write(t, v.pki+"/roles/workload", map[string]any{"allowed_domains": "example.org", "allow_subdomains": true, "generate_lease": true, "ttl": "30m"})
	return v
}

// write writes files of settings for a script, with where Vault is and a token for it.
func (v *scriptVault) write(env *testscript.Env, files map[string]string) error {
	env.Setenv("KV", v.kv)
	env.Setenv("PKI", v.pki)
	there := fmt.Sprintf(`vault: {address: %q, ca_cert: %s, auth: {method: token, token_file: vault.token}, keep_token: true,
  sources: {default: [%s/data/payments/*, %s/issue/*]}}
`, v.server.Address, v.server.CAFile, v.kv, v.pki)
	errs := []error{os.WriteFile(filepath.Join(env.WorkDir, "vault.token"), []byte(v.server.RootToken+"\n"), 0o600)}
	for name, text := range files {
		errs = append(errs, os.WriteFile(filepath.Join(env.WorkDir, name), []byte(text+there), 0o600))
	}
	return errors.Join(errs...)
}

// store is where a script has its store, by its folder below testdata and its own name.
func (v *scriptVault) store(env *testscript.Env, folder string) string {
	return fmt.Sprintf("store: {kind: vault, mount: %s, prefix: %s-%s}\n", v.mount, folder, filepath.Base(env.WorkDir))
}

// inVault has the store of a folder's scripts in Vault, and sees that none was in a file.
func (v *scriptVault) inVault(t *testing.T, folder string) func(*testscript.Env) error {
	return func(env *testscript.Env) error {
		env.Setenv("STORE", "store.yaml")
		env.Defer(func() {
			err := filepath.WalkDir(env.WorkDir, func(path string, _ fs.DirEntry, err error) error {
				if filepath.Base(path) == data.StoreFile {
					t.Errorf("%s: a store in a file", path)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
		return v.write(env, map[string]string{"store.yaml": v.store(env, folder), "server.yaml": inData + v.store(env, folder)})
	}
}

// inFile has the store of a script in a file, and only what it asks of Vault there.
func (v *scriptVault) inFile(env *testscript.Env) error {
	env.Setenv("STORE", "store.yaml")
	return v.write(env, map[string]string{"store.yaml": ""})
}

// sealed has the settings of stores in files and in Vault, with seals of either kind.
func (v *scriptVault) sealed(env *testscript.Env) error {
	made := map[bool]string{true: "sealed", false: "data"}[strings.Contains(env.WorkDir, "transit")]
	common := fmt.Sprintf("url: https://localhost\ntls: {certificate: %s/tls/server.pem, key: %[1]s/tls/server.key}\n", made)
	by := func(key string) string { return fmt.Sprintf("seal: {transit: {mount: %s, key: %s}}\n", v.transit, key) }
	return v.write(env, map[string]string{
		"file.yaml":      common + "data: data\nseal: {key_file: seal.key}\n",
		"vault.yaml":     common + v.store(env, sealVault) + by(v.key),
		"back.yaml":      common + "data: back\n" + by(v.key),
		"transit.yaml":   common + "data: sealed\n" + by(v.key),
		"keyfile.yaml":   common + "data: sealed\nseal: {key_file: other.key}\n",
		"elsewhere.yaml": common + "data: elsewhere\n" + by(v.key),
		"nokey.yaml":     common + "data: sealed\n" + by("another"),
	})
}

// TestVaultScripts runs scripts with a real Vault, where there is one.
func TestVaultScripts(t *testing.T) {
	v := newScriptVault(t)
	for _, part := range []struct {
		name, folder string
		prepare      func(*testscript.Env) error
	}{
		{"both", bothKinds, v.inVault(t, bothKinds)},
		{"sources", fromVault, v.inVault(t, fromVault)},
		{"sources, with a file", fromVault, v.inFile},
		{"vault", onlyVault, v.inVault(t, onlyVault)},
		{"seal", sealVault, v.sealed},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			runScripts(t, part.folder, part.prepare)
		})
	}
}
