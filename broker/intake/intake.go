// Package intake reads request bodies without letting strangers fill the broker's memory. A body has a size limit of its own,
// and all bodies being read or worked on share a budget, which each takes as its bytes arrive: who announces two megabytes and sends
// nothing holds four kilobytes, and nobody holds more than twice what was sent and that. Over the budget the answer is 503 with Retry-After, before memory grows.
package intake

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// MaxBody is the largest body in bytes of any request: evidence of eight GPUs, which is 2 MiB, in base64. Routes have tighter limits.
	MaxBody = 3 << 20

	// DefaultBudget is what all bodies together may hold, in bytes: 42 of the largest, or tens of thousands of the usual ones.
	DefaultBudget = 128 << 20

	// chunk is what a body takes from the budget before its first byte, in bytes. A server's limit of connections times this is far
	// below the budget, and most requests need no more.
	chunk = 4 << 10

	// RetryAfter is what a client is told when the budget is spent. Bodies pass in milliseconds.
	RetryAfter = time.Second
)

// The errors of Read.
var (
	ErrTooLarge = errors.New("the request body is too large")
	ErrBusy     = errors.New("the broker is reading too many requests")
	ErrBroken   = errors.New("the request body could not be read")
)

// Reader reads bodies within one budget. It is safe for concurrent use.
type Reader struct {
	budget int64
	taken  atomic.Int64
}

// NewReader returns a Reader with a budget in bytes, DefaultBudget when it is 0.
func NewReader(budget int64) (*Reader, error) {
	if budget == 0 {
		budget = DefaultBudget
	}
	if budget <= MaxBody {
		return nil, fmt.Errorf("intake: a budget of %d bytes does not hold a body of %d and one byte more", budget, MaxBody)
	}
	return &Reader{budget: budget}, nil
}

// Held returns how many bytes are taken from the budget now.
func (r *Reader) Held() int64 { return r.taken.Load() }

// Read returns the body of a request, at most limit bytes. The bytes count against the budget until release is called, which the caller does when
// it has answered; release is never nil. Errors wrap ErrTooLarge, ErrBusy or ErrBroken.
func (r *Reader) Read(req *http.Request, limit int64) (body []byte, release func(), err error) {
	if limit <= 0 || limit > MaxBody {
		limit = MaxBody
	}
	var held int64
	release = func() {
		r.taken.Add(-held)
		held = 0
	}
	if req.ContentLength > limit {
		return nil, release, fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooLarge, req.ContentLength, limit)
	}
	for {
		start := len(body)
		// Doubling, and one byte more than the limit, which tells a body that ends there from one that goes on.
		room := min(max(chunk, start), int(limit)+1-start)
		if r.taken.Add(int64(room)) > r.budget {
			r.taken.Add(-int64(room))
			return nil, release, ErrBusy
		}
		held += int64(room)
		body = append(body, make([]byte, room)...)
		// Not io.ReadFull: it says the same of a body that ends and of a connection that breaks.
		n, err := fill(req.Body, body[start:])
		body = body[:start+n]
		if int64(len(body)) > limit {
			return nil, release, fmt.Errorf("%w: at most %d bytes are read", ErrTooLarge, limit)
		}
		switch {
		case err == io.EOF && (req.ContentLength < 0 || int64(len(body)) == req.ContentLength):
			return body, release, nil
		case err != nil:
			return nil, release, fmt.Errorf("%w: %w", ErrBroken, err)
		}
	}
}

// fill reads until b is full or an error, which it returns as it is.
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

// Remote returns the address of a request's peer without its port, for records. Headers that a proxy sets are not believed.
func Remote(req *http.Request) string {
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return req.RemoteAddr
	}
	return host
}
