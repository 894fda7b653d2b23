package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// TestVaultMetrics scrapes the metrics of a connection to a real Vault.
func TestVaultMetrics(t *testing.T) {
	s := vaulttest.Shared(t)
	token := s.Token(t, `path "auth/token/lookup-self" { capabilities = ["read"] }`, time.Hour)
	c, err := vaultconn.Open(t.Context(), vaultconn.Config{
		Address: s.Address, Development: true, Auth: vaultconn.Auth{Method: vaultconn.MethodToken, Token: token},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // nothing to lose
	m := NewMetrics()
	m.WatchVault(c, time.Now)
	if _, err := c.Do(t.Context(), vaultconn.Request{Method: http.MethodGet, Path: "sys/mounts"}); err == nil {
		t.Fatal("it is allowed")
	}
	w := httptest.NewRecorder()
	m.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := w.Body.String()
	for _, want := range []string{
		"vouchsafe_vault_up 1\n", `vouchsafe_vault_request_seconds_count{class="read",result="forbidden"} 1`, `vouchsafe_vault_logins_total{result="ok"} 1`,
		"vouchsafe_vault_token_expires_seconds 3", "vouchsafe_vault_requests_in_flight 0", "vouchsafe_vault_requests_waiting 0", "vouchsafe_vault_clock_ahead_seconds ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not there", want)
		}
	}
	if strings.Contains(text, token) {
		t.Error("the token is there")
	}
}
