package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/rego"
)

func (p *program) regoCommand() *cobra.Command {
	return group("admin", "rego", "Keep the Rego policies of a Confidential Containers key broker",
		p.regoPut(), p.regoList(), p.regoShow(), p.regoActivate(), p.regoRetire())
}

const regoIDs = `ID is "resource-policy", which says what may be released, or names an attestation policy, which makes the trustworthiness vectors of tokens: "default_cpu" those of
processors, "default_gpu" those of GPUs.`

// regoName returns the kind and id that an argument names.
func regoName(id string) wire.RegoName {
	if id == broker.RegoResourceID {
		return wire.RegoName{Kind: broker.RegoResource, ID: id}
	}
	return wire.RegoName{Kind: broker.RegoAttestation, ID: id}
}

func (p *program) regoPut() *cobra.Command {
	var draft bool
	c := &cobra.Command{
		Use: "put ID FILE", Short: "Add a version of a Rego policy and have it judge",
		Long:    "Add a version of a Rego policy and have it judge from now on, or with --draft not yet.\n\n" + regoIDs,
		Example: "  vouchsafe rego put resource-policy policy.rego\n  vouchsafe rego put default_cpu default_cpu.rego --draft",
		Args:    cobra.ExactArgs(2),
	}
	c.Flags().BoolVar(&draft, "draft", false, "keep it without having it judge")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		source, err := readInput(p.in, args[1], rego.MaxSource)
		if err != nil {
			return err
		}
		info, err := a.PutRego(c.Context(), wire.RegoPut{RegoName: regoName(args[0]), Source: string(source), Draft: draft})
		var e *admin.Error
		if errors.As(err, &e) && len(e.Problems) > 0 {
			return no{&policy.Problems{File: args[1], List: e.Problems}}
		}
		if err != nil || p.json() {
			return p.orJSON(info, err)
		}
		newest := info.Versions[len(info.Versions)-1]
		fmt.Fprintf(p.out, "%s: version %d, read as Rego %s; version %s judges\n", info.ID, newest.Version, newest.Syntax, orNone(info.Active))
		return nil
	})
}

func (p *program) regoList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the Rego policies", Args: cobra.NoArgs}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		all, err := a.RegoPolicies(c.Context())
		if err != nil || p.json() {
			return p.orJSON(all.Items, err)
		}
		return p.table("ID ACTIVE NEWEST DIGEST", func(row func(...any)) {
			for _, r := range all.Items {
				newest := r.Versions[len(r.Versions)-1]
				row(r.ID, orNone(r.Active), newest.Version, newest.Digest)
			}
		})
	})
}

func (p *program) regoShow() *cobra.Command {
	var version uint64
	c := &cobra.Command{Use: "show ID", Short: "Print a Rego policy", Long: "Print the source of a Rego policy.\n\n" + regoIDs, Args: cobra.ExactArgs(1)}
	c.Flags().Uint64Var(&version, "version", 0, "the `VERSION` to print; default the active one, or the newest")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		got, err := a.Rego(c.Context(), wire.RegoQuery{RegoName: regoName(args[0]), Version: version})
		if err != nil || p.json() {
			return p.orJSON(got, err)
		}
		_, err = fmt.Fprint(p.out, got.Source)
		return err
	})
}

func (p *program) regoActivate() *cobra.Command {
	c := &cobra.Command{Use: "activate ID VERSION", Short: "Have a version of a Rego policy judge", Args: cobra.ExactArgs(2)}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		version, err := parseVersion(args[1])
		if err != nil {
			return err
		}
		info, err := a.ActivateRego(c.Context(), wire.RegoActivate{RegoName: regoName(args[0]), Version: version})
		if err != nil || p.json() {
			return p.orJSON(info, err)
		}
		fmt.Fprintf(p.out, "%s: version %d judges\n", info.ID, info.Active)
		return nil
	})
}

func (p *program) regoRetire() *cobra.Command {
	c := &cobra.Command{
		Use: "retire ID", Short: "Have no version of a Rego policy judge",
		Long: "Have no version of a Rego policy judge. Release policies that require the resource policy refuse from then on; without an attestation policy\ntokens have the vectors that the broker makes itself.",
		Args: cobra.ExactArgs(1),
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		info, err := a.RetireRego(c.Context(), regoName(args[0]))
		if err != nil || p.json() {
			return p.orJSON(info, err)
		}
		fmt.Fprintf(p.out, "%s: retired\n", info.ID)
		return nil
	})
}
