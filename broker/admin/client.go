package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/internal/dial"
	"github.com/vouchsafe/vouchsafe/policy"
)

// MaxAnswer bounds an answer in bytes: a thousand secrets of a hundred versions each would not fit, and are read in smaller pages.
const MaxAnswer = 64 << 20

// DefaultTimeout is how long a call may take, but for a backup, which may take as long as it writes.
const DefaultTimeout = 30 * time.Second

// connectTimeout is how long a connection may take to stand, for a backup too: somebody waits at a prompt.
const connectTimeout = 10 * time.Second

// Config says where a broker is and who asks. Address is needed; Token is, too, for all but public operations.
type Config struct {
	Address string           // https://HOST[:PORT], or http:// to a loopback address
	Token   string           // text of an administrator's token
	Pair    *tls.Certificate // a client's certificate with its key, instead of Token
	CACert  []byte           // PEM certificates that the broker's chains to; the system's when empty
	HTTP    *http.Client     // instead of CACert, for callers with a transport of their own
	Timeout time.Duration    // of a call; DefaultTimeout when 0
}

// Client calls one broker. It is safe for concurrent use.
type Client struct {
	base    string
	token   string
	http    *http.Client
	timeout time.Duration
}

// Error is a broker's refusal, or that of something before it.
type Error struct {
	Status     int         // of HTTP
	Code       broker.Code // "" when the answer is not a broker's
	Message    string
	Decision   string        // id of the recorded decision, or ""
	RetryAfter time.Duration // when to try again; 0 when that would not help
	Problems   []policy.Problem
}

func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("status %d, and no answer of a broker", e.Status)
	}
	text := string(e.Code) + ": " + e.Message
	if e.Decision != "" {
		text += " (decision " + e.Decision + ")"
	}
	return text
}

// ErrAnswer says that an answer cannot be read.
var ErrAnswer = errors.New("the broker's answer cannot be read")

// New checks the configuration as a whole. It does not connect.
func New(c Config) (*Client, error) {
	u, err := dial.Parse(c.Address)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	if err := dial.CheckToken(c.Token); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	switch {
	case c.Pair != nil && c.Token != "":
		return nil, errors.New("admin: a token and a certificate are two callers: give one of them")
	case c.Pair != nil && u.Scheme != "https":
		return nil, errors.New("admin: a certificate is shown over https only")
	case u.Scheme == "http" && !dial.Loopback(u.Hostname()):
		return nil, fmt.Errorf("admin: the token and secrets would cross the network to %s in the clear: use https", u.Host)
	case c.Timeout < 0:
		return nil, errors.New("admin: the timeout is negative")
	}
	client := &Client{base: dial.Base(u), token: c.Token, timeout: c.Timeout}
	if client.timeout == 0 {
		client.timeout = DefaultTimeout
	}
	if client.http, err = dial.New(dial.Config{CA: c.CACert, HTTP: c.HTTP, Pair: c.Pair, Connect: connectTimeout}); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return client, nil
}

// call performs one operation.
func call[In, Out any](ctx context.Context, c *Client, e wire.Endpoint[In, Out], in In) (out Out, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	response, err := c.do(ctx, e.Operation, in)
	if err != nil {
		return out, err
	}
	defer response.Body.Close()
	content, err := read(response.Body, MaxAnswer)
	if err != nil {
		return out, fmt.Errorf("admin: %s: %w", e.ID, err)
	}
	if raw, ok := any(&out).(*[]byte); ok {
		*raw = content
		return out, nil
	}
	if err := json.Unmarshal(content, &out); err != nil {
		return out, fmt.Errorf("admin: %s: %w: %w", e.ID, ErrAnswer, err)
	}
	return out, nil
}

// do sends a request and returns the answer if it is a 200 of the expected media type, for the caller to close. Other answers are an *Error.
func (c *Client) do(ctx context.Context, op wire.Operation, in any) (*http.Response, error) {
	target, err := wire.Target(op.Path, in)
	if err != nil {
		return nil, fmt.Errorf("admin: %s: %w", op.ID, err)
	}
	var body []byte
	if wire.HasBody(reflect.TypeOf(in)) {
		if body, err = json.Marshal(in); err != nil {
			return nil, fmt.Errorf("admin: %s: %w", op.ID, err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, op.Method, c.base+target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("admin: %s: %w", op.ID, err)
	}
	if len(body) > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	if len(op.Roles) > 0 && c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("admin: %s: %w", op.ID, err)
	}
	media := op.Media
	if media == "" {
		media = "application/json"
	}
	if response.StatusCode == http.StatusOK && response.Header.Get("Content-Type") == media {
		return response, nil
	}
	defer response.Body.Close()
	return nil, fmt.Errorf("admin: %s: %w", op.ID, failure(response))
}

// maxError bounds an error's JSON in bytes: fifty problems of a policy with room.
const maxError = 256 << 10

func failure(response *http.Response) error {
	if response.StatusCode == http.StatusOK {
		return fmt.Errorf("%w: it has the media type %.64q", ErrAnswer, response.Header.Get("Content-Type"))
	}
	e := &Error{Status: response.StatusCode}
	var answer wire.Error
	content, err := read(response.Body, maxError)
	if err == nil && json.Unmarshal(content, &answer) == nil {
		e.Code, e.Message, e.Decision, e.Problems = answer.Code, answer.Message, answer.Decision, answer.Problems
	}
	after, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if err != nil {
		after = answer.RetryAfter
	}
	e.RetryAfter = time.Duration(min(max(after, 0), 3600)) * time.Second
	return e
}

func read(r io.Reader, most int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if int64(len(content)) > most {
		return nil, fmt.Errorf("%w: it has over %d bytes", ErrAnswer, most)
	}
	return content, nil
}
