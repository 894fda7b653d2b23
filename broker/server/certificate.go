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
	seen              [2]os.FileInfo // of the files last read
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
	// The files are looked at before they are read: what changes in between is read again next time.
	var files [2]os.FileInfo
	for i, name := range []string{c.certFile, c.keyFile} {
		if files[i], err = os.Stat(name); err != nil {
			return false, fmt.Errorf("TLS certificate: %w", err)
		}
	}
	if same(files[0], c.seen[0]) && same(files[1], c.seen[1]) {
		return false, nil
	}
	c.seen = files
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return false, fmt.Errorf("TLS certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&pair)
	return true, nil
}

// same reports whether a file is what it was: clocks alone are too coarse for one that is replaced twice in a moment.
func same(now, before os.FileInfo) bool {
	return before != nil && os.SameFile(now, before) && now.ModTime().Equal(before.ModTime()) && now.Size() == before.Size()
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
