package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy"
)

// brokerView is what a policy is checked against at a broker. A nil one is of no broker.
type brokerView struct {
	references []string
	secrets    []string
	policies   []policy.Active // that judge there
}

// look asks a broker; without one it returns nil.
func (p *program) look(ctx context.Context, a *admin.Client) (*brokerView, error) {
	if a == nil {
		return nil, nil
	}
	var v brokerView
	var err error
	if v.references, err = pages(func(after string) (wire.List[string], error) {
		return a.ReferenceSets(ctx, wire.Page{After: after})
	}); err != nil {
		return nil, err
	}
	secrets, err := pages(func(after string) (wire.List[broker.SecretInfo], error) {
		return a.Secrets(ctx, wire.SecretsQuery{Page: wire.Page{After: after}})
	})
	if err != nil {
		return nil, err
	}
	for _, s := range secrets {
		v.secrets = append(v.secrets, s.Name)
	}
	v.policies, err = p.activePolicies(ctx, a)
	return &v, err
}

// activePolicies returns the policies that judge at a broker, as far as whoever asks may see them.
func (p *program) activePolicies(ctx context.Context, a *admin.Client) ([]policy.Active, error) {
	who, err := a.WhoAmI(ctx)
	if err != nil {
		return nil, err
	}
	if len(who.Scope) > 0 {
		text := "your roles count at and below " + strings.Join(who.Scope, ", ") + ": policies that guard more are not shown to you, and those must allow too"
		if err := p.warn(text); err != nil {
			return nil, err
		}
	}
	all, err := pages(func(after string) (wire.List[broker.PolicyInfo], error) {
		return a.Policies(ctx, wire.Page{After: after})
	})
	if err != nil {
		return nil, err
	}
	var active []policy.Active
	for _, info := range all {
		if info.Active == 0 {
			continue
		}
		got, err := a.Policy(ctx, wire.PolicyQuery{PolicyName: wire.PolicyName{Name: info.Name}, Version: info.Active})
		if err != nil {
			return nil, err
		}
		parsed, err := policy.Parse(info.Name, []byte(got.Source))
		if err != nil {
			return nil, fmt.Errorf("the broker's policy %s does not compile here; is this program older than the broker? %w", info.Name, err)
		}
		active = append(active, policy.Active{Policy: parsed, Version: info.Active})
	}
	return active, nil
}

func (v *brokerView) options() []policy.Option {
	if v == nil {
		return nil
	}
	return []policy.Option{policy.WithReferences(v.references)}
}

// guarded is what a policy guards at a broker.
type guarded struct {
	Secrets []string `json:"secrets"` // that are there and that it covers
	With    []string `json:"with"`    // the other policies that judge those now: all must allow
	Open    []string `json:"open"`    // those of the secrets that no policy guards now: nobody gets them
}

func (v *brokerView) guards(p *policy.Policy) *guarded {
	if v == nil {
		return nil
	}
	g := &guarded{Secrets: []string{}, With: []string{}, Open: []string{}}
	for _, name := range v.secrets {
		if !p.Matches(name) {
			continue
		}
		g.Secrets = append(g.Secrets, name)
		open := true
		for _, other := range v.policies {
			if !other.Policy.Matches(name) {
				continue
			}
			open = false
			if other.Policy.Name() != p.Name() && !slices.Contains(g.With, other.Policy.Name()) {
				g.With = append(g.With, other.Policy.Name())
			}
		}
		if open {
			g.Open = append(g.Open, name)
		}
	}
	return g
}

func (g *guarded) print(out io.Writer) {
	if g == nil {
		return
	}
	if len(g.Secrets) == 0 {
		fmt.Fprintln(out, "  it guards no secret that is there")
		return
	}
	fmt.Fprintf(out, "  it guards %s\n", some(g.Secrets))
	if len(g.With) > 0 {
		fmt.Fprintf(out, "  together with %s: all must allow\n", some(g.With))
	}
	if len(g.Open) > 0 {
		fmt.Fprintf(out, "  of which no policy guards now: %s\n", some(g.Open))
	}
}

// some lists names, and says how many there are where they are too many.
func some(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
