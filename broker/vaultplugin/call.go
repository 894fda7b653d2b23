package vaultplugin

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/client/release"
)

// endpoint is an operation of the native front end, with the type that it reads.
type endpoint struct {
	wire.Operation
	in reflect.Type
}

func of[In, Out any](e wire.Endpoint[In, Out]) endpoint {
	return endpoint{e.Operation, reflect.TypeFor[In]()}
}

// answer is what the front end answered.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// call has the front end answer a request that has the given members.
func (c *core) call(ctx context.Context, e endpoint, who access.Caller, members map[string]any) (*answer, error) {
	in := reflect.New(e.in).Elem()
	body := maps.Clone(members)
	for _, f := range reflect.VisibleFields(e.in) {
		name := fieldName(f)
		value, given := members[name]
		if f.Tag.Get("json") != "-" || f.Anonymous {
			continue
		}
		delete(body, name)
		if !given {
			continue
		}
		if err := set(in.FieldByIndex(f.Index), value); err != nil {
			return nil, invalid("%s: %w", name, err)
		}
	}
	target, err := wire.Target(e.Path, in.Interface())
	if err != nil {
		return nil, invalid("%w", err)
	}
	var text []byte
	if e.Method == http.MethodPost && wire.HasBody(e.in) {
		if text, err = json.Marshal(body); err != nil {
			return nil, invalid("%w", err)
		}
		defer clear(text) // it may hold the value of a secret
	}
	r, err := http.NewRequestWithContext(withCaller(ctx, who), e.Method, target, bytes.NewReader(text))
	if err != nil {
		return nil, invalid("%w", err)
	}
	r.RemoteAddr = net.JoinHostPort(who.Remote, "0")
	if text != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	a := &answer{header: http.Header{}}
	c.api.ServeHTTP(a, r)
	return a, nil
}

// set fills a field of a path or query.
func set(field reflect.Value, value any) error {
	text := fmt.Sprint(value)
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return errors.New("not a number")
		}
		field.SetUint(n)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return errors.New("not a number")
		}
		field.SetInt(int64(n))
	default:
		return errors.New("not possible in a path") // a mistake in the table, which its test finds
	}
	return nil
}

func invalid(format string, args ...any) *broker.Error {
	err := fmt.Errorf(format, args...)
	return &broker.Error{Code: broker.CodeInvalid, Message: err.Error()}
}

// raw is an answer that Vault sends as it is.
func raw(status int, media string, body []byte) *logical.Response {
	return &logical.Response{Data: map[string]any{
		logical.HTTPStatusCode: status, logical.HTTPContentType: media, logical.HTTPRawBody: body,
	}}
}

// native passes an answer of the front end on.
func (a *answer) native() *logical.Response {
	r := raw(a.status, a.header.Get("Content-Type"), a.body.Bytes())
	r.Headers = a.passed()
	return r
}

// passed are the headers that a mount can be tuned to let through.
func (a *answer) passed() map[string][]string {
	passed := map[string][]string{}
	for _, name := range []string{"Retry-After", "Vouchsafe-Decision"} {
		if v := a.header.Values(name); len(v) > 0 {
			passed[name] = v
		}
	}
	return passed
}

// failure makes an answer that is not 200 one of Vault's.
func (a *answer) failure() *logical.Response {
	var e wire.Error
	if err := json.Unmarshal(a.body.Bytes(), &e); err != nil { // it is always one
		e = wire.Error{Code: broker.CodeUnavailable, Message: messageUnavailable}
	}
	r := refusal(a.status, e)
	r.Headers = a.passed()
	return r
}

// refusal is an error in the form of Vault's errors, with what a program wants to know of it as data.
func refusal(status int, e wire.Error) *logical.Response {
	text := string(e.Code) + ": " + e.Message
	if e.Decision != "" {
		text += " (decision " + e.Decision + ")"
	}
	body, err := json.Marshal(struct {
		Errors []string   `json:"errors"`
		Data   wire.Error `json:"data"`
	}{[]string{text}, e})
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	return raw(status, "application/json", body)
}

