package brokertest

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

// StoreVariable is the environment variable that says on which store the brokers of tests run: "bolt", the default, is a file that one broker
// has; "vault" a KV engine of a real Vault, which skips the test where there is none; "nonatomic" a store that several share and that makes one write
// after the other, kept in a file.
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
	default:
		tb.Fatalf("brokertest: %s is %q, not bolt, vault or nonatomic", StoreVariable, kind)
		return nil
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
