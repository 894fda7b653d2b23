//go:build linux

package node_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// defaultRequests keeps the ordinary test run quick; releases set VOUCHSAFE_REQUESTS to 100000 or more.
const defaultRequests = 5_000

// growth is how much more memory the broker may hold after the last request than after the first fifth of them, in bytes: some for what it is
// meant to keep, of which attested sessions are the most, and some because a heap grows to twice what is in use.
const growth = 48 << 20

// TestAbuse sends damaged requests to every endpoint of a running broker, over TLS. No answer is 500, no handler panics, the broker's memory
// does not grow, and afterwards it serves as before.
func TestAbuse(t *testing.T) {
	total := number(t, "VOUCHSAFE_REQUESTS", defaultRequests)
	p := start(t, t.TempDir())
	defer p.kill()
	recorded := recordAll(t, p)
	if t.Failed() {
		return
	}
	statuses := &tally{counts: map[string]int{}}
	var sent atomic.Int64
	run := func(from, to int) {
		sent.Store(int64(from))
		var workers sync.WaitGroup
		for worker := range 6 {
			workers.Go(func() {
				a := newAttacker(t, p, recorded, uint64(from)<<8|uint64(worker))
				line := &connection{p: p}
				defer line.close()
				for sent.Add(1) <= int64(to) && !t.Failed() {
					raw, h, err := a.next(t.Context())
					if err != nil {
						t.Errorf("a good request failed meanwhile: %v", err)
						return
					}
					status, err := line.send(raw, h)
					if err != nil {
						t.Errorf("%v\nto %.2000q", err, raw)
						return
					}
					statuses.add(status)
				}
			})
		}
		workers.Wait()
	}
	run(0, total/5)
	before := p.anonymous()
	run(total/5, total)
	after := p.anonymous()
	t.Logf("%d requests to %d recorded endpoints; memory %d MiB after a fifth, %d MiB after all; answers: %v",
		total, len(recorded), before>>20, after>>20, statuses.counts)
	if after > before+growth {
		t.Errorf("memory grew from %d MiB to %d MiB", before>>20, after>>20)
	}
	if n := p.metric(p.httpClient(), "vouchsafe_http_panics_total"); n != 0 {
		t.Errorf("%v handlers panicked:\n%s", n, p.stderr)
	}
	for _, status := range []string{"200", "400", "403", "404"} {
		if statuses.counts[status] == 0 {
			t.Errorf("no answer was %s: the requests do not get far", status)
		}
	}
	servesStill(t, p)
}

// servesStill holds that a good workload gets a secret by either protocol, as the first thing that it asks.
func servesStill(t *testing.T, p *process) {
	t.Helper()
	if _, err := p.workload(nil).Fetch(t.Context(), p.Secret); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	a := newAttacker(t, p, nil, 0)
	r, err := a.freshAttestation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	line := &connection{p: p}
	defer line.close()
	if status, err := line.send(r.encode(), harmless); err != nil || status != http.StatusOK {
		t.Errorf("afterwards an attestation got %d, %v", status, err)
	}
}

// tally counts answers.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (s *tally) add(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if status == 0 {
		s.counts["closed without an answer"]++
	} else {
		s.counts[strconv.Itoa(status)]++
	}
}

// dial opens a TLS connection for HTTP/1.1.
func (p *process) dial() (*tls.Conn, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.ca)
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 20 * time.Second}, Config: &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}}}
	c, err := d.Dial("tcp", strings.TrimPrefix(p.URL, "https://"))
	if err != nil {
		return nil, err
	}
	return c.(*tls.Conn), nil
}

// connection is a connection that is kept, and opened again when the server closed it.
type connection struct {
	p      *process
	conn   *tls.Conn
	reader *bufio.Reader
}

func (c *connection) close() {
	if c.conn != nil {
		_ = c.conn.Close() // the server may have been first
		c.conn = nil
	}
}

// errAnswer is an answer that no request may get.
var errAnswer = errors.New("an answer that must not be")

// send sends a request and returns the status of its answer, 0 when the server closed the connection without one, which it may do only when the
// head was damaged.
func (c *connection) send(raw []byte, h harm) (status int, err error) {
	if h == harmAll {
		c.close()
	}
	for attempt := 0; ; attempt++ {
		fresh := c.conn == nil
		if fresh {
			if c.conn, err = c.p.dial(); err != nil {
				return 0, err
			}
			c.reader = bufio.NewReader(c.conn)
		}
		status, err = c.exchange(raw, h)
		if err == nil || errors.Is(err, errAnswer) {
			return status, err
		}
		c.close()
		switch {
		case fresh && h != harmless:
			return 0, nil
		case fresh || attempt > 0:
			return 0, err
		}
	}
}

func (c *connection) exchange(raw []byte, h harm) (int, error) {
	if err := c.conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		return 0, err
	}
	_, writeErr := c.conn.Write(raw) // when it fails there may be an answer all the same
	if h == harmAll {
		_ = c.conn.CloseWrite()
	}
	method, _, _ := strings.Cut(string(raw[:min(len(raw), 16)]), " ")
	response, err := http.ReadResponse(c.reader, &http.Request{Method: method})
	if err != nil {
		return 0, errors.Join(writeErr, err)
	}
	_, err = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	if response.Close || h == harmAll || writeErr != nil {
		c.close()
	}
	return response.StatusCode, errors.Join(err, allowed(response))
}

// allowed refuses what no answer may be: 500, and 503 or 429 that do not say when to come back.
func allowed(response *http.Response) error {
	switch status := response.StatusCode; {
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		if after, err := strconv.Atoi(response.Header.Get("Retry-After")); err != nil || after < 1 {
			return fmt.Errorf("%w: %d with Retry-After %q", errAnswer, status, response.Header.Get("Retry-After"))
		}
	case status == http.StatusNotImplemented || status == http.StatusHTTPVersionNotSupported: // of net/http, before any handler
	case status >= 500:
		return fmt.Errorf("%w: %d", errAnswer, status)
	}
	return nil
}
