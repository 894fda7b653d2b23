package vaultconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"
)

// The largest answers, in bytes. A record is at most 2 MiB, which base64 and JSON's escapes make several times larger; a list is of names.
const (
	maxAnswer      = 16 << 20
	maxList        = 64 << 20
	maxErrorAnswer = 64 << 10
)

// methodList is Vault's method for the names below a path.
const methodList = "LIST"

var errTooLarge = errors.New("the answer is too large")

// transport makes the connections to Vault and bounds what comes over them. When the client certificate changes it begins anew, so that nothing goes on under
// the old one.
type transport struct {
	tls        *tls.Config // without a client certificate
	idle       int
	cert, key  string // files; empty for none
	connection atomic.Pointer[http.Transport]
}

func newTransport(c *Config) (*transport, error) {
	t := &transport{
		tls:  &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName},
		idle: c.MaxInFlight, cert: c.Auth.Cert, key: c.Auth.Key,
	}
	authorities, err := c.authorities()
	if err != nil {
		return nil, err
	}
	if authorities != nil {
		t.tls.RootCAs = x509.NewCertPool()
		if !t.tls.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, fmt.Errorf("vaultconn: %s holds no PEM certificate", c.CACert)
		}
	}
	return t, t.renew()
}

// renew reads the client certificate again and drops the connections that were made with the one before. After an error the one before stays.
func (t *transport) renew() error {
	config := t.tls.Clone()
	if t.cert != "" {
		if err := checkKeyFile(t.key); err != nil {
			return fmt.Errorf("vaultconn: %w", err)
		}
		pair, err := tls.LoadX509KeyPair(t.cert, t.key)
		if err != nil {
			return fmt.Errorf("vaultconn: certificate %s with key %s: %w", t.cert, t.key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	fresh := &http.Transport{
		Proxy:               nil, // the environment is not looked at
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 5 * time.Second,
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1, see the package's comment
		MaxIdleConnsPerHost: t.idle,
		IdleConnTimeout:     time.Minute,
		// Compressed answers could be larger than their bound before they are counted.
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	if old := t.connection.Swap(fresh); old != nil {
		old.CloseIdleConnections()
	}
	return nil
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Context().Value(onceKey{}) != nil {
		r = once(r)
	}
	answer, err := t.connection.Load().RoundTrip(r)
	if err != nil {
		return nil, err
	}
	most := int64(maxAnswer)
	switch {
	case answer.StatusCode >= 300:
		most = maxErrorAnswer
	case r.Method == methodList:
		most = maxList
	}
	answer.Body = &boundedBody{ReadCloser: answer.Body, left: most}
	return answer, nil
}

// onceKey is of the value in a context that says that a request is sent once at most.
type onceKey struct{}

// once returns a request that net/http does not send a second time. A GET without a body it would, when the connection breaks on which it was sent.
func once(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	if r.GetBody = nil; r.Body == nil || r.Body == http.NoBody {
		r.Body = io.NopCloser(strings.NewReader("")) // of which net/http finds out, but for sending it again, that it is empty
	}
	return r
}

func (t *transport) close() { t.connection.Load().CloseIdleConnections() }

// boundedBody fails once more than its bound was read.
type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// newClient returns HashiCorp's client with everything set that it would otherwise take from the environment.
func newClient(c *Config, t http.RoundTripper) (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address: c.Address, // AgentAddress, SRVLookup, Limiter and ReadYourWrites stay off
		HttpClient: &http.Client{
			Transport:     t,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		DisableRedirects: true,
		MinRetryWait:     time.Second, // or the environment's
		MaxRetryWait:     time.Second,
		MaxRetries:       0,
		CheckRetry:       func(context.Context, *http.Response, error) (bool, error) { return false, nil },
	})
	if err != nil {
		return nil, fmt.Errorf("vaultconn: Vault's client does not start; if a variable VAULT_… of the environment is the cause, unset it: %w", err)
	}
	client.ClearToken()
	headers := http.Header{api.RequestHeaderName: {"true"}}
	if c.Namespace != "" {
		headers.Set(api.NamespaceHeaderName, c.Namespace)
	}
	client.SetHeaders(headers)
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	return client, nil
}
