package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker/dev"
	"github.com/vouchsafe/vouchsafe/broker/source/vault"
)

func (p *program) devCommand() *cobra.Command {
	var (
		c     dev.Config
		roots []string
		at    string
		keys  string
		quiet bool
	)
	cmd := &cobra.Command{
		Use:     "dev [--dir DIR] [--listen HOST:PORT] [--http]",
		GroupID: "run",
		Short:   "Try it: a broker with a development TEE, a secret and a policy",
		Long: `Run a broker for trying things out: everything in one folder, with a development TEE, an administrator's token, a secret and a
policy. The folder is made at the first start and used again at the next.

It accepts evidence that anybody can make, so its store is marked as made for development, and "vouchsafe server" refuses it.

With --vault its secrets may lie in Vault. If store in that file says kind: vault, its records are there too, in place of DIR/data: give
it a prefix of its own.

DIR/dev.json holds url, ca_cert and token_file for scripts. With --format=json the same is printed when the broker is ready.`,
		Example: "  vouchsafe dev\n  vouchsafe dev --dir /tmp/try --listen localhost:0",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if c.Enroller, err = enroller(roots, nil); err != nil {
				return err
			}
			// What the first start writes is not news; what happens later is.
			level := new(slog.LevelVar)
			level.Set(slog.LevelWarn)
			c.Logger = newLogger(p.errOut, level, "text")
			c.Build = "vouchsafe " + version() + " dev"
			if keys != "" {
				s, err := readSettings(keys)
				if err != nil {
					return err
				}
				if c.Provenance, err = s.provenanceKeys(); err != nil {
					return err
				}
			}
			if at != "" {
				s, err := readSettings(at)
				if err != nil {
					return err
				}
				if err := s.Store.check(); err != nil {
					return fmt.Errorf("%s: %w", at, err)
				}
				paths, err := s.sourcePaths()
				if err != nil {
					return err
				}
				conn, err := s.Vault.connectDev(cmd.Context(), c.Logger)
				if err != nil {
					return err
				}
				defer func() { _ = conn.Close() }() // after the node, which uses it
				c.Sources, c.Shared = vault.Sources(conn, paths), s.shared(conn, c.Logger)
			}
			return p.dev(cmd.Context(), c, func() {
				if !quiet {
					level.Set(slog.LevelInfo)
				}
			})
		},
	}
	cmd.Flags().StringVar(&c.Dir, "dir", "vouchsafe-dev", "`DIR` for everything")
	cmd.Flags().StringVar(&c.Listen, "listen", "localhost:8443", "`HOST:PORT` to listen on; port 0 takes a free one")
	cmd.Flags().BoolVar(&c.HTTP, "http", false, "plain HTTP, on a loopback address only")
	cmd.Flags().StringArrayVar(&roots, "tpm-maker-root", nil, "PEM `FILE` of a TPM maker's root, to enrol TPMs by; may be repeated")
	cmd.Flags().StringVar(&at, "vault", "", "YAML `FILE` with settings of a server, of which vault and store count; http:// to a loopback address is allowed")
	cmd.Flags().StringVar(&keys, "provenance", "", "YAML `FILE` with settings of a server, whose provenance says which keys sign reference values")
	cmd.Flags().BoolVar(&quiet, "quiet", false, "log warnings only")
	return cmd
}

// dev runs a development broker, and calls ready when it is.
func (p *program) dev(ctx context.Context, c dev.Config, ready func()) error {
	n, info, err := dev.Start(ctx, c)
	if err != nil {
		return startError(err, c.Listen, c.Dir)
	}
	if p.json() {
		err = p.printJSON(info)
	} else {
		err = p.printDev(info)
	}
	if err != nil {
		return errors.Join(err, n.Close())
	}
	ready()
	return errors.Join(n.Run(ctx), n.Close())
}

// printDev prints the commands to try next.
func (p *program) printDev(info dev.Info) error {
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	near := func(path string) string {
		if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
			path = rel
		}
		return quote(path)
	}
	trust := ""
	if info.CACert != "" {
		trust = " VOUCHSAFE_CACERT=" + near(info.CACert)
	}
	_, err = fmt.Fprintf(p.out, "A development broker is ready at %s. In another terminal:\n\n"+
		"  export VOUCHSAFE_ADDR=%s%s VOUCHSAFE_TOKEN_FILE=%s\n\n", info.URL, info.URL, trust, near(info.TokenFile))
	commands := [][2]string{
		{"vouchsafe-agent fetch --tee " + near(info.Tee) + " " + info.Secret, "a good workload gets the secret"},
		{"vouchsafe-agent fetch --tee " + near(info.TeeTampered) + " " + info.Secret, "a tampered one is refused, with a decision's id"},
		{"vouchsafe explain DECISION", "why"},
	}
	widest := 0
	for _, c := range commands {
		widest = max(widest, len(c[0]))
	}
	for _, c := range commands {
		fmt.Fprintf(p.out, "  %-*s  # %s\n", widest, c[0], c[1])
	}
	_, err = fmt.Fprintf(p.out, "\nEverything is in %s. End with Ctrl-C.\n", near(filepath.Dir(info.TokenFile)))
	return err
}
