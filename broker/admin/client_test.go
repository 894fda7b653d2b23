package admin_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
)

func TestAgainstBroker(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{})
	client, err := admin.New(admin.Config{Address: b.URL + "/", Token: b.Token, CACert: b.CA})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 7 {
		name := wire.SecretName{Name: fmt.Sprintf("app/key-%d", i)}
		info, err := client.PutSecret(t.Context(), wire.SecretPut{SecretName: name, Value: []byte("value")})
		if err != nil || info.Name != name.Name || info.Current != 1 {
			t.Fatalf("%+v, %v", info, err)
		}
	}
	var names []string
	for secret, err := range admin.All(func(after string) (wire.List[broker.SecretInfo], error) {
		return client.Secrets(t.Context(), wire.SecretsQuery{Prefix: "app/key", Page: wire.Page{After: after, Limit: 3}})
	}) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, secret.Name)
	}
	if got := strings.Join(names, " "); got != "app/key-0 app/key-1 app/key-2 app/key-3 app/key-4 app/key-5 app/key-6" {
		t.Errorf("listed %s", got)
	}
	var e *admin.Error
	if _, err := client.Secret(t.Context(), "app/none"); !errors.As(err, &e) || e.Status != http.StatusNotFound || e.Code != broker.CodeNotFound || e.Message == "" {
		t.Errorf("%v", err)
	}
	stranger, err := admin.New(admin.Config{Address: b.URL, Token: b.Token})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Kinds(t.Context()); err == nil {
		t.Error("a certificate of nobody's was believed")
	}
}

// TestBadServers: what is not a broker's answer is an error, nothing follows a redirect, and the token goes nowhere else.
func TestBadServers(t *testing.T) {
	const token = "vst_0123456789abcdef_secretsecretsecret"
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a request came elsewhere, with %v", r.Header)
	}))
	defer elsewhere.Close()
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		check  func(error) bool
	}{
		"redirect": {
			func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
			},
			func(err error) bool { return status(err) == http.StatusTemporaryRedirect },
		},
		"a page": {
			func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
			func(err error) bool { return errors.Is(err, admin.ErrAnswer) },
		},
		"half a JSON": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, `{"items":[`)
			},
			func(err error) bool { return errors.Is(err, admin.ErrAnswer) },
		},
		"a gateway": {
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
			func(err error) bool { return status(err) == http.StatusBadGateway },
		},
		"busy": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(http.StatusTooManyRequests)
				fmt.Fprint(w, `{"code":"overloaded","message":"busy","something":"new"}`)
			},
			func(err error) bool {
				var e *admin.Error
				return errors.As(err, &e) && e.RetryAfter == 7*time.Second && e.Code == broker.CodeOverloaded
			},
		},
		"silence": {
			func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			func(err error) bool { return err != nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(test.answer))
			defer server.Close()
			client, err := admin.New(admin.Config{Address: server.URL, Token: token, Timeout: 200 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Secrets(t.Context(), wire.SecretsQuery{})
			if err == nil || !test.check(err) || strings.Contains(err.Error(), token) {
				t.Errorf("%v", err)
			}
		})
	}
}

func status(err error) int {
	var e *admin.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// TestTokenStaysHome: operations that need no token do not send it.
func TestTokenStaysHome(t *testing.T) {
	sent := false
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { sent = r.Header.Get("Authorization") != "" }))
	defer server.Close()
	client, err := admin.New(admin.Config{Address: server.URL, Token: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Kinds(t.Context()); err == nil || sent {
		t.Errorf("sent %v, %v", sent, err)
	}
	if _, err := client.Keys(t.Context()); err == nil || !sent {
		t.Errorf("sent %v, %v", sent, err)
	}
	if err := client.Backup(t.Context(), new(bytes.Buffer)); err == nil {
		t.Error("an empty answer is no backup")
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]admin.Config{
		"no address":       {},
		"no scheme":        {Address: "broker:8443"},
		"another scheme":   {Address: "ftp://broker"},
		"plain HTTP":       {Address: "http://broker.example"},
		"plain HTTP to IP": {Address: "http://192.0.2.1"},
		"user":             {Address: "https://u:p@broker"},
		"query":            {Address: "https://broker?x"},
		"token with break": {Address: "https://broker", Token: "a\nb"},
		"no certificate":   {Address: "https://broker", CACert: []byte("x")},
		"both":             {Address: "https://broker", CACert: []byte("x"), HTTP: http.DefaultClient},
		"negative timeout": {Address: "https://broker", Timeout: -1},
	} {
		if _, err := admin.New(c); err == nil || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, address := range []string{"http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://broker/prefix"} {
		if _, err := admin.New(admin.Config{Address: address}); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}
