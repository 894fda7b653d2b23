package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker/node"
	sources "github.com/vouchsafe/vouchsafe/broker/source/vault"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/vault"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

func (p *program) serverCommand() *cobra.Command {
	var (
		file  string
		flags settings
	)
	c := &cobra.Command{
		Use:     "server [--config FILE] [flags]",
		GroupID: "run",
		Short:   "Run a broker",
		Long: `Run a broker on the data directory that "vouchsafe init" made.

Settings come from a YAML file, and flags override it. docs/reference/server-config.md has every member. A minimal file:

  data: /var/lib/vouchsafe
  listen: ":8443"
  url: https://broker.example.org:8443
  tls: {certificate: /etc/vouchsafe/server.pem, key: /etc/vouchsafe/server.key}
  seal: {key_file: /etc/vouchsafe/seal.key}

The server logs to standard error as JSON lines. It ends on SIGTERM or interrupt, after the requests in hand. A renewed certificate is picked
up within seconds. It serves both protocols, /metrics, /healthz and /readyz.`,
		Example: `  vouchsafe server --config /etc/vouchsafe/server.yaml
  vouchsafe server --data d --listen :8443 --tls-cert d/tls/server.pem --tls-key d/tls/server.key`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s := &flags
			if file != "" {
				read, err := readSettings(file)
				if err != nil {
					return err
				}
				s = read
				override(c, s, &flags)
			}
			return p.serve(c.Context(), s)
		},
	}
	c.Flags().StringVar(&file, "config", "", "YAML `FILE` with settings")
	c.Flags().StringVar(&flags.Data, "data", "", "data directory `DIR`")
	c.Flags().StringVar(&flags.Listen, "listen", "", "`HOST:PORT` to listen on")
	c.Flags().StringVar(&flags.URL, "url", "", "`URL` by which workloads reach the broker")
	c.Flags().StringVar(&flags.TLS.Certificate, "tls-cert", "", "PEM `FILE` with the server's certificate chain")
	c.Flags().StringVar(&flags.TLS.Key, "tls-key", "", "PEM `FILE` with its key")
	c.Flags().BoolVar(&flags.HTTP, "http", false, "plain HTTP, on a loopback address only")
	c.Flags().StringVar(&flags.Log.Level, "log-level", "", "`LEVEL` to log from: debug, info, warn or error (default info)")
	c.Flags().StringVar(&flags.Log.Format, "log-format", "", "json or text (default json)")
	addSealFlags(c, &flags.Seal)
	return c
}

// override puts the flags that were given in the place of the file's settings.
func override(c *cobra.Command, s, flags *settings) {
	for name, set := range map[string]func(){
		"data":                 func() { s.Data = flags.Data },
		"listen":               func() { s.Listen = flags.Listen },
		"url":                  func() { s.URL = flags.URL },
		"tls-cert":             func() { s.TLS.Certificate = flags.TLS.Certificate },
		"tls-key":              func() { s.TLS.Key = flags.TLS.Key },
		"log-level":            func() { s.Log.Level = flags.Log.Level },
		"log-format":           func() { s.Log.Format = flags.Log.Format },
		"http":                 func() { s.HTTP = flags.HTTP },
		"seal-key":             func() { s.Seal = flags.Seal },
		"seal-passphrase-file": func() { s.Seal = flags.Seal },
		"seal-transit":         func() { s.Seal = flags.Seal },
	} {
		if c.Flags().Changed(name) {
			set()
		}
	}
}

func (p *program) serve(ctx context.Context, s *settings) error {
	logger, err := s.Log.logger(p.errOut)
	if err != nil {
		return err
	}
	if s.Listen == "" {
		return errors.New("no address to listen on: say --listen HOST:PORT, or listen in the configuration")
	}
	if !s.HTTP && (s.TLS.Certificate == "" || s.TLS.Key == "") {
		return errors.New("no certificate: say --tls-cert and --tls-key, or tls in the configuration; \"vouchsafe init --tls-host\" makes one")
	}
	paths, err := s.sourcePaths()
	if err != nil {
		return err
	}
	var conn *vaultconn.Conn
	err = s.await(ctx, logger, "Vault", func() (err error) {
		if conn, err = s.connect(ctx, logger); err == nil && conn == nil && s.Vault.used() { // secrets may lie there
			conn, err = s.Vault.connect(ctx, logger)
		}
		return err
	})
	if errors.Is(err, errStopped) {
		return nil
	}
	if err != nil {
		return err
	}
	if conn != nil {
		defer func() {
			if err := conn.Close(); err != nil {
				logger.WarnContext(ctx, "the connection to Vault could not be ended in order", "cause", err)
			}
		}()
	}
	c, err := s.node(conn, logger)
	if err != nil {
		return err
	}
	if conn != nil {
		c.Sources = sources.Sources(conn, paths)
	}
	var n *node.Node
	err = s.await(ctx, logger, "the store and its seal", func() (err error) {
		n, err = node.Open(ctx, c)
		return err
	})
	if errors.Is(err, errStopped) {
		return nil
	}
	if err != nil {
		return startError(err, s.Listen, s.Data)
	}
	logger.InfoContext(ctx, "serving", "address", n.Addr().String(), "url", n.URL, "kinds", n.Broker.Kinds(), "version", version())
	return errors.Join(n.Run(ctx), n.Close())
}

// Pauses between attempts to start while Vault is away: short ones first, since it may be just starting too.
const (
	firstPause   = time.Second
	longestPause = 30 * time.Second
)

// errStopped ends a wait because the program is to end.
var errStopped = errors.New("stopped while waiting")

// await does what needs Vault, again and again while Vault cannot be asked, so that brokers and Vault may be started in any order. What
// Vault refuses for good, such as a login, is an error at once.
func (s *settings) await(ctx context.Context, logger *slog.Logger, what string, do func() error) error {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := do()
		if err == nil || !s.usesVault() && !s.Vault.used() || !errors.Is(err, store.ErrUnavailable) || errors.Is(err, vaultconn.ErrLogin) {
			return err
		}
		logger.WarnContext(ctx, "waiting for "+what+" before serving", "vault", s.Vault.Address, "cause", err, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return errStopped
		}
	}
}

// startError says what to do about the usual reasons for which a broker does not start.
func startError(err error, listen, dir string) error {
	var (
		locked  *bolt.LockedError
		purpose *bolt.PurposeError
	)
	switch {
	case errors.As(err, &locked):
		return told{locked.Error(), err}
	case errors.As(err, &purpose):
		return told{purpose.Error(), err}
	case errors.Is(err, vault.ErrNoStore):
		return told{err.Error() + ": with the same --config", err}
	case errors.Is(err, bolt.ErrNoStore):
		return told{fmt.Sprintf("there is no store in %s: make one with \"vouchsafe init --data %s --url URL\"", dir, quote(dir)), err}
	case errors.As(err, new(*net.AddrError)):
		return told{fmt.Sprintf("--listen is %q, not HOST:PORT", listen), err}
	case errors.Is(err, syscall.EADDRINUSE):
		return told{fmt.Sprintf("something else listens on %s already: say another --listen HOST:PORT", listen), err}
	case errors.Is(err, syscall.EACCES) && errors.As(err, new(*net.OpError)):
		return told{fmt.Sprintf("this user may not listen on %s: %v", listen, err), err}
	}
	return err
}

// quote writes a word so that a shell reads it as one.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
