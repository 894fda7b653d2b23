package vaultconn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

var get = vaultconn.Request{Method: http.MethodGet, Path: "kv/data/x"}

// TestAnswersOfOthers: what is not Vault's answer is store.ErrUnavailable, whatever its status says, and never "there is nothing".
func TestAnswersOfOthers(t *testing.T) {
	p := newPeer(t)
	c := p.open(t)
	const body = "PAGE-OF-SOMEBODY-ELSE"
	for name, answer := range map[string]http.HandlerFunc{
		"html":           func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>"+body) },
		"html 404":       func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>"+body, 404) },
		"html 403":       func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>"+body, 403) },
		"html 400":       func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>"+body, 400) },
		"html 502":       func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>"+body, 502) },
		"other json 404": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"message":"`+body+`"}`, 404) },
		"null 404":       func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `null`, 404) },
		"empty 404":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) },
		"empty 200":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) },
		"list":           func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[]`) },
		"null":           func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `null`) },
		"two":            func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{} {}`) },
		"truncated json": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"data":{"data":{"value":"`+body) },
		"truncated body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, `{"data":{"value":"`+body+`"}}`)
		},
		"truncated 404": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(404)
			fmt.Fprint(w, `{"errors":[]}`)
		},
		"no http": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				fmt.Fprint(conn, "SSH-2.0-x\r\n")
				conn.Close()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p.answers(answer)
			got, err := c.Do(t.Context(), get)
			if got != nil || !errors.Is(err, store.ErrUnavailable) || errors.Is(err, vaultconn.ErrNotFound) {
				t.Fatalf("%+v, %v", got, err)
			}
			holdsNone(t, err.Error(), testToken, body)
			if list, err := c.List(t.Context(), "kv/metadata/x"); list != nil || !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("a list: %q, %v", list, err)
			}
		})
	}
	p.answers(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"errors":[]}`, 404) })
	if _, err := c.Do(t.Context(), get); !errors.Is(err, vaultconn.ErrNotFound) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Vault's own: %v", err)
	}
}

// TestHugeAnswers are given up at their bound, not read to their end.
func TestHugeAnswers(t *testing.T) {
	p := newPeer(t)
	c := p.open(t, func(c *vaultconn.Config) { c.Timeout = 30 * time.Second })
	for status, bound := range map[int]int64{200: vaultconn.MaxAnswer, 500: vaultconn.MaxErrorAnswer} {
		var sent atomic.Int64
		done := make(chan struct{})
		p.answers(func(w http.ResponseWriter, r *http.Request) {
			defer close(done)
			w.WriteHeader(status)
			chunk := []byte(strings.Repeat("x", 64<<10))
			fmt.Fprint(w, `{"errors":["`)
			for sent.Load() < 1<<30 {
				n, err := w.Write(chunk)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := c.Do(t.Context(), vaultconn.Request{Method: http.MethodPost, Path: "kv/data/x"})
		runtime.ReadMemStats(&after)
		<-done
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "too large") {
			t.Errorf("%d: %.300v", status, err)
		}
		// The sockets between the two hold some megabytes.
		if sent.Load() > bound+16<<20 {
			t.Errorf("%d: %d bytes were taken", status, sent.Load())
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > uint64(8*bound+16<<20) {
			t.Errorf("%d: %d bytes were allocated", status, grown)
		}
	}
}

// TestSlowAnswers end at the timeout, whether it is the header or the body that does not come.
func TestSlowAnswers(t *testing.T) {
	p := newPeer(t)
	c := p.open(t, func(c *vaultconn.Config) { c.Timeout = time.Second })
	for name, answer := range map[string]http.HandlerFunc{
		"header": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"body": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"data":`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"drip": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				fmt.Fprint(w, " ")
				w.(http.Flusher).Flush()
				time.Sleep(20 * time.Millisecond)
			}
		},
	} {
		p.answers(answer)
		started := time.Now()
		_, err := c.Do(t.Context(), vaultconn.Request{Method: http.MethodPost, Path: "kv/data/x", Body: map[string]int{}})
		var failed *vaultconn.Error
		if took := time.Since(started); took > 4*time.Second || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v after %v", name, err, took)
		}
		if !errors.As(err, &failed) || !failed.Unknown {
			t.Errorf("%s: a write that may have been done is not said to be: %+v", name, failed)
		}
	}
	// Who gives up before is told so.
	ctx, cancel := context.WithCancel(t.Context())
	p.answers(func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if _, err := c.Do(ctx, get); !errors.Is(err, context.Canceled) || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestRedirects are not followed, to this host or another, so no token goes where an answer points.
func TestRedirects(t *testing.T) {
	var stolen atomic.Int64
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		stolen.Add(1)
		fmt.Fprint(w, `{"data":{}}`)
	}))
	defer other.Close()
	p := newPeer(t)
	c := p.open(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{other.URL + "/v1/kv/data/x?token=abc", "http://127.0.0.1:1/", "/v1/kv/data/y", "//other/"} {
			p.answers(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", to)
				w.WriteHeader(status)
			})
			for _, method := range []string{http.MethodGet, http.MethodPost, "LIST"} {
				_, err := c.Do(t.Context(), vaultconn.Request{Method: method, Path: "kv/data/x"})
				if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "redirect") {
					t.Errorf("%s %d to %s: %v", method, status, to, err)
				}
				holdsNone(t, err.Error(), testToken, "token=abc")
			}
		}
	}
	if stolen.Load() > 0 || p.count("GET /v1/kv/data/y") > 0 {
		t.Errorf("%d redirects were followed", stolen.Load())
	}
}

// TestWrongCertificates: there is no way to a server that the authorities do not vouch for, under that name.
func TestWrongCertificates(t *testing.T) {
	p, other := newPeer(t), newPeer(t)
	for name, change := range map[string]func(*vaultconn.Config){
		"another authority": func(c *vaultconn.Config) { c.CACert = otherCA(t) },
		"the system's":      func(c *vaultconn.Config) { c.CACert = "" },
		"another name":      func(c *vaultconn.Config) { c.ServerName = "vault.internal" },
	} {
		config := other.config()
		change(&config)
		_, err := vaultconn.Open(t.Context(), config)
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := other.count("GET /v1/auth/token/lookup-self"); n > 0 {
		t.Errorf("the token was sent %d times", n)
	}
	p.open(t, func(c *vaultconn.Config) { c.ServerName = "example.com" }) // a name of httptest's certificate
	for _, content := range []string{"", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		config := p.config()
		config.CACert = write(t, "ca.pem", content)
		if _, err := vaultconn.Open(t.Context(), config); err == nil {
			t.Errorf("authorities %q were taken", content)
		}
	}
	config := p.config()
	config.Address = strings.Replace(p.URL, "https", "http", 1)
	if _, err := vaultconn.Open(t.Context(), config); err == nil {
		t.Error("plain HTTP was taken")
	}
}

// TestEnvironment: no variable of Vault's client changes where a request goes, with what, or who is trusted.
func TestEnvironment(t *testing.T) {
	p := newPeer(t)
	for name, value := range map[string]string{
		"VAULT_ADDR": "https://127.0.0.1:1", "VAULT_AGENT_ADDR": "https://127.0.0.1:1", "VAULT_TOKEN": "hvs.from-the-environment", "VAULT_NAMESPACE": "other",
		"VAULT_SKIP_VERIFY": "true", "VAULT_HEADERS": `{"X-Evil":"1"}`, "VAULT_WRAP_TTL": "60s", "VAULT_TLS_SERVER_NAME": "other",
		"VAULT_HTTP_PROXY": "http://127.0.0.1:1", "VAULT_PROXY_ADDR": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1", "VAULT_MAX_RETRIES": "9",
		"VAULT_CLIENT_TIMEOUT": "1ns", "VAULT_RATE_LIMIT": "0.0001:1", "VAULT_DISABLE_REDIRECTS": "false", "VAULT_SRV_LOOKUP": "true", "VAULT_MFA": "x:y",
	} {
		t.Setenv(name, value)
	}
	var seen atomic.Pointer[http.Header]
	var times atomic.Int64
	p.answers(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(&r.Header)
		times.Add(1)
		http.Error(w, `{"errors":["no"]}`, 500)
	})
	config := p.config()
	config.CACert = otherCA(t)
	if _, err := vaultconn.Open(t.Context(), config); err == nil {
		t.Fatal("VAULT_SKIP_VERIFY turned verification off")
	}
	c := p.open(t)
	if _, err := c.Do(t.Context(), get); err == nil {
		t.Fatal("no error")
	}
	if _, err := c.Do(t.Context(), get); err == nil || times.Load() != 2 {
		t.Errorf("%d requests were made for two", times.Load())
	}
	h := *seen.Load()
	if h.Get("X-Vault-Token") != testToken || h.Get("X-Vault-Request") != "true" {
		t.Errorf("headers %v", h)
	}
	for _, name := range []string{"X-Vault-Namespace", "X-Evil", "X-Vault-Wrap-Ttl", "X-Vault-Mfa", "Accept-Encoding"} {
		if h.Get(name) != "" {
			t.Errorf("%s is %q", name, h.Get(name))
		}
	}
	t.Setenv("VAULT_SKIP_VERIFY", "perhaps")
	if _, err := vaultconn.Open(t.Context(), p.config()); err == nil || !strings.Contains(err.Error(), "unset it") {
		t.Errorf("a variable that cannot be read: %v", err)
	}
}

// TestOverload: what neither has a turn nor may wait for one fails at once.
func TestOverload(t *testing.T) {
	const inFlight = 4
	p := newPeer(t)
	c := p.open(t, func(c *vaultconn.Config) { c.MaxInFlight = inFlight; c.Timeout = 20 * time.Second })
	release := make(chan struct{})
	var now, most atomic.Int64
	p.answers(func(w http.ResponseWriter, _ *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-release
		now.Add(-1)
		fmt.Fprint(w, `{"data":{}}`)
	})
	const all = inFlight * (1 + vaultconn.WaitFactor)
	var group sync.WaitGroup
	var served atomic.Int64
	for range all {
		group.Go(func() {
			if _, err := c.Do(t.Context(), get); err == nil {
				served.Add(1)
			}
		})
	}
	until(t, "all wait", func() bool { s := c.Status(); return s.InFlight == inFlight && s.Waiting == all-inFlight })
	for range 100 {
		started := time.Now()
		if _, err := c.Do(t.Context(), get); !errors.Is(err, vaultconn.ErrOverload) || !errors.Is(err, store.ErrUnavailable) || time.Since(started) > time.Second {
			t.Fatalf("%v after %v", err, time.Since(started))
		}
	}
	// The Conn's own requests are not held up.
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	close(release)
	group.Wait()
	if served.Load() != all || most.Load() > inFlight {
		t.Errorf("%d of %d were served, %d at a time", served.Load(), all, most.Load())
	}
	if s := c.Status(); s.InFlight != 0 || s.Waiting != 0 {
		t.Errorf("afterwards: %+v", s)
	}
}

// TestBrokenConnections: a read is made once more, a write never.
func TestBrokenConnections(t *testing.T) {
	p := newPeer(t)
	c := p.open(t)
	var times atomic.Int64
	reset := func(w http.ResponseWriter) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		if tcp, ok := conn.(interface{ NetConn() net.Conn }); ok {
			_ = tcp.NetConn().(*net.TCPConn).SetLinger(0)
			_ = tcp.NetConn().Close()
		}
	}
	for _, x := range []struct {
		method string
		broken int64 // times that the connection breaks
		want   int64 // requests that are made
		ok     bool
	}{
		{http.MethodGet, 1, 2, true}, {"LIST", 1, 2, true}, {http.MethodPost, 1, 1, false}, {http.MethodPut, 1, 1, false}, {http.MethodDelete, 1, 1, false}, {"LIST", 5, 2, false},
	} {
		times.Store(0)
		p.answers(func(w http.ResponseWriter, _ *http.Request) {
			if times.Add(1) <= x.broken {
				reset(w)
				return
			}
			fmt.Fprint(w, `{"data":{}}`)
		})
		_, err := c.Do(t.Context(), vaultconn.Request{Method: x.method, Path: "kv/data/x", Body: map[string]int{}})
		if x.ok != (err == nil) || err != nil && !errors.Is(err, store.ErrUnavailable) || times.Load() != x.want {
			t.Errorf("%s: %v after %d requests", x.method, err, times.Load())
		}
	}
}

// TestPathsAreNotResolved: a path that a server on the way could read otherwise is not sent.
func TestPathsAreNotResolved(t *testing.T) {
	p := newPeer(t)
	c := p.open(t)
	p.answers(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"data":{"uri":%q}}`, r.RequestURI)
	})
	for _, path := range []string{
		vaultconn.Path("kv", "data", "../../sys/seal"), vaultconn.Path("kv", ".."), "kv/../sys/seal", "kv/%2e%2e/sys", "kv//x", "/sys/seal", "", "kv/x?y=1", "kv/%2Fx", "kv/%",
	} {
		if _, err := c.Do(t.Context(), vaultconn.Request{Method: http.MethodPut, Path: path}); !errors.Is(err, vaultconn.ErrRejected) {
			t.Errorf("%q: %v", path, err)
		}
	}
	got, err := c.Do(t.Context(), vaultconn.Request{Method: http.MethodGet, Path: vaultconn.Path("kv", "data", "a b%2F?#+ü")})
	if err != nil || !strings.Contains(string(got.Data), "/v1/kv/data/a%20b%252F%3F%23+%C3%BC") {
		t.Errorf("%v, %v", got, err)
	}
}

