package vaulttest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// client returns a client that knows the server's authority.
func (s *Server) client(token string) (*api.Client, error) {
	settings := api.DefaultConfig()
	settings.Address, settings.MaxRetries, settings.Timeout = s.Address, 0, patience
	if s.CAFile != "" {
		if err := settings.ConfigureTLS(&api.TLSConfig{CACert: s.CAFile}); err != nil {
			return nil, err
		}
	}
	client, err := api.NewClient(settings)
	if err != nil {
		return nil, err
	}
	client.SetNamespace("") // not what the environment says
	client.SetToken(token)
	return client, nil
}

// Client returns a client with the root token, which does not try again.
func (s *Server) Client(t testing.TB) *api.Client {
	t.Helper()
	client, err := s.client(s.RootToken)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Conn returns a connection with the root token, closed when t ends. It waits for an answer for as long as a busy machine may take.
func (s *Server) Conn(t testing.TB) *vaultconn.Conn {
	t.Helper()
	conn, err := vaultconn.Open(t.Context(), vaultconn.Config{
		Address: s.Address, CACert: s.CAFile, Development: s.CAFile == "", Timeout: patience, Auth: vaultconn.Auth{Method: "token", Token: s.RootToken},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// write sends a request as root, and decodes the whole answer into answer unless that is nil.
func (s *Server) write(path string, body map[string]any, answer any) error {
	client, err := s.client(s.RootToken)
	if err != nil {
		return err
	}
	return send(client, http.MethodPut, path, body, answer)
}

func send(client *api.Client, method, path string, body, answer any) error {
	request := client.NewRequest(method, "/v1/"+path)
	if body != nil {
		if err := request.SetJSONBody(body); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	response, err := client.RawRequestWithContext(ctx, request) //nolint:staticcheck // the answers of sys are not secrets
	if response != nil {
		defer response.Body.Close()
	}
	if err != nil || answer == nil {
		return err
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// initialise makes the unseal key and the root token.
func (s *Server) initialise() error {
	var made struct {
		Keys      []string `json:"keys_base64"`
		RootToken string   `json:"root_token"`
	}
	if err := s.write("sys/init", map[string]any{"secret_shares": 1, "secret_threshold": 1}, &made); err != nil {
		return err
	}
	s.UnsealKeys, s.RootToken = made.Keys, made.RootToken
	return nil
}

// unseal gives the server its keys and waits until it serves.
func (s *Server) unseal() error {
	for _, key := range s.UnsealKeys {
		if err := s.write("sys/unseal", map[string]any{"key": key}, nil); err != nil {
			return err
		}
	}
	return s.await(http.StatusOK)
}

// await waits until the server's health is a code: 200 active, 429 standby, 503 sealed.
func (s *Server) await(code int) error {
	client, err := s.client("")
	if err != nil {
		return err
	}
	last := "not known"
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		answer, err := client.RawRequestWithContext(ctx, client.NewRequest(http.MethodGet, "/v1/sys/health")) //nolint:staticcheck // the status is all
		if answer != nil {
			_ = answer.Body.Close()
		}
		cancel()
		switch {
		case answer != nil && answer.StatusCode == code:
			return nil
		case answer != nil:
			last = answer.Status
		case err != nil:
			last = err.Error()
		}
	}
	return fmt.Errorf("the server's health is %s after %v, not %d", last, patience, code)
}

// Kill ends the server with SIGKILL, and its plugins, as a machine that loses power ends them.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.keeper.Kill()
}

// Restart starts the server again on the same port, having killed it if it runs, and unseals it. Its data must not be in memory.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.RestartSealed(t)
	s.Unseal(t)
}

// RestartSealed is Restart without unsealing.
func (s *Server) RestartSealed(t testing.TB) {
	t.Helper()
	if s.options.storage == "inmem" {
		t.Fatal("vaulttest: a server in memory has no data to start again with: use WithFile or WithRaft")
	}
	s.keeper.Kill()
	if err := s.begin(); err != nil {
		t.Fatalf("vaulttest: %v", err)
	}
}

// Seal seals the server through its API.
func (s *Server) Seal(t testing.TB) {
	t.Helper()
	if err := s.write("sys/seal", nil, nil); err != nil {
		t.Fatalf("vaulttest: sealing: %v", err)
	}
	if err := s.await(http.StatusServiceUnavailable); err != nil {
		t.Fatalf("vaulttest: sealing: %v", err)
	}
}

// Unseal unseals the server and waits until it serves.
func (s *Server) Unseal(t testing.TB) {
	t.Helper()
	if err := s.unseal(); err != nil {
		t.Fatalf("vaulttest: unsealing: %v", err)
	}
}

// Freeze stops the server and its plugins in the middle of what they do: connections are accepted by the system, and nothing is answered. When it returns
// that is so: the signal takes a moment to reach all of a process.
func (s *Server) Freeze(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGSTOP)
	client, err := s.client("")
	if err != nil {
		t.Fatalf("vaulttest: %v", err)
	}
	for end := time.Now().Add(patience); answers(client, 100*time.Millisecond); {
		if time.Now().After(end) {
			t.Fatalf("vaulttest: a server that was stopped answers after %v", patience)
		}
	}
}

// answers reports whether the server says within a time how it is.
func answers(client *api.Client, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	answer, _ := client.RawRequestWithContext(ctx, client.NewRequest(http.MethodGet, "/v1/sys/health")) //nolint:staticcheck // that there is one is all
	if answer == nil {
		return false
	}
	_ = answer.Body.Close()
	return true
}

// Thaw lets a frozen server go on.
func (s *Server) Thaw(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGCONT)
}

func (s *Server) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := s.keeper.Signal(signal); err != nil {
		t.Fatalf("vaulttest: %v", err)
	}
}

// Standby adds a node to the cluster of a server WithRaft, and returns it once it is a standby, which passes requests on to the active node. It ends with t.
// With one standby there is no active node any more when either is killed; with two, another takes over within seconds.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	if s.options.storage != "raft" {
		t.Fatal("vaulttest: only a server WithRaft has standbys")
	}
	if err := s.write("sys/storage/raft/autopilot/configuration", map[string]any{"server_stabilization_time": "1s"}, nil); err != nil {
		t.Fatalf("vaulttest: standby: %v", err)
	}
	o := s.options
	o.node, o.folder, o.audit = strconv.FormatInt(s.standbys.Add(1), 10), "", false
	n := made(t, s.program, o)
	n.authority = s.authority
	n.RootToken, n.UnsealKeys = s.RootToken, s.UnsealKeys
	if err := n.join(s); err != nil {
		t.Fatalf("vaulttest: standby: %v", err)
	}
	return n
}

