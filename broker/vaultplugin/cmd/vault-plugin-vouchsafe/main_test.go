package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// builds are the programs that the tests run, by version. They go with the test binary's temporary folder.
var builds struct {
	sync.Mutex
	dir  string
	done map[string]string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if builds.dir != "" {
		_ = os.RemoveAll(builds.dir)
	}
	os.Exit(code)
}

// program builds the plugin as a version.
func program(t testing.TB, version string) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	if path := builds.done[version]; path != "" {
		return path
	}
	if builds.dir == "" {
		dir, err := os.MkdirTemp("", "vault-plugin-vouchsafe")
		if err != nil {
			t.Fatal(err)
		}
		builds.dir, builds.done = dir, map[string]string{}
	}
	path := filepath.Join(builds.dir, version)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-X main.version="+version, "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	builds.done[version] = path
	return path
}

// register registers a version of the plugin as an operator does: the file in the plugin folder, by its SHA-256, with an argument that says what it is.
func register(t testing.TB, s *vaulttest.Server, version string, kind api.PluginType) {
	t.Helper()
	command, digest := registerFile(t, s, version)
	arg := "secret"
	if kind == api.PluginTypeCredential {
		arg = "auth"
	}
	err := s.Client(t).Sys().RegisterPluginWithContext(t.Context(), &api.RegisterPluginInput{
		Name: "vouchsafe", Type: kind, Command: command, Args: []string{arg}, SHA256: digest, Version: version,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// registerFile puts the program into a server's plugin folder, if it is not there.
func registerFile(t testing.TB, s *vaulttest.Server, version string) (command, digest string) {
	t.Helper()
	content, err := os.ReadFile(program(t, version))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	command = "vault-plugin-vouchsafe-" + version
	path := filepath.Join(s.PluginDir, command)
	if _, err := os.Stat(path); err != nil {
		if err := os.WriteFile(path, content, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return command, hex.EncodeToString(sum[:])
}

// mount is a secrets engine of the plugin on a real server, for development, with a root of virtual TEEs.
type mount struct {
	server *vaulttest.Server
	path   string
	root   *virtual.Root
	device *virtual.Device
	client *api.Client
	plain  *http.Client // of requests without a token
}

// newMount mounts and configures the secrets engine.
func newMount(t testing.TB, s *vaulttest.Server) *mount {
	t.Helper()
	register(t, s, "v1.0.0", api.PluginTypeSecrets)
	return configured(t, s, s.Mount(t, "vouchsafe", nil))
}

// newAuthMount mounts and configures the auth method.
func newAuthMount(t testing.TB, s *vaulttest.Server) *mount {
	t.Helper()
	register(t, s, "v1.0.0", api.PluginTypeCredential)
	return configured(t, s, "auth/"+s.MountAuth(t, "vouchsafe"))
}

func configured(t testing.TB, s *vaulttest.Server, path string) *mount {
	t.Helper()
	m := &mount{
		server: s, path: path, client: s.Client(t),
		plain: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}, // benchmarks have 64 clients
	}
	m.newTEE(t)
	m.write(t, "config", map[string]any{
		"purpose": "development", "issuer": s.Address + "/v1/" + m.path, "kinds": []string{"virtual", "snp", "tpm"}, "development_root": m.rootPEM(t),
	})
	return m
}

func (m *mount) newTEE(t testing.TB) {
	t.Helper()
	var err error
	if m.root, err = virtual.NewRoot(rand.Reader, time.Now()); err != nil {
		t.Fatal(err)
	}
	var measurement [snp.MeasurementSize]byte
	copy(measurement[:], bytes.Repeat([]byte("image"), 10))
	if m.device, err = m.root.NewDevice(rand.Reader, time.Now(), virtual.Config{Measurement: measurement}); err != nil {
		t.Fatal(err)
	}
}

func (m *mount) rootPEM(t testing.TB) string {
	t.Helper()
	text, err := m.root.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	// The certificate alone: the key is no affair of Vault's.
	end := "-----END CERTIFICATE-----\n"
	begin := strings.Index(string(text), "-----BEGIN CERTIFICATE-----")
	return string(text)[begin : begin+strings.Index(string(text)[begin:], end)+len(end)]
}

func (m *mount) write(t testing.TB, path string, body map[string]any) *api.Secret {
	t.Helper()
	secret, err := m.client.Logical().WriteWithContext(t.Context(), m.path+"/"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func (m *mount) read(t testing.TB, path string) map[string]any {
	t.Helper()
	secret, err := m.client.Logical().ReadWithContext(t.Context(), m.path+"/"+path)
	if err != nil {
		t.Fatal(err)
	}
	if secret == nil {
		t.Fatalf("there is no %s", path)
	}
	return secret.Data
}

// samplePolicy guards secrets for virtual TEEs of a measurement.
func samplePolicy(name, secrets, rule string) map[string]any {
	return map[string]any{"source": fmt.Sprintf(`apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: %s, description: a test}
spec:
  secrets: [%q]
  require:
    - name: the-rule
      that: %s
  release: {maxEvidenceAge: 60s, lease: 1h}
`, name, secrets, rule)}
}

// fill writes a secret and a policy that releases it to virtual TEEs.
func (m *mount) fill(t testing.TB) {
	t.Helper()
	m.write(t, "policy-apply", samplePolicy("demo", "demo/app/*", `claims.kind == "virtual"`))
	m.write(t, "secrets/demo/app/password", map[string]any{"value": base64.StdEncoding.EncodeToString([]byte("correct horse")), "content_type": "text/plain"})
}

// fetch is what a workload does, with the client that it uses with a server.
func (m *mount) fetch(t testing.TB, device client.Collector, secret string) ([]client.Secret, error) {
	t.Helper()
	return fetchBy(t, m, m.get(t, ".well-known/jwks.json"), device, secret)
}

// tryFetch is fetch where even the keys may not be had.
func (m *mount) tryFetch(t testing.TB, device client.Collector, secret string) ([]client.Secret, error) {
	t.Helper()
	status, keys, err := m.send(t, http.MethodGet, ".well-known/jwks.json", nil)
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("status %d, %w", status, err)
	}
	return fetchBy(t, m, keys, device, secret)
}

func fetchBy(t testing.TB, m *mount, keys []byte, device client.Collector, secret string) ([]client.Secret, error) {
	t.Helper()
	c, err := client.New(client.Config{URL: m.server.Address + "/v1/" + m.path, Keys: keys, Collector: device, Retry: client.Retry{Max: 2}})
	if err != nil {
		t.Fatal(err)
	}
	return c.Fetch(t.Context(), secret)
}

// get reads a path without a token, as plain HTTP.
func (m *mount) get(t testing.TB, path string) []byte {
	t.Helper()
	status, body := m.http(t, http.MethodGet, path, nil)
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, status, body)
	}
	return body
}

// raw reads a path that is answered as it is, with the root token.
func (m *mount) raw(t testing.TB, path string) (int, []byte) {
	t.Helper()
	answer, err := m.client.Logical().ReadRawWithContext(t.Context(), m.path+"/"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, body
}

// http sends a request without a token.
func (m *mount) http(t testing.TB, method, path string, body any) (int, []byte) {
	t.Helper()
	status, got, err := m.send(t, method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return status, got
}

// send is http where the server may not be there.
func (m *mount) send(t testing.TB, method, path string, body any) (int, []byte, error) {
	t.Helper()
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, m.server.Address+"/v1/"+m.path+"/"+path, text)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := m.plain.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	return answer.StatusCode, got, err
}
