// Package pluginstore gives tests a store in the storage that a real Vault gives a real plugin: the store of package logicalstore, below the broker that runs
// inside Vault. That package is in a module of its own, with Vault's SDK, which the core's tests are not to link. So the plugin, logicalstore/storeplugin of that
// module, is built when a test asks for it and run by the test's Vault, and serves its store on a Unix socket: see package wire.
package pluginstore

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest/pluginstore/wire"
)

// Store is a store in a plugin's storage, empty at first.
type Store struct{ socket, name string }

// Open returns a user's view of the store, which the user closes.
func (s *Store) Open() *wire.Client { return wire.Dial(s.socket, s.name) }

// served is the plugin of this test binary.
var served struct {
	sync.Mutex
	socket string
	stores int
}

// New makes a store in the server that the tests of this binary share, which runs one plugin for all of them: a store has a folder of its storage. It
// skips t where there is no Vault.
func New(t testing.TB) *Store {
	t.Helper()
	server := vaulttest.Shared(t)
	served.Lock()
	defer served.Unlock()
	if served.socket == "" {
		served.socket = serve(t, server)
	}
	served.stores++
	return &Store{socket: served.socket, name: "test-" + strconv.Itoa(served.stores)}
}

// serve has a server run the plugin, and returns the socket that it listens on.
func serve(t testing.TB, server *vaulttest.Server) string {
	t.Helper()
	dir := t.TempDir()
	program, err := build(dir)
	if err != nil {
		t.Fatalf("pluginstore: %v", err)
	}
	server.RegisterPlugin(t, api.PluginTypeSecrets, "storeplugin", program, "")
	path := server.Mount(t, "storeplugin", nil)
	answer, err := server.Client(t).Logical().WriteWithContext(t.Context(), path+"/serve", map[string]any{})
	if err != nil {
		t.Fatalf("pluginstore: %v", err)
	}
	socket, ok := answer.Data["socket"].(string)
	if !ok {
		t.Fatalf("pluginstore: the plugin says %v, and not where it listens", answer.Data)
	}
	return socket
}

// build builds the plugin's program, with the race detector if this test has it.
func build(dir string) (string, error) {
	module, err := module()
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "storeplugin")
	arguments, cgo := []string{"build", "-o", program}, "CGO_ENABLED=0"
	if race() {
		arguments, cgo = append(arguments, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(arguments, "./logicalstore/storeplugin")...)
	cmd.Dir, cmd.Env = module, append(os.Environ(), cgo, "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	return program, nil
}

// module finds the folder of the plugin's module, from the test's package's folder, which the test runs in, upwards.
func module() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		module := filepath.Join(dir, "broker", "vaultplugin")
		if _, err := os.Stat(filepath.Join(module, "go.mod")); err == nil {
			return module, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("broker/vaultplugin is not above this folder")
		}
		dir = parent
	}
}

// race reports whether this test has the race detector.
func race() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, setting := range info.Settings {
		if setting.Key == "-race" {
			return setting.Value == "true"
		}
	}
	return false
}
