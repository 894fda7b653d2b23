package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"golang.org/x/mod/sumdb/note"
)

const testOrigin = "audit.vouchsafe.test/log"

// testKey returns a key that depends on its name only.
func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func testSigner(tb testing.TB, origin, key string) note.Signer {
	tb.Helper()
	signer, err := NewSigner(origin, testKey(key))
	if err != nil {
		tb.Fatal(err)
	}
	return signer
}

func testVerifiers(tb testing.TB, origin string, keys ...string) note.Verifiers {
	tb.Helper()
	public := make([]ed25519.PublicKey, len(keys))
	for i, key := range keys {
		public[i] = testKey(key).Public().(ed25519.PublicKey)
	}
	verifiers, err := NewVerifiers(origin, public...)
	if err != nil {
		tb.Fatal(err)
	}
	return verifiers
}

// testConfig is a log on s signed by the key "log".
func testConfig(tb testing.TB, s store.Store) Config {
	tb.Helper()
	return Config{
		Store:     s,
		Origin:    testOrigin,
		Signer:    testSigner(tb, testOrigin, "log"),
		Verifiers: testVerifiers(tb, testOrigin, "log"),
		Create:    true,
	}
}

// testConfigReadOnly is for the same log, without its key.
func testConfigReadOnly(tb testing.TB, s store.Store) Config {
	tb.Helper()
	config := testConfig(tb, s)
	config.Signer, config.Create = nil, false
	return config
}

func openBolt(tb testing.TB, path string) *bolt.Store {
	tb.Helper()
	s, err := bolt.Open(bolt.Config{Path: path, Create: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func newBolt(tb testing.TB) *bolt.Store {
	tb.Helper()
	return openBolt(tb, filepath.Join(tb.TempDir(), "store.db"))
}

func mustOpen(tb testing.TB, config Config) *Log {
	tb.Helper()
	l, err := Open(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	return l
}

func mustAppend(tb testing.TB, l *Log, entry []byte, writes ...store.Write) Receipt {
	tb.Helper()
	r, err := l.Append(tb.Context(), entry, writes...)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// grow appends n entries in few commits, and returns them.
func grow(tb testing.TB, l *Log, n int) [][]byte {
	tb.Helper()
	first := int(l.Size())
	entries := make([][]byte, n)
	results := make(chan error, n)
	for i := range entries {
		go func() {
			_, err := l.AppendFunc(tb.Context(), func(index uint64) ([]byte, []store.Write, error) {
				return testEntry(int(index)), nil, nil
			})
			results <- err
		}()
		entries[i] = testEntry(first + i)
	}
	for range n {
		if err := <-results; err != nil {
			tb.Fatal(err)
		}
	}
	return entries
}

func testEntry(i int) []byte { return fmt.Appendf(nil, "entry %d of a log", i) }

// verifyReceipt fails the test unless the receipt's text proves the entry.
func verifyReceipt(tb testing.TB, entry []byte, r Receipt) Checkpoint {
	tb.Helper()
	text, err := r.MarshalText()
	if err != nil {
		tb.Fatal(err)
	}
	got, checkpoint, err := VerifyReceipt(testVerifiers(tb, testOrigin, "log"), testOrigin, entry, text)
	if err != nil {
		tb.Fatalf("receipt of entry %d: %v", r.Index, err)
	}
	if got.Index != r.Index {
		tb.Fatalf("receipt says index %d, want %d", got.Index, r.Index)
	}
	return checkpoint
}

// auditLog audits a log through its own paths.
func auditLog(tb testing.TB, l *Log, old []byte) (Report, error) {
	tb.Helper()
	return Audit(tb.Context(), l.ReadPath, AuditConfig{
		Origin: testOrigin, Verifiers: testVerifiers(tb, testOrigin, "log"), Old: old,
	})
}
