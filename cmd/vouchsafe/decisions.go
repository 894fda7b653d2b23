package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

func (p *program) decisionsCommand() *cobra.Command {
	var (
		most         int
		since, until string
		query        wire.DecisionsQuery
		kind, state  string
	)
	c := &cobra.Command{
		Use: "decisions [--since TIME] [--outcome OUTCOME] …", GroupID: "admin", Short: "List the latest decisions, newest first", Args: cobra.NoArgs,
		Long: `List the latest decisions, newest first: what was asked for, from where, and what became of it. "vouchsafe explain" says why.

With filters, only those that agree with all of them. What is asked of secrets must hold of one of the decision's.

TIME is like 2026-01-31T12:00:00Z, or back from now like 90m or 7d.`,
		Example: `  vouchsafe decisions --since 24h --limit 1000
  vouchsafe decisions --since 7d --outcome denied --secret payments --policy payments-db`,
	}
	c.Flags().IntVarP(&most, "limit", "n", 50, "at most this `MANY`")
	c.Flags().StringVar(&since, "since", "", "none before this `TIME`")
	c.Flags().StringVar(&until, "until", "", "none from this `TIME` on")
	c.Flags().StringVar(&state, "outcome", "", "`OUTCOME` of the decision or of a secret: released, attested, denied, not_found, refused, failed")
	c.Flags().StringVar(&kind, "kind", "", "`KIND` of the evidence")
	c.Flags().StringVar(&query.Secret, "secret", "", "`PATH` of a secret asked for, or above it")
	c.Flags().StringVar(&query.Policy, "policy", "", "`NAME` of a policy that judged")
	c.Flags().StringVar(&query.Code, "code", "", "`CODE` of a refusal, or of a secret")
	c.Flags().StringVar(&query.Remote, "from", "", "`ADDRESS` that it came from")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		if most < 1 {
			return fmt.Errorf("--limit is %d, not 1 or more", most)
		}
		now := time.Now()
		oldest, err := parseWhen("--since", since, now)
		if err != nil {
			return err
		}
		if query.Until, err = parseWhen("--until", until, now); err != nil {
			return err
		}
		query.Kind, query.Outcome = attest.Kind(kind), broker.Outcome(state)
		if outcomes := broker.Outcomes(); state != "" && !slices.Contains(outcomes, query.Outcome) {
			return fmt.Errorf("--outcome is %q, not one of %v", state, outcomes)
		}
		list, err := latest(now, oldest, most, func(after string) ([]broker.DecisionSummary, error) {
			return pages(func(next string) (wire.List[broker.DecisionSummary], error) {
				query.After = max(after, next)
				return a.Decisions(c.Context(), query)
			})
		})
		if err != nil || p.json() {
			return p.orJSON(list, err)
		}
		return p.table("TIME DECISION OUTCOME KIND FROM SECRETS CODE", func(row func(...any)) {
			for _, d := range list {
				row(when(d.Time), d.ID, d.Outcome, d.Kind, orDash(d.Remote), orDash(strings.Join(d.Secrets, ",")), orDash(d.Code))
			}
		})
	})
}

// errWhen says how times are written.
var errWhen = errors.New("not a time like 2026-01-31T12:00:00Z, or back from now like 90m or 7d")

// parseWhen reads a flag's time, or a duration before now, in which d is for days. Nothing is the zero time.
func parseWhen(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	const day = 24 * time.Hour
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n < 100*366 {
			return now.Add(-time.Duration(n) * day), nil
		}
	}
	if back, err := time.ParseDuration(text); err == nil && back > 0 {
		return now.Add(-back), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%s is %q, %w", flag, text, errWhen)
	}
	return at, nil
}

// latest returns the last decisions that are not before a time, newest first. A broker lists them oldest first, from an id on, and ids begin with their
// time: so it asks for the last second, and for longer and longer, until there are enough. What it reads too much is bounded by the factor.
func latest(now, oldest time.Time, most int, after func(id string) ([]broker.DecisionSummary, error)) ([]broker.DecisionSummary, error) {
	const factor = 4
	for window := time.Second; ; window *= factor {
		from := now.Add(-window)
		last := window > 20*365*24*time.Hour || !from.After(oldest)
		if last {
			from = oldest
		}
		list, err := after(broker.FirstDecision(from))
		if err != nil {
			return nil, err
		}
		if len(list) < most && !last {
			continue
		}
		list = list[max(0, len(list)-most):]
		slices.Reverse(list)
		return list, nil
	}
}
