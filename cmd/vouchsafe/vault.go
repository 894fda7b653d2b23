package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/store/vault"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
	"github.com/vouchsafe/vouchsafe/store/vaultconn/doctor"
	"github.com/vouchsafe/vouchsafe/store/vaultconn/rights"
)

func (p *program) vaultCommand() *cobra.Command {
	return group("offline", "vault", "Set up the broker's connection to HashiCorp Vault", p.vaultPolicy(), p.vaultDoctor())
}

// vaultFlags say what Vault is used for, where the settings do not.
type vaultFlags struct {
	config             string
	mount, prefix      string
	create             bool
	transit, transitAt string
	kv, reads, writes  []string
}

func (f *vaultFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.config, "config", "", "YAML `FILE` with the server's settings")
	c.Flags().StringVar(&f.mount, "mount", "", "`MOUNT` of the KV engine, version 2, that holds the store")
	c.Flags().StringVar(&f.prefix, "prefix", vault.DefaultPrefix, "`FOLDER` of the store in it")
	c.Flags().BoolVar(&f.create, "create", false, "also what is needed once, to make the store")
	c.Flags().StringVar(&f.transit, "transit-key", "", "`NAME` of the transit key that seals the store")
	c.Flags().StringVar(&f.transitAt, "transit-mount", "transit", "`MOUNT` of its engine")
	c.Flags().StringArrayVar(&f.kv, "kv", nil, "`MOUNT:PATH` of existing secrets, /* at the end for all below; may be repeated")
	c.Flags().StringArrayVar(&f.reads, "issue-read", nil, "`PATH` at which Vault issues on a read; may be repeated")
	c.Flags().StringArrayVar(&f.writes, "issue-write", nil, "`PATH` at which Vault issues on a write; may be repeated")
}

// needs puts together what Vault is used for, by the settings and the flags; a flag comes before the settings.
func (f *vaultFlags) needs(s *settings) (rights.Needs, error) {
	n := s.vaultNeeds()
	n.Given = s.Vault.Auth.Method == vaultconn.MethodToken
	if f.mount != "" {
		n.Store = &rights.Store{Mount: f.mount, Prefix: f.prefix}
	}
	if n.Store != nil {
		n.Store.Create = f.create
	}
	if f.transit != "" {
		n.Seal = &rights.Transit{Mount: f.transitAt, Key: f.transit}
	}
	for _, text := range f.kv {
		mount, path, ok := strings.Cut(text, ":")
		if !ok {
			return n, fmt.Errorf("--kv is MOUNT:PATH, not %q", text)
		}
		n.KV = append(n.KV, rights.KV{Mount: mount, Path: path})
	}
	for _, path := range f.reads {
		n.Issuers = append(n.Issuers, rights.Issuer{Path: path})
	}
	for _, path := range f.writes {
		n.Issuers = append(n.Issuers, rights.Issuer{Path: path, Write: true})
	}
	return n, n.Check()
}

func (f *vaultFlags) settings() (*settings, error) {
	if f.config == "" {
		return &settings{}, nil
	}
	return readSettings(f.config)
}

func (p *program) vaultPolicy() *cobra.Command {
	var f vaultFlags
	c := &cobra.Command{
		Use:   "policy [--config FILE] [flags]",
		Short: "Print the least Vault policy that the broker's token needs",
		Long: `Print the least Vault policy that the broker's token needs, with the reason beside each path. Nobody is asked.

What Vault is used for comes from the server's settings and from flags. Where secrets that stay in Vault are is not in the settings: name their
paths with --kv, --issue-read and --issue-write. With --format=json the policy is in its JSON form, which Vault takes as well.`,
		Example: `  vouchsafe vault policy --config server.yaml | vault policy write vouchsafe -
  vouchsafe vault policy --mount vouchsafe --kv 'secret:apps/*' --issue-read database/creds/app`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s, err := f.settings()
			if err != nil {
				return err
			}
			n, err := f.needs(s)
			if err != nil {
				return err
			}
			if p.json() {
				return p.printJSON(rights.JSON(n.Rights()))
			}
			_, err = io.WriteString(p.out, rights.HCL(n.Rights()))
			return err
		},
	}
	f.add(c)
	return c
}

func (p *program) vaultDoctor() *cobra.Command {
	var f vaultFlags
	c := &cobra.Command{
		Use:   "doctor --config FILE [flags]",
		Short: "Try the broker's connection to Vault and say what is wrong",
		Long: `Try the broker's connection to Vault as the settings have it, and say what is wrong and what to run: the way there, TLS, seal, version, clock,
login, token, mounts, keys and the rights on each path. Nothing in Vault is changed, and no secret is read. A wrapped secret id is used up by it.

What fails ends it with exit code 1; a warning does not.`,
		Example: "  vouchsafe vault doctor --config /etc/vouchsafe/server.yaml",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.config == "" {
				return errors.New("--config is missing: the settings say where Vault is and how to log in")
			}
			s, err := f.settings()
			if err != nil {
				return err
			}
			n, err := f.needs(s)
			if err != nil {
				return err
			}
			config, err := s.Vault.config(slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			return p.printExamination(doctor.Examine(c.Context(), config, n, time.Now))
		},
	}
	f.add(c)
	return c
}

func (p *program) printExamination(checks []doctor.Check) error {
	healthy := doctor.Healthy(checks)
	var err error
	if p.json() {
		err = p.printJSON(struct {
			OK     bool           `json:"ok"`
			Checks []doctor.Check `json:"checks"`
		}{healthy, checks})
	} else {
		err = p.table("STATE CHECK DETAIL", func(row func(...any)) {
			for _, c := range checks {
				row(c.State, c.Name, c.Detail)
				if c.Run != "" && c.State != doctor.OK {
					row("", "", "run: "+c.Run)
				}
			}
		})
	}
	if err == nil && !healthy {
		return silent{exitNo}
	}
	return err
}
