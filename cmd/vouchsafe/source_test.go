package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// TestSourcesOnACommandLine puts, checks, shows and releases secrets that lie in a real Vault with the program, and lists and revokes leases.
func TestSourcesOnACommandLine(t *testing.T) {
	s := vaulttest.Start(t)
	kv, pki := s.Mount(t, "kv", map[string]string{"version": "2"}), s.Mount(t, "pki", nil)
	root := s.Client(t).Logical()
	for path, data := range map[string]map[string]any{
		kv + "/data/payments/db":         {"data": map[string]any{"password": "correct horse\n", "user": "app"}},
		pki + "/root/generate/internal":  {"common_name": "test", "ttl": "24h"},
		pki + "/roles/workload":          {"allowed_domains": "example.org", "allow_subdomains": true, "generate_lease": true, "ttl": "30m"},
		kv + "/data/payments/second-one": {"data": map[string]any{"password": "x"}},
	} {
		if _, err := root.WriteWithContext(t.Context(), path, data); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bin := filepath.Join(dir, "vouchsafe")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	config := write("vault.yaml", "vault:\n  address: "+s.Address+"\n  auth: {method: token, token_file: "+write("token", s.RootToken)+"}\n"+
		"  sources: {default: ["+kv+"/data/payments/*, "+pki+"/issue/*]}\n")
	ctx, stop := context.WithCancel(t.Context())
	dev := exec.CommandContext(ctx, bin, "dev", "--dir", filepath.Join(dir, "d"), "--listen", "localhost:0", "--vault", config)
	dev.Cancel = func() error { return dev.Process.Signal(os.Interrupt) }
	var log strings.Builder
	dev.Stderr = &log
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stop(); _ = dev.Wait() }()
	var info struct {
		URL    string `json:"url"`
		CA     string `json:"ca_cert"`
		Token  string `json:"token_file"`
		Policy string `json:"policy"`
	}
	for range 300 {
		if text, err := os.ReadFile(filepath.Join(dir, "d", "dev.json")); err == nil && json.Unmarshal(text, &info) == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	run := func(arguments ...string) (string, error) {
		c := exec.CommandContext(t.Context(), bin, arguments...)
		c.Env = append(os.Environ(), "VOUCHSAFE_ADDR="+info.URL, "VOUCHSAFE_CACERT="+info.CA, "VOUCHSAFE_TOKEN_FILE="+info.Token)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	ok := func(want string, arguments ...string) string {
		t.Helper()
		out, err := run(arguments...)
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("%q: %v\n%s\nwant %q", arguments, err, out, want)
		}
		return out
	}
	no := func(want string, arguments ...string) {
		t.Helper()
		if out, err := run(arguments...); err == nil || !strings.Contains(out, want) {
			t.Errorf("%q: %v\n%s\nwant %q", arguments, err, out, want)
		}
	}
	fetch := func(name string) string {
		t.Helper()
		device, err := virtualdevice.Load(filepath.Join(dir, "d", "tee"))
		if err != nil {
			t.Fatal(err)
		}
		ca, err := os.ReadFile(info.CA)
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.New(client.Config{URL: info.URL, CA: ca, Collector: device})
		if err != nil {
			t.Fatal(err)
		}
		secrets, err := c.Fetch(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return string(secrets[0].Value)
	}

	ok("version 1 added, and current", "secret", "put", "demo/app/db", "--source", "vault-kv", "--mount", kv, "--path", "payments/db", "--field", "password")
	ok("it is there (version 1)", "secret", "check", "demo/app/db")
	show := ok("version 1 lies in vault-kv: ", "secret", "show", "demo/app/db")
	if strings.Contains(show, "horse") || !strings.Contains(show, `"field":"password"`) {
		t.Error(show)
	}
	ok("vault-kv", "secret", "versions", "demo/app/db")
	if got := fetch("demo/app/db"); got != "correct horse\n" {
		t.Errorf("%q", got)
	}
	file := write("source.yaml", "kind: vault-dynamic\nparameters:\n  path: "+pki+"/issue/workload\n  method: write\n  body: {common_name: \"${secret[2]}.example.org\"}\n  field: certificate\n")
	ok("version 1 added", "secret", "put", "demo/app/tls", "--source-file", file, "--content-type", "application/x-pem-file")
	ok("the broker may ask", "secret", "check", "demo/app/tls")
	if got := fetch("demo/app/tls"); !strings.HasPrefix(got, "-----BEGIN CERTIFICATE-----") {
		t.Errorf("%q", got)
	}
	var leases []broker.Lease
	if err := json.Unmarshal([]byte(ok("vault-dynamic", "lease", "list", "demo/app/tls", "--format=json")), &leases); err != nil || len(leases) != 1 {
		t.Fatal(leases, err)
	}
	ok("held", "lease", "list", "demo/app/tls")
	ok("works no more", "lease", "revoke", leases[0].ID)
	ok("revoked", "lease", "list")

	ok("version 2 added", "secret", "put", "demo/app/db", "--source", "vault-kv", "--mount", kv, "--path", "payments/none")
	no("there is nothing at", "secret", "check", "demo/app/db", "--version", "2")
	no("did you mean claims.measurement?", "secret", "put", "demo/app/x", "--source", "vault-dynamic", "--path", pki+"/issue/${claims.mesurement}")
	no("nothing below sys", "secret", "put", "demo/app/x", "--source", "vault-dynamic", "--path", "sys/policies/acl/x")
	no("is not among the paths", "secret", "put", "demo/app/x", "--source", "vault-kv", "--mount", kv, "--path", "others/db")
	no("is not among the paths", "secret", "put", "demo/app/x", "--source", "vault-dynamic", "--path", pki+"/sign/workload")
	no("it has [vault-dynamic vault-kv]", "secret", "put", "demo/app/x", "--source", "vault-kw")
	no("need --source KIND", "secret", "put", "demo/app/x", "--mount", kv)
	no("leave --file out", "secret", "put", "demo/app/x", "--source", "vault-kv", "--file", file)
	no("--source-file", "secret", "put", "demo/app/x", "--source", "vault-kv", "--source-file", file)
	no(`there is no member "params"`, "secret", "put", "demo/app/x", "--source-file", write("bad.yaml", "kind: vault-kv\nparams: {}\n"))
	no("is empty", "secret", "put", "demo/app/x", "--source-file", write("empty.yaml", ""))
	no("is not the id of a lease", "lease", "revoke", "x")
	stop()
	_ = dev.Wait()
	if strings.Contains(log.String(), "horse") || strings.Contains(log.String(), s.RootToken) {
		t.Error("a value or Vault's token was logged")
	}
}
