package vault

import (
	"os"
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
	t.Helper()
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

func TestContract(t *testing.T) {
	t.Parallel()
	contract(t, vaulttest.Shared(t), Config{})
}

func TestContractOnRaft(t *testing.T) {
	t.Parallel()
	contract(t, vaulttest.Start(t, vaulttest.WithRaft(quick(t))), Config{})
}

// quick returns a folder in memory where there is one: the suite makes ten thousand writes, each of which raft syncs several times, and
// that they survive is for other tests to show.
func quick(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "vouchsafe-raft")
	if err != nil {
		return ""
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// TestContractSealed has the store below a seal, as a broker does, and with a cache, which one broker alone cannot tell.
func TestContractSealed(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	on := mount(t, server)
	storetest.Run(t, func(t *testing.T) store.Store {
		key, err := seal.CreateKeyFile(filepath.Join(t.TempDir(), "seal.key"), nil)
		if err != nil {
			t.Fatal(err)
		}
		inner := open(t, Config{Conn: server.Conn(t), Mount: on, Prefix: prefix(), PollEvery: 50 * time.Millisecond, Staleness: MaxStaleness})
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
