package seal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/seal"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

func openBolt(tb testing.TB, path string) *bolt.Store {
	tb.Helper()
	s, err := bolt.Open(bolt.Config{Path: path, Create: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func keyFile(tb testing.TB) *seal.KeyFile {
	tb.Helper()
	k, err := seal.CreateKeyFile(filepath.Join(tb.TempDir(), "seal.key"), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// sealed returns a sealed store and the one inside it.
func sealed(tb testing.TB, k seal.Seal, c seal.Config) (*seal.Store, *bolt.Store) {
	tb.Helper()
	inner := openBolt(tb, filepath.Join(tb.TempDir(), "store"))
	if err := seal.Init(tb.Context(), inner, k, c); err != nil {
		tb.Fatal(err)
	}
	return open(tb, inner, k, c), inner
}

func open(tb testing.TB, inner store.Store, k seal.Seal, c seal.Config) *seal.Store {
	tb.Helper()
	s, err := seal.Open(tb.Context(), inner, k, c)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	for name, c := range map[string]seal.Config{"shared": {}, "exclusive": {Exclusive: true}} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) store.Store {
				s, _ := sealed(t, keyFile(t), c)
				return s
			})
		})
	}
}

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

func recordKey(i int) string { return fmt.Sprintf("default/%04d", i) }
