// Package tenants serves every namespace of a broker below a prefix of its own, /ns/NAME/: all paths that the default namespace has at the root are there, of both
// front ends, with the same meaning. A base URL is all that a guest, an agent, a KBS client or an administrator needs to be told:
//
//	https://broker.example.org:8443/ns/payments
//
// Each namespace has front ends of its own, made when it is first asked, so that nothing that one of them remembers, such as an attested session, can be used at
// another. What is not a namespace is 404 before anything else looks at the request.
package tenants

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/vouchsafe/vouchsafe/broker"
)

// Prefix is the path that all namespaces are below.
const Prefix = "/ns"

// Config says what is served. All fields are needed.
type Config struct {
	Serves func(ctx context.Context, namespace string) error       // an error unless the namespace is there: broker.Broker.Serves
	Front  func(namespace string) (map[string]http.Handler, error) // patterns of the front ends of one namespace, as server.Config.Routes
}

// Tenants is the handler of everything below Prefix.
type Tenants struct {
	config Config

	mu     sync.Mutex
	fronts map[string]*http.ServeMux // of namespaces that were there when they were asked: as many as there may be
}

// New returns Tenants.
func New(c Config) (*Tenants, error) {
	if c.Serves == nil || c.Front == nil {
		return nil, errors.New("tenants: what is served is missing")
	}
	return &Tenants{config: c, fronts: map[string]*http.ServeMux{}}, nil
}

// ServeHTTP implements http.Handler.
func (t *Tenants) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	namespace, rest, below := strings.Cut(strings.TrimPrefix(r.URL.Path, Prefix+"/"), "/")
	// An escaped path could be another namespace to whoever filters what reaches the broker. A namespace needs no escapes, so the beginning is the same in both spellings.
	whole := Prefix + "/" + namespace
	if !below || path.Clean(r.URL.Path) != r.URL.Path || r.URL.RawPath != "" && !strings.HasPrefix(r.URL.RawPath, whole+"/") {
		refuse(w, http.StatusNotFound, broker.CodeNotFound, "this is no path of a namespace, "+Prefix+"/NAME/…")
		return
	}
	if err := t.config.Serves(r.Context(), namespace); err != nil {
		var e *broker.Error
		if errors.As(err, &e) && e.Code != broker.CodeUnavailable {
			refuse(w, http.StatusNotFound, broker.CodeNotFound, "there is no such namespace")
			return
		}
		refuse(w, http.StatusServiceUnavailable, broker.CodeUnavailable, "the broker cannot answer now")
		return
	}
	front, err := t.front(namespace)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, broker.CodeUnavailable, "the broker cannot answer now")
		return
	}
	within := r.Clone(r.Context())
	within.URL.Path, within.URL.RawPath = "/"+rest, strings.TrimPrefix(r.URL.RawPath, whole)
	defer func() { r.Pattern = within.Pattern }() // by which requests are counted
	front.ServeHTTP(w, within)
}

func (t *Tenants) front(namespace string) (*http.ServeMux, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mux := t.fronts[namespace]; mux != nil {
		return mux, nil
	}
	routes, err := t.config.Front(namespace)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for pattern, handler := range routes {
		mux.Handle(pattern, handler)
		if folder, below := strings.CutSuffix(pattern, "/"); below && folder != "" {
			mux.Handle(folder, handler) // or the mux would send clients on to the path with a slash
		}
	}
	t.fronts[namespace] = mux
	return mux, nil
}

func refuse(w http.ResponseWriter, status int, code broker.Code, message string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"code": string(code), "message": message}) // the peer may be gone
}
