package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/vouchsafe/vouchsafe/client/release"
)

// ErrUnavailable says that the broker could not answer, as often as it was tried. Later it may.
var ErrUnavailable = errors.New("the broker is not available")

// ErrReply says that an answer is not to be believed, or is not one of a broker at all. It is never tried again: a
// broker does not answer so.
var ErrReply = errors.New("the answer is not to be believed")

// Refused says that the broker judged and said no. It is final.
type Refused struct {
	Code     release.Code    // why; the first secret's code when the evidence was accepted
	Message  string          // in words, from the broker; "" when the evidence was accepted
	Decision string          // what the broker's operator can look the reasons up by; "" when nothing was judged
	Secrets  []RefusedSecret // the secrets that were refused, when the evidence was accepted
}

// RefusedSecret is a secret that was not released.
type RefusedSecret struct {
	Name string
	Code release.Code
}

func (r *Refused) Error() string {
	text := "refused: "
	if len(r.Secrets) == 0 {
		text += fmt.Sprintf("%s: %s", r.Code, r.Message)
	}
	for i, secret := range r.Secrets {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%s: %s", secret.Name, secret.Code)
	}
	if r.Decision != "" {
		text += fmt.Sprintf(" (decision %s)", r.Decision)
	}
	return text
}

func notBelieved(format string, args ...any) error {
	return fmt.Errorf("client: %w: %w", ErrReply, fmt.Errorf(format, args...))
}

// tryLater is an attempt that failed for now.
type tryLater struct {
	after time.Duration // the broker's Retry-After, or 0
	err   error
}

func (t *tryLater) Error() string { return t.err.Error() }
func (t *tryLater) Unwrap() error { return t.err }

// retry runs attempt until it succeeds, fails for good or was tried often enough. It does not begin a wait that the
// context would not outlast.
func (c *Client) retry(ctx context.Context, attempt func() error) error {
	wait := c.c.Retry.Base
	for n := 1; ; n++ {
		err := attempt()
		var later *tryLater
		if !errors.As(err, &later) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("client: %w: %w", ctx.Err(), later.err)
		}
		if n >= c.c.Retry.Max {
			return fmt.Errorf("client: %w: tried %d times, at last: %w", ErrUnavailable, n, later.err)
		}
		// Between a half and the whole of the backoff, and as far after the broker's wish: those who were told the same time must
		// not come back together.
		pause := min(later.after, maxRetryAfter) + wait/2 + time.Duration(c.c.Jitter()*float64(wait/2))
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause {
			return fmt.Errorf("client: %w: the next attempt would be in %v, after the deadline: %w", ErrUnavailable,
				pause.Round(time.Millisecond), later.err)
		}
		c.c.OnRetry(pause, later.err)
		if err := c.c.Sleep(ctx, pause); err != nil {
			return fmt.Errorf("client: %w: %w", err, later.err)
		}
		wait = min(2*wait, c.c.Retry.Cap)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// do sends one request and returns the body of a 200, of at most most bytes. Other statuses are a *tryLater, a *Refused or ErrReply.
func (c *Client) do(ctx context.Context, method, path string, body []byte, most int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		var certificate *tls.CertificateVerificationError
		if errors.As(err, &certificate) {
			return nil, fmt.Errorf("client: %w: %w", ErrReply, err)
		}
		return nil, &tryLater{err: err}
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		most = release.MaxAnswer
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, int64(most)+1))
	switch {
	case err != nil:
		return nil, &tryLater{err: fmt.Errorf("%s: the answer broke off: %w", path, err)}
	case len(content) > most:
		return nil, notBelieved("%s: over %d bytes", path, most)
	case response.StatusCode != http.StatusOK:
		return nil, failure(path, response, content)
	}
	return content, nil
}

// failure says what an answer other than 200 means. Only what says to come back is tried again.
func failure(path string, response *http.Response, content []byte) error {
	answer, malformed := release.DecodeError(content)
	if malformed != nil {
		answer = &release.Error{Message: "no error message of a broker"}
	}
	err := fmt.Errorf("%s: status %d: %s %s", path, response.StatusCode, answer.Code, answer.Message)
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		// From the broker, or from what balances load before it: so with or without the broker's own words.
		return &tryLater{after: retryAfter(response, answer), err: err}
	}
	switch {
	case malformed != nil:
		return notBelieved("%w", err)
	case answer.Code == release.CodeNonce:
		return &tryLater{err: err}
	default:
		return &Refused{Code: answer.Code, Message: answer.Message, Decision: answer.Decision}
	}
}

// retryAfter reads when to come back: the header in seconds, or else the body. A date in the header would need a clock to be trusted.
func retryAfter(response *http.Response, answer *release.Error) time.Duration {
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if err != nil {
		seconds = answer.RetryAfter
	}
	return time.Duration(min(max(seconds, 0), int(maxRetryAfter/time.Second))) * time.Second
}
