package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// TestVaultDoctor has the policy that one command prints given to a token, and the other find nothing wrong with it, on a real Vault.
func TestVaultDoctor(t *testing.T) {
	s := vaulttest.Start(t, vaulttest.WithTLS())
	kv := s.Mount(t, "kv", map[string]string{"version": "2"})
	run := func(args ...string) (code int, out string) {
		var stdout, stderr bytes.Buffer
		code = execute(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
		return code, stdout.String() + stderr.String()
	}
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := file("server.yaml", fmt.Sprintf("vault: {address: %q, ca_cert: %q, auth: {method: token, token_file: token}}\n", s.Address, s.CAFile))
	code, policy := run("vault", "policy", "--config", config, "--mount", kv)
	if code != exitOK {
		t.Fatal(policy)
	}
	token := s.Token(t, policy, time.Hour)
	file("token", token+"\n")
	code, told := run("vault", "doctor", "--config", config, "--mount", kv)
	if code != exitNo || !strings.Contains(told, "run: vault write "+kv+"/config max_versions=1") {
		t.Errorf("exit code %d:\n%s", code, told)
	}
	s.Write(t, kv+"/config", map[string]any{"max_versions": 1})
	if code, told = run("vault", "doctor", "--config", config, "--mount", kv); code != exitOK || strings.Contains(told, token) {
		t.Errorf("exit code %d:\n%s", code, told)
	}
	if err := os.Chmod(filepath.Join(dir, "token"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, told = run("vault", "doctor", "--config", config, "--mount", kv); code != exitNo || !strings.Contains(told, "chmod 600") {
		t.Errorf("exit code %d:\n%s", code, told)
	}
}
