package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestPathsAreNotMended sends paths that are not clean: the front end that they are for sees them as they are, and nobody is sent on to what
// the path could have meant.
func TestPathsAreNotMended(t *testing.T) {
	front := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, "%s %s", name, r.URL.Path)
		})
	}
	s := &Server{config: Config{
		Routes:  map[string]http.Handler{"/": front("native"), "/kbs/v0/": front("kbs")},
		Metrics: NewMetrics(), Logger: slog.New(slog.DiscardHandler), Now: time.Now,
	}}
	handler := s.handler()
	for path, want := range map[string]string{
		"/kbs/v0/resource/a/b/c":              "kbs /kbs/v0/resource/a/b/c",
		"/kbs/v0/resource/a//b/c":             "kbs /kbs/v0/resource/a//b/c",
		"/kbs/v0/resource/x/../a/b/c":         "kbs /kbs/v0/resource/x/../a/b/c",
		"/kbs/v0/resource/x/%2e%2e/a/b/c":     "kbs /kbs/v0/resource/x/../a/b/c",
		"/kbs/v0/resource/./a/b/c":            "kbs /kbs/v0/resource/./a/b/c",
		"/kbs/v0/../../v1/admin/secrets/a":    "kbs /kbs/v0/../../v1/admin/secrets/a",
		"/v1/../kbs/v0/resource/a/b/c":        "native /v1/../kbs/v0/resource/a/b/c",
		"/v1/admin/secrets/payments/../db":    "native /v1/admin/secrets/payments/../db",
		"//kbs/v0/resource/a/b/c":             "native //kbs/v0/resource/a/b/c",
		"/kbs/v0":                             "kbs /kbs/v0",
		"/x/../healthz":                       "native /x/../healthz",
		"/v1/admin/policies/p/versions/1/../": "native /v1/admin/policies/p/versions/1/../",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, httptest.NewRequest(method, path, nil))
			if answer.Code != http.StatusNotFound || answer.Body.String() != want {
				t.Errorf("%s %s: %d %q to %q, want %q", method, path, answer.Code, answer.Body, answer.Header().Get("Location"), want)
			}
		}
	}
}