// join starts the server as another node of a cluster.
func (s *Server) join(leader *Server) error {
	if err := s.prepare(); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	body := map[string]any{"leader_api_addr": leader.Address}
	if s.authority != nil {
		pem, err := os.ReadFile(s.authority.File)
		if err != nil {
			return err
		}
		body["leader_ca_cert"] = string(pem)
	}
	if err := s.write("sys/storage/raft/join", body, nil); err != nil {
		return err
	}
	if err := s.write("sys/unseal", map[string]any{"key": s.UnsealKeys[0]}, nil); err != nil {
		return err
	}
	if err := s.await(http.StatusTooManyRequests); err != nil {
		return err
	}
	return leader.awaitVoter("node" + s.options.node)
}

// awaitVoter waits until a node counts in elections, which Vault lets it do once it has been well for a while.
func (s *Server) awaitVoter(node string) error {
	client, err := s.client(s.RootToken)
	if err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var answer struct {
			Data struct {
				Config struct {
					Servers []struct {
						ID    string `json:"node_id"`
						Voter bool   `json:"voter"`
					} `json:"servers"`
				} `json:"config"`
			} `json:"data"`
		}
		if err := send(client, http.MethodGet, "sys/storage/raft/configuration", nil, &answer); err != nil {
			return err
		}
		for _, server := range answer.Data.Config.Servers {
			if server.ID == node && server.Voter {
				return nil
			}
		}
	}
	return fmt.Errorf("%s has no vote after %v", node, patience)
}

// name returns a name that nothing else of this server has.
func (s *Server) name(kind string) string {
	return kind + "-" + strconv.FormatInt(s.names.Add(1), 10)
}

// Mount mounts a secrets engine, builtin or a registered plugin, with options such as version "2" of kv, and returns its path, a new one.
func (s *Server) Mount(t testing.TB, engine string, options map[string]string) string {
	t.Helper()
	path := s.name(engine)
	if err := s.Client(t).Sys().MountWithContext(t.Context(), path, &api.MountInput{Type: engine, Options: options}); err != nil {
		t.Fatalf("vaulttest: mounting %s: %v", engine, err)
	}
	if engine == "kv" && options["version"] == "2" {
		s.awaitKV(t, path)
	}
	return path
}

// awaitKV waits until a mount of kv has become one of version 2, which Vault does in the background.
func (s *Server) awaitKV(t testing.TB, path string) {
	t.Helper()
	client := s.Client(t)
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err = client.Logical().ReadWithContext(t.Context(), path+"/config"); err == nil {
			return
		}
		if !strings.Contains(err.Error(), "pgrading") {
			break
		}
	}
	t.Fatalf("vaulttest: mounting kv: %v", err)
}

// MountAuth mounts an auth method, builtin or a registered plugin, and returns its path, a new one, which is below auth/.
func (s *Server) MountAuth(t testing.TB, method string) string {
	t.Helper()
	path := s.name(method)
	if err := s.Client(t).Sys().EnableAuthWithOptionsWithContext(t.Context(), path, &api.EnableAuthOptions{Type: method}); err != nil {
		t.Fatalf("vaulttest: mounting %s: %v", method, err)
	}
	return path
}

// AuditEntries returns what Vault's audit log has, a JSON object an entry.
func (s *Server) AuditEntries(t testing.TB) []json.RawMessage {
	t.Helper()
	if s.AuditLog == "" {
		t.Fatal("vaulttest: start the server WithAuditLog")
	}
	text, err := os.ReadFile(filepath.Clean(s.AuditLog))
	if err != nil {
		t.Fatal(err)
	}
	var entries []json.RawMessage
	for line := range strings.Lines(string(text)) {
		entries = append(entries, json.RawMessage(line))
	}
	return entries
}
