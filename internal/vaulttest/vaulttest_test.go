package vaulttest_test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// put writes a secret of kv version 2 and get reads one.
func put(t *testing.T, client *api.Client, mount, name, value string) {
	t.Helper()
	if _, err := client.KVv2(mount).Put(t.Context(), name, map[string]any{"value": value}); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, client *api.Client, mount, name string) string {
	t.Helper()
	secret, err := client.KVv2(mount).Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return secret.Data["value"].(string)
}

// status returns the status of an error of Vault's; 0 for another error.
func status(err error) int {
	var answered *api.ResponseError
	if errors.As(err, &answered) {
		return answered.StatusCode
	}
	return 0
}

var kv2 = map[string]string{"version": "2"}

// TestSurvivesKill writes, kills the server with SIGKILL, starts it again and reads back.
func TestSurvivesKill(t *testing.T) {
	for name, option := range map[string]vaulttest.Option{"file": vaulttest.WithFile(""), "raft": vaulttest.WithRaft("")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := vaulttest.Start(t, option)
			client := s.Client(t)
			mount := s.Mount(t, "kv", kv2)
			put(t, client, mount, "fruit", "quince")
			address := s.Address
			s.Kill(t)
			if _, err := client.KVv2(mount).Get(t.Context(), "fruit"); err == nil || status(err) != 0 {
				t.Errorf("killed: got the error %v", err)
			}
			s.RestartSealed(t)
			if s.Address != address {
				t.Errorf("the server is at %s and was at %s", s.Address, address)
			}
			if _, err := client.KVv2(mount).Get(t.Context(), "fruit"); status(err) != http.StatusServiceUnavailable {
				t.Errorf("sealed: got the error %v", err)
			}
			s.Unseal(t)
			if got := get(t, client, mount, "fruit"); got != "quince" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestSeal seals, sees 503, and unseals; in memory, so that what is read back was not lost.
func TestSeal(t *testing.T) {
	s := vaulttest.Start(t)
	client, conn := s.Client(t), s.Conn(t)
	mount := s.Mount(t, "kv", kv2)
	put(t, client, mount, "fruit", "medlar")
	s.Seal(t)
	_, err := conn.Do(t.Context(), vaultconn.Request{Method: http.MethodGet, Path: vaultconn.Path(mount, "data", "fruit")})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("sealed: got the error %v", err)
	}
	if _, err := client.KVv2(mount).Get(t.Context(), "fruit"); status(err) != http.StatusServiceUnavailable {
		t.Errorf("sealed: got the error %v", err)
	}
	s.Unseal(t)
	if got := get(t, client, mount, "fruit"); got != "medlar" {
		t.Errorf("got %q", got)
	}
}

// TestFreeze: nothing is answered, and what was asked for is once the server goes on.
func TestFreeze(t *testing.T) {
	s := vaulttest.Start(t)
	client := s.Client(t)
	s.Freeze(t)
	done := make(chan error, 1)
	go func() { done <- client.Sys().PutPolicy("fruit", `path "x" { capabilities = ["read"] }`) }()
	select {
	case err := <-done:
		t.Fatalf("a frozen server answered: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	s.Thaw(t)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestTLS: the certificate is of the server's own authority, and no other client trusts it.
func TestTLS(t *testing.T) {
	s := vaulttest.Start(t, vaulttest.WithTLS(), vaulttest.WithAuditLog())
	if !strings.HasPrefix(s.Address, "https://127.0.0.1:") {
		t.Errorf("the server is at %s", s.Address)
	}
	put(t, s.Client(t), s.Mount(t, "kv", kv2), "fruit", "loquat")
	if _, err := http.Get(s.Address + "/v1/sys/health"); err == nil {
		t.Error("a client that does not know the authority was served")
	}
	log, err := os.ReadFile(s.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(log, []byte("/data/fruit")) || bytes.Contains(log, []byte("loquat")) {
		t.Errorf("the audit log is not one:\n%s", log)
	}
	if len(s.AuditEntries(t)) < 2 {
		t.Error("there are no entries")
	}

	role := s.Cert(t, `path "sys/mounts" { capabilities = ["read"] }`, nil)
	settings := api.DefaultConfig()
	settings.Address = s.Address
	if err := settings.ConfigureTLS(&api.TLSConfig{CACert: s.CAFile, ClientCert: role.CertFile, ClientKey: role.KeyFile}); err != nil {
		t.Fatal(err)
	}
	guest, err := api.NewClient(settings)
	if err != nil {
		t.Fatal(err)
	}
	login(t, guest, role.Mount, map[string]any{"name": role.Role})
	if _, err := guest.Logical().Read("sys/mounts"); err != nil {
		t.Error(err)
	}
}

// login logs a client in.
func login(t *testing.T, client *api.Client, mount string, body map[string]any) {
	t.Helper()
	secret, err := client.Logical().WriteWithContext(t.Context(), "auth/"+mount+"/login", body)
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(secret.Auth.ClientToken)
}

// TestLogins: each method gives a token with the rights that were asked for, and no others.
func TestLogins(t *testing.T) {
	s := vaulttest.Shared(t)
	mount := s.Mount(t, "kv", kv2)
	put(t, s.Client(t), mount, "fruit", "citron")
	rights := `path "` + mount + `/data/fruit" { capabilities = ["read"] }`
	guest := func() *api.Client {
		client := s.Client(t)
		client.SetToken("")
		return client
	}
	clients := map[string]*api.Client{"token": guest(), "approle": guest(), "jwt": guest()}

	clients["token"].SetToken(s.Token(t, rights, time.Minute))
	approle := s.AppRole(t, rights, nil)
	login(t, clients["approle"], approle.Mount, map[string]any{"role_id": approle.RoleID, "secret_id": approle.SecretID})
	jwt := s.JWT(t, rights, map[string]any{"bound_subject": "broker"})
	login(t, clients["jwt"], jwt.Mount, map[string]any{"role": jwt.Role, "jwt": jwt.Sign(t, "broker", time.Minute)})
	for _, bad := range []string{jwt.Sign(t, "another", time.Minute), jwt.Sign(t, "broker", -time.Hour)} {
		if _, err := guest().Logical().Write("auth/"+jwt.Mount+"/login", map[string]any{"role": jwt.Role, "jwt": bad}); err == nil {
			t.Error("a bad JWT was accepted")
		}
	}

	for name, client := range clients {
		if got := get(t, client, mount, "fruit"); got != "citron" {
			t.Errorf("%s: got %q", name, got)
		}
		if _, err := client.KVv2(mount).Put(t.Context(), "fruit", map[string]any{"value": "pomelo"}); status(err) != http.StatusForbidden {
			t.Errorf("%s: got the error %v", name, err)
		}
	}
}

// TestSharedIsShared: one process, and mounts that are not.
func TestSharedIsShared(t *testing.T) {
	a, b := vaulttest.Shared(t), vaulttest.Shared(t)
	if a != b {
		t.Error("there are two servers")
	}
	if a.Mount(t, "transit", nil) == b.Mount(t, "transit", nil) {
		t.Error("two mounts have one path")
	}
	if a.MountAuth(t, "userpass") == b.MountAuth(t, "userpass") {
		t.Error("two mounts have one path")
	}
}

// TestStandby: a standby passes requests on, and takes over when the active node is killed and most nodes are left.
func TestStandby(t *testing.T) {
	s := vaulttest.Start(t, vaulttest.WithRaft(""))
	mount := s.Mount(t, "kv", kv2)
	started := time.Now()
	standbys := []*vaulttest.Server{s.Standby(t), s.Standby(t)}
	put(t, standbys[0].Client(t), mount, "fruit", "durian")
	if got := get(t, s.Client(t), mount, "fruit"); got != "durian" {
		t.Errorf("got %q", got)
	}
	joined := time.Now()
	s.Kill(t)
	client := standbys[1].Client(t)
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if _, err = client.KVv2(mount).Get(t.Context(), "fruit"); err == nil {
			break
		}
		if s := status(err); s != 0 && s < 500 {
			t.Fatalf("without an active node: %v", err)
		}
	}
	if err != nil {
		t.Fatalf("nobody took over: %v", err)
	}
	t.Logf("two nodes joined in %v, and one took over in %v", joined.Sub(started).Round(time.Millisecond), time.Since(joined).Round(time.Millisecond))
}

// TestPlugin runs an external plugin, registered by its SHA-256: the server's own program is one, too. It ends with the server.
func TestPlugin(t *testing.T) {
	s := vaulttest.Start(t, vaulttest.WithFile(""))
	program, err := vaulttest.Program()
	if err != nil {
		t.Fatal(err)
	}
	digest := s.RegisterPlugin(t, api.PluginTypeSecrets, "fruit", program, "v1.2.3", "-plugin")
	mount := s.Mount(t, "fruit", nil)
	write := func(value string) {
		t.Helper()
		s.Write(t, mount+"/fruit", map[string]any{"value": value})
	}
	write("rambutan")
	command := "fruit-" + digest[:12]
	if running(t, command) == 0 {
		t.Error("no process of the plugin runs")
	}
	s.Kill(t)
	for end := time.Now().Add(time.Minute); running(t, command) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the plugin outlives the server")
		}
	}
	s.Restart(t)
	secret, err := s.Client(t).Logical().Read(mount + "/fruit")
	if err != nil || secret == nil || secret.Data["value"] != "rambutan" {
		t.Errorf("got %v, %v", secret, err)
	}

	// Another program under the name is not run.
	path := filepath.Join(s.PluginDir, command)
	s.Kill(t)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	if secret, err := s.Client(t).Logical().Read(mount + "/fruit"); err == nil && secret != nil {
		t.Errorf("got %v of a program with another digest", secret.Data)
	}
}

// running counts the processes whose program has a name.
func running(t *testing.T, name string) int {
	t.Helper()
	programs, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, program := range programs {
		if target, err := os.Readlink(program); err == nil && filepath.Base(target) == name {
			found++
		}
	}
	return found
}

// TestLargestRecord: raft's bound holds in memory too, so that what passes there is not refused in production.
func TestLargestRecord(t *testing.T) {
	s := vaulttest.Shared(t)
	mount, client := s.Mount(t, "kv", kv2), s.Client(t)
	put(t, client, mount, "large", strings.Repeat("x", 900<<10))
	if _, err := client.KVv2(mount).Put(t.Context(), "larger", map[string]any{"value": strings.Repeat("x", 1100<<10)}); err == nil {
		t.Error("a record of over 1 MiB was stored")
	}
}
