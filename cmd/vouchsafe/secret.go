package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

func (p *program) secretCommand() *cobra.Command {
	return group("admin", "secret", "Write, list and destroy secrets; nothing here reads one",
		p.secretPut(), p.secretGenerate(), p.secretList(), p.secretShow(), p.secretVersions(), p.secretCheck(), p.secretActivate(), p.secretDestroy(), p.secretLeases())
}

func (p *program) secretPut() *cobra.Command {
	var (
		put    wire.SecretPut
		labels []string
		file   string
		empty  bool
		where  sourceFlags
	)
	c := &cobra.Command{
		Use:   "put NAME [--file FILE | --source KIND …]",
		Short: "Add a version of a secret",
		Long: `Add a version of a secret, from a file or from standard input, byte for byte: a newline at the end is part of it.

The first version of a secret is current at once. A later one is not, until "vouchsafe secret activate" or --activate says so.
A name has 1 to 8 parts, like payments/db/password; exactly 3 to be reachable by Confidential Containers guests.

With --source the value stays where it is, in a KV engine of Vault, or Vault issues it at each release: docs/vault-sources.md.`,
		Example: `  vouchsafe secret put payments/db/password --file password.txt
  printf %s "$PASSWORD" | vouchsafe secret put payments/db/password --activate
  vouchsafe secret put app/password --source vault-kv --mount secret --path app --field password
  vouchsafe secret put app/account --source vault-dynamic --path database/creds/app`,
		Args: cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&file, "file", "-", "`FILE` with the value; - for standard input")
	c.Flags().BoolVar(&empty, "allow-empty", false, "write a value without a byte, which is a mistake otherwise")
	c.Flags().StringVar(&put.ContentType, "content-type", "", "media `TYPE`, told to workloads")
	c.Flags().BoolVar(&put.Activate, "activate", false, "make it the current version")
	c.Flags().StringArrayVar(&labels, "label", nil, "`NAME=VALUE` for people; replaces all labels; may be repeated")
	where.add(c)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) (err error) {
		put.Name = args[0]
		if put.Labels, err = parseLabels(labels); err != nil {
			return err
		}
		elsewhere, err := where.used(c)
		if err != nil {
			return err
		}
		if elsewhere {
			if c.Flags().Changed("file") || empty {
				return errors.New("a version has either a value or a source: leave --file out")
			}
			if put.Source, err = where.document(p); err != nil {
				return err
			}
			info, err := a.PutSecret(c.Context(), put)
			return p.printWritten(info, err)
		}
		p.promptFor(file, "the secret's value")
		if put.Value, err = readInput(p.in, file, broker.MaxSecret); err != nil {
			return err
		}
		defer clear(put.Value)
		if len(put.Value) == 0 && !empty {
			return errors.New("the value is empty, so nothing was written: say --allow-empty if it is meant to be")
		}
		info, err := a.PutSecret(c.Context(), put)
		return p.printWritten(info, err)
	})
}

// printWritten says which version a write made and whether it is current.
func (p *program) printWritten(info broker.SecretInfo, err error) error {
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(info)
	}
	v := info.Versions[len(info.Versions)-1].Version
	if v == info.Current {
		fmt.Fprintf(p.out, "%s: version %d added, and current\n", info.Name, v)
		return nil
	}
	fmt.Fprintf(p.out, "%s: version %d added; version %d stays current. To release the new one: vouchsafe secret activate %s %d\n",
		info.Name, v, info.Current, info.Name, v)
	return nil
}

func parseLabels(texts []string) (map[string]string, error) {
	if texts == nil {
		return nil, nil
	}
	labels := make(map[string]string, len(texts))
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if _, twice := labels[name]; !ok || twice {
			return nil, fmt.Errorf("--label %q is not NAME=VALUE with each name once", text)
		}
		labels[name] = value
	}
	return labels, nil
}

func (p *program) secretGenerate() *cobra.Command {
	var (
		g      wire.SecretGenerate
		labels []string
	)
	c := &cobra.Command{
		Use:     "generate NAME",
		Short:   "Add a version with a random value that nobody sees",
		Long:    "Add a version with a random value, made in the broker. Nobody sees it but the workloads that it is released to.",
		Example: "  vouchsafe secret generate payments/disk/key --encoding raw --length 32",
		Args:    cobra.ExactArgs(1),
	}
	c.Flags().IntVar(&g.Length, "length", 32, "`BYTES` of randomness; characters for alphanumeric")
	c.Flags().StringVar(&g.Encoding, "encoding", "base64", "how to write it: raw, hex, base64 or alphanumeric")
	c.Flags().BoolVar(&g.Activate, "activate", false, "make it the current version")
	c.Flags().StringArrayVar(&labels, "label", nil, "`NAME=VALUE` for people; replaces all labels; may be repeated")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) (err error) {
		g.Name = args[0]
		if g.Labels, err = parseLabels(labels); err != nil {
			return err
		}
		info, err := a.GenerateSecret(c.Context(), g)
		return p.printWritten(info, err)
	})
}

