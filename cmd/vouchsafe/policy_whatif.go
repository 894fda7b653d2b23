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
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// whatIf is what a draft is tried on.
type whatIf struct {
	evidence   evidenceFlags
	secret     string
	references []string
	age        time.Duration
}

// whatIfAnswer is what would become of a request.
type whatIfAnswer struct {
	Allow    bool            `json:"allow"`
	Code     policy.Code     `json:"code"`
	Secret   string          `json:"secret"`
	Time     time.Time       `json:"time"`
	Kind     attest.Kind     `json:"kind"`
	Policies []policy.Result `json:"policies"` // every one that would judge, with every rule
	Matched  []policy.Match  `json:"matched,omitempty"`
	Lease    string          `json:"lease,omitempty"` // how long the secret could be held
}

func (p *program) policyWhatIf() *cobra.Command {
	var w whatIf
	c := &cobra.Command{
		Use:   "what-if FILE EVIDENCE [--kind KIND]",
		Short: "Say what a policy would answer to evidence in a file",
		Long: `Say what the policy in FILE would answer to EVIDENCE, and why: every rule, its expression and the values it saw. Nothing is changed anywhere.

With --kind EVIDENCE is evidence, which is verified as "vouchsafe evidence verify" does, whose flags are taken here too. Without it is claims, as that
command prints them or as "vouchsafe explain --format=json" shows them. Recorded evidence is bound to no live nonce; it counts as bound here, as it does in tests, unless --report-data says what to.

Reference values are those of --reference. With --broker they are those that count at the broker now, and the policies that judge the secret there judge it here too, but for the active version of this one: as far
as they are shown to who asks, which a warning says where roles count for some paths only.

Exit codes: 0 the secret would be released; 1 it would not; 2 it cannot be judged.`,
		Example: `  vouchsafe policy what-if payments-db.yaml genoa.json --reference payments-image=6a6519d7…
  vouchsafe policy what-if --broker payments-db.yaml report.bin --kind snp --certificates vceks/`,
		Args: cobra.ExactArgs(2),
	}
	w.evidence.flags(c)
	c.Flags().StringVar(&w.secret, "secret", "", "`PATH` of the secret asked for (default an example of the policy's first pattern)")
	c.Flags().StringArrayVar(&w.references, "reference", nil, "`SET=VALUE` that counts; may be repeated")
	c.Flags().DurationVar(&w.age, "evidence-age", 0, "how old the evidence is")
	return p.consult(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		v, err := w.judge(c.Context(), p, a, args[0], args[1])
		if err != nil {
			return err
		}
		if p.json() {
			err = p.printJSON(v)
		} else {
			err = p.printVerdictOf(v)
		}
		if err == nil && !v.Allow {
			return silent{exitNo}
		}
		return err
	})
}

func (w *whatIf) judge(ctx context.Context, p *program, a *admin.Client, file, evidence string) (*whatIfAnswer, error) {
	source, err := readInput(p.in, file, policy.MaxSource+1)
	if err != nil {
		return nil, err
	}
	draft, err := policy.Parse(file, source)
	if err != nil {
		return nil, no{err}
	}
	claims, at, err := w.claims(ctx, p, evidence)
	if err != nil {
		return nil, err
	}
	secret := w.secret
	if secret == "" {
		secret = draft.Example()
	}
	if !draft.Matches(secret) {
		return nil, fmt.Errorf("%s does not guard %q, only %s: say --secret", file, secret, strings.Join(draft.Secrets(), ", "))
	}
	judging, references, err := w.rules(ctx, p, a, draft)
	if err != nil {
		return nil, err
	}
	set, err := policy.NewSet(judging)
	if err != nil {
		return nil, err
	}
	j := set.Judge(policy.Request{Claims: claims, Secret: secret, EvidenceAge: w.age, Time: at, References: references})
	v := &whatIfAnswer{Allow: j.Allow, Code: j.Code, Secret: secret, Time: at, Kind: claims.Kind, Policies: j.Results, Matched: j.Matched}
	if j.Allow {
		v.Lease = j.Terms.Lease.String()
	}
	return v, nil
}

// claims returns what the evidence proves, and the time of the judgement.
func (w *whatIf) claims(ctx context.Context, p *program, evidence string) (*attest.Claims, time.Time, error) {
	at := time.Now()
	if w.evidence.at != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, w.evidence.at); err != nil {
			return nil, at, fmt.Errorf("--at is not a time like 2025-06-01T12:00:00Z: %w", err)
		}
	}
	if w.evidence.kind == "" {
		text, err := readInput(p.in, evidence, maxEvidenceFile)
		if err != nil {
			return nil, at, err
		}
		claims, err := policy.ReadClaims(text)
		if err != nil {
			return nil, at, fmt.Errorf("%s holds no claims: %w; if it is evidence, say --kind", evidence, err)
		}
		claims.Bound = new(true)
		return claims, at, nil
	}
	claims, err := w.evidence.judge(ctx, p.in, evidence)
	if err != nil {
		return nil, at, p.printVerdict(nil, err)
	}
	if w.evidence.reportData == "" {
		claims.Bound = new(true)
	}
	return claims, at, nil
}

// rules returns the policies that are to judge, the draft among them, and the reference values that count.
func (w *whatIf) rules(ctx context.Context, p *program, a *admin.Client, draft *policy.Policy) ([]policy.Active, policy.References, error) {
	judging := []policy.Active{{Policy: draft}}
	written := map[string][]string{}
	for _, text := range w.references {
		name, value, ok := strings.Cut(text, "=")
		if !ok || policy.CheckName(name) != nil || value == "" {
			return nil, nil, fmt.Errorf("--reference is %q, not SET=VALUE", text)
		}
		written[name] = append(written[name], reference.Normalise(value))
	}
	if a == nil {
		return judging, policy.Listed(written), nil
	}
	if len(written) > 0 {
		return nil, nil, errors.New("--reference goes without --broker, whose values count")
	}
	active, err := p.activePolicies(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	names := draft.References()
	for _, other := range active {
		if other.Policy.Name() != draft.Name() {
			judging = append(judging, other)
			names = append(names, other.Policy.References()...)
		}
	}
	slices.Sort(names)
	var sets []reference.Set
	for _, name := range slices.Compact(names) {
		set, err := a.References(ctx, name)
		var answer *admin.Error
		if errors.As(err, &answer) && answer.Status == 404 { // as at the broker: the rule says that there is none
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		sets = append(sets, set)
	}
	snapshot, err := reference.NewSnapshot(sets)
	return judging, snapshot, err
}

func (p *program) printVerdictOf(v *whatIfAnswer) error {
	out := new(strings.Builder)
	if v.Allow {
		fmt.Fprintf(out, "%s would be released, to be held for %s\n", v.Secret, v.Lease)
	} else {
		fmt.Fprintf(out, "%s would be denied\n", v.Secret)
	}
	fmt.Fprintf(out, "  to evidence of kind %s, judged as of %s\n", v.Kind, when(v.Time))
	for _, result := range v.Policies {
		explainPolicy(out, result, true)
	}
	for _, m := range v.Matched {
		fmt.Fprintf(out, "  reference value matched: %s in %s\n", m.Value, m.Set)
	}
	_, err := fmt.Fprint(p.out, plain(out.String()))
	return err
}
