package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/client/release"
)

func TestFetch(t *testing.T) {
	for _, kind := range envelope.KeyTypes() {
		t.Run(string(kind), func(t *testing.T) {
			b := newBroker(t)
			c, _ := b.client(func(c *Config) { c.KeyType, c.InitData = kind, `version = "0.1.0"` })
			secrets, err := c.Fetch(t.Context(), "a/b/c", "empty")
			if err != nil {
				t.Fatal(err)
			}
			first := secrets[0]
			if first.Name != "a/b/c" || string(first.Value) != "secret" || first.Version != 3 || first.Decision != "d-1" ||
				first.Policy != "sha256:00" || first.Receipt != "the receipt" || first.Lease.ID != "l-1" || len(secrets[1].Value) != 0 {
				t.Errorf("fetched %+v", secrets)
			}
			if b.requests[0].InitData != `version = "0.1.0"` {
				t.Errorf("init-data %q", b.requests[0].InitData)
			}
		})
	}
}

// TestFreshKey: no two fetches use one recipient key, or one nonce, and the keys of the broker are fetched once.
func TestFreshKey(t *testing.T) {
	b := newBroker(t)
	c, _ := b.client(nil)
	for range 3 {
		if _, err := c.FetchVersions(t.Context(), release.Want{Name: "a/b/c", Version: 5}); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range b.requests[1:] {
		if bytes.Equal(r.Recipient, b.requests[i].Recipient) || r.Nonce == b.requests[i].Nonce {
			t.Error("the same key or nonce twice")
		}
	}
	if n := len(slices.DeleteFunc(slices.Clone(b.asked), func(p string) bool { return p != release.KeysPath })); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	s := Secret{Name: "a", Version: 2, Value: []byte("hunter2")}
	asJSON, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s), fmt.Sprint([]Secret{s}), string(asJSON)} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") || strings.Contains(text, "104 117") ||
			strings.Contains(text, "aHVudGVyMg") {
			t.Errorf("the value is in %q", text)
		}
	}
}

// TestForgedReplies: what a broker, or somebody in its place, could send that must not be believed.
func TestForgedReplies(t *testing.T) {
	other, err := envelope.GenerateKey(envelope.XWing)
	if err != nil {
		t.Fatal(err)
	}
	var old []byte // an earlier reply to the same client
	tests := map[string]func(b *broker){
		"another nonce":      func(b *broker) { b.reply = func(r *release.Reply) { r.Nonce = "AAAA" } },
		"another key":        func(b *broker) { b.reply = func(r *release.Reply) { r.Recipient = other.Recipient().Thumbprint() } },
		"another evidence":   func(b *broker) { b.reply = func(r *release.Reply) { r.Evidence = "sha256:00" } },
		"another secret":     func(b *broker) { b.reply = func(r *release.Reply) { r.Results[0].Secret = "empty" } },
		"no results":         func(b *broker) { b.reply = func(r *release.Reply) { r.Results = nil } },
		"version replaced":   func(b *broker) { b.reply = func(r *release.Reply) { r.Results[0].Version = 2 } },
		"policy replaced":    func(b *broker) { b.reply = func(r *release.Reply) { r.Results[0].Policy = "sha256:01" } },
		"decision replaced":  func(b *broker) { b.reply = func(r *release.Reply) { r.Decision = "d-2" } },
		"envelope and code":  func(b *broker) { b.reply = func(r *release.Reply) { r.Results[0].Code = "denied" } },
		"replayed":           func(b *broker) { b.signed = func([]byte) []byte { return old } },
		"not signed":         func(b *broker) { b.signed = func([]byte) []byte { return []byte(`{"decision":"d-1"}`) } },
		"signed by stranger": func(b *broker) { kid := b.kid; b.jwksOnce(b.jwks()); b.rotate(kid) },
		"key never published": func(b *broker) {
			b.jwksOnce(b.jwks())
			b.rotate("k9")
		},
		"secret sealed to the right key by somebody else": func(b *broker) {
			b.reply = func(r *release.Reply) {
				last := b.requests[len(b.requests)-1]
				recipient, err := envelope.ParseRecipient(last.Recipient, envelope.Options{})
				if err != nil {
					t.Error(err)
				}
				if r.Results[0].Envelope, err = recipient.Seal(envelope.Context{}, []byte("forged")); err != nil {
					t.Error(err)
				}
			}
		},
		"redirect": func(b *broker) {
			b.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == release.ReleasePath {
					http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
				}
				return r.URL.Path == release.ReleasePath
			}
		},
		"huge error": func(b *broker) {
			b.before = func(w http.ResponseWriter, r *http.Request) bool {
				w.WriteHeader(http.StatusForbidden)
				w.Write(make([]byte, release.MaxAnswer+1))
				return true
			}
		},
		"challenge without a nonce": func(b *broker) {
			b.before = func(w http.ResponseWriter, r *http.Request) bool { w.Write([]byte(`{}`)); return true }
		},
		"a page instead of a broker": func(b *broker) {
			b.before = func(w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true }
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			c, w := b.client(nil)
			if _, err := c.Fetch(t.Context(), "a/b/c"); err != nil {
				t.Fatal(err)
			}
			old = b.lastSeal
			change(b)
			secrets, err := c.Fetch(t.Context(), "a/b/c")
			if !errors.Is(err, ErrReply) || secrets != nil {
				t.Errorf("fetched %v, %v", secrets, err)
			}
			if len(*w) > 0 {
				t.Errorf("tried again after %v", w)
			}
		})
	}
}

