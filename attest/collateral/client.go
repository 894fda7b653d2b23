package collateral

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Limits of requests to vendors.
const (
	// DefaultTimeout is for a whole request. Vendors answer within seconds or not at all.
	DefaultTimeout = 20 * time.Second
	// maxRetryAfter bounds how long a vendor can have us wait: a typing error of its must not silence us for a year.
	maxRetryAfter = time.Hour
	// maxRedirects are followed, on the same host.
	maxRedirects = 3
	// maxResponseHeader bounds the headers of an answer, in bytes. Intel puts a chain into one.
	maxResponseHeader = 64 << 10
)

// ClientConfig says how vendors are reached.
type ClientConfig struct {
	Roots     *x509.CertPool                                                    // of authorities; nil for the system's
	Proxy     func(*http.Request) (*url.URL, error)                             // nil for none
	Dial      func(ctx context.Context, network, addr string) (net.Conn, error) // nil for the network
	Timeout   time.Duration                                                     // of a request; default [DefaultTimeout]
	UserAgent string
	Now       func() time.Time // default time.Now; for a Retry-After that is a date
}

// Client asks vendors over TLS, which is verified always: there is no way to turn that off. Redirects to another host are refused, answers are
// bounded before they are read, and nothing is decompressed.
type Client struct {
	http      *http.Client
	userAgent string
	now       func() time.Time
}

// NewClient returns a Client.
func NewClient(c ClientConfig) (*Client, error) {
	if c.Timeout < 0 {
		return nil, errors.New("collateral: a timeout that is negative")
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	transport := &http.Transport{
		Proxy: c.Proxy, DialContext: c.Dial, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots},
		ForceAttemptHTTP2: true, DisableCompression: true, MaxConnsPerHost: 8, IdleConnTimeout: 30 * time.Second,
		TLSHandshakeTimeout: c.Timeout, ResponseHeaderTimeout: c.Timeout, MaxResponseHeaderBytes: maxResponseHeader,
	}
	return &Client{
		http:      &http.Client{Transport: transport, CheckRedirect: sameHost, Timeout: c.Timeout},
		userAgent: c.UserAgent, now: c.Now,
	}, nil
}

// sameHost allows a redirect within one host, over TLS.
func sameHost(r *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return errors.New("too many redirects")
	case r.URL.Scheme != "https" || r.URL.Host != via[0].URL.Host:
		return fmt.Errorf("a redirect to %s, another place than was asked", r.URL.Redacted())
	}
	return nil
}

// Base reads the beginning of a vendor's URLs, which an operator gives: https, without user, query or fragment, and without a slash at its end.
func Base(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("collateral: %w", err)
	}
	if u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, fmt.Errorf("collateral: %q is not a URL like https://HOST/PATH, without user, query and fragment", u.Redacted())
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return u, nil
}

// Request is one question to a vendor.
type Request struct {
	URL    *url.URL
	Method string // default GET
	Header http.Header
	Body   string
	Limit  int64 // of the answer's body, in bytes; needed
}

// Response is a vendor's answer of status 200.
type Response struct {
	URL    string // as it was asked, without what is secret
	Header http.Header
	Body   []byte
}

// Do asks. An answer of another status, or over the limit, is a *[FetchError]. It never holds more than the limit.
func (c *Client) Do(ctx context.Context, q Request) (*Response, error) {
	at := q.URL.Redacted()
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	request, err := http.NewRequestWithContext(ctx, q.Method, q.URL.String(), strings.NewReader(q.Body))
	if err != nil {
		return nil, &FetchError{Result: ResultFailed, URL: at, Err: err}
	}
	if q.Header != nil {
		request.Header = q.Header.Clone()
	}
	if c.userAgent != "" {
		request.Header.Set("User-Agent", c.userAgent)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, failed(at, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, c.refused(at, response)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, q.Limit+1))
	switch {
	case err != nil:
		return nil, failed(at, err)
	case int64(len(body)) > q.Limit:
		return nil, Invalid(at, "the answer has over %d bytes", q.Limit)
	case len(body) == 0:
		return nil, Invalid(at, "the answer is empty")
	}
	return &Response{at, response.Header, body}, nil
}

// failed tells a time-out from other failures. Errors of net/http repeat the URL.
func failed(at string, err error) error {
	f := &FetchError{Result: ResultFailed, URL: at, Err: err}
	var inner *url.Error
	if errors.As(err, &inner) {
		f.Err = inner.Err
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		f.Result = ResultTimeout
	}
	return f
}

// refused makes an error of a status. 400, 404 and 410 say that there is no such item: names are well-formed, so a vendor that finds fault with the
// request does not know the chip, the TCB or the platform.
func (c *Client) refused(at string, r *http.Response) error {
	f := &FetchError{Result: ResultFailed, URL: at, Status: r.StatusCode, Err: errors.New(http.StatusText(r.StatusCode))}
	switch r.StatusCode {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusGone:
		f.Result = ResultNotFound
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		f.Result = ResultThrottled
		f.RetryAfter = retryAfter(r.Header.Get("Retry-After"), c.now())
	}
	return f
}

// retryAfter reads the header of that name: seconds or a date (RFC 9110, section 10.2.3). 0 for none, or one that is not to be understood.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(strings.TrimSpace(text), 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
