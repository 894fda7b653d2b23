package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
)

// syncFlags say what "collateral sync" fetches.
type syncFlags struct {
	collateralFlags
	evidence []string
	kind     string
	fmspc    []string
	names    []string
	wanted   string
	all      bool
	timeout  time.Duration
}

func (p *program) collateralSync() *cobra.Command {
	var f syncFlags
	c := &cobra.Command{
		Use:   "sync [--config FILE | --dir DIR] [--fetch VENDOR] [flags]",
		Short: "Fetch collateral from its vendors into a folder",
		Long: `Fetch what a broker needs from the vendors that --fetch or the configuration names: the revocation lists and the like that are always needed, what is at
hand and due to be made newer, and what the other flags ask for. Each item is verified against its vendor's signature before it is kept, and none takes the
place of a newer one.

Vendors see which chips and platforms are asked for. AMD's service answers about one request in ten seconds, so a fleet takes its time.

On a machine with a network, it fills a folder for a broker that has none: carry what that wants there (wanted.json in its folder of collateral), sync, and
carry a bundle back; see "vouchsafe collateral export".

Exit codes: 0 all is at hand; 1 something is not; 2 nothing was asked for, as when a setting is wrong.`,
		Example: `  vouchsafe collateral sync --config /etc/vouchsafe/server.yaml
  vouchsafe collateral sync --dir staging --fetch amd --for report.bin --kind snp
  vouchsafe collateral sync --dir staging --fetch intel --for quote.dat --kind tdx
  vouchsafe collateral sync --dir staging --fetch amd --wanted wanted.json
  vouchsafe collateral sync --dir staging --fetch amd --name amd/crl/Genoa`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.sync(c.Context(), &f) },
	}
	f.add(c)
	c.Flags().StringSliceVar(&f.fetch, "fetch", nil, "`VENDOR` to fetch from: "+vendorList()+"; may be repeated (default those of the configuration)")
	c.Flags().StringArrayVar(&f.evidence, "for", nil, "`FILE` with evidence, for which what it needs is fetched; may be repeated")
	c.Flags().StringVar(&f.kind, "kind", "snp", "`KIND` of the evidence: "+joinKinds(endorsedKinds()))
	c.Flags().StringSliceVar(&f.fmspc, "fmspc", nil, "`HEX` platform whose SGX and TDX levels are fetched, 6 bytes; may be repeated")
	c.Flags().StringArrayVar(&f.names, "name", nil, "`NAME` of an item; may be repeated")
	c.Flags().StringVar(&f.wanted, "wanted", "", "`FILE` that a broker wrote: wanted.json in its folder of collateral")
	c.Flags().BoolVar(&f.all, "all", false, "fetch everything at hand again, also what is not due")
	c.Flags().DurationVar(&f.timeout, "timeout", 30*time.Minute, "give up after this time")
	return c
}

// need is something that is wanted: one of several items.
type need []string

// needs lists what the flags ask for.
func (f *syncFlags) needs() ([]need, error) {
	var all []need
	for _, name := range f.names {
		all = append(all, need{name})
	}
	for _, id := range f.fmspc {
		id = strings.ToLower(id)
		all = append(all, need{"intel/tcb/sgx/" + id}, need{"intel/tcb/tdx/" + id})
	}
	if f.wanted != "" {
		names, err := readNames(f.wanted)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			all = append(all, need{name})
		}
	}
	for _, path := range f.evidence {
		some, err := f.evidenceNeeds(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, some...)
	}
	for _, n := range all {
		for _, name := range n {
			if _, err := collateral.ParseName(name); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// evidenceNeeds lists what the evidence in a file needs to be judged.
func (f *syncFlags) evidenceNeeds(path string) ([]need, error) {
	content, err := readInput(nil, path, maxEvidenceFile)
	if err != nil {
		return nil, err
	}
	return endorsementNeeds(attest.Kind(f.kind), content)
}

// synced is what became of one item.
type synced struct {
	Name    string            `json:"name"`
	Result  collateral.Result `json:"result"`
	Problem string            `json:"problem,omitempty"`
}

func (p *program) sync(ctx context.Context, f *syncFlags) error {
	s, err := f.settings()
	if err != nil {
		return err
	}
	if len(s.Collateral.Fetch) == 0 {
		return fmt.Errorf("nothing is fetched from anybody who is not named: say --fetch VENDOR (%s), or collateral.fetch in the configuration", vendorList())
	}
	needs, err := f.needs()
	if err != nil {
		return err
	}
	m, err := s.manager(toChange)
	if err != nil {
		return err
	}
	needs = slices.Concat(needs, f.due(m, needs))
	var names []string
	for _, n := range needs {
		for _, name := range n {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	results := make([]synced, 0, len(names))
	err = whileRunning(ctx, m, func(ctx context.Context) error {
		return m.Fetch(ctx, names, func(o collateral.Outcome) {
			one := synced{Name: o.Name, Result: o.Result}
			if o.Err != nil {
				one.Problem = o.Err.Error()
			}
			results = append(results, one)
			if !p.json() {
				fmt.Fprintf(p.out, "%d/%d %s: %s\n", len(results), len(names), plain(o.Name), plain(one.words()))
			}
		})
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return p.syncResult(m, needs, results)
}

// words says how it ended, for people.
func (s synced) words() string {
	switch {
	case s.Result == collateral.ResultOlder:
		return "kept, since the vendor gave an older one"
	case s.Problem == "":
		return map[collateral.Result]string{collateral.ResultOK: "fetched", collateral.ResultUnchanged: "unchanged"}[s.Result]
	}
	return string(s.Result) + ": " + s.Problem
}

// due lists what is always needed of the vendors and what is at hand and to be made newer.
func (f *syncFlags) due(m *collateral.Manager, known []need) []need {
	var all []need
	add := func(name string) {
		if !slices.ContainsFunc(slices.Concat(known, all), func(n need) bool { return slices.Contains(n, name) }) {
			all = append(all, need{name})
		}
	}
	now := time.Now()
	for _, name := range m.Always() {
		if i := m.Item(name); i == nil || f.all || !now.Before(i.Refresh()) {
			add(name)
		}
	}
	items := m.Items()
	slices.SortFunc(items, func(a, b *collateral.Item) int { return strings.Compare(a.Name.String(), b.Name.String()) })
	for _, i := range items {
		if m.Fetching(i.Name.Vendor()) && (f.all || !now.Before(i.Refresh())) {
			add(i.Name.String())
		}
	}
	return all
}

// syncResult says whether everything that was needed is at hand.
func (p *program) syncResult(m *collateral.Manager, needs []need, results []synced) error {
	missing := 0
	for _, n := range needs {
		if !slices.ContainsFunc(n, func(name string) bool { return m.Item(name) != nil }) {
			missing++
		}
	}
	failed := slices.ContainsFunc(results, func(s synced) bool { return s.Problem != "" && m.Item(s.Name) != nil })
	if p.json() {
		if err := p.printJSON(struct {
			Items   []synced `json:"items"`
			Missing int      `json:"missing"`
		}{results, missing}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(p.out, "%d items at hand, %d missing\n", len(m.Items()), missing)
	}
	if missing > 0 || failed {
		return silent{exitNo}
	}
	return nil
}
