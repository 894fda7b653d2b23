package approval

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// GlassAge is how old an approval may be that breaks glass.
	GlassAge = time.Hour
	// Skew is by how much the clocks of brokers that share a store may differ, and one may be set back.
	Skew = 2 * time.Minute
)

// Demand is what is asked of one change: the rules that cover it, all of which must be met.
type Demand struct {
	rules []Rule
	glass []Rule // what break-glass is asked of
}

// Rules returns the names of the rules that cover the change.
func (d Demand) Rules() []string {
	names := make([]string, len(d.rules))
	for i, r := range d.rules {
		names[i] = r.Name
	}
	return names
}

// Approvals returns the largest number of approvals that a rule asks for.
func (d Demand) Approvals() int {
	most := 0
	for _, r := range d.rules {
		most = max(most, r.Approvals)
	}
	return most
}

// Immutable returns the name of a rule by which what judges stays as it is, or "".
func (d Demand) Immutable() string {
	for _, r := range d.rules {
		if r.Immutable {
			return r.Name
		}
	}
	return ""
}

// Free reports whether one approver may make the change without a proposal.
func (d Demand) Free() bool { return d.Approvals() == 0 && d.Immutable() == "" }

// Rollback returns how long what judged before may be put back by one approver; 0 is never.
func (d Demand) Rollback() time.Duration {
	least := DefaultRollback
	for i, r := range d.rules {
		if i == 0 || r.Rollback < least {
			least = r.Rollback
		}
	}
	return least
}

// Expires returns how long a proposal of the change stays open.
func (d Demand) Expires() time.Duration {
	least := DefaultExpires
	for i, r := range d.rules {
		if i == 0 || r.Expires < least {
			least = r.Expires
		}
	}
	return least
}

// Case is a proposal with its approvals, at one moment.
type Case struct {
	Digest    string // of the proposal
	Created   time.Time
	Authors   []Person
	Approvals []Approval
	Now       time.Time
}

// Approval is one person's approval.
type Approval struct {
	Person
	Via    string
	Digest string // of the proposal that was approved
	Time   time.Time
}

// Verdict says whether a demand is met.
type Verdict struct {
	Met     bool
	Tallies []Tally // of each rule, in the order of the document
}

// Tally is how far one rule is met.
type Tally struct {
	Rule string `json:"rule"`
	Need int    `json:"need"`
	Have int    `json:"have"`
	// Not says of approvals that do not count for the rule why, by their position.
	Not map[int]string `json:"-"`
}

// Open returns an error that says why a proposal is not open any more at c.Now, or nil.
func (d Demand) Open(c Case) error {
	lapses := c.Created.Add(d.Expires())
	switch {
	case c.Now.Before(c.Created.Add(-Skew)):
		return fmt.Errorf("it was made at %s, which is in the future: the clock went back", c.Created.Format(time.RFC3339))
	case !c.Now.Before(lapses):
		return fmt.Errorf("it lapsed at %s", lapses.Format(time.RFC3339))
	}
	return nil
}

// Judge counts the approvals of c for each rule. It does not say whether c is open.
func (d Demand) Judge(c Case) Verdict {
	v := tally(d.rules, c, func(r Rule) (int, []Person) { return r.Approvals, c.Authors }, func(Approval) string { return "" })
	v.Met = v.Met && d.Immutable() == ""
	return v
}

// Glass counts the approvals of c for break-glass.
func (d Demand) Glass(c Case) Verdict {
	v := tally(d.glass, c, func(r Rule) (int, []Person) { return r.BreakGlass, nil }, func(a Approval) string {
		if c.Now.Sub(a.Time) > GlassAge {
			return "it is older than an hour"
		}
		return ""
	})
	for _, r := range d.glass {
		v.Met = v.Met && r.BreakGlass >= MinBreakGlass
	}
	v.Met = v.Met && len(d.glass) > 0 && d.Immutable() == ""
	return v
}

func tally(rules []Rule, c Case, needs func(Rule) (need int, not []Person), more func(Approval) string) Verdict {
	v := Verdict{Met: true}
	for _, r := range rules {
		need, not := needs(r)
		t := Tally{Rule: r.Name, Need: need, Not: map[int]string{}}
		var persons []Person
		var at []int
		for i, a := range c.Approvals {
			why := r.refuses(c, a, not)
			if why == "" {
				why = more(a)
			}
			if why != "" {
				t.Not[i] = why
				continue
			}
			persons, at = append(persons, a.Person), append(at, i)
		}
		chosen := people(persons, not)
		for i := range persons {
			if !slices.Contains(chosen, i) {
				t.Not[at[i]] = "another approval is by the same person, or by who made the token"
			}
		}
		t.Have = len(chosen)
		v.Met = v.Met && t.Have >= t.Need
		v.Tallies = append(v.Tallies, t)
	}
	return v
}

// refuses says why an approval does not count for a rule, or "".
func (r *Rule) refuses(c Case, a Approval, not []Person) string {
	switch {
	case c.Digest == "" || a.Digest != c.Digest:
		return "it is of another proposal"
	case a.Time.After(c.Now.Add(Skew)):
		return "it is from the future: the clock went back"
	case a.Time.Before(c.Created.Add(-Skew)):
		return "it is older than the proposal"
	case CheckSubject(a.Subject) != nil:
		return "its subject is not spelled in the one way that counts"
	case slices.ContainsFunc(not, func(p Person) bool { return !Distinct(p, a.Person) }):
		return "it is by an author, or by who made an author's token or has one of an author's making"
	case len(r.Approvers) > 0 && !slices.Contains(r.Approvers, a.Subject):
		return "its subject is not among the approvers"
	case len(r.Via) > 0 && !slices.Contains(r.Via, a.Via):
		return "approvals by way of " + a.Via + " do not count, only by " + strings.Join(r.Via, ", ")
	}
	return ""
}

// String says what is demanded, for messages: "2 approvals by root-keys, 1 by images".
func (d Demand) String() string {
	var parts []string
	for _, r := range d.rules {
		if r.Immutable {
			return "nothing: rule " + r.Name + " says that it is immutable"
		}
		if r.Approvals > 0 {
			parts = append(parts, fmt.Sprintf("%d by rule %s", r.Approvals, r.Name))
		}
	}
	if len(parts) == 0 {
		return "no approvals"
	}
	return "approvals: " + strings.Join(parts, ", ")
}

// String says how far it is met: "1 of 2 approvals by rule root-keys".
func (v Verdict) String() string {
	var parts []string
	for _, t := range v.Tallies {
		if t.Have < t.Need {
			parts = append(parts, fmt.Sprintf("%d of %d by rule %s", t.Have, t.Need, t.Rule))
		}
	}
	return strings.Join(parts, ", ")
}
