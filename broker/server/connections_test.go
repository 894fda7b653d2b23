package server

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestIdleMakeRoom fills a server with connections that wait, and holds that a newcomer is served for the one that has waited longest, while one
// that is being served is left alone.
func TestIdleMakeRoom(t *testing.T) {
	const most = 4
	release := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		_, _ = io.WriteString(w, "served")
	}))
	limited := limitConnections(server.Listener, most)
	server.Listener, server.Config.ConnState = limited, limited.state
	server.StartTLS()
	defer server.Close()
	newcomer := func() *http.Client {
		transport := server.Client().Transport.(*http.Transport).Clone()
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: 10 * time.Second}
	}
	get := func(c *http.Client, path string) error {
		response, err := c.Get(server.URL + path)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		_, err = io.ReadAll(response.Body)
		return err
	}
	busy := make(chan error)
	go func() { busy <- get(newcomer(), "/slow") }()
	for n := range 10 * most {
		if err := get(newcomer(), "/"); err != nil {
			t.Fatalf("newcomer %d: %v", n, err)
		}
	}
	close(release)
	if err := <-busy; err != nil {
		t.Errorf("the one that was being served: %v", err)
	}
}

// TestNoRoom holds that nobody is accepted while all places are taken by connections that do not wait, and that a place that becomes free
// or idle is given on.
func TestNoRoom(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited := limitConnections(inner, 1)
	defer limited.Close()
	accepted := make(chan net.Conn, 3)
	go func() {
		for {
			conn, err := limited.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	dial := func() {
		t.Helper()
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	dial()
	first := <-accepted
	dial()
	select {
	case <-accepted:
		t.Fatal("a second connection was accepted")
	case <-time.After(50 * time.Millisecond):
	}
	limited.state(first, http.StateIdle)
	second := <-accepted
	if _, err := bufio.NewReader(first).ReadByte(); err == nil {
		t.Error("the first is open still")
	}
	dial()
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if err := second.Close(); err == nil {
		t.Error("closed twice")
	}
	third := <-accepted
	limited.state(third, http.StateActive)
	limited.Close()
	if _, more := <-accepted; more {
		t.Error("accepted after the end")
	}
}

// TestRoomAfterEnd holds that Shutdown of a full server ends.
func TestRoomAfterEnd(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited := limitConnections(inner, 1)
	server := &http.Server{Handler: http.NotFoundHandler(), ConnState: limited.state}
	done := make(chan error, 1)
	go func() { done <- server.Serve(limited) }()
	conn, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadByte(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != http.ErrServerClosed {
		t.Error(err)
	}
}
