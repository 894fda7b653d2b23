package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Active is one policy that counts, in the version that counts.
type Active struct {
	Policy  *Policy
	Version uint64
}

// Set is all active policies of one namespace. It is immutable: a change builds a new one. Looking up a secret costs the
// depth of its path, however many policies there are.
type Set struct {
	items []Active // by name
	root  *node
}

// node is one level of the tree of patterns.
type node struct {
	named map[string]*node
	one   *node // "*"
	here  []int // patterns that end here
	more  []int // patterns that end here with "**"
}

// NewSet indexes items. Two policies of one name, or none at all in an item, are an error.
func NewSet(items []Active) (*Set, error) {
	s := &Set{items: slices.Clone(items), root: new(node)}
	for i, item := range s.items {
		if item.Policy == nil {
			return nil, fmt.Errorf("policy: item %d of the set has no policy", i)
		}
	}
	slices.SortFunc(s.items, func(a, b Active) int { return strings.Compare(a.Policy.name, b.Policy.name) })
	for i, item := range s.items {
		if i > 0 && s.items[i-1].Policy.name == item.Policy.name {
			return nil, fmt.Errorf("policy: %s is active twice, in versions %d and %d", item.Policy.name, s.items[i-1].Version, item.Version)
		}
		for _, pattern := range item.Policy.patterns {
			s.root.insert(pattern.segments, i)
		}
	}
	return s, nil
}

func (n *node) insert(segments []string, item int) {
	for _, segment := range segments {
		switch segment {
		case moreSegments:
			n.more = append(n.more, item)
			return
		case oneSegment:
			if n.one == nil {
				n.one = new(node)
			}
			n = n.one
		default:
			next := n.named[segment]
			if next == nil {
				if n.named == nil {
					n.named = make(map[string]*node)
				}
				next = new(node)
				n.named[segment] = next
			}
			n = next
		}
	}
	n.here = append(n.here, item)
}

// find appends the items whose patterns cover path to found. The tree branches at most twice a segment, so a path of
// MaxSegments visits at most 2^MaxSegments nodes whatever the number of policies.
func (n *node) find(path string, found []int) []int {
	found = append(found, n.more...)
	segment, rest, more := strings.Cut(path, "/")
	for _, next := range [2]*node{n.named[segment], n.one} {
		switch {
		case next == nil:
		case more:
			found = next.find(rest, found)
		default:
			found = append(found, next.here...)
		}
	}
	return found
}

// Len returns the number of policies in the set.
func (s *Set) Len() int { return len(s.items) }

// Matching returns the policies that guard the secret at path, by name. A path that [CheckPath] refuses matches none.
func (s *Set) Matching(path string) []Active {
	var out []Active
	for _, i := range s.matching(path, nil) {
		out = append(out, s.items[i])
	}
	return out
}

// matching returns the indices of the items that guard the secret at path, by name, in the place of what is in found, where there is space.
func (s *Set) matching(path string, found []int) []int {
	found = found[:0]
	if CheckPath(path) != nil {
		return found
	}
	found = s.root.find(path, found)
	slices.Sort(found)
	return slices.Compact(found)
}

// Code is the outcome of a [Judgement], stable for records and metrics.
type Code string

// The outcomes.
const (
	CodeNoPolicy Code = "no_policy"      // no policy guards the secret: refused
	CodeDenied   Code = "policy_denied"  // a policy that guards the secret refuses
	CodeStale    Code = "evidence_stale" // only the age of the evidence refuses: with fresh evidence it would be allowed
	CodeAllowed  Code = "allowed"        // every policy that guards the secret allows
)

// Judgement is what all policies of a secret say together.
type Judgement struct {
	Allow   bool
	Code    Code
	Results []Result     // of every matching policy, by name, and last of the Rego resource policy where one is active
	Terms   ReleaseTerms // the shortest of every matching policy
	Digest  string       // "sha256:" and hex, over the matching policies' names, versions and digests; of nothing when none match
	Matched []Match      // reference values that claims were found equal to
}

// digestDomain separates a judgement's digest from every other SHA-256 in the system.
const digestDomain = "vouchsafe/policies/v1\n"

// Judge asks every policy that guards req.Secret, even after one has refused: the record shows all that was wrong.
func (s *Set) Judge(req Request) Judgement {
	matching := s.matching(req.Secret, nil)
	h := sha256.New()
	h.Write([]byte(digestDomain))
	if len(matching) == 0 {
		return Judgement{Code: CodeNoPolicy, Digest: "sha256:" + hex.EncodeToString(h.Sum(nil))}
	}
	j := Judgement{Allow: true, Code: CodeAllowed, Results: make([]Result, 0, len(matching))}
	stale := true // as long as nothing but the age of the evidence has refused
	eval := newEvaluation(req)
	for _, i := range matching {
		item := s.items[i]
		result := item.Policy.evaluate(eval, nil)
		result.Version = item.Version
		if !result.Allow {
			j.Allow, j.Code = false, CodeDenied
			stale = stale && result.onlyStale()
		}
		j.Results = append(j.Results, result)
		terms := item.Policy.terms
		if len(j.Results) == 1 {
			j.Terms = terms
		}
		j.Terms.MaxEvidenceAge = min(j.Terms.MaxEvidenceAge, terms.MaxEvidenceAge)
		j.Terms.Lease = min(j.Terms.Lease, terms.Lease)
		h.Write([]byte(item.Policy.name + "\x00" + strconv.FormatUint(item.Version, 10) + "\x00" + item.Policy.digest + "\n"))
	}
	if rego := eval.rego; rego != nil {
		if !rego.Allow {
			j.Allow, j.Code, stale = false, CodeDenied, false
		}
		j.Results = append(j.Results, *rego)
		h.Write([]byte(rego.Policy + "\x00" + strconv.FormatUint(rego.Version, 10) + "\x00" + rego.Digest + "\n"))
	}
	if !j.Allow && stale {
		j.Code = CodeStale
	}
	j.Digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	j.Matched = eval.matched
	return j
}
