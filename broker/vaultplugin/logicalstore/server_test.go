package logicalstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

// asPlugin is the argument that makes this test binary a plugin, whose one path runs the suite of the contract on the storage that Vault gives it.
const asPlugin = "serve-the-suite"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == asPlugin {
		if err := plugin.ServeMultiplex(&plugin.ServeOpts{BackendFactoryFunc: (&suite{m: m}).backend}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// suite is the test binary as a plugin.
type suite struct {
	m *testing.M

	mu     sync.Mutex
	result map[string]any
}

// given is the storage that the plugin has of Vault, for TestStoreGiven.
var given atomic.Pointer[logical.Storage]

// TestStoreGiven is the suite as the plugin runs it. In each of the storage's folders a test has a store of its own.
func TestStoreGiven(t *testing.T) {
	storage := given.Load()
	if storage == nil {
		t.Skip("runs within Vault, by TestStoreInVault")
	}
	folders := 0
	storetest.Run(t, func(*testing.T) store.Store {
		folders++
		return New(logical.NewStorageView(*storage, "test-"+strconv.Itoa(folders)+"/"))
	})
}

// backend runs the suite when its path is written to, and tells of it when that is read.
func (s *suite) backend(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	b := &framework.Backend{BackendType: logical.TypeLogical, Paths: []*framework.Path{{
		Pattern: "run",
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: &framework.PathOperation{Callback: func(_ context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
				given.Store(&req.Storage)
				go s.run()
				return nil, nil
			}},
			logical.ReadOperation: &framework.PathOperation{Callback: func(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
				s.mu.Lock()
				defer s.mu.Unlock()
				return &logical.Response{Data: s.result}, nil
			}},
		},
	}}}
	return b, b.Setup(ctx, conf)
}

// run runs the tests of this binary that are meant to, and keeps what they print: standard output is Vault's.
func (s *suite) run() {
	output, err := func() (string, error) {
		out, err := os.CreateTemp("", "suite")
		if err != nil {
			return "", err
		}
		defer os.Remove(out.Name())
		defer out.Close()
		if err := errors.Join(flag.Set("test.run", "^TestStoreGiven$"), flag.Set("test.v", "true")); err != nil {
			return "", err
		}
		os.Stdout = out
		if code := s.m.Run(); code != 0 {
			err = fmt.Errorf("exit code %d", code)
		}
		text, errRead := os.ReadFile(out.Name())
		return string(text), errors.Join(err, errRead)
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result = map[string]any{"ok": err == nil, "output": fmt.Sprint(output, err)}
}

// TestStoreInVault holds the store against the contract on the storage of a real server, from within a plugin that it runs.
func TestStoreInVault(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	s := vaulttest.Start(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if err := os.WriteFile(filepath.Join(s.PluginDir, "suite"), content, 0o700); err != nil {
		t.Fatal(err)
	}
	client := s.Client(t)
	err = client.Sys().RegisterPluginWithContext(t.Context(), &api.RegisterPluginInput{
		Name: "suite", Type: api.PluginTypeSecrets, Command: "suite", Args: []string{asPlugin}, SHA256: hex.EncodeToString(sum[:]),
	})
	if err != nil {
		t.Fatal(err)
	}
	path := s.Mount(t, "suite", nil)
	if _, err := client.Logical().WriteWithContext(t.Context(), path+"/run", map[string]any{}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(8 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		result, err := client.Logical().ReadWithContext(t.Context(), path+"/run")
		if err != nil {
			t.Fatal(err)
		}
		if result == nil || result.Data["ok"] == nil {
			continue
		}
		output, _ := result.Data["output"].(string)
		if result.Data["ok"] != true || strings.Count(output, "--- PASS: TestStoreGiven/") < 16 {
			t.Errorf("the suite failed in Vault, or did not run:\n%s", output)
		}
		return
	}
	t.Error("the suite does not end")
}
