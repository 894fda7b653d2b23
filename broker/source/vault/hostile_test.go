package vault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/broker/source/vault"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// These are about answers that a real Vault does not give, or only when it is killed at the right moment: something in its place answers what the test says.

// inVaultsPlace returns a connection to what answers requests with answer, but for those that logging in makes, and what was asked there.
func inVaultsPlace(t *testing.T, answer http.HandlerFunc) (conn *vaultconn.Conn, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/auth/token/lookup-self" {
			fmt.Fprint(w, `{"data":{"ttl":0}}`)
			return
		}
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		all = append(all, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(body)))
		mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	conn, err := vaultconn.Open(t.Context(), vaultconn.Config{
		Address: s.URL, Development: true, Auth: vaultconn.Auth{Method: vaultconn.MethodToken, Token: "hvs.a-token-of-a-test"},
	})
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// broken closes the connection without an answer.
func broken(w http.ResponseWriter, _ *http.Request) {
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		_ = conn.Close()
	}
}

// TestIssuedUnknown: where an answer does not say what became of a request, be it a read, it is asked for once, and not taken for one that did nothing: the
// record of it is what whatever was issued can be found by.
func TestIssuedUnknown(t *testing.T) {
	r := source.Request{Namespace: ns, Secret: "a/db", Decision: "0192f0c1-7c3e-7c2b-b2b2-6f1f5ad0c0aa"}
	for name, x := range map[string]struct {
		answer   http.HandlerFunc
		definite bool
	}{
		"the connection breaks": {broken, false},
		"the answer breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, `{"lease_id":"database/creds/app/x",`)
		}, false},
		"the answer is a page":    {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, false},
		"a gateway gave up":       {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", 504) }, false},
		"Vault failed within":     {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"errors":["x"]}`, 500) }, false},
		"an answer without data":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) }, false},
		"an answer of nothing":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, false},
		"Vault does not allow it": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"errors":["x"]}`, 403) }, true},
		"there is no such role":   {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"errors":["x"]}`, 400) }, true},
		"there is nothing":        {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"errors":[]}`, 404) }, true},
	} {
		for _, method := range []string{"read", "write"} {
			t.Run(name+", "+method, func(t *testing.T) {
				conn, asked := inVaultsPlace(t, x.answer)
				parameters := json.RawMessage(`{"path":"database/creds/app","field":"password","method":"` + method + `"}`)
				value, err := vault.NewDynamic(conn, nil).Fetch(t.Context(), parameters, r)
				if err == nil || value.Bytes != nil || value.Lease != nil || source.Definite(err) != x.definite {
					t.Errorf("%+v, %v: definite %t", value, err, source.Definite(err))
				}
				if all := asked(); len(all) != 1 {
					t.Errorf("asked %q", all)
				}
			})
		}
	}
}

// TestKVIssuesNothing: a document that has a KV secret where an engine issues would have something issued that no record tells of. It is ended and not released.
func TestKVIssuesNothing(t *testing.T) {
	conn, asked := inVaultsPlace(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/sys/leases/revoke" {
			w.WriteHeader(204)
			return
		}
		fmt.Fprint(w, `{"lease_id":"database/creds/app/x","lease_duration":60,"data":{"password":"the-password"}}`)
	})
	value, err := vault.NewKV(conn, nil).Fetch(t.Context(), json.RawMessage(`{"mount":"database","path":"creds/app","kv":1,"field":"password"}`), source.Request{})
	if value.Bytes != nil || !errors.Is(err, source.ErrRejected) || !strings.Contains(err.Error(), "vault-dynamic") {
		t.Errorf("%q, %v", value.Bytes, err)
	}
	want := []string{"GET /v1/database/creds/app", `PUT /v1/sys/leases/revoke {"lease_id":"database/creds/app/x","sync":true}`}
	if all := asked(); !slices.Equal(all, want) {
		t.Errorf("asked %q", all)
	}
}
