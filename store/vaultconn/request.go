package vaultconn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/store"
)

// Request is one request to Vault.
type Request struct {
	Method string     // GET, LIST, POST, PUT, PATCH or DELETE
	Path   string     // without "/v1/", made by Path
	Query  url.Values // may be nil
	Body   any        // encoded as JSON, or a json.RawMessage; nil for none
	Wrap   time.Duration

	// Once has the request sent once at most, also where it is a GET and the connection breaks: for paths whose read makes something.
	Once bool
}

// reads reports whether nothing comes of it that the request is made twice, or of one whose answer is lost.
func (r *Request) reads() bool {
	return !r.Once && (r.Method == http.MethodGet || r.Method == methodList)
}

// Response is what Vault answered. Data is as it came, so that numbers and strings are byte for byte what is stored.
type Response struct {
	Data          json.RawMessage     `json:"data"`
	LeaseID       string              `json:"lease_id"`
	LeaseDuration int64               `json:"lease_duration"` // seconds
	Renewable     bool                `json:"renewable"`
	Warnings      []string            `json:"warnings"`
	WrapInfo      *api.SecretWrapInfo `json:"wrap_info"`

	// Body is the whole answer, for the few paths that answer without "data", such as sys/health.
	Body json.RawMessage `json:"-"`
}

// answer is a Response and what only logging in looks at.
type answer struct {
	Response
	Auth *authAnswer `json:"auth"`

	date time.Time // the header Date; zero without one
}

// Do makes one request. Its answer is nil where Vault answers without a body. With ErrNotFound there is an answer too where Vault gave data, which
// it does for a version of a KV secret that was deleted.
//
// With Wrap, an answer that is not wrapped is an error.
func (c *Conn) Do(ctx context.Context, r Request) (*Response, error) {
	started := time.Now()
	a, err := c.do(ctx, r)
	c.observe(classOf(r.Method), err, time.Since(started))
	if a == nil {
		return nil, err
	}
	return &a.Response, err
}

func (c *Conn) do(ctx context.Context, r Request) (*answer, error) {
	fail := func(err error) (*answer, error) {
		return nil, &Error{Method: r.Method, Path: r.Path, Err: err}
	}
	if c.closed.Load() {
		return fail(store.ErrClosed)
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()

	if err := c.gate.enter(ctx); err != nil {
		return fail(unavailable(caller, err))
	}
	defer c.gate.leave()
	t, err := c.session.get(ctx)
	if err != nil {
		return fail(unavailable(caller, err))
	}
	a, err := c.exchange(ctx, r, t.value)
	if errors.Is(err, ErrForbidden) {
		// A request that was refused was not done, so it may be made once more even if it is a write.
		fresh, gone := c.session.replaced(ctx, t)
		if gone != nil {
			return fail(unavailable(caller, gone))
		}
		if fresh != nil {
			a, err = c.exchange(ctx, r, fresh.value)
		}
	}
	return a, err
}

// unavailable wraps what is not a sentinel, and tells a caller that gave up that it did.
func unavailable(caller context.Context, err error) error {
	switch {
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrClosed):
		return err
	case caller.Err() != nil:
		return fmt.Errorf("%w: %w", store.ErrUnavailable, caller.Err())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: Vault took too long", store.ErrUnavailable)
	default:
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
}

// exchange makes a request with a token, which may be none, and a read once more whose connection broke before an answer began. It neither waits for a turn
// nor looks whether the token is good.
func (c *Conn) exchange(ctx context.Context, r Request, token string, credentials ...string) (*answer, error) {
	a, err := c.attempt(ctx, r, token, credentials)
	if r.reads() && ctx.Err() == nil && broken(err) {
		a, err = c.attempt(ctx, r, token, credentials)
	}
	var failed *Error
	switch {
	case err == nil:
		c.up.Store(true)
	case errors.As(err, &failed) && !errors.Is(err, context.Canceled):
		c.up.Store(failed.Status != 0 && !errors.Is(failed.Err, store.ErrUnavailable) || errors.Is(failed.Err, ErrNoMount))
	}
	return a, err
}

// connectionError is the cause of an Error without an answer. Its text is that of the network's error, which is in the message already.
type connectionError struct{ error }

func (e connectionError) Error() string   { return store.ErrUnavailable.Error() }
func (e connectionError) Unwrap() []error { return []error{store.ErrUnavailable, e.error} }

// broken reports whether the connection was closed under a request.
func broken(err error) bool {
	var failed *Error
	return errors.As(err, &failed) && failed.Status == 0 &&
		(errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF))
}