// jwksOnce has the broker publish a fixed key set from now on.
func (b *broker) jwksOnce(set []byte) {
	b.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != release.KeysPath {
			return false
		}
		w.Write(set)
		return true
	}
}

// TestRotation: a key that the broker made since is fetched; where keys are given, it is not believed.
func TestRotation(t *testing.T) {
	b := newBroker(t)
	given, _ := b.client(func(c *Config) { c.Keys = b.jwks() })
	fetched, _ := b.client(nil)
	for _, c := range []*Client{given, fetched} {
		if _, err := c.Fetch(t.Context(), "a/b/c"); err != nil {
			t.Fatal(err)
		}
	}
	b.rotate("k2")
	if _, err := fetched.Fetch(t.Context(), "a/b/c"); err != nil {
		t.Errorf("with fetched keys: %v", err)
	}
	if _, err := given.Fetch(t.Context(), "a/b/c"); !errors.Is(err, release.ErrUnknownKey) || !errors.Is(err, ErrReply) {
		t.Errorf("with given keys: %v", err)
	}
}

func TestRefused(t *testing.T) {
	b := newBroker(t)
	c, w := b.client(nil)
	var refused *Refused
	secrets, err := c.Fetch(t.Context(), "a/b/c", "not/for/you")
	if !errors.As(err, &refused) || secrets != nil {
		t.Fatalf("fetched %v, %v", secrets, err)
	}
	if refused.Code != release.CodeDenied || refused.Decision != "d-1" || !slices.Equal(refused.Secrets,
		[]RefusedSecret{{"not/for/you", release.CodeDenied}}) {
		t.Errorf("refused %+v", refused)
	}
	b.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == release.ReleasePath {
			fail(w, http.StatusForbidden, release.CodeEvidence, "1")
		}
		return r.URL.Path == release.ReleasePath
	}
	if _, err := c.Fetch(t.Context(), "a/b/c"); !errors.As(err, &refused) || refused.Code != release.CodeEvidence ||
		refused.Decision != "d-refused" || !strings.Contains(err.Error(), "evidence_refused: told so (decision d-refused)") {
		t.Errorf("refused evidence: %v", err)
	}
	if len(*w) > 0 {
		t.Errorf("a refusal was tried again after %v", w)
	}
}

// failFirst has the first n requests to a path answered by answer.
func (b *broker) failFirst(n int, path string, answer func(w http.ResponseWriter)) {
	b.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path || n == 0 {
			return false
		}
		n--
		answer(w)
		return true
	}
}

func TestRetry(t *testing.T) {
	status := func(status int, code release.Code, after string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { fail(w, status, code, after) }
	}
	tests := []struct {
		name   string
		n      int
		path   string
		answer func(http.ResponseWriter)
		want   string // waits, with jitter in the middle: three quarters of the backoff
	}{
		{"busy", 3, release.ReleasePath, status(503, release.CodeUnavailable, ""), "[375ms 750ms 1.5s]"},
		{"busy at the challenge", 1, release.ChallengePath, status(429, release.CodeOverloaded, ""), "[375ms]"},
		{"busy at the keys", 1, release.KeysPath, status(503, release.CodeUnavailable, ""), "[375ms]"},
		{"told when", 2, release.ReleasePath, status(503, release.CodeUnavailable, "7"), "[7.375s 7.75s]"},
		{"told an age", 1, release.ReleasePath, status(503, release.CodeUnavailable, "999999999"), "[5m0.375s]"},
		{"told nonsense", 1, release.ReleasePath, status(503, release.CodeUnavailable, "-4"), "[375ms]"},
		{"told in the body", 1, release.ReleasePath, func(w http.ResponseWriter) {
			w.WriteHeader(503)
			w.Write([]byte(`{"code":"unavailable","message":"x","retry_after":2}`))
		}, "[2.375s]"},
		{"told by a load balancer", 1, release.ReleasePath, func(w http.ResponseWriter) { http.Error(w, "bad gateway", 502) }, "[375ms]"},
		{"challenge spent", 1, release.ReleasePath, status(403, release.CodeNonce, ""), "[375ms]"},
		{"connection cut", 1, release.ReleasePath, func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, "[375ms]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBroker(t)
			var causes []error
			c, w := b.client(func(c *Config) { c.OnRetry = func(_ time.Duration, err error) { causes = append(causes, err) } })
			b.failFirst(test.n, test.path, test.answer)
			secrets, err := c.Fetch(t.Context(), "a/b/c")
			if err != nil || string(secrets[0].Value) != "secret" {
				t.Fatalf("fetched %v, %v", secrets, err)
			}
			if got := w.String(); got != test.want || len(causes) != test.n {
				t.Errorf("waited %s, want %s; %d causes", got, test.want, len(causes))
			}
			// Each attempt begins with a challenge of its own.
			if n := strings.Count(strings.Join(b.asked, " "), release.ChallengePath); n != test.n+1 {
				t.Errorf("%d challenges for %d attempts", n, test.n+1)
			}
		})
	}
}

