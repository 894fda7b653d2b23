package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// lines collects what a server logs.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// wait waits until something is so.
func wait(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// TestStartWithoutVault starts a broker whose seal is in a Vault that is dead, then sealed, then well; and goes on serving when Vault is gone again.
func TestStartWithoutVault(t *testing.T) {
	server := vaulttest.Start(t, vaulttest.WithTLS(), vaulttest.WithFile(""))
	engine := server.Mount(t, "transit", nil)
	server.Write(t, engine+"/keys/k", nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "server.yaml")
	text := fmt.Sprintf("data: data\nurl: http://%s\nlisten: %[1]s\nhttp: true\nkbs: {off: true}\nseal: {transit: {mount: %s, key: k}}\n"+
		"vault: {address: %q, ca_cert: %s, timeout: 1s, auth: {method: token, token_file: vault.token}}\n", address, engine, server.Address, server.CAFile)
	for name, content := range map[string]string{file: text, filepath.Join(dir, "vault.token"): server.RootToken + "\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	init := initFlags{config: file}
	if err := init.read(); err != nil {
		t.Fatal(err)
	}
	if _, err := init.make(t.Context(), &lines{}); err != nil {
		t.Fatal(err)
	}
	begin := func(ctx context.Context) (log *lines, ended chan error) {
		s, err := readSettings(file)
		if err != nil {
			t.Fatal(err)
		}
		log, ended = &lines{}, make(chan error, 1)
		p := &program{out: &lines{}, errOut: log}
		go func() { ended <- p.serve(ctx, s) }()
		return log, ended
	}
	ready := func() bool {
		answer, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}

	server.Kill(t)
	waiting, stop := context.WithCancel(t.Context())
	log, ended := begin(waiting)
	wait(t, "it says what it waits for", func() bool { return strings.Contains(log.String(), "waiting for Vault") })
	stop()
	if err := <-ended; err != nil {
		t.Errorf("stopped while waiting: %v", err)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	log, ended = begin(ctx)
	wait(t, "it waits", func() bool { return strings.Contains(log.String(), "waiting for Vault") })
	server.RestartSealed(t)
	wait(t, "it waits for a sealed Vault", func() bool { return strings.Contains(log.String(), "sealed") })
	if ready() {
		t.Error("it is ready without its seal")
	}
	server.Unseal(t)
	wait(t, "it serves", ready)
	server.Kill(t)
	if !ready() {
		t.Error("it does not serve without Vault")
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("%v\n%s", err, log)
	}
}
