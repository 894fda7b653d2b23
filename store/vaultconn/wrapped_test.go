package vaultconn_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// wrap returns a wrapping token for what writing to a path gives.
func (s *scene) wrap(t *testing.T, path string, ttl string) string {
	t.Helper()
	client := s.Client(t)
	client.SetWrappingLookupFunc(func(string, string) string { return ttl })
	secret, err := client.Logical().WriteWithContext(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return secret.WrapInfo.Token
}

func TestWrappedSecretID(t *testing.T) {
	t.Parallel()
	s := newScene(t, vaulttest.Shared(t))
	role := s.AppRole(t, rights(s.mount), nil)
	from := "auth/" + role.Mount + "/role/" + role.Name + "/secret-id"
	auth := vaultconn.Auth{
		Method: vaultconn.MethodAppRole, Mount: role.Mount, Role: role.Name, RoleID: role.RoleID, SecretIDFile: write(t, "wrapped", s.wrap(t, from, "60s")+"\n"), SecretIDWrapped: true,
	}
	c := open(t, s.config(auth))
	s.works(t, c)
	if _, err := os.Stat(auth.SecretIDFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the used wrapping token is still there: %v", err)
	}
	// The secret id is kept in memory for the next login.
	s.revoke(t, role.Mount)
	s.works(t, c)

	// It is destroyed; another wrapped one is taken without a restart.
	s.Write(t, from+"-accessor/destroy", map[string]any{"secret_id_accessor": s.accessor(t, from)})
	s.revoke(t, role.Mount)
	until(t, "it fails", func() bool { return s.try(t, c) != nil })
	replace(t, auth.SecretIDFile, s.wrap(t, from, "60s"))
	until(t, "it comes back", func() bool { return s.try(t, c) == nil })

	fails := func(what, wrapping string, want error) {
		t.Helper()
		auth := auth
		auth.SecretIDFile = write(t, "wrapped", wrapping)
		_, err := vaultconn.Open(t.Context(), s.config(auth))
		if !errors.Is(err, want) || !errors.Is(err, vaultconn.ErrLogin) {
			t.Errorf("%s: %v", what, err)
		}
		holdsNone(t, err.Error()+s.told.String(), wrapping)
	}
	// Somebody else was there before.
	stolen := s.wrap(t, from, "60s")
	thief := s.Client(t)
	thief.SetToken(stolen)
	if _, err := thief.Logical().UnwrapWithContext(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	fails("used", stolen, vaultconn.ErrUnwrapped)
	late := s.wrap(t, from, "1s")
	time.Sleep(1500 * time.Millisecond)
	fails("late", late, vaultconn.ErrUnwrapped)
	fails("no token", "hvs.this-is-no-wrapping-token", vaultconn.ErrUnwrapped)

	// What was wrapped for something else is not even unwrapped.
	s.Write(t, "auth/"+role.Mount+"/role/other", map[string]any{"token_ttl": "1h"})
	for what, path := range map[string]string{
		"another role's": "auth/" + role.Mount + "/role/other/secret-id", "something else": "auth/token/create", "the thief's own": "sys/wrapping/wrap",
	} {
		wrapping := s.wrap(t, path, "60s")
		fails(what, wrapping, vaultconn.ErrWrapping)
		if _, err := s.Client(t).Logical().WriteWithContext(t.Context(), "sys/wrapping/lookup", map[string]any{"token": wrapping}); err != nil {
			t.Errorf("%s was used up: %v", what, err)
		}
	}
	config := s.config(auth)
	config.Auth.SecretIDFile += ".none"
	if _, err := vaultconn.Open(t.Context(), config); err == nil || !strings.Contains(err.Error(), "each start") {
		t.Errorf("no file: %v", err)
	}
}

// accessor returns that of the only secret id of a role that a wrapped one made.
func (s *scene) accessor(t *testing.T, from string) string {
	t.Helper()
	list, err := s.Client(t).Logical().ListWithContext(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range list.Data["keys"].([]any) {
		accessor := key.(string)
		// The first is that which AppRole made itself; ending both does no harm.
		if len(list.Data["keys"].([]any)) == 1 {
			return accessor
		}
		s.Write(t, from+"-accessor/destroy", map[string]any{"secret_id_accessor": accessor})
		return s.accessor(t, from)
	}
	t.Fatal("no secret id")
	return ""
}

// kubernetes is the one thing of Kubernetes' API that Vault asks: who a service account's token belongs to.
func kubernetes(t *testing.T, good func(token string) bool) (url, ca string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			Spec struct {
				Token string `json:"token"`
			} `json:"spec"`
		}
		if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || json.NewDecoder(r.Body).Decode(&review) != nil {
			http.NotFound(w, r)
			return
		}
		status := map[string]any{"authenticated": false, "error": "invalid token"}
		if good(review.Spec.Token) {
			status = map[string]any{"authenticated": true, "audiences": []string{"vault"}, "user": map[string]any{
				"username": "system:serviceaccount:broker:vouchsafe", "uid": "u-1", "groups": []string{"system:serviceaccounts"},
			}}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status})
	}))
	t.Cleanup(server.Close)
	return server.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

// accountToken is a service account's token as Vault reads it before it asks Kubernetes about it.
func accountToken(serial int64) string {
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // maps of strings always encode
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	return part(map[string]string{"alg": "RS256", "typ": "JWT"}) + "." + part(map[string]any{
		"iss": "https://kubernetes", "sub": "system:serviceaccount:broker:vouchsafe", "aud": []string{"vault"}, "jti": fmt.Sprint(serial),
		"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "nbf": time.Now().Add(-time.Minute).Unix(),
		"kubernetes.io": map[string]any{"namespace": "broker", "serviceaccount": map[string]string{"name": "vouchsafe", "uid": "u-1"}},
	}) + "." + base64.RawURLEncoding.EncodeToString([]byte("signature"))
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	s := newScene(t, vaulttest.Shared(t))
	var valid atomic.Pointer[string]
	first := accountToken(1)
	valid.Store(&first)
	host, ca := kubernetes(t, func(token string) bool { return token == *valid.Load() })
	mount := s.MountAuth(t, "kubernetes")
	s.Write(t, "auth/"+mount+"/config", map[string]any{"kubernetes_host": host, "kubernetes_ca_cert": ca, "disable_local_ca_jwt": true})
	s.Write(t, "auth/"+mount+"/role/broker", map[string]any{
		"bound_service_account_names": "vouchsafe", "bound_service_account_namespaces": "broker", "token_policies": s.Policy(t, rights(s.mount)), "token_ttl": "1h",
	})
	file := write(t, "token", first)
	if err := os.Chmod(file, 0o644); err != nil { // as Kubernetes does
		t.Fatal(err)
	}
	auth := vaultconn.Auth{Method: vaultconn.MethodKubernetes, Mount: mount, Role: "broker", JWTFile: file}
	c := open(t, s.config(auth))
	s.works(t, c)
	// Kubernetes rotates the token; the next login reads it anew.
	second := accountToken(2)
	valid.Store(&second)
	replace(t, file, second)
	s.revoke(t, mount)
	s.works(t, c)
	replace(t, file, first)
	if _, err := vaultconn.Open(t.Context(), s.config(auth)); !errors.Is(err, vaultconn.ErrLogin) {
		t.Errorf("a token that Kubernetes does not know: %v", err)
	}
	holdsNone(t, s.told.String(), first, second)
}
