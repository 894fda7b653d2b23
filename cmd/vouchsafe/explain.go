package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/policy"
)

func (p *program) explainCommand() *cobra.Command {
	var whole bool
	c := &cobra.Command{
		Use:     "explain DECISION",
		GroupID: "admin",
		Short:   "Say why a request was allowed or refused",
		Long: `Say why a request was allowed or refused: which policies judged it, each of their rules, its expression, and the values it saw.

DECISION is the id that the workload was told. The record is held against its digest in the audit log before it is shown.`,
		Example: "  vouchsafe explain 019ab2c4-…",
		Args:    cobra.ExactArgs(1),
	}
	c.Flags().BoolVar(&whole, "all", false, "show the rules that passed, too")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		e, err := a.Explain(c.Context(), args[0])
		if err != nil || p.json() {
			return p.orJSON(e, err)
		}
		return explain(p.out, e, whole)
	})
}

// explain prints a decision for people.
func explain(to io.Writer, e broker.Explanation, whole bool) error {
	d, out := &e.Decision, new(strings.Builder)
	fmt.Fprintf(out, "Decision %s: %s\n", d.ID, d.Outcome)
	fmt.Fprintf(out, "  %s, over %s from %s, entry %d of the audit log\n", when(d.Time), d.Protocol, orDash(d.Remote), e.Index)
	fmt.Fprintf(out, "  evidence of kind %s, %s\n", d.Kind, short(d.Evidence))
	if d.Refusal != nil {
		fmt.Fprintf(out, "  the evidence was refused: %s\n    %s\n", d.Refusal.Code, d.Refusal.Detail)
	}
	for _, s := range d.Secrets {
		fmt.Fprintf(out, "\n%s: %s\n", s.Secret, secretVerdict(s))
		for _, result := range s.Policies {
			explainPolicy(out, result, whole)
		}
		for _, m := range s.Matched {
			if m.Origin != nil {
				fmt.Fprintf(out, "  matched %s of the set %s\n    %s\n", m.Value, m.Set, strings.Join(originLines(m.Origin), "\n    "))
			}
		}
		for _, a := range e.Advice {
			if a.Secret == s.Secret {
				explainAdvice(out, a)
			}
		}
	}
	_, err := io.WriteString(to, plain(out.String()))
	return err
}

func secretVerdict(s broker.SecretDecision) string {
	switch {
	case s.Outcome == broker.OutcomeReleased && s.Lease != nil:
		return fmt.Sprintf("version %d released, held until %s", s.Version, when(s.Lease.Expires))
	case s.Outcome == broker.OutcomeNotFound:
		return "allowed, but there is no such secret or version"
	case s.Code == string(policy.CodeNoPolicy):
		return "denied, because no policy guards it"
	default:
		return string(s.Outcome)
	}
}

func explainPolicy(out io.Writer, result policy.Result, whole bool) {
	verdict := "denies"
	if result.Allow {
		verdict = "allows"
	}
	version := fmt.Sprintf("version %d", result.Version)
	if result.Version == 0 { // of a file that was tried
		version = "as drafted"
	}
	fmt.Fprintf(out, "  policy %s %s %s (%s)\n", result.Policy, version, verdict, short(result.Digest))
	passed := 0
	for _, rule := range result.Rules {
		if rule.Outcome == policy.Pass && !whole {
			passed++
			continue
		}
		fmt.Fprintf(out, "    %-6s %s: %s\n", rule.Outcome, rule.Rule, rule.That)
		if rule.Message != "" {
			fmt.Fprintf(out, "           %s\n", strings.ReplaceAll(rule.Message, "\n", "\n           "))
		}
		if rule.Reason != "" {
			fmt.Fprintf(out, "           waived: %s\n", rule.Reason)
		}
		for _, saw := range rule.Saw {
			fmt.Fprintf(out, "           saw %s = %s\n", saw.Path, sawText(saw.Value))
		}
	}
	if passed > 0 {
		fmt.Fprintf(out, "    %d rules passed; --all shows them\n", passed)
	}
}

// explainAdvice prints which reference values let a secret pass and, of what refused, which part did and what would have passed.
func explainAdvice(out io.Writer, a broker.Advice) {
	for _, m := range a.Matched {
		fmt.Fprintf(out, "  matched %s in the set %s, put by %s%s\n", m.Value.Value, m.Set, m.AddedBy, bracketed(m.Note, m.Provenance))
	}
	for _, r := range a.Refused {
		if len(r.Parts) < 2 && len(r.Compared) == 0 {
			continue // the rule says it all
		}
		fmt.Fprintf(out, "  why %s of %s refused:\n", r.Rule, r.Policy)
		for _, part := range r.Parts {
			if len(r.Parts) == 1 && len(r.Compared) > 0 {
				break // the comparison says it all
			}
			fmt.Fprintf(out, "    %-6s %s\n", part.Outcome, part.That)
			if part.Outcome == policy.Pass {
				continue
			}
			for _, saw := range part.Saw {
				fmt.Fprintf(out, "           saw %s = %s\n", saw.Path, sawText(saw.Value))
			}
		}
		for _, c := range r.Compared {
			fmt.Fprintf(out, "    %s is not let pass by the set %s: %s\n", c.Value, c.Set, c.Why)
			if c.Held != nil {
				fmt.Fprintf(out, "      put by %s%s\n", c.Held.AddedBy, bracketed(c.Held.Note, c.Held.Provenance))
			}
			if c.Nearest != nil {
				fmt.Fprintf(out, "      the nearest that counts: %s%s\n", c.Nearest.Value, bracketed(c.Nearest.Note, c.Nearest.Provenance))
			}
		}
	}
}

// bracketed prints texts of which some may be empty.
func bracketed(texts ...string) string {
	texts = slices.DeleteFunc(texts, func(s string) bool { return s == "" })
	if len(texts) == 0 {
		return ""
	}
	return " (" + strings.Join(texts, "; ") + ")"
}

// sawText writes a value as JSON; an absent claim is said to be so.
func sawText(value any) string {
	if value == nil {
		return "(absent)"
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}