// TestWrapMustBeWrapped: what was to be wrapped and is not goes to nobody.
func TestWrapMustBeWrapped(t *testing.T) {
	p := newPeer(t)
	c := p.open(t)
	got, err := c.Do(t.Context(), vaultconn.Request{Method: http.MethodGet, Path: "kv/data/x", Wrap: time.Minute})
	if got != nil || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestForbiddenIsNoLoginStorm: a right that is missing costs a question now and then, and no login.
func TestForbiddenIsNoLoginStorm(t *testing.T) {
	p := newPeer(t)
	c := p.open(t)
	p.answers(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"errors":["permission denied"]}`, 403) })
	started := time.Now()
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			for range 50 {
				if _, err := c.Do(t.Context(), get); !errors.Is(err, vaultconn.ErrForbidden) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	asked, most := p.count("GET /v1/auth/token/lookup-self"), 3+int(time.Since(started)/(200*time.Millisecond))
	if asked > most || c.Status().Logins != 1 {
		t.Errorf("the token was asked %d times, more than %d, with %d logins", asked, most, c.Status().Logins)
	}
	if made := p.count("GET /v1/kv/data/x"); made != 1600 {
		t.Errorf("%d requests were made for 1600", made)
	}
}

// TestTokenThatIsAlwaysGone: where each new token is refused too, logins are a second apart, and requests fail at once.
func TestTokenThatIsAlwaysGone(t *testing.T) {
	p := newPeer(t)
	var told logged
	config := p.config()
	config.Logger = told.logger()
	secret := write(t, "secret-id", "11111111-2222-3333-4444-555555555555\n")
	config.Auth = vaultconn.Auth{Method: vaultconn.MethodAppRole, RoleID: "r", SecretIDFile: secret}
	var logins atomic.Int64
	p.answers(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/login") {
			logins.Add(1)
			fmt.Fprintf(w, `{"auth":{"client_token":"hvs.made-%d","lease_duration":3600,"renewable":true}}`, logins.Load())
			return
		}
		http.Error(w, `{"errors":["permission denied","invalid token"]}`, 403)
	})
	c := open(t, config)
	p.mu.Lock()
	p.self = p.answer
	p.mu.Unlock()
	started := time.Now()
	for n := 0; time.Since(started) < 2500*time.Millisecond; n++ {
		if _, err := c.Do(t.Context(), get); err == nil {
			t.Fatal("no error")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if n := logins.Load(); n < 2 || n > 5 {
		t.Errorf("%d logins in 2.5 seconds", n)
	}
	holdsNone(t, told.String(), "hvs.made", "11111111-2222")
}

// TestFilesOfOthers: a credential that others can read, or that is none, is refused before it is used.
func TestFilesOfOthers(t *testing.T) {
	p := newPeer(t)
	for name, x := range map[string]struct {
		content string
		mode    os.FileMode
		want    string // in the error; empty for none
	}{
		"owner's":          {testToken, 0o600, ""},
		"line":             {testToken + "\n", 0o400, ""},
		"group's":          {testToken, 0o640, ""},
		"world-readable":   {testToken, 0o644, "chmod 600"},
		"world-writable":   {testToken, 0o602, "chmod 600"},
		"group can write":  {testToken, 0o660, "chmod 600"},
		"empty":            {"", 0o600, "is empty"},
		"two lines":        {testToken + "\nx\n", 0o600, "not one line"},
		"header injection": {testToken + "\r\nX-Evil: 1", 0o600, "not one line"},
		"huge":             {strings.Repeat("x", 1<<20), 0o600, "longer"},
	} {
		file := write(t, "token", x.content)
		if err := os.Chmod(file, x.mode); err != nil {
			t.Fatal(err)
		}
		config := p.config()
		config.Auth = vaultconn.Auth{Method: vaultconn.MethodToken, TokenFile: file}
		c, err := vaultconn.Open(t.Context(), config)
		switch {
		case x.want == "" && err != nil, x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want) || !errors.Is(err, vaultconn.ErrLogin)):
			t.Errorf("%s: %v", name, err)
		case err != nil:
			holdsNone(t, err.Error(), testToken)
		default:
			_ = c.Close()
		}
	}
	config := p.config()
	config.Auth = vaultconn.Auth{Method: vaultconn.MethodToken, TokenFile: t.TempDir()}
	if _, err := vaultconn.Open(t.Context(), config); err == nil || !strings.Contains(err.Error(), "not a file") {
		t.Errorf("a folder: %v", err)
	}
}

// TestNothingIsLeft: Close ends every goroutine, also while requests, a login and a renewal are under way, and requests after it fail.
func TestNothingIsLeft(t *testing.T) {
	p := newPeer(t)
	before := runtime.NumGoroutine()
	for range 10 {
		c, err := vaultconn.Open(t.Context(), p.config())
		if err != nil {
			t.Fatal(err)
		}
		p.answers(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() })
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if _, err := c.Do(t.Context(), get); !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrClosed) {
					t.Error(err)
				}
			})
		}
		until(t, "requests", func() bool { return c.Status().InFlight == 8 })
		if err := errors.Join(c.Close(), c.Close()); err != nil {
			t.Error(err)
		}
		group.Wait()
		if _, err := c.Do(t.Context(), get); !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
		if err := c.Ready(t.Context()); !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
	}
	p.CloseClientConnections()
	until(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before+2 })
}

// otherCA returns a file with an authority that vouches for nobody here.
func otherCA(t *testing.T) string {
	t.Helper()
	return vaulttest.NewAuthority(t).File
}

// TestNamespace: every request says the namespace, those of the Conn's own included.
func TestNamespace(t *testing.T) {
	p := newPeer(t)
	var said, silent atomic.Int64
	look := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Namespace") == "team/brokers" {
			said.Add(1)
		} else {
			silent.Add(1)
		}
		fmt.Fprint(w, `{"data":{"ttl":0}}`)
	}
	p.mu.Lock()
	p.self, p.answer = look, look
	p.mu.Unlock()
	c := p.open(t, func(c *vaultconn.Config) { c.Namespace = "/team/brokers/" })
	if _, err := c.Do(t.Context(), get); err != nil {
		t.Fatal(err)
	}
	if said.Load() != 2 || silent.Load() != 0 {
		t.Errorf("%d requests say it and %d do not", said.Load(), silent.Load())
	}
}

// TestReadyIsNotAnAmplifier: however often a stranger asks, Vault is asked once a second.
func TestReadyIsNotAnAmplifier(t *testing.T) {
	p := newPeer(t)
	c := p.open(t)
	started := time.Now()
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range 20 {
				if err := c.Ready(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if asked, most := p.count("GET /v1/auth/token/lookup-self"), 3+int(time.Since(started)/time.Second); asked > most {
		t.Errorf("Vault was asked %d times", asked)
	}
}
