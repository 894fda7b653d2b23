package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy"
)

func (p *program) policyReplay() *cobra.Command {
	var (
		since, until, junit string
		version             uint64
	)
	c := &cobra.Command{
		Use:   "replay FILE | replay NAME --version N",
		Short: "Judge past requests again with a draft, and say what flips",
		Long: `Judge the requests that a broker has recorded again, with the policy in FILE, or a version that the broker keeps, in the place of the active
version of its name. The other policies and all reference values are those that count now. Nothing is changed.

It says which answers would be others, for which secrets and workloads, and by which rule; and it tells those that the draft is the cause of from those
that come from what was changed since the request.

TIME is like 2026-01-31T12:00:00Z, or back from now like 36h or 7d.

Exit codes: 0 the draft flips no answer; 1 it flips some; 2 it could not be judged.`,
		Example: `  vouchsafe policy replay payments-db.yaml --since 7d
  vouchsafe policy replay payments-db --version 4 --since 24h --format=json`,
		Args: cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&since, "since", "7d", "none made before this `TIME`")
	c.Flags().StringVar(&until, "until", "", "none made from this `TIME` on (default now)")
	c.Flags().Uint64Var(&version, "version", 0, "this `VERSION` of the policy that is named")
	c.Flags().StringVar(&junit, "junit", "", "also write a report in the XML of JUnit to this `FILE`; - for standard output alone")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) (err error) {
		now := time.Now()
		in := wire.Replay{Filename: args[0]}
		if in.Since, err = parseWhen("--since", since, now); err != nil {
			return err
		}
		if in.Until, err = parseWhen("--until", until, now); err != nil {
			return err
		}
		if in.Source, err = p.draftSource(c.Context(), a, args[0], version); err != nil {
			return err
		}
		show := p.progress("decisions judged")
		report, err := a.Replay(c.Context(), in, func(at broker.ReplayProgress) { show(at.Decisions) })
		if err != nil {
			return aboutFile{args[0], err}
		}
		if junit != "" {
			if err := writeJUnit(junit, p.out, []junitSuite{replayJUnit(args[0], report)}); err != nil {
				return err
			}
		}
		switch {
		case junit == "-":
		case p.json():
			err = p.printJSON(report)
		default:
			err = p.printReplay(report)
		}
		if err == nil && report.Changes() {
			return silent{exitNo}
		}
		return err
	})
}

// draftSource returns the policy in a file, or a version of one that the broker keeps.
func (p *program) draftSource(ctx context.Context, a *admin.Client, name string, version uint64) (string, error) {
	if version == 0 {
		source, err := readInput(p.in, name, policy.MaxSource+1)
		return string(source), err
	}
	got, err := a.Policy(ctx, wire.PolicyQuery{PolicyName: wire.PolicyName{Name: name}, Version: version})
	return got.Source, err
}

func (p *program) printReplay(r *broker.ReplayReport) error {
	out := new(strings.Builder)
	instead := "beside the policies that judge now"
	if r.Instead != 0 {
		instead = fmt.Sprintf("in the place of version %d", r.Instead)
	}
	fmt.Fprintf(out, "%s (%s) %s, on %d decisions from %s to %s\n", r.Policy, short(r.Digest), instead, r.Decisions, when(r.Since), when(r.Until))
	fmt.Fprintf(out, "%d requests judged again, %d answers are the same; %d requests were for other secrets\n", r.Judged, r.Same, r.Other)
	if r.Unreadable > 0 {
		fmt.Fprintf(out, "%d records are damaged and were passed over: \"vouchsafe audit verify\" says more\n", r.Unreadable)
	}
	printFlips(out, "would be denied, and were allowed", r.Flips, broker.CauseDraft, false)
	printFlips(out, "would be allowed, and were denied", r.Flips, broker.CauseDraft, true)
	printFlips(out, "would be denied with or without the draft, by what was changed since", r.Flips, broker.CauseSince, false)
	printFlips(out, "would be allowed with or without the draft, by what was changed since", r.Flips, broker.CauseSince, true)
	if r.MoreFlips > 0 {
		fmt.Fprintf(out, "\n%d more requests flip in more groups than are listed\n", r.MoreFlips)
	}
	if len(r.Flips) == 0 {
		fmt.Fprintf(out, "No answer flips.\n")
	}
	_, err := fmt.Fprint(p.out, plain(out.String()))
	return err
}

func printFlips(out *strings.Builder, title string, flips []broker.Flip, cause broker.FlipCause, allow bool) {
	var total uint64
	lines := new(strings.Builder)
	for _, f := range flips {
		if f.Cause != cause || f.Allow != allow {
			continue
		}
		total += f.Count
		who := string(f.Kind)
		if f.Workload != "" {
			who += " " + clip(f.Workload)
		}
		fmt.Fprintf(lines, "  %6d  %s  %s\n", f.Count, f.Secret, who)
		fmt.Fprintf(lines, "          %s, %s to %s, the last is decision %s\n", flipRules(f), when(f.First), when(f.Last), f.Decision)
	}
	if total > 0 {
		fmt.Fprintf(out, "\n%d %s:\n%s", total, title, lines)
	}
}

// flipRules says which rules flip an answer.
func flipRules(f broker.Flip) string {
	if len(f.Rules) == 0 {
		return map[bool]string{true: "no policy guards it now", false: "no policy would guard it"}[f.Allow]
	}
	names := make([]string, len(f.Rules))
	for i, rule := range f.Rules {
		names[i] = rule.Policy + "/" + rule.Rule
	}
	return map[bool]string{true: "no more by ", false: "by "}[f.Allow] + strings.Join(names, ", ")
}

// clip shortens a digest that says who asked.
func clip(text string) string {
	const most = 20
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

func replayJUnit(file string, r *broker.ReplayReport) junitSuite {
	s := junitSuite{Name: "replay of " + r.Policy}
	for _, f := range r.Flips {
		if f.Cause == broker.CauseDraft {
			s.add(f.Secret+" for "+string(f.Kind)+" "+f.Workload, file, 0, fmt.Sprintf("%d requests flip, %s; the last is decision %s", f.Count, flipRules(f), f.Decision))
		}
	}
	if r.MoreFlips > 0 {
		s.add("more", file, 0, fmt.Sprintf("%d more requests flip", r.MoreFlips))
	}
	if !r.Changes() {
		s.add("no answer flips", file, 0, "")
	}
	return s
}
