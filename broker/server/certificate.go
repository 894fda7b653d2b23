package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// reloadEvery is how often the certificate's files are looked at: two calls of stat, and a renewal is in use within seconds.
const reloadEvery = 5 * time.Second

// certificate is a key pair that follows its files.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
	seen              [2]time.Time // modification times of the files last read
}

func newCertificate(certFile, keyFile string) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	if _, err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// reload reads the files when they changed since they were last read. A failed read is not repeated until they change again.
func (c *certificate) reload() (changed bool, err error) {
	var times [2]time.Time
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return false, fmt.Errorf("TLS certificate: %w", err)
		}
		times[i] = info.ModTime()
	}
	if times == c.seen {
		return false, nil
	}
	c.seen = times
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return false, fmt.Errorf("TLS certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&pair)
	return true, nil
}

// follow reloads until ctx ends.
func (c *certificate) follow(ctx context.Context, every time.Duration, logger *slog.Logger) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch changed, err := c.reload(); {
		case err != nil:
			logger.ErrorContext(ctx, "the renewed certificate cannot be used; the old one stays", "cause", err)
		case changed:
			logger.InfoContext(ctx, "certificate renewed", "expires", c.current.Load().Leaf.NotAfter)
		}
	}
}
