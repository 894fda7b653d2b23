package data

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
	"github.com/vouchsafe/vouchsafe/store/vault"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// dated returns a connection to Vault by which all answers have the time of another clock.
func dated(t *testing.T, server *vaulttest.Server, clock func() time.Time) *vaultconn.Conn {
	t.Helper()
	to, err := url.Parse(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	between := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(r *http.Response) error { r.Header.Set("Date", clock().UTC().Format(http.TimeFormat)); return nil },
	})
	t.Cleanup(between.Close)
	conn, err := vaultconn.Open(t.Context(), vaultconn.Config{
		Address: between.URL, Development: true, Auth: vaultconn.Auth{Method: vaultconn.MethodToken, Token: server.RootToken},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestVaultIsSweptByOneBroker: of the brokers on a store in Vault one clears away what another left behind, once a day, and after a failure before that.
func TestVaultIsSweptByOneBroker(t *testing.T) {
	server := vaulttest.Shared(t)
	mount := server.Mount(t, "kv", map[string]string{"version": "2"})
	key, err := seal.CreateKeyFile(filepath.Join(t.TempDir(), "seal.key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	// To the store it is past the hour after which a part is swept, by its own clock and by what Vault says that it is; the clock of the brokers is the test's.
	ahead := func() time.Time { return time.Now().Add(2 * time.Hour) }
	c := Config{
		Seal: key, Origin: "broker.test/log", Logger: slog.New(slog.DiscardHandler),
		Shared: Vault(InVault{Conn: dated(t, server, ahead), Address: server.Address, Mount: mount, Now: ahead}),
	}
	made, err := Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := made.Close(); err != nil {
		t.Fatal(err)
	}
	orphan := mount + "/data/" + vault.DefaultPrefix + "/=parts/default/large/=part-" + strings.Repeat("0", 32) + "-0"
	leave := func() {
		t.Helper()
		if _, err := server.Client(t).Logical().WriteWithContext(t.Context(), orphan, map[string]any{"data": map[string]any{"value": "AAAA"}}); err != nil {
			t.Fatal(err)
		}
	}
	left := func() bool {
		t.Helper()
		secret, err := server.Client(t).Logical().ReadWithContext(t.Context(), orphan)
		if err != nil {
			t.Fatal(err)
		}
		return secret != nil
	}
	now := time.Now()
	var logged bytes.Buffer
	var brokers []*sweeper
	for range 2 {
		d, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		inner, err := c.Shared.Open(t.Context(), store.Production, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = inner.Close() })
		brokers = append(brokers, &sweeper{
			store: d.Store, swept: inner.(swept), now: func() time.Time { return now }, logger: slog.New(slog.NewTextHandler(&logged, nil)),
		})
	}
	look := func(broker int) {
		t.Helper()
		if err := brokers[broker].look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	leave()
	if look(0); left() || !strings.Contains(logged.String(), "parts=1") {
		t.Errorf("what was left behind is there still: %s", logged.String())
	}
	leave()
	now = now.Add(sweepEvery - time.Minute)
	if look(0); !left() {
		t.Error("it swept again before its time")
	}
	if look(1); !left() {
		t.Error("another broker swept too")
	}
	now = now.Add(2 * time.Minute)
	if look(1); left() {
		t.Error("no broker sweeps on the next day")
	}
	// One that failed tries again; the others leave it to that one.
	leave()
	good := brokers[1].swept
	if err := good.(store.Store).Close(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(sweepEvery)
	if err := brokers[1].look(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Fatalf("%v", err)
	}
	brokers[1].swept = brokers[0].swept
	if look(0); !left() {
		t.Error("another swept in the place of the one that failed")
	}
	if look(1); left() {
		t.Error("the one that failed does not try again")
	}
	// What a clock of next year wrote keeps nobody from it.
	now = now.AddDate(1, 0, 0)
	look(0)
	leave()
	now = now.AddDate(-1, 0, 0)
	if look(1); left() {
		t.Error("a time to come is believed")
	}
}
