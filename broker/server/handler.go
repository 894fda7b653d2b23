package server

import (
	"context"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
)

// handler routes to the front ends and the server's own paths.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range s.config.Routes {
		mux.Handle(pattern, h)
		if folder, below := strings.CutSuffix(pattern, "/"); below && folder != "" {
			mux.Handle(folder, h) // or the mux would send clients on to the path with a slash
		}
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", s.config.Metrics.handler())
	return s.watch(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would send a client on to the clean path, which is another than the one that whoever filters what reaches it saw. The
		// front ends refuse such paths, each in its protocol's words.
		if path.Clean(r.URL.Path) != r.URL.Path {
			s.frontEnd(r.URL.Path, mux).ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
}

// frontEnd returns the handler whose pattern is the longest folder that a path begins with, and otherwise when there is none.
func (s *Server) frontEnd(path string, otherwise http.Handler) http.Handler {
	longest := ""
	for pattern, h := range s.config.Routes {
		if strings.HasSuffix(pattern, "/") && strings.HasPrefix(path, pattern) && len(pattern) > len(longest) {
			longest, otherwise = pattern, h
		}
	}
	return otherwise
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.config.Broker.Ready(ctx); err != nil {
		s.config.Logger.WarnContext(ctx, "not ready", "cause", err)
		plain(w, http.StatusServiceUnavailable, "the broker cannot release now; its log says why\n")
		return
	}
	plain(w, http.StatusOK, "ready\n")
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the peer may be gone
}

// watch measures every request, and answers 500 for one whose handler panics.
func (s *Server) watch(next http.Handler) http.Handler {
	m := s.config.Metrics
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := s.config.Now()
		m.inFlight.Inc()
		answer := &recorder{ResponseWriter: w}
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler {
				m.panics.Inc()
				// The value of a panic may quote the request, and so a secret: only where it happened is logged.
				s.config.Logger.ErrorContext(r.Context(), "a request ended in a bug", "route", r.Pattern, "stack", string(debug.Stack()))
				if answer.status == 0 {
					plain(answer, http.StatusInternalServerError, "a bug in the broker; its log has the details\n")
					p = nil
				}
			}
			m.inFlight.Dec()
			m.observe(r, answer.code(), s.config.Now().Sub(start))
			if p != nil {
				panic(http.ErrAbortHandler) // half an answer must not look like a whole one
			}
		}()
		next.ServeHTTP(answer, r)
	})
}

// retryAfter is what an answer 503 says that says nothing else, in seconds.
const retryAfter = "1"

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
		// Every refusal that passes says when to come back, those of other packages' handlers, too.
		if h := r.Header(); status == http.StatusServiceUnavailable && h.Get("Retry-After") == "" {
			h.Set("Retry-After", retryAfter)
		}
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach what is below.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) code() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}