func (c *Conn) attempt(ctx context.Context, r Request, token string, credentials []string) (*answer, error) {
	credentials = append(credentials, token)
	fail := func(status int, unknown bool, err error, messages ...string) (*answer, error) {
		return nil, &Error{
			Method: r.Method, Path: r.Path, Status: status, Messages: scrub(messages, credentials...),
			Unknown: unknown && !r.reads(), Err: err,
		}
	}
	request, err := c.encode(r, token)
	if err != nil {
		return fail(0, false, ErrRejected, err.Error())
	}
	if r.Once {
		ctx = context.WithValue(ctx, onceKey{}, true)
	}
	got, err := c.client.RawRequestWithContext(ctx, request) //nolint:staticcheck // the Logical API escapes paths otherwise
	if got != nil {
		defer got.Body.Close()
	}
	var refused *api.ResponseError
	switch {
	case err != nil && got == nil, err != nil && !errors.As(err, &refused):
		cause := err
		if inURL := (*url.Error)(nil); errors.As(err, &inURL) {
			cause = inURL.Err // the rest is the method and the path
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			cause = fmt.Errorf("no answer in time: %w", ctx.Err())
		}
		return fail(0, true, connectionError{cause}, cause.Error())
	case refused == nil && got.StatusCode >= 300:
		return fail(got.StatusCode, false, store.ErrUnavailable, "the answer is a redirect to "+redirectedTo(got.Response)+", which is not followed: "+
			"if this is a standby that does not forward, name the active node or its load balancer as the address")
	}
	date, _ := http.ParseTime(got.Header.Get("Date")) // zero without one
	c.clock.told(date, time.Now())
	body, readErr := io.ReadAll(got.Body)
	if readErr != nil {
		return fail(got.StatusCode, true, store.ErrUnavailable, "the answer broke off: "+readErr.Error())
	}
	if refused != nil {
		return c.refusal(r, got, body, fail)
	}
	if got.StatusCode == http.StatusNoContent {
		return nil, nil
	}
	a := &answer{}
	if err := decode(body, a); err != nil {
		return fail(got.StatusCode, true, store.ErrUnavailable, notVaults(got.Response))
	}
	if r.Wrap > 0 && a.WrapInfo == nil {
		return fail(got.StatusCode, true, store.ErrUnavailable, "the answer is not wrapped, though it was asked for")
	}
	a.date = date
	return a, nil
}

// decode reads an answer, which is an object whatever the path.
func decode(body []byte, a *answer) error {
	if trimmed := bytes.TrimSpace(body); len(trimmed) == 0 || trimmed[0] != '{' {
		return errors.New("not an object")
	}
	if err := json.Unmarshal(body, a); err != nil {
		return err
	}
	a.Body = body
	return nil
}

// refusal reads an answer whose status is an error. Vault's have "errors", which is empty where there is nothing to say, or "data".
func (c *Conn) refusal(r Request, got *api.Response, body []byte, fail func(int, bool, error, ...string) (*answer, error)) (*answer, error) {
	var told struct {
		Errors *[]string       `json:"errors"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &told); err != nil || told.Errors == nil && told.Data == nil {
		return fail(got.StatusCode, got.StatusCode >= 500, store.ErrUnavailable, notVaults(got.Response))
	}
	var messages []string
	if told.Errors != nil {
		messages = *told.Errors
	}
	kind := kindOf(got.StatusCode, messages)
	_, err := fail(got.StatusCode, got.StatusCode >= 500, kind, messages...)
	if told.Data == nil || !errors.Is(kind, ErrNotFound) {
		return nil, err
	}
	a := &answer{}
	if decode(body, a) != nil {
		return nil, err
	}
	return a, err
}

// notVaults describes an answer of something else than Vault, without its body.
func notVaults(got *http.Response) string {
	kind, _, _ := strings.Cut(got.Header.Get("Content-Type"), ";")
	if kind == "" {
		kind = "of no type"
	}
	return fmt.Sprintf("the answer, %.40s with status %d, is not one of Vault's", kind, got.StatusCode)
}

// redirectedTo names the host of a redirect and nothing else of it.
func redirectedTo(got *http.Response) string {
	location, err := got.Location()
	if err != nil {
		return "nowhere"
	}
	return fmt.Sprintf("%.100q", location.Scheme+"://"+location.Host)
}

func (c *Conn) encode(r Request, token string) (*api.Request, error) {
	plain, err := unescape(r.Path)
	if err != nil {
		return nil, err
	}
	request := c.client.NewRequest(r.Method, "/v1/")
	request.URL.Path, request.URL.RawPath = "/v1/"+plain, "/v1/"+r.Path
	request.ClientToken = token
	if r.Query != nil {
		request.Params = r.Query
	}
	if r.Body != nil {
		if request.BodyBytes, err = json.Marshal(r.Body); err != nil {
			// The encoder's error may repeat what it could not encode.
			return nil, errors.New("the body cannot be encoded as JSON")
		}
		request.Headers.Set("Content-Type", "application/json")
	}
	if r.Method == http.MethodPatch {
		request.Headers.Set("Content-Type", "application/merge-patch+json")
	}
	if r.Wrap > 0 {
		// Vault reads seconds, and fractions of one as an error.
		request.WrapTTL = fmt.Sprintf("%ds", max(1, int64(r.Wrap/time.Second)))
	}
	return request, nil
}

// List returns the names below a path, folders with a "/" at the end, in Vault's order; none where there is nothing.
func (c *Conn) List(ctx context.Context, path string) ([]string, error) {
	got, err := c.Do(ctx, Request{Method: methodList, Path: path})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil || got == nil {
		return nil, err
	}
	var list struct {
		Keys []string `json:"keys"`
	}
	if err := json.Unmarshal(got.Data, &list); err != nil {
		return nil, &Error{Method: methodList, Path: path, Messages: []string{"the list is not one"}, Err: store.ErrUnavailable}
	}
	return list.Keys, nil
}