// data reads a JSON object as Vault's answers have it.
func (a *answer) data() (map[string]any, error) {
	d := json.NewDecoder(&a.body)
	d.UseNumber()
	var data map[string]any
	if err := d.Decode(&data); err != nil {
		return nil, fmt.Errorf("reading an answer of the broker: %w", err)
	}
	return data, nil
}

// list makes a page of a listing one of Vault's lists.
func (a *answer) list(name func(item any) string) (*logical.Response, error) {
	data, err := a.data()
	if err != nil {
		return nil, err
	}
	items, _ := data["items"].([]any)
	names, info := make([]string, 0, len(items)), map[string]any{}
	for _, item := range items {
		key := name(item)
		names = append(names, key)
		if _, text := item.(string); !text {
			info[key] = item
		}
	}
	r := logical.ListResponseWithInfo(names, info)
	if next, ok := data["next"].(string); ok && len(names) > 0 {
		r.Data["next"] = next
	}
	return r, nil
}

// member names an item by members of it, joined by slashes.
func member(names ...string) func(any) string {
	return func(item any) string {
		if text, ok := item.(string); ok {
			return text
		}
		object, _ := item.(map[string]any)
		parts := make([]string, len(names))
		for i, n := range names {
			parts[i] = fmt.Sprint(object[n])
		}
		return strings.Join(parts, "/")
	}
}

// Fail is how an error of this package or the core is answered. That a node cannot write is Vault's to deal with. Of an error that is none of the core's, the
// log has the cause, and the caller is told that the broker cannot answer.
func (m *Mount) Fail(ctx context.Context, err error) (*logical.Response, error) {
	var known *broker.Error
	switch {
	case errors.Is(err, logical.ErrReadOnly):
		return nil, logical.ErrReadOnly
	case !errors.As(err, &known):
		m.options.Logger.WarnContext(ctx, "a request cannot be answered", "cause", err)
		known = &broker.Error{Code: broker.CodeUnavailable, Message: messageUnavailable, RetryAfter: retryUnavailable, Err: err}
	}
	status := map[broker.Code]int{
		broker.CodeInvalid: http.StatusBadRequest, broker.CodeNotFound: http.StatusNotFound, broker.CodeConflict: http.StatusConflict,
		broker.CodeOverloaded: http.StatusTooManyRequests, broker.CodeUnavailable: http.StatusServiceUnavailable,
	}[known.Code]
	if status == 0 {
		status = http.StatusForbidden
	}
	e := wire.Error{Code: known.Code, Message: known.Message, Decision: known.Decision, RetryAfter: int((known.RetryAfter + 999_999_999) / 1_000_000_000)}
	r := refusal(status, e)
	if e.RetryAfter > 0 {
		r.Headers = map[string][]string{"Retry-After": {strconv.Itoa(e.RetryAfter)}}
	}
	return r, nil
}

// Release has the broker judge evidence for secrets and returns its reply, or what to answer in its place.
func (m *Mount) Release(ctx context.Context, req *logical.Request, request map[string]any) (*release.Reply, *logical.Response, error) {
	c, done, err := m.use(ctx, req.Storage)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	a, err := c.call(ctx, releases, Caller(req), request)
	if err != nil {
		return nil, nil, err
	}
	if a.status != http.StatusOK {
		return nil, a.failure(), nil
	}
	// Signed a moment ago in this process, so that there is nothing to verify.
	var signed struct {
		Payload string `json:"payload"`
	}
	if err := json.Unmarshal(a.body.Bytes(), &signed); err != nil {
		return nil, nil, err
	}
	payload, err := base64.RawURLEncoding.DecodeString(signed.Payload)
	if err != nil {
		return nil, nil, err
	}
	reply, err := release.DecodeReply(payload)
	return reply, nil, err
}
