package wire_test

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest/pluginstore/wire"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

// serve serves stores in files on a socket, until t ends.
func serve(t *testing.T) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "wire") // not t.TempDir, whose paths can be longer than the name of a socket may be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: wire.Handler(func(name string) store.Store {
		file, err := bolt.Open(bolt.Config{Path: filepath.Join(dir, name+".db"), Purpose: store.Development, Create: true})
		if err != nil {
			t.Error(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		return file
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return socket
}

// TestContract holds a store behind the wire against the contract that it has kept before it.
func TestContract(t *testing.T) {
	socket := serve(t)
	n := 0
	storetest.Run(t, func(*testing.T) store.Store {
		n++
		return wire.Dial(socket, strconv.Itoa(n))
	})
}

// TestUsers holds that users of one name have one store, each until it closes its own view, and those of another name another.
func TestUsers(t *testing.T) {
	socket := serve(t)
	one, two, other := wire.Dial(socket, "a"), wire.Dial(socket, "a"), wire.Dial(socket, "b")
	defer two.Close()
	defer other.Close()
	events, err := two.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Apply(t.Context(), store.Write{Key: "default/a", Value: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if e := <-events; e != (store.Event{Key: "default/a", Version: 1}) {
		t.Errorf("event %+v", e)
	}
	if r, err := two.Get(t.Context(), "default/a"); err != nil || string(r.Value) != "x" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := other.Get(t.Context(), "default/a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another store: %v", err)
	}
}

// TestNobodyServes: what cannot be reached is unavailable.
func TestNobodyServes(t *testing.T) {
	s := wire.Dial(filepath.Join(t.TempDir(), "none"), "a")
	defer s.Close()
	if _, err := s.Get(t.Context(), "default/a"); !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
	if _, err := s.Watch(t.Context(), ""); !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
}
