package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/internal/cli"
)

// sourceFlags say where the value of a secret lies.
type sourceFlags struct {
	kind, file                            string
	mount, path, field, version, encoding string
	kv                                    int
	method, body, wrap                    string
	exclusive                             bool
}

func (s *sourceFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.kind, "source", "", "the value lies elsewhere: `KIND` is vault-kv or vault-dynamic")
	f.StringVar(&s.file, "source-file", "", "YAML `FILE` with kind and parameters of the source, instead of the flags below")
	f.StringVar(&s.mount, "mount", "", "vault-kv: `MOUNT` of the KV engine")
	f.StringVar(&s.path, "path", "", "`PATH` of the secret in the engine or, of vault-dynamic, with the mount and templates such as ${claims.tpm.host}")
	f.StringVar(&s.field, "field", "", "`FIELD` that is the value; the whole object without it")
	f.StringVar(&s.encoding, "encoding", "", "base64, to decode the field")
	f.StringVar(&s.version, "source-version", "", "vault-kv: `VERSION` of the KV secret (default latest)")
	f.IntVar(&s.kv, "kv", 0, "vault-kv: 1 for an engine of version 1 (default 2)")
	f.StringVar(&s.method, "method", "", "vault-dynamic: read or write (default read)")
	f.StringVar(&s.body, "body", "", "vault-dynamic: JSON `FILE` that is written, with templates in its texts")
	f.StringVar(&s.wrap, "wrap", "", "vault-dynamic: release a wrapping token that lives for `DURATION`, such as 5m, instead of the value")
	f.BoolVar(&s.exclusive, "exclusive", false, "vault-dynamic: nobody but brokers of this store has anything issued at the path")
	cli.InSection("Flags of values that lie elsewhere", f, "source", "source-file", "mount", "path", "field", "encoding", "source-version", "kv",
		"method", "body", "wrap", "exclusive")
}

// used reports whether the value lies elsewhere.
func (s *sourceFlags) used(c *cobra.Command) (bool, error) {
	parameters := false
	for _, name := range []string{"mount", "path", "field", "encoding", "source-version", "kv", "method", "body", "wrap", "exclusive"} {
		parameters = parameters || c.Flags().Changed(name)
	}
	switch {
	case s.kind != "" && s.file != "":
		return false, errors.New("say --source with its flags, or --source-file")
	case s.kind == "" && parameters:
		return false, errors.New("flags of values that lie elsewhere need --source KIND")
	}
	return s.kind != "" || s.file != "", nil
}

// document makes the document. What is in it is the broker's to check.
func (s *sourceFlags) document(p *program) (*source.Document, error) {
	if s.file != "" {
		text, err := readInput(p.in, s.file, maxSettings)
		if err != nil {
			return nil, err
		}
		return sourceDocument(s.file, text)
	}
	parameters := map[string]any{}
	for name, value := range map[string]string{
		"mount": s.mount, "path": s.path, "field": s.field, "encoding": s.encoding, "version": s.version, "method": s.method, "wrap": s.wrap,
	} {
		if value != "" {
			parameters[name] = value
		}
	}
	if s.kv != 0 {
		parameters["kv"] = s.kv
	}
	if s.exclusive {
		parameters["exclusive"] = true
	}
	if s.body != "" {
		text, err := readInput(p.in, s.body, source.MaxDocument)
		if err != nil {
			return nil, err
		}
		if !json.Valid(text) {
			return nil, fmt.Errorf("%s is not JSON", s.body)
		}
		parameters["body"] = json.RawMessage(text)
	}
	encoded, err := json.Marshal(parameters)
	return &source.Document{Kind: s.kind, Parameters: encoded}, err
}

