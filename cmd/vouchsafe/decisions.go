package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

func (p *program) decisionsCommand() *cobra.Command {
	var (
		most  int
		since string
	)
	c := &cobra.Command{
		Use: "decisions [--limit N] [--since TIME]", GroupID: "admin", Short: "List the latest decisions, newest first", Args: cobra.NoArgs,
		Long: `List the latest decisions, newest first: what was asked for, from where, and what became of it. "vouchsafe explain" says why.

TIME is like 2026-01-31T12:00:00Z, or a duration back from now like 90m or 48h.`,
		Example: "  vouchsafe decisions --since 24h --limit 1000",
	}
	c.Flags().IntVarP(&most, "limit", "n", 50, "at most this `MANY`")
	c.Flags().StringVar(&since, "since", "", "none before this `TIME`")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		if most < 1 {
			return fmt.Errorf("--limit is %d, not 1 or more", most)
		}
		now := time.Now()
		oldest, err := parseSince(since, now)
		if err != nil {
			return err
		}
		list, err := latest(now, oldest, most, func(after string) ([]broker.DecisionSummary, error) {
			return pages(func(next string) (wire.List[broker.DecisionSummary], error) {
				return a.Decisions(c.Context(), wire.Page{After: max(after, next)})
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

// parseSince reads a time, or a duration before now. Nothing is the zero time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if back, err := time.ParseDuration(text); err == nil && back > 0 {
		return now.Add(-back), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("--since is %q, not a time like 2026-01-31T12:00:00Z or a duration like 24h", text)
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
		list, err := after(firstID(from))
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

// firstID sorts before every id of a decision made at a time or later: a UUIDv7 with nothing but the time. It is "" for the zero time.
func firstID(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	var id uuid.UUID
	ms := max(at.UnixMilli(), 0)
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	id[6], id[8] = 0x70, 0x80
	return id.String()
}
