// Package vaultconn is how a broker talks to HashiCorp Vault: one connection that knows how to log in, keeps its token alive and says in typed
// errors what went wrong. The store, the sources and the seal that are Vault's are all made over a [Conn].
package vaultconn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/store"
)

// Config says where Vault is and who asks.
type Config struct {
	Address   string // such as https://vault.example:8200
	Namespace string // of Vault Enterprise or OpenBao; empty for none
	CACert    string // PEM file with the authorities of Vault's certificate; default: the system's
	Auth      Auth

	// Development allows plain HTTP and nothing else that is unsafe.
	Development bool

	Timeout time.Duration    // of one request; default DefaultTimeout
	Logger  *slog.Logger     // default slog.Default
	Now     func() time.Time // default time.Now
}

// Auth says how to log in.
type Auth struct {
	Method string // "token", "approle", "kubernetes", "jwt" or "cert"
	Token  string // of the method token, where no file is named
}

// DefaultTimeout is several times what a busy Vault takes, and less than a workload waits.
const DefaultTimeout = 5 * time.Second

// The errors of a Conn, each wrapped in an *Error. What cannot be done now, because Vault is sealed, not reachable, a standby without an active
// node, overloaded or too slow, wraps store.ErrUnavailable.
var (
	ErrNotFound  = errors.New("there is nothing at this path of Vault")
	ErrForbidden = errors.New("Vault does not allow this")
	ErrCAS       = errors.New("the record has another version")
	ErrRejected  = errors.New("Vault rejected the request")
)

// Error is what Vault answered, or why it did not.
type Error struct {
	Method, Path string
	Status       int      // 0 where there was no answer
	Messages     []string // as Vault gave them
	Err          error    // one of the above, or store.ErrUnavailable
}

func (e *Error) Error() string {
	return fmt.Sprintf("vault: %s %s: %v: %s", e.Method, e.Path, e.Err, strings.Join(e.Messages, "; "))
}

func (e *Error) Unwrap() error { return e.Err }

// Request is one request to Vault.
type Request struct {
	Method string     // GET, LIST, POST, PUT, PATCH or DELETE
	Path   string     // without "/v1/", made by Path
	Query  url.Values // may be nil
	Body   any        // encoded as JSON, or a json.RawMessage; nil for none
	Wrap   time.Duration
}

// Response is what Vault answered. Data is as it came, so that numbers and strings are byte for byte what is stored.
type Response struct {
	Data          json.RawMessage     `json:"data"`
	LeaseID       string              `json:"lease_id"`
	LeaseDuration int64               `json:"lease_duration"` // seconds
	Renewable     bool                `json:"renewable"`
	Warnings      []string            `json:"warnings"`
	WrapInfo      *api.SecretWrapInfo `json:"wrap_info"`
}

// Conn is a connection to Vault, safe for concurrent use.
type Conn struct {
	client *api.Client
	config Config
}

// Path joins segments of a path and escapes each, so that no segment can become several, or none.
func Path(segments ...string) string {
	escaped := make([]string, len(segments))
	for i, s := range segments {
		escaped[i] = url.PathEscape(s)
	}
	return strings.Join(escaped, "/")
}

// Open logs in.
func Open(_ context.Context, c Config) (*Conn, error) {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	settings := api.DefaultConfig()
	settings.Address = c.Address
	settings.MaxRetries = 0
	settings.Timeout = c.Timeout
	client, err := api.NewClient(settings)
	if err != nil {
		return nil, fmt.Errorf("vaultconn: %w", err)
	}
	client.SetToken(c.Auth.Token)
	return &Conn{client: client, config: c}, nil
}

// maxAnswer bounds an answer of Vault, in bytes: a record of the largest size in base64, or a long list.
const maxAnswer = 64 << 20

// Do makes one request. Its answer is nil where Vault answers without a body.
func (c *Conn) Do(ctx context.Context, r Request) (*Response, error) {
	fail := func(status int, messages []string, err error) (*Response, error) {
		return nil, &Error{Method: r.Method, Path: r.Path, Status: status, Messages: messages, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	method := r.Method
	request := c.client.NewRequest(method, "/v1/"+r.Path)
	unescaped, err := url.PathUnescape(r.Path)
	if err != nil {
		return fail(0, []string{err.Error()}, ErrRejected)
	}
	request.URL.Path, request.URL.RawPath = "/v1/"+unescaped, "/v1/"+r.Path
	if r.Query != nil {
		request.Params = r.Query
	}
	if r.Body != nil {
		body, err := json.Marshal(r.Body)
		if err != nil {
			return fail(0, nil, ErrRejected)
		}
		request.BodyBytes = body
	}
	if r.Wrap > 0 {
		request.WrapTTL = r.Wrap.String()
	}
	answer, err := c.client.RawRequestWithContext(ctx, request) //nolint:staticcheck // the Logical API escapes paths otherwise
	if answer != nil {
		defer answer.Body.Close()
	}
	if err != nil {
		var refused *api.ResponseError
		if !errors.As(err, &refused) {
			return fail(0, []string{err.Error()}, store.ErrUnavailable)
		}
		kind := ErrRejected
		switch {
		case refused.StatusCode == http.StatusNotFound:
			kind = ErrNotFound
		case refused.StatusCode == http.StatusForbidden:
			kind = ErrForbidden
		case refused.StatusCode == http.StatusTooManyRequests || refused.StatusCode >= 500 || refused.StatusCode == 412 || refused.StatusCode/100 == 4 && refused.StatusCode > 470:
			kind = store.ErrUnavailable
		case refused.StatusCode == http.StatusBadRequest && strings.Contains(strings.Join(refused.Errors, " "), "check-and-set"):
			kind = ErrCAS
		}
		return fail(refused.StatusCode, refused.Errors, kind)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil || len(body) > maxAnswer {
		return fail(answer.StatusCode, []string{"the answer could not be read"}, store.ErrUnavailable)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	var response Response
	if err := json.Unmarshal(body, &response); err != nil {
		return fail(answer.StatusCode, []string{"the answer is not JSON"}, store.ErrUnavailable)
	}
	return &response, nil
}

// List returns the names below a path, folders with a "/" at the end, in Vault's order; none where there is nothing.
func (c *Conn) List(ctx context.Context, path string) ([]string, error) {
	answer, err := c.Do(ctx, Request{Method: "LIST", Path: path})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil || answer == nil {
		return nil, err
	}
	var list struct {
		Keys []string `json:"keys"`
	}
	if err := json.Unmarshal(answer.Data, &list); err != nil {
		return nil, &Error{Method: "LIST", Path: path, Messages: []string{"the list is not one"}, Err: store.ErrUnavailable}
	}
	return list.Keys, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return nil }
