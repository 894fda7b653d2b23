package vaulttest_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// parts is a server that answers in two parts, the second when it may, and says when it was asked.
type parts struct {
	asked chan time.Time
	more  chan struct{}
}

func (p parts) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.asked <- time.Now()
	_, _ = io.WriteString(w, "first")
	w.(http.Flusher).Flush()
	<-p.more
	_, _ = io.WriteString(w, "second")
}

func TestProxy(t *testing.T) {
	handler := parts{asked: make(chan time.Time, 16), more: make(chan struct{}, 16)}
	for range cap(handler.more) {
		handler.more <- struct{}{}
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	p := vaulttest.NewProxy(t, server.URL)
	client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
	get := func() (string, error) {
		answer, err := client.Get(p.Address)
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		return string(body), err
	}
	good := func() {
		t.Helper()
		if got, err := get(); err != nil || got != "firstsecond" {
			t.Errorf("got %q, %v", got, err)
		}
		<-handler.asked
	}

	good()
	if n := p.Connections(); n != 1 {
		t.Errorf("there are %d connections", n)
	}

	const latency = 200 * time.Millisecond
	p.SetLatency(latency)
	started := time.Now()
	if _, err := get(); err != nil {
		t.Error(err)
	}
	took := time.Since(started)
	if asked := (<-handler.asked).Sub(started); took < latency || asked > took-latency {
		t.Errorf("the request took %v to arrive, and the answer %v in all", asked, took)
	}
	p.SetLatency(0)
	good()

	p.Cut()
	if _, err := get(); err == nil {
		t.Error("a connection that was cut carries something")
	}
	p.Restore()
	good()

	// In the middle of an answer: what arrived is not taken for all of it.
	for len(handler.more) > 0 {
		<-handler.more
	}
	answer, err := client.Get(p.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.ReadFull(answer.Body, make([]byte, len("first"))); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if rest, err := io.ReadAll(answer.Body); err == nil {
		t.Errorf("the rest is %q, without an error", rest)
	} else if errors.Is(err, http.ErrBodyReadAfterClose) || strings.Contains(err.Error(), "Timeout") {
		t.Error(err)
	}
	handler.more <- struct{}{}
}

// TestProxyOfVault: TLS goes through, since the certificate is for loopback, whatever the port.
func TestProxyOfVault(t *testing.T) {
	s := vaulttest.Start(t, vaulttest.WithTLS())
	p := vaulttest.NewProxy(t, s.Address)
	client := s.Client(t)
	if err := client.SetAddress(p.Address); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Sys().ListMounts(); err != nil {
		t.Error(err)
	}
	p.Cut()
	if _, err := client.Sys().ListMounts(); err == nil || status(err) != 0 {
		t.Errorf("got the error %v", err)
	}
	p.Restore()
	if _, err := client.Sys().ListMounts(); err != nil {
		t.Error(err)
	}
}
