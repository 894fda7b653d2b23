package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

func (p *program) referenceActivate() *cobra.Command {
	c := &cobra.Command{
		Use: "activate SET VALUE…", Short: "Have staged values count", Args: cobra.MinimumNArgs(2),
		Example: "  vouchsafe reference activate payments-image 6a6519d757e6…",
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		set, err := a.ActivateReferences(c.Context(), wire.ReferencesActivate{ReferenceName: wire.ReferenceName{Name: args[0]}, Values: args[1:]})
		if err != nil || p.json() {
			return p.orJSON(set, toPropose(err, args[0], ""))
		}
		fmt.Fprintf(p.out, "%s: %d activated, %d values count\n", set.Name, len(args)-1, countActive(set))
		return nil
	})
}

func countActive(set reference.Set) int {
	n := 0
	for _, v := range set.Values {
		if v.State == reference.Active {
			n++
		}
	}
	return n
}

// shown is what "reference show" prints as JSON.
type shown struct {
	reference.Set
	Uses *broker.ReferenceUses `json:"uses,omitempty"`
}

func (p *program) referenceShow() *cobra.Command {
	var uses bool
	c := &cobra.Command{
		Use: "show SET", Short: "Show where the values of a set come from, and who uses it", Args: cobra.ExactArgs(1),
		Example: "  vouchsafe reference show payments-image --uses",
	}
	c.Flags().BoolVar(&uses, "uses", false, "say which active policies name the set, and when evidence last matched its values")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) (err error) {
		var s shown
		if s.Set, err = a.References(c.Context(), args[0]); err != nil {
			return err
		}
		if uses {
			u, err := a.ReferenceUses(c.Context(), args[0])
			if err != nil {
				return err
			}
			s.Uses = &u
		}
		if p.json() {
			return p.printJSON(s)
		}
		_, err = fmt.Fprint(p.out, plain(s.text()))
		return err
	})
}

// text is a set for people.
func (s *shown) text() string {
	out := new(strings.Builder)
	for _, v := range s.Values {
		fmt.Fprintf(out, "%s %s\n", v.Value, v.State)
		if !v.NotBefore.IsZero() || !v.Expires.IsZero() {
			fmt.Fprintf(out, "  counts from %s until %s\n", orAlways(v.NotBefore), orAlways(v.Expires))
		}
		fmt.Fprintf(out, "  put by %s at %s%s\n", v.AddedBy, when(v.AddedAt), bracketed(v.Note))
		if v.Origin != nil {
			for _, line := range originLines(v.Origin) {
				fmt.Fprintf(out, "  %s\n", line)
			}
		} else if v.Provenance != "" {
			fmt.Fprintf(out, "  taken from %s, which was not verified\n", v.Provenance)
		}
		if s.Uses == nil {
			continue
		}
		if i := slices.IndexFunc(s.Uses.Values, func(u broker.ReferenceUse) bool { return u.Value == v.Value }); i >= 0 {
			u := s.Uses.Values[i]
			fmt.Fprintf(out, "  last matched in the hour from %s, for %s (decision %s)\n", when(u.Last), u.Secret, u.Decision)
		} else {
			fmt.Fprintln(out, "  never matched, as far as is known")
		}
	}
	if s.Uses != nil {
		fmt.Fprintln(out)
		for _, u := range s.Uses.Policies {
			fmt.Fprintf(out, "used by policy %s version %d, which guards %s\n", u.Policy, u.Version, strings.Join(u.Secrets, ", "))
		}
		if len(s.Uses.Policies) == 0 {
			fmt.Fprintln(out, "no active policy uses this set")
		}
	}
	return out.String()
}

func orAlways(at time.Time) string {
	if at.IsZero() {
		return "always"
	}
	return when(at)
}

// originLines says where a value comes from, for people.
func originLines(o *policy.Origin) []string {
	var lines []string
	if o.Image != "" {
		lines = append(lines, "the digest of the image "+o.Image)
	}
	if o.Repository != "" {
		line := fmt.Sprintf("built from %s at commit %s (%s)", o.Repository, o.Commit, o.Ref)
		if o.Workflow != "" {
			line += " by " + o.Workflow
		}
		lines = append(lines, line, "builder "+o.Builder)
	}
	return append(lines, fmt.Sprintf("stated in %s, signed by the key %s", o.Statement, o.Key))
}

// maxReleasePages bounds the search for what retired values released: a hundred thousand decisions.
const maxReleasePages = 20

// retired is what "reference retire" prints as JSON.
type retired struct {
	reference.Set
	Released []broker.ReferenceRelease `json:"released"` // what the values let pass, and is still held
	Cut      bool                      `json:"cut"`      // there were more decisions than were searched
}

// released searches for what values let pass and is still held.
func released(ctx context.Context, a *admin.Client, set string, values []string) (found []broker.ReferenceRelease, cut bool, err error) {
	found = []broker.ReferenceRelease{}
	in := wire.ReferenceReleasesQuery{ReferenceName: wire.ReferenceName{Name: set}, Values: values}
	for range maxReleasePages {
		page, err := a.ReferenceReleases(ctx, in)
		if err != nil {
			return nil, false, err
		}
		found = append(found, page.Items...)
		if in.After = page.Next; in.After == "" {
			return found, false, nil
		}
	}
	return found, true, nil
}

// printReleased prints what retired values let pass.
func (p *program) printReleased(r retired) {
	for _, held := range r.Released {
		fmt.Fprintf(p.out, "still held: %s version %d until %s, by %s (decision %s, lease %s)\n", held.Secret, held.Version, when(held.Expires), orDash(held.Remote),
			held.Decision, held.Lease)
	}
	if r.Cut {
		fmt.Fprintln(p.out, "there were more decisions than were searched: others may be held still; see \"vouchsafe lease list\"")
	}
}
