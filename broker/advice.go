package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

// Advice is what can be said of one secret of a decision, by the policies as they were then, and by the reference values as they are now.
type Advice struct {
	Secret  string         `json:"secret"`
	Refused []RefusedRule  `json:"refused,omitempty"` // rules of policies that refused, where the policy's source is still kept
	Matched []MatchedValue `json:"matched,omitempty"` // the reference values that let it pass, as they are now
}

// RefusedRule is one rule that refused, part by part.
type RefusedRule struct {
	Policy  string `json:"policy"`
	Version uint64 `json:"version"`
	policy.Diagnosis
	Compared []Comparison `json:"compared,omitempty"` // with sets of reference values that do not hold what was looked for
}

// MatchedValue is a reference value that was found equal to a claim.
type MatchedValue struct {
	Set string `json:"set"`
	reference.Value
}

// Comparison says why a set of reference values did not let a value pass, by what it holds now.
type Comparison struct {
	policy.Match
	Counting int              `json:"counting"`          // values of the set that count now; any of them would have passed
	Held     *reference.Value `json:"held,omitempty"`    // the value itself, which is in the set and does not count, or did not then
	Why      string           `json:"why"`               // in words
	Nearest  *reference.Value `json:"nearest,omitempty"` // the value of the set that it differs least from, where that looks like a slip
}

// advise looks at a decision again. What cannot be looked at any more, because a policy's version or a value went, is left out.
func (b *Broker) advise(ctx context.Context, namespace string, d *Decision) ([]Advice, error) {
	rules, err := b.rules.of(ctx, namespace)
	if err != nil {
		return nil, err
	}
	sets := map[string]*reference.Set{}
	find := func(name string) (*reference.Set, error) {
		if set, known := sets[name]; known {
			return set, nil
		}
		set, version, err := b.referenceSet(ctx, namespace, name)
		if err != nil {
			return nil, err
		}
		sets[name] = nil
		if version != 0 {
			sets[name] = &set
		}
		return sets[name], nil
	}
	var all []Advice
	for i := range d.Secrets {
		s := &d.Secrets[i]
		advice := Advice{Secret: s.Secret}
		for _, m := range s.Matched {
			set, err := find(m.Set)
			if err != nil {
				return nil, err
			}
			if set == nil {
				continue
			}
			if v, ok := set.Find(m.Value); ok {
				advice.Matched = append(advice.Matched, MatchedValue{m.Set, v})
			}
		}
		request := policy.Request{
			Claims: d.Claims, Secret: s.Secret, EvidenceAge: ageAt(d.Time, d.AttestedAt), Time: d.Time, References: rules.references,
		}
		for _, result := range s.Policies {
			if result.Allow || d.Claims == nil {
				continue
			}
			refused, err := b.diagnose(ctx, namespace, result, request, find)
			if err != nil {
				return nil, err
			}
			advice.Refused = append(advice.Refused, refused...)
		}
		if len(advice.Refused)+len(advice.Matched) > 0 {
			all = append(all, advice)
		}
	}
	return all, nil
}

func (b *Broker) diagnose(ctx context.Context, namespace string, result policy.Result, request policy.Request, find func(string) (*reference.Set, error)) ([]RefusedRule, error) {
	p, err := b.policySource(ctx, namespace, result.Policy, &PolicyVersion{Version: result.Version, Digest: result.Digest})
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) { // not kept any more, or written by another version of this program
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []RefusedRule
	for _, d := range p.Diagnose(request) {
		refused := RefusedRule{Policy: result.Policy, Version: result.Version, Diagnosis: d}
		for _, part := range d.Parts {
			for _, missed := range lookedFor(part) {
				set, err := find(missed.Set)
				if err != nil {
					return nil, err
				}
				c := compare(missed, set, b.now())
				if !slices.ContainsFunc(refused.Compared, func(other Comparison) bool { return other.Match == c.Match }) {
					refused.Compared = append(refused.Compared, c)
				}
			}
		}
		out = append(out, refused)
	}
	return out, nil
}

// lookedFor returns what a part looked for in sets. Of a set none of whose values counts it does not say, since it did not come to looking: then those are what the
// part saw.
func lookedFor(part policy.Part) []policy.Match {
	var out []policy.Match
	for _, missed := range part.Missed {
		before := len(out)
		for _, saw := range part.Saw {
			if text, ok := saw.Value.(string); ok && missed.Value == "" {
				out = append(out, policy.Match{Set: missed.Set, Value: text})
			}
		}
		if len(out) == before {
			out = append(out, missed)
		}
	}
	return out
}

// compare says why a set does not let a value pass. The set may be nil.
func compare(missed policy.Match, set *reference.Set, now time.Time) Comparison {
	c := Comparison{Match: missed}
	if set == nil {
		c.Why = "there is no such set"
		return c
	}
	var names []string
	for _, v := range set.Values {
		if v.Counts(now) {
			c.Counting++
			if alike(v.Value, missed.Value) {
				names = append(names, v.Value)
			}
		}
	}
	if v, ok := set.Find(missed.Value); ok {
		c.Held = &v
		switch {
		case v.Counts(now):
			c.Why = "it is in the set now, and was not when it was asked for"
		case v.State != reference.Active:
			c.Why = "it is in the set, " + string(v.State)
		case now.Before(v.NotBefore):
			c.Why = "it is in the set, and counts from " + v.NotBefore.Format(time.RFC3339) + " on"
		default:
			c.Why = "it is in the set, and expired at " + v.Expires.Format(time.RFC3339)
		}
		return c
	}
	c.Why = fmt.Sprintf("it is not in the set, of which %d values count", c.Counting)
	if near := policy.Nearest(missed.Value, names); near != "" {
		if v, ok := set.Find(near); ok {
			c.Nearest = &v
		}
	}
	return c
}

// alike reports whether two values begin or end alike, as a digest that was mistyped or cut does with the right one. It bounds the work: other digests differ as a whole.
func alike(a, b string) bool {
	const most = 8
	n := min(most, len(a), len(b))
	return a[:n] == b[:n] || a[len(a)-n:] == b[len(b)-n:]
}

// ageAt returns how old evidence was at the time of a decision, 0 where the decision does not say when it was verified.
func ageAt(at, attested time.Time) time.Duration {
	if attested.IsZero() {
		return 0
	}
	return at.Sub(attested)
}