func (p *program) secretList() *cobra.Command {
	c := &cobra.Command{
		Use:     "list [PREFIX]",
		Short:   "List secrets by name",
		Example: "  vouchsafe secret list payments/",
		Args:    cobra.MaximumNArgs(1),
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		query := wire.SecretsQuery{}
		if len(args) > 0 {
			query.Prefix = args[0]
		}
		all, err := pages(func(after string) (wire.List[broker.SecretInfo], error) {
			query.After = after
			return a.Secrets(c.Context(), query)
		})
		if err != nil || p.json() {
			return p.orJSON(all, err)
		}
		return p.table("NAME CURRENT VERSIONS CREATED", func(row func(...any)) {
			for _, s := range all {
				row(s.Name, orNone(s.Current), len(s.Versions), when(s.Created))
			}
		})
	})
}

// pages reads every page of a listing.
func pages[T any](page func(after string) (wire.List[T], error)) ([]T, error) {
	all, after := []T{}, ""
	for {
		list, err := page(after)
		if err != nil {
			return nil, err
		}
		all = append(all, list.Items...)
		if list.Next == "" {
			return all, nil
		}
		after = list.Next
	}
}

func orNone(version uint64) string {
	if version == 0 {
		return "none"
	}
	return strconv.FormatUint(version, 10)
}

func (p *program) secretVersions() *cobra.Command {
	c := &cobra.Command{Use: "versions NAME", Short: "List a secret's versions", Args: cobra.ExactArgs(1)}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		info, err := a.Secret(c.Context(), args[0])
		if err != nil || p.json() {
			return p.orJSON(info, err)
		}
		return p.versionTable(info)
	})
}

func (p *program) versionTable(info broker.SecretInfo) error {
	return p.table("VERSION STATE BYTES TYPE CREATED BY", func(row func(...any)) {
		for _, v := range info.Versions {
			var size any = v.Size
			if v.Source != nil {
				size = v.Source.Kind
			}
			row(v.Version, versionState(info, v), size, orDash(v.ContentType), when(v.Created), v.CreatedBy)
		}
	})
}

func versionState(info broker.SecretInfo, v broker.SecretVersion) string {
	switch {
	case v.Destroyed != nil:
		return "destroyed"
	case v.Version == info.Current:
		return "current"
	default:
		return "kept"
	}
}

// parseVersion reads a version number.
func parseVersion(text string) (uint64, error) {
	version, err := strconv.ParseUint(text, 10, 64)
	if err != nil || version == 0 {
		return 0, fmt.Errorf("%q is not a version: it is a number from 1 up", text)
	}
	return version, nil
}

func (p *program) secretActivate() *cobra.Command {
	c := &cobra.Command{
		Use: "activate NAME VERSION", Short: "Make a version the one that is released", Args: cobra.ExactArgs(2),
		Example: "  vouchsafe secret activate payments/db/password 2",
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		version, err := parseVersion(args[1])
		if err != nil {
			return err
		}
		info, err := a.ActivateSecret(c.Context(), wire.SecretActivate{SecretName: wire.SecretName{Name: args[0]}, Version: version})
		if err != nil || p.json() {
			return p.orJSON(info, err)
		}
		fmt.Fprintf(p.out, "%s: version %d is current\n", info.Name, info.Current)
		return nil
	})
}

// orJSON prints v unless there was an error.
func (p *program) orJSON(v any, err error) error {
	if err != nil {
		return err
	}
	return p.printJSON(v)
}

func (p *program) secretDestroy() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "destroy NAME VERSION | destroy NAME --all",
		Short: "Remove the value of a version for good",
		Long: `Remove the value of a version for good; a tombstone stays. The current version is refused: activate another first, or destroy all.
Workloads that hold the value keep it: "vouchsafe secret leases" says who they are. Backups made before hold it too.`,
		Example: "  vouchsafe secret destroy payments/db/password 1",
		Args:    cobra.RangeArgs(1, 2),
	}
	c.Flags().BoolVar(&all, "all", false, "destroy every version")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		in := wire.SecretDestroy{SecretName: wire.SecretName{Name: args[0]}, All: all}
		if all == (len(args) == 2) {
			return errors.New("say which version to destroy, or --all")
		}
		if !all {
			var err error
			if in.Version, err = parseVersion(args[1]); err != nil {
				return err
			}
		}
		info, err := a.DestroySecret(c.Context(), in)
		if err != nil || p.json() {
			return p.orJSON(info, err)
		}
		what := "every version"
		if !all {
			what = "version " + args[1]
		}
		fmt.Fprintf(p.out, "%s: %s destroyed\n", info.Name, what)
		return nil
	})
}

func (p *program) secretLeases() *cobra.Command {
	c := &cobra.Command{
		Use: "leases [NAME]", Short: "List who holds which version of a secret until when", Args: cobra.MaximumNArgs(1),
		Long: "List who holds which version of a secret, or of every secret below a path, until when.",
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		all, err := leasesOf(c.Context(), a, args)
		if err != nil || p.json() {
			return p.orJSON(all, err)
		}
		return p.table("SECRET VERSION EXPIRES EVIDENCE DECISION", func(row func(...any)) {
			for _, l := range all {
				row(l.Secret, l.Version, when(l.Expires), short(l.Evidence), l.Decision)
			}
		})
	})
}
