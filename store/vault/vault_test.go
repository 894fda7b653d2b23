package vault

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// mount returns a new KV engine that has what a store needs.
func mount(t testing.TB, server *vaulttest.Server) string {
	t.Helper()
	active(t, server)
	path := server.Mount(t, "kv", map[string]string{"version": "2"})
	if _, err := server.Client(t).Logical().WriteWithContext(t.Context(), path+"/config", map[string]any{"max_versions": 1}); err != nil {
		t.Fatal(err)
	}
	return path
}

// active waits until a server with a cluster's storage has elected itself.
func active(t testing.TB, server *vaulttest.Server) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		leader, err := server.Client(t).Sys().LeaderWithContext(t.Context())
		if err == nil && (leader.IsSelf || !leader.HAEnabled) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no active node: %+v, %v", leader, err)
		}
	}
}

var prefixes atomic.Int64

// prefix returns one that nobody else uses.
func prefix() string { return fmt.Sprintf("store-%d", prefixes.Add(1)) }

// connect returns a connection to an address of the server, which may be a proxy's, as whom the token is for.
func connect(t testing.TB, address, token string, timeout time.Duration) *vaultconn.Conn {
	t.Helper()
	conn, err := vaultconn.Open(t.Context(), vaultconn.Config{
		Address: address, Development: true, Auth: vaultconn.Auth{Method: "token", Token: token}, Timeout: timeout,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// open opens a store, which it makes where there is none, and closes it when t ends.
func open(t testing.TB, c Config) *Store {
	t.Helper()
	c.Create = true
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// watched is a store whose requests an observer sees, on the server of all tests.
func watched(t testing.TB, c Config) (*Store, *observer, *vaulttest.Server) {
	t.Helper()
	server := vaulttest.Shared(t)
	o := observe(t, server.Address)
	c.Conn = connect(t, o.address, server.RootToken, 0)
	if c.Mount == "" {
		c.Mount = mount(t, server)
	}
	s := open(t, c)
	o.reset()
	return s, o, server
}

// again opens the same store over a connection of its own.
func again(t testing.TB, s *Store, server *vaulttest.Server, c Config) *Store {
	t.Helper()
	c.Mount, c.Prefix, c.Conn = s.config.Mount, s.config.Prefix, server.Conn(t)
	return open(t, c)
}

func apply(t testing.TB, s store.Store, writes ...store.Write) {
	t.Helper()
	if err := s.Apply(t.Context(), writes...); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

func get(t testing.TB, s store.Store, key string) store.Record {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get %s: %v", key, err)
	}
	return r
}

func expect(t testing.TB, s store.Store, key string, version uint64, value string) {
	t.Helper()
	if r := get(t, s, key); r.Version != version || string(r.Value) != value {
		t.Fatalf("Get %s = version %d %.40q, want version %d %.40q", key, r.Version, r.Value, version, value)
	}
}

// observer is an HTTP proxy that counts requests to Vault, and does to them what a network may do.
type observer struct {
	address string

	mu    sync.Mutex
	count map[string]int
	fault func(*http.Request) fault
}

// fault is what happens to a request.
type fault int

const (
	none   fault = iota
	before       // the connection breaks before Vault has seen the request
	after        // it breaks when Vault has done it
)

func observe(t testing.TB, target string) *observer {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	o := &observer{count: make(map[string]int)}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 64}
	proxy.ErrorLog = nil
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch o.see(r) {
		case before:
			panic(http.ErrAbortHandler)
		case after:
			proxy.ServeHTTP(&nowhere{header: http.Header{}}, r)
			panic(http.ErrAbortHandler)
		case none:
			proxy.ServeHTTP(w, r)
		}
	})}
	listener := listen(t)
	o.address = "http://" + listener.Addr().String()
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return o
}

// nowhere takes an answer that nobody gets.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n *nowhere) WriteHeader(int)             {}

// kind names a request: its method and which part of the engine it is for, such as "GET data".
func kind(r *http.Request) string {
	method, path := r.Method, strings.TrimPrefix(r.URL.Path, "/v1/")
	if method == http.MethodGet && r.URL.Query().Get("list") == "true" {
		method = "LIST"
	}
	if strings.HasPrefix(path, "sys/") || strings.HasPrefix(path, "auth/") {
		return method + " " + path
	}
	_, path, _ = strings.Cut(path, "/")
	part, rest, _ := strings.Cut(path, "/")
	if strings.Contains(rest, "/"+partsName+"/") {
		part += " part"
	}
	return method + " " + part
}

func (o *observer) see(r *http.Request) fault {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count[kind(r)]++
	if o.fault != nil {
		return o.fault(r)
	}
	return none
}

// on sets what happens to requests from now on; nil is nothing.
func (o *observer) on(fault func(*http.Request) fault) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fault = fault
}

// once makes one fault to the next request of a kind.
func (o *observer) once(of string, what fault) {
	done := false
	o.on(func(r *http.Request) fault {
		if done || kind(r) != of {
			return none
		}
		done = true
		return what
	})
}

func (o *observer) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.count)
}

// counted returns how many requests of each kind there were, and of all kinds, and begins to count afresh.
func (o *observer) counted() (kinds map[string]int, all int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	kinds = o.count
	o.count = make(map[string]int)
	for _, n := range kinds {
		all += n
	}
	return kinds, all
}

// want fails unless exactly these requests were made.
func (o *observer) want(t testing.TB, what string, kinds map[string]int) {
	t.Helper()
	if got, _ := o.counted(); fmt.Sprint(got) != fmt.Sprint(kinds) {
		t.Errorf("%s: requests %v, want %v", what, got, kinds)
	}
}

// raw is Vault's own client, with which somebody changes things by hand.
type raw struct {
	t      testing.TB
	client *api.Client
	s      *Store
}

func byHand(t testing.TB, server *vaulttest.Server, s *Store) raw {
	return raw{t, server.Client(t), s}
}

// do makes a request of the engine for what is at a path of the store.
func (r raw) do(method, part, path string, body any) *api.Secret {
	r.t.Helper()
	path, query, _ := strings.Cut(path, "?")
	request := r.client.NewRequest(method, "/v1/"+r.s.config.Mount+"/"+part+"/"+r.s.config.Prefix+"/"+path)
	request.Params, _ = url.ParseQuery(query)
	if body != nil {
		if err := request.SetJSONBody(body); err != nil {
			r.t.Fatal(err)
		}
	}
	response, err := r.client.RawRequestWithContext(context.WithoutCancel(r.t.Context()), request)
	if response != nil {
		defer response.Body.Close()
	}
	if err != nil {
		if response != nil && response.StatusCode == http.StatusNotFound {
			return nil
		}
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	data, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	secret, err := api.ParseSecret(bytes.NewReader(data))
	if err != nil {
		r.t.Fatal(err)
	}
	return secret
}

// write puts data at a path whatever is there.
func (r raw) write(path string, data any) {
	r.t.Helper()
	r.do(http.MethodPost, "data", path, map[string]any{"data": data})
}

// there reports whether the engine has a name, tombstones included.
func (r raw) there(path string) bool {
	r.t.Helper()
	return r.do(http.MethodGet, "metadata", path, nil) != nil
}

// listen returns a listener on a free port of loopback.
func listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}
