package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

func (p *program) referenceCommand() *cobra.Command {
	return group("admin", "reference", "Keep the sets of values that policies compare claims with",
		p.referencePut(), p.referenceImport(), p.referenceActivate(), p.referenceList(), p.referenceShow(), p.referenceRetire())
}

func (p *program) referencePut() *cobra.Command {
	var (
		value            wire.ReferencePut
		notBefore, until string
		staged           bool
	)
	c := &cobra.Command{
		Use:   "put SET VALUE…",
		Short: "Add values to a set, or change those that are in it",
		Long: `Add values to a set of reference values, or change those that are in it; the set is made when there is none. They count at once, or
from --not-before, until --expires; with --staged when they are activated.`,
		Example: "  vouchsafe reference put payments-image 6a6519d757e6… --note 'release 2.1' --expires 2027-01-01T00:00:00Z",
		Args:    cobra.MinimumNArgs(2),
	}
	c.Flags().StringVar(&value.Note, "note", "", "`TEXT` for people")
	c.Flags().StringVar(&value.Provenance, "provenance", "", "`DIGEST` or URI of the statement it was taken from")
	c.Flags().StringVar(&notBefore, "not-before", "", "counts from this `TIME` on, RFC 3339")
	c.Flags().StringVar(&until, "expires", "", "counts until this `TIME`, RFC 3339")
	c.Flags().BoolVar(&staged, "staged", false, "keep it without having it count")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) (err error) {
		if value.NotBefore, err = parseTime("--not-before", notBefore); err != nil {
			return err
		}
		if value.Expires, err = parseTime("--expires", until); err != nil {
			return err
		}
		if staged {
			value.State = reference.Staged
		}
		in := wire.ReferencesPut{ReferenceName: wire.ReferenceName{Name: args[0]}}
		for _, text := range args[1:] {
			value.Value = text
			in.Values = append(in.Values, value)
		}
		set, err := a.PutReferences(c.Context(), in)
		if err != nil || p.json() {
			return p.orJSON(set, toPropose(err, args[0], ""))
		}
		fmt.Fprintf(p.out, "%s: %d put, %d values in all\n", set.Name, len(in.Values), len(set.Values))
		return nil
	})
}

// parseTime reads a flag's time; none is the zero time.
func parseTime(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%s is not a time like 2027-01-01T00:00:00Z", flag)
	}
	return t, nil
}

func (p *program) referenceList() *cobra.Command {
	c := &cobra.Command{
		Use: "list [SET]", Short: "List the sets, or the values of one", Args: cobra.MaximumNArgs(1),
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		if len(args) == 0 {
			names, err := pages(func(after string) (wire.List[string], error) {
				return a.ReferenceSets(c.Context(), wire.Page{After: after})
			})
			if err != nil || p.json() {
				return p.orJSON(names, err)
			}
			if len(names) > 0 {
				fmt.Fprintln(p.out, strings.Join(names, "\n"))
			}
			return nil
		}
		set, err := a.References(c.Context(), args[0])
		if err != nil || p.json() {
			return p.orJSON(set, err)
		}
		return p.table("VALUE STATE EXPIRES ADDED BY NOTE", func(row func(...any)) {
			for _, v := range set.Values {
				row(v.Value, v.State, when(v.Expires), when(v.AddedAt), v.AddedBy, orDash(v.Note))
			}
		})
	})
}

func (p *program) referenceRetire() *cobra.Command {
	c := &cobra.Command{
		Use: "retire SET VALUE…", Short: "Make values count no more; they stay for the record", Args: cobra.MinimumNArgs(2),
		Long: `Make values of a set count no more, and list the secrets that they let pass and that are still held. They stay in the set for the record.`,
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		set, err := a.RetireReferences(c.Context(), wire.ReferencesRetire{ReferenceName: wire.ReferenceName{Name: args[0]}, Values: args[1:]})
		if err != nil {
			return toPropose(err, args[0], " --retire")
		}
		r := retired{Set: set}
		if r.Released, r.Cut, err = released(c.Context(), a, args[0], args[1:]); err != nil {
			return fmt.Errorf("the values are retired; what they released cannot be said: %w", err)
		}
		if p.json() {
			return p.printJSON(r)
		}
		counting := countActive(set)
		fmt.Fprintf(p.out, "%s: %d retired, %d values count\n", set.Name, len(args)-1, counting)
		p.printReleased(r)
		if counting == 0 {
			return p.warn("no value of " + set.Name + " counts: policies that need one deny everything")
		}
		return nil
	})
}

// warn prints a warning where errors go.
func (p *program) warn(text string) error {
	_, err := fmt.Fprintf(p.errOut, "vouchsafe: warning: %s\n", text)
	return err
}
