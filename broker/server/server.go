package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
)

// Limits of connections and requests.
const (
	// MaxConnections is how many clients are served at once. Each costs some 40 KiB with TLS, so all of them 160 MiB.
	// When all are taken, the one that has waited longest for its next request is closed for a new one.
	MaxConnections = 4096
	// MaxHeader bounds a request's header in bytes: a bearer token of 64 KiB, the largest that the broker takes back, in base64 with the rest.
	MaxHeader = 128 << 10
	// HeaderTimeout, ReadTimeout and WriteTimeout bound the phases of a request; together they are what a client that sends or reads a byte
	// at a time can hold a connection for. The write has to carry a backup of a large store: those who stream extend it.
	HeaderTimeout = 5 * time.Second
	ReadTimeout   = 20 * time.Second
	WriteTimeout  = 60 * time.Second
	// IdleTimeout is how long a connection waits for its next request.
	IdleTimeout = 90 * time.Second
	// ShutdownGrace is how long requests in hand may take to finish when the server ends.
	ShutdownGrace = 15 * time.Second
	// readyTimeout bounds a readiness probe.
	readyTimeout = 2 * time.Second
)

// Config says what to serve and where. Listener, Broker, Metrics and either a certificate or HTTP must be given.
type Config struct {
	Listener    net.Listener // TCP; the server closes it
	Certificate string       // PEM file: the server's certificate and those between it and its root
	Key         string       // PEM file
	HTTP        bool         // plain HTTP; on loopback only
	// ClientAuthorities certify clients: one that has a certificate shows that it is of one of them, and one that has none is served as ever. Nil: no client
	// is asked for a certificate.
	ClientAuthorities *x509.CertPool

	Broker  *broker.Broker
	Routes  map[string]http.Handler // patterns of http.ServeMux to the front ends' handlers
	Metrics *Metrics
	Logger  *slog.Logger     // default: slog.Default
	Now     func() time.Time // default: time.Now
}

// Server is a broker on the network.
type Server struct {
	config      Config
	listener    net.Listener
	http        *http.Server
	certificate *certificate
}

// New returns a server that Run starts. The listener is the caller's until New has succeeded.
func New(c Config) (*Server, error) {
	switch {
	case c.Listener == nil || c.Broker == nil || c.Metrics == nil:
		return nil, errors.New("server: listener, broker and metrics are needed")
	case c.HTTP && (c.Certificate != "" || c.Key != ""):
		return nil, errors.New("server: plain HTTP was asked for together with a certificate: give one or the other")
	case !c.HTTP && (c.Certificate == "" || c.Key == ""):
		return nil, errors.New("server: a certificate and its key are needed, or plain HTTP on loopback")
	}
	if c.HTTP && c.ClientAuthorities != nil {
		return nil, errors.New("server: there are no clients' certificates over plain HTTP: give a certificate, or no authorities of clients")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{config: c}
	if !c.HTTP {
		var err error
		if s.certificate, err = newCertificate(c.Certificate, c.Key); err != nil {
			return nil, fmt.Errorf("server: %w", err)
		}
	}
	if c.HTTP && !loopback(c.Listener.Addr()) {
		return nil, fmt.Errorf("server: %s is not a loopback address: secrets' names and tokens would cross the network in the clear; give a certificate",
			c.Listener.Addr())
	}
	limited := limitConnections(c.Listener, MaxConnections)
	s.listener = limited
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: HeaderTimeout,
		ReadTimeout:       ReadTimeout,
		WriteTimeout:      WriteTimeout,
		IdleTimeout:       IdleTimeout,
		MaxHeaderBytes:    MaxHeader,
		ConnState:         limited.state,
		ErrorLog:          slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug), // handshakes that strangers break off
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS13},
	}
	if s.certificate != nil {
		s.http.TLSConfig.GetCertificate = s.certificate.get
	}
	if c.ClientAuthorities != nil {
		s.http.TLSConfig.ClientAuth, s.http.TLSConfig.ClientCAs = tls.VerifyClientCertIfGiven, c.ClientAuthorities
	}
	c.Metrics.Watch(c.Broker)
	return s, nil
}

func loopback(addr net.Addr) bool {
	at, err := netip.ParseAddrPort(addr.String())
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx ends, and then finishes as the package documentation says. It returns nil when it was ended so.
func (s *Server) Run(ctx context.Context) error {
	follow, stop := context.WithCancel(ctx)
	defer stop()
	if s.certificate != nil {
		go s.certificate.follow(follow, reloadEvery, s.config.Logger)
	}
	done := make(chan error, 1)
	go func() {
		if s.certificate != nil {
			done <- s.http.ServeTLS(s.listener, "", "")
		} else {
			done <- s.http.Serve(s.listener)
		}
	}()
	select {
	case err := <-done:
		return fmt.Errorf("server: %w", err)
	case <-ctx.Done():
	}
	s.config.Logger.Info("ending: requests in hand are finished first", "grace", ShutdownGrace)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), ShutdownGrace)
	defer cancel()
	if err := s.http.Shutdown(grace); err != nil {
		s.config.Logger.Warn("requests were cut off", "cause", err)
		return errors.Join(err, s.http.Close())
	}
	return nil
}
