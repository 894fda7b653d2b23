package transit

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/seal"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

var names atomic.Int64

// newKey makes a transit key with options and returns its name.
func newKey(t *testing.T, server *vaulttest.Server, mount string, options map[string]any) string {
	t.Helper()
	name := fmt.Sprintf("key-%d", names.Add(1))
	server.Write(t, mount+"/keys/"+name, options)
	return name
}

func newSeal(t *testing.T, conn *vaultconn.Conn, mount, key string) *Seal {
	t.Helper()
	s, err := New(Config{Conn: conn, Mount: mount, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func connect(t *testing.T, address, token string) *vaultconn.Conn {
	t.Helper()
	conn, err := vaultconn.Open(t.Context(), vaultconn.Config{
		Address: address, Development: true, Auth: vaultconn.Auth{Method: vaultconn.MethodToken, Token: token}, Timeout: time.Second,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func openBolt(t *testing.T, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(bolt.Config{Path: path, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	rootKey = bytes.Repeat([]byte{7}, seal.KeySize)
	bind    = []byte("vouchsafe/seal/root/1 and a store's id")
)

func TestWrap(t *testing.T) {
	server := vaulttest.Shared(t)
	conn, mount := server.Conn(t), server.Mount(t, "transit", nil)
	for _, kind := range Types() {
		s := newSeal(t, conn, mount, newKey(t, server, mount, map[string]any{"type": kind}))
		wrapped, err := s.Wrap(t.Context(), rootKey, bind)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		got, err := s.Unwrap(t.Context(), wrapped, bind)
		if err != nil || !bytes.Equal(got, rootKey) {
			t.Fatalf("%s: got %x, %v", kind, got, err)
		}
		for _, other := range [][]byte{nil, bind[1:], append(bytes.Clone(bind), 0), []byte("another store")} {
			if got, err := s.Unwrap(t.Context(), wrapped, other); !errors.Is(err, seal.ErrWrongSeal) || got != nil {
				t.Errorf("%s: bound to %q: %x, %v", kind, other, got, err)
			}
		}
	}
	s := newSeal(t, conn, mount, newKey(t, server, mount, nil))
	if s.Kind() != "transit" || s.KeyID() != mount+"/"+s.key {
		t.Errorf("it is %s %s", s.Kind(), s.KeyID())
	}
	wrapped, err := s.Wrap(t.Context(), rootKey, bind)
	if err != nil {
		t.Fatal(err)
	}
	other := newSeal(t, conn, mount, newKey(t, server, mount, nil))
	if _, err := other.Unwrap(t.Context(), wrapped, bind); !errors.Is(err, seal.ErrWrongSeal) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("with another key: %v", err)
	}
	for at := 0; at < len(wrapped); at += 3 {
		edited := bytes.Clone(wrapped)
		edited[at] ^= 1
		if got, err := s.Unwrap(t.Context(), edited, bind); err == nil || got != nil || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("byte %d changed: %v", at, err)
		}
	}
	if _, err := s.Wrap(t.Context(), rootKey[1:], bind); err == nil {
		t.Error("it wraps a key of 31 bytes")
	}
}

// TestEngineThatDoesNotBind stands for an engine that ignores associated data: what is decrypted was made for another store, and Vault does not mind.
func TestEngineThatDoesNotBind(t *testing.T) {
	server := vaulttest.Shared(t)
	mount := server.Mount(t, "transit", nil)
	key := newKey(t, server, mount, nil)
	s := newSeal(t, server.Conn(t), mount, key)
	text := base64.StdEncoding.EncodeToString
	for name, plain := range map[string][]byte{
		"for another store":     frame(rootKey, []byte("vouchsafe/seal/root/1 and a store's iD")),
		"without its frame":     rootKey,
		"a longer key":          append(frame(rootKey, bind), 1),
		"a shorter key":         frame(rootKey[1:], bind),
		"with another label":    bytes.Replace(frame(rootKey, bind), []byte("transit/1"), []byte("transit/2"), 1),
		"a binding that is cut": frame(append(bytes.Clone(bind[20:]), rootKey...), bind[:20]),
		"nothing":               {},
	} {
		made := server.Write(t, mount+"/encrypt/"+key, map[string]any{"plaintext": text(plain), "associated_data": text(bind)})
		if got, err := s.Unwrap(t.Context(), []byte(made["ciphertext"].(string)), bind); !errors.Is(err, seal.ErrWrongSeal) || got != nil {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

func TestKeysThatCannotSeal(t *testing.T) {
	server := vaulttest.Shared(t)
	conn, mount := server.Conn(t), server.Mount(t, "transit", nil)
	for name, options := range map[string]map[string]any{
		"derived":    {"derived": true},
		"convergent": {"derived": true, "convergent_encryption": true},
		"rsa":        {"type": "rsa-2048"},
		"signing":    {"type": "ed25519"},
		"hmac":       {"type": "hmac", "key_size": 32},
	} {
		s := newSeal(t, conn, mount, newKey(t, server, mount, options))
		if _, err := s.Wrap(t.Context(), rootKey, bind); !errors.Is(err, ErrType) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Vault makes a key that is not there when root encrypts with it: it must not come to that.
	s := newSeal(t, conn, mount, "not-there")
	if _, err := s.Wrap(t.Context(), rootKey, bind); !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), "vault write -f "+mount+"/keys/not-there") {
		t.Errorf("no key: %v", err)
	}
	if _, err := s.Inspect(t.Context()); !errors.Is(err, ErrNoKey) {
		t.Errorf("a key was made: %v", err)
	}
	if _, err := s.Unwrap(t.Context(), []byte("vault:v1:AAAA"), bind); !errors.Is(err, ErrNoKey) || !errors.Is(err, seal.ErrWrongSeal) {
		t.Errorf("unwrap without a key: %v", err)
	}
	weak, err := newSeal(t, conn, mount, newKey(t, server, mount, map[string]any{"exportable": true, "allow_plaintext_backup": true})).Inspect(t.Context())
	if err != nil || len(weak.Warnings()) != 2 {
		t.Errorf("warnings %q, %v", weak.Warnings(), err)
	}
	good, err := newSeal(t, conn, mount, newKey(t, server, mount, nil)).Inspect(t.Context())
	if err != nil || len(good.Warnings()) != 0 {
		t.Errorf("warnings %q, %v", good.Warnings(), err)
	}
}

func TestNames(t *testing.T) {
	conn := &vaultconn.Conn{}
	for _, c := range []Config{
		{Key: "k"}, {Conn: conn}, {Conn: conn, Key: "../k"}, {Conn: conn, Key: "a/b"}, {Conn: conn, Key: "a b"}, {Conn: conn, Key: "k?"},
		{Conn: conn, Key: "k", Mount: "/transit"}, {Conn: conn, Key: "k", Mount: "a/../b"}, {Conn: conn, Key: "k", Mount: "a//b"},
		{Conn: conn, Key: "k", Mount: "a%2fb"}, {Conn: conn, Key: strings.Repeat("k", 250)},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("mount %q, key %q is taken", c.Mount, c.Key)
		}
	}
	s, err := New(Config{Conn: conn, Mount: "team/transit", Key: "vouchsafe.1"})
	if err != nil || s.KeyID() != "team/transit/vouchsafe.1" {
		t.Errorf("%v", err)
	}
}

// sealedStore makes a sealed bolt store with one record.
func sealedStore(t *testing.T, s seal.Seal) (*seal.Store, *bolt.Store) {
	t.Helper()
	inner := openBolt(t, filepath.Join(t.TempDir(), "store.db"))
	if err := seal.Init(t.Context(), inner, s, seal.Config{}); err != nil {
		t.Fatal(err)
	}
	opened, err := seal.Open(t.Context(), inner, s, seal.Config{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	if err := opened.Apply(t.Context(), store.Write{Key: "default/a", Value: []byte("secret")}); err != nil {
		t.Fatal(err)
	}
	return opened, inner
}

func expect(t *testing.T, s store.Store) {
	t.Helper()
	got, err := s.Get(t.Context(), "default/a")
	if err != nil || string(got.Value) != "secret" {
		t.Errorf("got %q, %v", got.Value, err)
	}
}

func header(t *testing.T, inner store.Store) string {
	t.Helper()
	record, err := inner.Get(t.Context(), seal.HeaderKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(record.Value)
}

func TestRotationInVault(t *testing.T) {
	server := vaulttest.Shared(t)
	mount := server.Mount(t, "transit", nil)
	key := newKey(t, server, mount, nil)
	s := newSeal(t, server.Conn(t), mount, key)
	opened, inner := sealedStore(t, s)
	// Another process with the same store, whose seal is never to be asked again.
	counted := &counting{Seal: s}
	beside, err := seal.Open(t.Context(), inner, counted, seal.Config{Now: func() time.Time { return time.Now().Add(counted.ahead) }})
	if err != nil {
		t.Fatal(err)
	}
	if renewed, err := opened.RenewSeal(t.Context()); err != nil || renewed {
		t.Fatalf("renewed without need: %v, %v", renewed, err)
	}
	before := header(t, inner)
	server.Write(t, mount+"/keys/"+key+"/rotate", nil)
	again, err := seal.Open(t.Context(), inner, s, seal.Config{Exclusive: true})
	if err != nil {
		t.Fatalf("after a rotation: %v", err)
	}
	expect(t, again)
	if renewed, err := opened.RenewSeal(t.Context()); err != nil || !renewed {
		t.Fatalf("renewed %v, %v", renewed, err)
	}
	if header(t, inner) == before {
		t.Error("the header did not change")
	}
	if renewed, err := opened.RenewSeal(t.Context()); err != nil || renewed {
		t.Errorf("renewed twice: %v, %v", renewed, err)
	}
	server.Write(t, mount+"/keys/"+key+"/config", map[string]any{"min_decryption_version": 2})
	if again, err = seal.Open(t.Context(), inner, s, seal.Config{}); err != nil {
		t.Fatalf("after the old version was disabled: %v", err)
	}
	expect(t, again)
	expect(t, opened)

	counted.ahead = seal.RefreshEvery
	asked := counted.asked.Load()
	if err := beside.Apply(t.Context(), store.Write{Key: "default/b", Value: []byte("by another process")}); err != nil {
		t.Fatal(err)
	}
	if counted.asked.Load() != asked {
		t.Error("a process asked its seal because another renewed it")
	}

	// A copy of the store from before opens no more.
	record, err := inner.Get(t.Context(), seal.HeaderKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := inner.Apply(t.Context(), store.Write{Key: seal.HeaderKey, Version: record.Version, Value: []byte(before)}); err != nil {
		t.Fatal(err)
	}
	_, err = seal.Open(t.Context(), inner, s, seal.Config{})
	if !errors.Is(err, ErrVersion) || !errors.Is(err, seal.ErrWrongSeal) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("an old copy: %v", err)
	}
}

// counting counts what a seal is asked to unwrap.
type counting struct {
	*Seal
	asked atomic.Int64
	ahead time.Duration
}

func (c *counting) Unwrap(ctx context.Context, wrapped, bind []byte) ([]byte, error) {
	c.asked.Add(1)
	return c.Seal.Unwrap(ctx, wrapped, bind)
}

// TestReseal changes the seal of a store to Vault's and back.
func TestReseal(t *testing.T) {
	server := vaulttest.Shared(t)
	mount := server.Mount(t, "transit", nil)
	s := newSeal(t, server.Conn(t), mount, newKey(t, server, mount, nil))
	file, err := seal.CreateKeyFile(filepath.Join(t.TempDir(), "key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	opened, inner := sealedStore(t, file)
	for _, next := range []struct{ to, from seal.Seal }{{s, file}, {file, s}} {
		if err := opened.Reseal(t.Context(), next.to); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.Open(t.Context(), inner, next.from, seal.Config{}); !errors.Is(err, seal.ErrWrongSeal) {
			t.Errorf("it opens with %s still: %v", next.from.Kind(), err)
		}
		again, err := seal.Open(t.Context(), inner, next.to, seal.Config{})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, again)
	}
}

func TestVaultAway(t *testing.T) {
	server := vaulttest.Start(t, vaulttest.WithFile(""))
	mount := server.Mount(t, "transit", nil)
	key := newKey(t, server, mount, nil)
	proxy := vaulttest.NewProxy(t, server.Address)
	s := newSeal(t, connect(t, proxy.Address, server.RootToken), mount, key)
	opened, inner := sealedStore(t, s)
	away := func(what string) {
		t.Helper()
		_, err := seal.Open(t.Context(), inner, s, seal.Config{})
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, seal.ErrWrongSeal) {
			t.Errorf("%s: %v", what, err)
		}
		// A running broker goes on, also with its data keys.
		expect(t, opened)
		if err := opened.Rotate(t.Context()); err != nil {
			t.Errorf("%s: rotate: %v", what, err)
		}
		if _, err := opened.Rewrap(t.Context(), nil); err != nil {
			t.Errorf("%s: rewrap: %v", what, err)
		}
		if _, err := opened.RenewSeal(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: renewed: %v", what, err)
		}
		expect(t, opened)
	}
	back := func(what string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			_, err := seal.Open(t.Context(), inner, s, seal.Config{})
			if err == nil {
				return
			}
			if !errors.Is(err, store.ErrUnavailable) || time.Now().After(end) {
				t.Fatalf("after %s: %v", what, err)
			}
		}
	}
	server.Seal(t)
	away("sealed")
	server.Unseal(t)
	back("sealed")
	server.Kill(t)
	away("dead")
	server.Restart(t)
	back("dead")
	proxy.Cut()
	away("cut off")
	proxy.Restore()
	back("cut off")
	proxy.SetLatency(1500 * time.Millisecond)
	away("slow")
	proxy.SetLatency(0)
	back("slow")
}

func TestRights(t *testing.T) {
	server := vaulttest.Shared(t)
	mount := server.Mount(t, "transit", nil)
	key := newKey(t, server, mount, nil)
	rule := func(what, capability string) string {
		return fmt.Sprintf("path %q { capabilities = [%q] }\n", mount+"/"+what+"/"+key, capability)
	}
	self := "path \"auth/token/lookup-self\" { capabilities = [\"read\"] }\n"
	all := self + rule("encrypt", "update") + rule("decrypt", "update") + rule("keys", "read")
	s := newSeal(t, connect(t, server.Address, server.Token(t, all, time.Hour)), mount, key)
	_, inner := sealedStore(t, s)
	server.Write(t, mount+"/keys/"+key+"/rotate", nil)
	opened, err := seal.Open(t.Context(), inner, s, seal.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if renewed, err := opened.RenewSeal(t.Context()); err != nil || !renewed {
		t.Errorf("with these rights: %v, %v", renewed, err)
	}
	none := newSeal(t, connect(t, server.Address, server.Token(t, self+rule("keys", "read"), time.Hour)), mount, key)
	_, err = seal.Open(t.Context(), inner, none, seal.Config{})
	if !errors.Is(err, vaultconn.ErrForbidden) || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without the right to decrypt: %v", err)
	}
	if err != nil && !strings.Contains(err.Error(), mount+"/decrypt/"+key) {
		t.Errorf("the path is not said: %v", err)
	}
}

func FuzzVersion(f *testing.F) {
	for _, s := range []string{"vault:v1:AAAA", "vault:v12:AAAA", "vault:v01:AAAA", "vault:v0:AAAA", "vault:v1:AAA", "vault:v1:", "vault:v1", "vault:v-1:AAAA", "vault:v1:AA\nAA"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		n, err := version(in)
		if err != nil {
			return
		}
		_, sealed, _ := bytes.Cut(in[len(ciphertextPrefix):], []byte(":"))
		raw, err := base64.StdEncoding.DecodeString(string(sealed))
		if err != nil || fmt.Sprintf("vault:v%d:%s", n, base64.StdEncoding.EncodeToString(raw)) != string(in) {
			t.Errorf("%q is not what Vault writes", in)
		}
	})
}