// sourceDocument reads a document in YAML.
func sourceDocument(name string, text []byte) (*source.Document, error) {
	var document struct {
		Kind       string         `yaml:"kind"`
		Parameters map[string]any `yaml:"parameters"`
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(root.Content) == 0 {
		return nil, fmt.Errorf("%s is empty: it says kind and parameters", name)
	}
	var top map[string]yaml.Node
	if err := root.Decode(&top); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for member, value := range top {
		if member != "kind" && member != "parameters" {
			return nil, fmt.Errorf("%s:%d: there is no member %q; a source has kind and parameters", name, value.Line, member)
		}
	}
	if err := root.Decode(&document); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	encoded, err := json.Marshal(document.Parameters)
	if err != nil {
		return nil, fmt.Errorf("%s: what is in parameters cannot be JSON: %w", name, err)
	}
	return &source.Document{Kind: document.Kind, Parameters: encoded}, nil
}

func (p *program) secretShow() *cobra.Command {
	c := &cobra.Command{
		Use: "show NAME", Short: "Describe a secret: its versions, and where their values lie", Args: cobra.ExactArgs(1),
		Long: "Describe a secret: its labels, its versions, and of those whose values lie elsewhere, where. No value is shown.",
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		info, err := a.Secret(c.Context(), args[0])
		if err != nil || p.json() {
			return p.orJSON(info, err)
		}
		fmt.Fprintf(p.out, "%s: current version %s, created %s\n", info.Name, orNone(info.Current), when(info.Created))
		for _, name := range slices.Sorted(maps.Keys(info.Labels)) {
			fmt.Fprintf(p.out, "label %s=%s\n", name, info.Labels[name])
		}
		if err := p.versionTable(info); err != nil {
			return err
		}
		for _, v := range info.Versions {
			if v.Source != nil && v.Destroyed == nil {
				fmt.Fprintf(p.out, "version %d lies in %s: %s\n", v.Version, v.Source.Kind, v.Source.Parameters)
			}
		}
		return nil
	})
}

func (p *program) secretCheck() *cobra.Command {
	var version uint64
	c := &cobra.Command{
		Use: "check NAME", Short: "Ask where a secret lies whether it would answer", Args: cobra.ExactArgs(1),
		Long: `Ask where a secret lies whether a release would get a value. No value is asked for: of a KV secret the broker asks for its rights, version and
fields, of what is issued for its rights. The exit code is 1 where there would be no value.`,
		Example: "  vouchsafe secret check payments/db/password",
	}
	c.Flags().Uint64Var(&version, "version", 0, "`VERSION` of the secret (default the current one)")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		probe, err := a.CheckSecret(c.Context(), wire.SecretCheck{SecretName: wire.SecretName{Name: args[0]}, Version: version})
		if err != nil {
			return err
		}
		if p.json() {
			if err := p.printJSON(probe); err != nil {
				return err
			}
		}
		text := probe.Detail
		if probe.Version != "" {
			text += " (version " + probe.Version + ")"
		}
		if !probe.Answers {
			return fmt.Errorf("%s would not be released: %s", args[0], text)
		}
		if !p.json() {
			fmt.Fprintf(p.out, "%s: %s\n", args[0], text)
		}
		return nil
	})
}

func (p *program) leaseCommand() *cobra.Command {
	return group("admin", "lease", "List and revoke what workloads hold", p.leaseList(), p.leaseRevoke())
}

func (p *program) leaseList() *cobra.Command {
	c := &cobra.Command{
		Use: "list [NAME]", Short: "List who holds which version of a secret until when", Args: cobra.MaximumNArgs(1),
		Long: "List who holds which version of a secret, or of every secret below a path, until when.",
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		all, err := leasesOf(c.Context(), a, args)
		if err != nil || p.json() {
			return p.orJSON(all, err)
		}
		return p.table("LEASE SECRET VERSION SOURCE STATE EXPIRES", func(row func(...any)) {
			for _, l := range all {
				state := "held"
				if l.Revoked != nil {
					state = "revoked"
				}
				row(l.ID, l.Secret, l.Version, orDash(l.Source), state, when(l.Expires))
			}
		})
	})
}

// leasesOf returns the leases of the secret that args name, or of all below it; of every secret where they name none.
func leasesOf(ctx context.Context, a *admin.Client, args []string) ([]broker.Lease, error) {
	query := wire.LeasesQuery{}
	if len(args) > 0 {
		query.Secret = args[0]
	}
	return pages(func(after string) (wire.List[broker.Lease], error) {
		query.After = after
		return a.Leases(ctx, query)
	})
}

func (p *program) leaseRevoke() *cobra.Command {
	c := &cobra.Command{
		Use: "revoke LEASE", Short: "Revoke a lease, and end what a source issued for it", Args: cobra.ExactArgs(1),
		Long: `Revoke a lease. What a source issued for it, such as a database account, is ended. Of any other value its holder keeps what he has: replace it
where it is used.`,
		Example: "  vouchsafe lease revoke 0192f0c1-7c3e-7c2b-b2b2-6f1f5ad0c0aa.0",
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		out, err := a.RevokeLease(c.Context(), args[0])
		if err != nil || p.json() {
			return p.orJSON(out, err)
		}
		what := map[string]string{
			"ended":   "what was issued for it works no more",
			"pending": "what was issued for it could not be ended yet, which the broker goes on trying",
			"nothing": "its holder keeps the value that he has",
		}[out.Ended]
		fmt.Fprintf(p.out, "%s: lease on version %d revoked; %s\n", out.Lease.Secret, out.Lease.Version, what)
		return nil
	})
}
