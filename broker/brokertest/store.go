package brokertest

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest/pluginstore"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

// StoreVariable is the environment variable that says on which store the brokers of tests run: "bolt", the default, is a file that one broker
// has; "nonatomic" a store that several share and that makes one write after the other, kept in a file; "vault" a KV engine of a real Vault; "plugin" the storage
// that a real Vault gives to a plugin, below the store that the broker inside Vault has. The last two skip the test where there is no Vault. A test that brings
// a store of its own is skipped where another one is asked for: see [OwnStore].
const StoreVariable = "VOUCHSAFE_TEST_STORE"

// sharedStore returns the store that the environment asks for, nil for a file.
func sharedStore(tb testing.TB, dir string) *data.Shared {
	tb.Helper()
	switch kind := os.Getenv(StoreVariable); kind {
	case "", "bolt":
		return nil
	case "nonatomic":
		return Steps(tb, dir).Shared()
	case "vault":
		return InVault(tb)
	case "plugin":
		return inPlugin(tb)
	default:
		tb.Fatalf("brokertest: %s is %q, not bolt, nonatomic, vault or plugin", StoreVariable, kind)
		return nil
	}
}

// OwnStore skips a test that runs on the same store whatever the environment asks for, where it asks for one: the test has nothing to say of that store, and has
// run without it. [Start] calls it for a Config with a store; a test that makes its stores in subtests calls it first.
func OwnStore(tb testing.TB) {
	tb.Helper()
	if kind := os.Getenv(StoreVariable); kind != "" && kind != "bolt" {
		tb.Skip("brings a store of its own, on which it ran without " + StoreVariable)
	}
}

// InVault returns a store in a KV engine of its own in a real Vault that all tests of the binary share. It skips the test where there is no Vault.
func InVault(tb testing.TB) *data.Shared {
	tb.Helper()
	server := vaulttest.Shared(tb)
	return data.Vault(data.InVault{
		Conn: server.Conn(tb), Address: server.Address, Mount: server.Mount(tb, "kv", map[string]string{"version": "2"}), Staleness: data.DefaultStaleness,
	})
}

// inPlugin returns a store in the storage that a real Vault gives to a plugin. It skips the test where there is no Vault.
func inPlugin(tb testing.TB) *data.Shared {
	tb.Helper()
	kept := pluginstore.New(tb)
	return &data.Shared{Where: "the storage of a plugin of a test", Open: func(context.Context, store.Purpose, bool) (store.Store, error) {
		return kept.Open(), nil
	}}
}

// StepStore is a store that several brokers share and that is not atomic; see [storetest.Steps].
type StepStore struct {
	*storetest.Steps
	// Opened is told of each view that a broker has of it, before the broker uses it. May be nil.
	Opened func(*storetest.View)
}

// Steps makes a StepStore in a file in dir. It ends with the test.
func Steps(tb testing.TB, dir string) *StepStore {
	tb.Helper()
	file, err := bolt.Open(bolt.Config{Path: filepath.Join(dir, "shared.db"), Purpose: store.Development, Create: true})
	if err != nil {
		tb.Fatalf("brokertest: %v", err)
	}
	tb.Cleanup(func() {
		if err := file.Close(); err != nil {
			tb.Errorf("brokertest: %v", err)
		}
	})
	return &StepStore{Steps: storetest.NewSteps(file)}
}

// Shared returns the store as brokers open it.
func (s *StepStore) Shared() *data.Shared {
	return &data.Shared{Where: "a store of a test", Open: func(context.Context, store.Purpose, bool) (store.Store, error) {
		view := s.Open()
		if s.Opened != nil {
			s.Opened(view)
		}
		return view, nil
	}}
}
