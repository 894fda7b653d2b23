package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker/dev"
	"github.com/vouchsafe/vouchsafe/broker/node"
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

Settings come from a YAML file, and flags override it. docs/operator.md explains every member. A minimal file:

  data: /var/lib/vouchsafe
  listen: ":8443"
  url: https://broker.example.org:8443
  tls: {certificate: /etc/vouchsafe/server.pem, key: /etc/vouchsafe/server.key}
  seal: {key_file: /etc/vouchsafe/seal.key}

The server logs to standard error as JSON lines. It ends on SIGTERM or interrupt, after the requests in hand. A renewed certificate is picked
up within half a minute. It serves both protocols, /metrics, /healthz and /readyz.`,
		Example: `  vouchsafe server --config /etc/vouchsafe/server.yaml
  vouchsafe server --data ./data --listen localhost:8443 --tls-cert ./data/tls/server.pem --tls-key ./data/tls/server.key`,
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
	c.Flags().StringVar(&file, "config", "", "YAML file with settings")
	c.Flags().StringVar(&flags.Data, "data", "", "data directory")
	c.Flags().StringVar(&flags.Listen, "listen", "", "host:port to listen on")
	c.Flags().StringVar(&flags.URL, "url", "", "URL by which workloads reach the broker")
	c.Flags().StringVar(&flags.TLS.Certificate, "tls-cert", "", "PEM file with the server's certificate chain")
	c.Flags().StringVar(&flags.TLS.Key, "tls-key", "", "PEM file with its key")
	c.Flags().BoolVar(&flags.HTTP, "http", false, "plain HTTP, on a loopback address only")
	addSealFlags(c, &flags.Seal)
	return c
}

func addSealFlags(c *cobra.Command, s *sealSettings) {
	c.Flags().StringVar(&s.KeyFile, "seal-key", "", "key file that seals the store (default seal.key in the data directory)")
	c.Flags().StringVar(&s.PassphraseFile, "seal-passphrase-file", "", "file with the passphrase that seals the store")
}

// override puts the flags that were given in the place of the file's settings.
func override(c *cobra.Command, s, flags *settings) {
	for name, set := range map[string]func(){
		"data":                 func() { s.Data = flags.Data },
		"listen":               func() { s.Listen = flags.Listen },
		"url":                  func() { s.URL = flags.URL },
		"tls-cert":             func() { s.TLS.Certificate = flags.TLS.Certificate },
		"tls-key":              func() { s.TLS.Key = flags.TLS.Key },
		"http":                 func() { s.HTTP = flags.HTTP },
		"seal-key":             func() { s.Seal = flags.Seal },
		"seal-passphrase-file": func() { s.Seal = flags.Seal },
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
	c, err := s.node()
	if err != nil {
		return err
	}
	c.Logger = logger
	n, err := node.Open(ctx, c)
	if err != nil {
		return err
	}
	logger.Info("serving", "address", n.Addr().String(), "url", n.URL, "kinds", n.Broker.Kinds(), "version", version())
	return errors.Join(n.Run(ctx), n.Close())
}

func (p *program) devCommand() *cobra.Command {
	var (
		c     dev.Config
		roots []string
		quiet bool
	)
	cmd := &cobra.Command{
		Use:     "dev [--dir DIR] [--listen ADDRESS] [--http]",
		GroupID: "run",
		Short:   "Try it: a broker with a development TEE, a secret and a policy",
		Long: `Run a broker for trying things out: everything in one folder, with a development TEE, an administrator's token, a secret and a policy.
The folder is made at the first start and used again at the next.

It accepts evidence that anybody can make, so its folder is marked as made for development, and "vouchsafe server" refuses it.

DIR/dev.json holds url, ca_cert and token_file for scripts.`,
		Example: "  vouchsafe dev\n  vouchsafe dev --dir /tmp/try --listen localhost:0",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if c.Enroller, err = enroller(roots, nil); err != nil {
				return err
			}
			level := "warn"
			if !quiet {
				level = "info"
			}
			if c.Logger, err = (loggerSettings{Level: level, Format: "text"}).logger(p.errOut); err != nil {
				return err
			}
			c.Build = "vouchsafe " + version() + " dev"
			return p.dev(cmd.Context(), c)
		},
	}
	cmd.Flags().StringVar(&c.Dir, "dir", "vouchsafe-dev", "folder for everything")
	cmd.Flags().StringVar(&c.Listen, "listen", "localhost:8443", "host:port to listen on; port 0 takes a free one")
	cmd.Flags().BoolVar(&c.HTTP, "http", false, "plain HTTP, on a loopback address only")
	cmd.Flags().StringArrayVar(&roots, "tpm-maker-root", nil, "PEM file of a TPM maker's root, to enrol TPMs by; may be repeated")
	cmd.Flags().BoolVar(&quiet, "quiet", false, "log warnings only")
	return cmd
}

func (p *program) dev(ctx context.Context, c dev.Config) error {
	n, info, err := dev.Start(ctx, c)
	if err != nil {
		return err
	}
	if p.json() {
		err = p.printJSON(info)
	} else {
		err = p.printDev(info)
	}
	return errors.Join(err, n.Run(ctx), n.Close())
}

// printDev prints the three commands to try next.
func (p *program) printDev(info dev.Info) error {
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	short := func(path string) string {
		if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
			return rel
		}
		return path
	}
	trust := ""
	if info.CACert != "" {
		trust = " VOUCHSAFE_CACERT=" + short(info.CACert)
	}
	_, err = fmt.Fprintf(p.out, `A development broker is ready at %s. In another terminal:

  export VOUCHSAFE_ADDR=%s%s VOUCHSAFE_TOKEN_FILE=%s

  vouchsafe-agent fetch --tee %s %s             # a good workload gets the secret
  vouchsafe-agent fetch --tee %s %s    # a tampered one is refused, with a decision's id
  vouchsafe explain DECISION                                            # why

Everything is in %s. End with Ctrl-C.
`, info.URL, info.URL, trust, short(info.TokenFile), short(info.Tee), info.Secret, short(info.TeeTampered), info.Secret, short(filepath.Dir(info.TokenFile)))
	return err
}