func TestRetryEnds(t *testing.T) {
	b := newBroker(t)
	b.failFirst(-1, release.ChallengePath, func(w http.ResponseWriter) { fail(w, 503, release.CodeUnavailable, "") })
	c, w := b.client(nil)
	if _, err := c.Fetch(t.Context(), "a/b/c"); !errors.Is(err, ErrUnavailable) || len(*w) != 9 || (*w)[8] != 22500*time.Millisecond {
		t.Errorf("%v, waited %v", err, w)
	}
	c, w = b.client(nil)
	soon, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Fetch(soon, "a/b/c"); !errors.Is(err, ErrUnavailable) || len(*w) != 0 {
		t.Errorf("a deadline before the next attempt: %v, waited %v", err, w)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Fetch(cancelled, "a/b/c"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	c, _ = b.client(func(c *Config) { c.Sleep = nil })
	cancelled, cancel = context.WithCancel(t.Context())
	c.c.OnRetry = func(time.Duration, error) { cancel() }
	if _, err := c.Fetch(cancelled, "a/b/c"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while it waits: %v", err)
	}
}

// TestStrangerCertificate: a broker whose certificate does not verify is not asked again, nor told anything.
func TestStrangerCertificate(t *testing.T) {
	b := newBroker(t)
	c, w := b.client(func(c *Config) { c.CA = nil })
	if _, err := c.Fetch(t.Context(), "a/b/c"); !errors.Is(err, ErrReply) || len(*w) > 0 || len(b.asked) > 0 {
		t.Errorf("%v, waited %v, asked %v", err, w, b.asked)
	}
	old := newBroker(t)
	old.Close()
	old.Server = httptest.NewUnstartedServer(old)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS12}
	old.StartTLS()
	t.Cleanup(old.Close)
	c, _ = old.client(func(c *Config) { c.Retry.Max = 1 })
	if _, err := c.Fetch(t.Context(), "a/b/c"); err == nil || len(old.asked) > 0 {
		t.Errorf("spoke TLS 1.2: %v", err)
	}
}

func TestCollectorError(t *testing.T) {
	b := newBroker(t)
	broken := errors.New("no device")
	c, w := b.client(func(c *Config) { c.Collector = collector{err: broken} })
	if _, err := c.Fetch(t.Context(), "a/b/c"); !errors.Is(err, broken) || len(*w) > 0 || len(b.requests) > 0 {
		t.Errorf("%v, waited %v", err, w)
	}
}

func TestArguments(t *testing.T) {
	b := newBroker(t)
	c, _ := b.client(nil)
	for _, names := range [][]string{nil, {""}, {"a", "a"}, make([]string, release.MaxSecrets+1)} {
		if _, err := c.Fetch(t.Context(), names...); err == nil || len(b.asked) > 0 {
			t.Errorf("%.3q: %v", names, err)
		}
	}
	if _, err := c.FetchVersions(t.Context(), release.Want{Name: "a/b/c", Version: 3}, release.Want{Name: "a/b/c", Version: 4}); err != nil {
		t.Errorf("two versions of one secret: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	keys := newBroker(t).jwks()
	good := Config{URL: "https://broker.example/vouchsafe", Collector: collector{}}
	if c, err := New(good); err != nil || c.base != good.URL {
		t.Fatal(err)
	}
	tests := map[string]struct {
		change func(*Config)
		want   string
	}{
		"no URL":              {func(c *Config) { c.URL = "" }, "URL"},
		"no host":             {func(c *Config) { c.URL = "https:///x" }, "URL"},
		"credentials in URL":  {func(c *Config) { c.URL = "https://u:hunter2@h/" }, "URL"},
		"query":               {func(c *Config) { c.URL = "https://h/?x=1" }, "URL"},
		"scheme":              {func(c *Config) { c.URL = "ftp://h/" }, "scheme"},
		"http without keys":   {func(c *Config) { c.URL = "http://h/" }, "give Keys"},
		"no collector":        {func(c *Config) { c.Collector = nil }, "Collector"},
		"CA is not PEM":       {func(c *Config) { c.CA = []byte("x") }, "PEM"},
		"CA beside HTTP":      {func(c *Config) { c.CA, c.HTTP = []byte("x"), http.DefaultClient }, "no effect"},
		"keys are not a JWKS": {func(c *Config) { c.Keys = []byte("{}") }, "Keys"},
		"negative":            {func(c *Config) { c.Retry.Max = -1 }, "negative"},
	}
	for name, test := range tests {
		c := good
		test.change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	good.URL, good.Keys = "http://127.0.0.1:1", keys
	if _, err := New(good); err != nil {
		t.Errorf("http with keys: %v", err)
	}
}
