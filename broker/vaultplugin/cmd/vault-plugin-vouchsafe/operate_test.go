package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// releases fetches the secret that fill wrote.
func (m *mount) releases(t testing.TB, when string) {
	t.Helper()
	secrets, err := m.fetch(t, virtualdevice.New(m.device), "demo/app/password")
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if string(secrets[0].Value) != "correct horse" {
		t.Fatalf("%s: another value", when)
	}
}

// logSize is the size of the audit log, as its checkpoint says.
func (m *mount) logSize(t testing.TB) int {
	t.Helper()
	lines := strings.Split(string(m.get(t, "log/checkpoint")), "\n")
	size, err := strconv.Atoi(lines[1])
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// TestUpgradeKeepsState mounts one build, pins another and reloads.
func TestUpgradeKeepsState(t *testing.T) {
	s := vaulttest.Start(t)
	m := newMount(t, s)
	m.fill(t)
	m.releases(t, "with the first build")
	size, keys := m.logSize(t), string(m.get(t, "jwks"))

	register(t, s, "v2.0.0", api.PluginTypeSecrets)
	m.releases(t, "with the second build registered and not pinned")
	if err := m.client.Sys().TuneMountWithContext(t.Context(), m.path, api.MountConfigInput{PluginVersion: "v2.0.0"}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.client.Sys().ReloadPluginWithContext(t.Context(), &api.ReloadPluginInput{Mounts: []string{m.path + "/"}}); err != nil {
		t.Fatal(err)
	}
	mounts, err := m.client.Sys().ListMountsWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if running := mounts[m.path+"/"].RunningVersion; running != "v2.0.0" {
		t.Errorf("%q runs", running)
	}
	m.releases(t, "with the second build")
	if again := m.logSize(t); again != size+2 {
		t.Errorf("the log has %d entries, after %d and two releases", again, size)
	}
	if string(m.get(t, "jwks")) != keys {
		t.Error("the keys are others")
	}
	if info := m.read(t, "policies/demo"); info["policy"] == nil {
		t.Errorf("%v", info)
	}
	again, err := m.client.Logical().ReadWithDataWithContext(t.Context(), m.path+"/log/consistency", map[string][]string{"old": {strconv.Itoa(size)}})
	if err != nil || len(again.Data["proof"].([]any)) == 0 {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestAVersionThatIsNotReportedIsRefused: Vault holds what it is told runs against what runs.
func TestAVersionThatIsNotReportedIsRefused(t *testing.T) {
	s := vaulttest.Shared(t)
	register(t, s, "v1.0.0", api.PluginTypeSecrets)
	plugins := s.Client(t).Sys()
	got, err := plugins.GetPluginWithContext(t.Context(), &api.GetPluginInput{Name: "vouchsafe", Type: api.PluginTypeSecrets, Version: "v1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	err = plugins.RegisterPluginWithContext(t.Context(), &api.RegisterPluginInput{
		Name: "vouchsafe", Type: api.PluginTypeSecrets, Command: got.Command, Args: got.Args, SHA256: got.SHA256, Version: "v9.9.9",
	})
	if err == nil {
		t.Error("v1.0.0 was registered as v9.9.9")
	}
}

func TestSealAndUnseal(t *testing.T) {
	s := vaulttest.Start(t, vaulttest.WithFile(""))
	m := newMount(t, s)
	m.fill(t)
	m.releases(t, "before")
	size := m.logSize(t)
	s.Seal(t)
	if status, _ := m.http(t, http.MethodPost, "challenge", map[string]any{"kind": "virtual"}); status != http.StatusServiceUnavailable {
		t.Errorf("a sealed Vault: %d", status)
	}
	s.Unseal(t)
	m.releases(t, "after unsealing")
	s.Kill(t)
	s.Restart(t)
	m.releases(t, "after a kill and a restart")
	if again := m.logSize(t); again != size+2 {
		t.Errorf("the log has %d entries, after %d and two releases", again, size)
	}
}

// TestStandbysPassRequestsOn asks a standby, and another node after the active one is gone.
func TestStandbysPassRequestsOn(t *testing.T) {
	s := vaulttest.Start(t, vaulttest.WithRaft(""))
	m := newMount(t, s)
	m.fill(t)
	second := s.Standby(t)
	third := s.Standby(t)
	for _, n := range []*vaulttest.Server{second, third} {
		// Each node runs the plugin from its own folder, once it is active.
		registerFile(t, n, "v1.0.0")
	}
	asked := *m
	asked.server = second
	asked.releases(t, "by a standby")
	size := m.logSize(t)
	awaitVoters(t, m.client, 3)
	s.Kill(t)
	var last error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if _, last = asked.tryFetch(t, virtualdevice.New(m.device), "demo/app/password"); last == nil {
			break
		}
	}
	if last != nil {
		t.Fatalf("after the active node was killed: %v", last)
	}
	if again := asked.logSize(t); again < size+1 {
		t.Errorf("the log has %d entries, after %d and a release", again, size)
	}
}

// awaitVoters waits until nodes that joined count, without which no other takes over.
func awaitVoters(t *testing.T, client *api.Client, want int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		answer, err := client.Logical().ReadWithContext(t.Context(), "sys/storage/raft/configuration")
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(answer.Data)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(text), `"voter":true`) == want {
			return
		}
	}
	t.Fatalf("there are not %d voters", want)
}

// TestCallersAtOnce: every release has its record, and none is in another's way.
func TestCallersAtOnce(t *testing.T) {
	m := newMount(t, vaulttest.Shared(t))
	m.fill(t)
	before := m.logSize(t)
	const callers = 16
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			if _, err := m.fetch(t, virtualdevice.New(m.device), "demo/app/password"); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if after := m.logSize(t); after != before+callers {
		t.Errorf("the log has %d entries, after %d and %d releases", after, before, callers)
	}
}

// TestLargeSecret is the largest one, which is in parts below.
func TestLargeSecret(t *testing.T) {
	m := newMount(t, vaulttest.Shared(t))
	m.fill(t)
	// Vault's listener takes strings of 1 MiB in a request: this one is of 768 KiB of bytes.
	value := strings.Repeat("0123456789abcdef", 48<<10)
	m.write(t, "secrets/demo/app/large", map[string]any{"value": base64.StdEncoding.EncodeToString([]byte(value))})
	secrets, err := m.fetch(t, virtualdevice.New(m.device), "demo/app/large")
	if err != nil || string(secrets[0].Value) != value {
		t.Errorf("%v", err)
	}
}

// TestPluginIsKilled ends the plugin's process with SIGKILL, as a machine that is out of memory does: Vault starts it again, and nothing is lost.
func TestPluginIsKilled(t *testing.T) {
	s := vaulttest.Start(t)
	m := newMount(t, s)
	m.fill(t)
	m.releases(t, "before")
	size := m.logSize(t)
	if killed := killPlugins(t, s.PluginDir); killed == 0 {
		t.Fatal("no plugin runs")
	}
	var last error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if _, last = m.tryFetch(t, virtualdevice.New(m.device), "demo/app/password"); last == nil {
			break
		}
	}
	if last != nil {
		t.Fatalf("after it was killed: %v", last)
	}
	if again := m.logSize(t); again != size+1 {
		t.Errorf("the log has %d entries, after %d and a release", again, size)
	}
}

// killPlugins kills the processes whose program is in a test server's plugin folder.
func killPlugins(t *testing.T, dir string) (killed int) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		program, err := os.Readlink(link)
		if err != nil || filepath.Dir(program) != dir {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		killed++
	}
	return killed
}
