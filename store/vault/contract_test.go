package vault

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

// contract holds stores on one server against the contract, each with a prefix of its own. How often the suite looks for others' changes is shortened, so that
// what a poll and a write of one's own say of one record meets often.
func contract(t *testing.T, server *vaulttest.Server, c Config) {
	c.Mount, c.PollEvery = mount(t, server), 50*time.Millisecond
	storetest.Run(t, func(t *testing.T) store.Store {
		c := c
		c.Conn, c.Prefix, c.Create = server.Conn(t), prefix(), true
		s, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestContract(t *testing.T) { contract(t, vaulttest.Shared(t), Config{}) }

// TestContractWithCache holds that one broker alone cannot tell that there is a cache.
func TestContractWithCache(t *testing.T) {
	contract(t, vaulttest.Shared(t), Config{Staleness: MaxStaleness})
}

func TestContractOnRaft(t *testing.T) {
	contract(t, vaulttest.Start(t, vaulttest.WithRaft("")), Config{})
}

func TestContractOnFiles(t *testing.T) {
	contract(t, vaulttest.Start(t, vaulttest.WithFile("")), Config{})
}

func TestContractSealed(t *testing.T) {
	server := vaulttest.Shared(t)
	on := mount(t, server)
	storetest.Run(t, func(t *testing.T) store.Store {
		key, err := seal.CreateKeyFile(filepath.Join(t.TempDir(), "seal.key"), nil)
		if err != nil {
			t.Fatal(err)
		}
		inner := open(t, Config{Conn: server.Conn(t), Mount: on, Prefix: prefix(), PollEvery: 50 * time.Millisecond})
		if err := seal.Init(t.Context(), inner, key, seal.Config{}); err != nil {
			t.Fatal(err)
		}
		s, err := seal.Open(t.Context(), inner, key, seal.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
