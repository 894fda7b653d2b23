// Package vendortest runs vendors' services that misbehave, for tests of what depends on them: real TLS listeners on loopback that throttle, fail, hang,
// redirect, cut their answers short, never end them, or lie.
package vendortest

import (
	"context"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/collateral"
)

// Answer is how a service answers one request.
type Answer struct {
	Status     int // default 200
	Header     http.Header
	Body       []byte
	RetryAfter string // header of that name
	Hang       bool   // no answer until the client or the test goes
	Cut        bool   // half of the body, then the connection is closed
	Endless    bool   // the body again and again
	Redirect   string // to that URL
}

// Server is a service. Its answers may be changed while it runs.
type Server struct {
	URL   string
	Roots *x509.CertPool // its certificate

	mu      sync.Mutex
	answers map[string]Answer // by path with query
	every   *Answer
	times   int // every counts for so many requests; -1 for all
	counts  map[string]int
	at      []time.Time
	bodies  map[string][]byte
	end     chan struct{}
}

// Start starts a service that answers 404 to everything and ends with the test.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{answers: map[string]Answer{}, counts: map[string]int{}, bodies: map[string][]byte{}, end: make(chan struct{})}
	server := httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that give up are what it is for
	server.StartTLS()
	tb.Cleanup(func() {
		close(s.end)
		server.CloseClientConnections()
		server.Close()
	})
	s.URL, s.Roots = server.URL, x509.NewCertPool()
	s.Roots.AddCert(server.Certificate())
	return s
}

// Client returns a client that trusts the service and waits for it as long as timeout.
func (s *Server) Client(tb testing.TB, timeout time.Duration) *collateral.Client {
	tb.Helper()
	c, err := collateral.NewClient(collateral.ClientConfig{Roots: s.Roots, Timeout: timeout})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// Set says how requests for a path with its query are answered.
func (s *Server) Set(path string, a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[path] = a
}

// Every has the next requests answered alike, whatever they are for: times of them, all for -1, none for 0.
func (s *Server) Every(times int, a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.every, s.times = &a, times
}

// Count returns how many requests there were for a path with its query, "" for all.
func (s *Server) Count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if path == "" {
		return len(s.at)
	}
	return s.counts[path]
}

// Times returns when requests came.
func (s *Server) Times() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.at...)
}

// Body returns the body of the last request for a path.
func (s *Server) Body(path string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bodies[path]
}

func (s *Server) answer(r *http.Request) Answer {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	s.mu.Lock()
	defer s.mu.Unlock()
	path := r.URL.RequestURI()
	s.counts[path]++
	s.at = append(s.at, time.Now())
	s.bodies[path] = body
	if s.every != nil && s.times != 0 {
		if s.times > 0 {
			s.times--
		}
		return *s.every
	}
	a, ok := s.answers[path]
	if !ok {
		return Answer{Status: http.StatusNotFound}
	}
	return a
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	a := s.answer(r)
	if a.Hang {
		s.hang(r.Context())
		return
	}
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	if a.RetryAfter != "" {
		w.Header().Set("Retry-After", a.RetryAfter)
	}
	if a.Redirect != "" {
		http.Redirect(w, r, a.Redirect, http.StatusFound)
		return
	}
	if a.Status == 0 {
		a.Status = http.StatusOK
	}
	if a.Cut {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
		a.Body = a.Body[:len(a.Body)/2]
	}
	w.WriteHeader(a.Status)
	for {
		_, err := w.Write(a.Body)
		if err != nil || !a.Endless {
			return
		}
	}
}

func (s *Server) hang(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-s.end:
	}
}
