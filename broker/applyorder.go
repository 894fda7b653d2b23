package broker

import (
	"fmt"
	"slices"

	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// Where a store makes one write after the other, and where a part of what is applied waits for approvals, there are states between the old and the new one. In none of them
// may anything be released that neither of the two releases. Policies and sets of reference values may depend on each other in any way, "in" as well as "not in", so it does
// not help that a change only adds or only removes. What does:
//
//   - a set that no policy asks which judges now changes nothing as long as it comes before the policies that ask it;
//   - a set that only policies ask which are replaced or retired changes nothing once they are;
//   - two other changes that no secret can feel both do not meet, in whatever order they are made: of each secret there is the old state, then the new one.
//
// Which secrets can feel a change: those that the patterns of a policy cover, of the old version or the new one; of a set, those of every policy that asks it, old or new.

// applyPlace is where in the order a change belongs.
type applyPlace struct {
	rank    int      // in which order
	secrets []string // the patterns of the secrets that can feel it, at its place or, of a set that comes before, once the policies that ask it judge
}

// The ranks. The rules of approval come first: they judge no request.
const (
	rankRules = iota
	rankSetBefore
	rankLive
	rankSetAfter
)

// arrange gives every change its place and brings them into order; policies that are retired come last of those that change at once.
func (p *applyPlan) arrange(judging *policy.Set, stated *statedDocuments) {
	replaced := map[string]bool{}
	for _, item := range p.items {
		if item.Kind == policy.DocumentKind && item.Action != ApplyUnchanged {
			replaced[item.Name] = true
		}
	}
	for _, item := range p.items {
		switch item.Kind {
		case approvalKind:
			item.place.rank = rankRules
		case policy.DocumentKind:
			item.place.rank = rankLive
			if item.judges != nil {
				for _, touched := range item.judges.touched.Policies {
					item.place.secrets = append(item.place.secrets, touched.Secrets...)
				}
			}
		case reference.DocumentKind:
			item.place = placeOfSet(item.Name, judging, stated, replaced)
		}
	}
	retired := func(i *applyItem) int {
		if i.Action == ApplyRetire {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(p.items, func(a, b *applyItem) int {
		if a.place.rank != b.place.rank {
			return a.place.rank - b.place.rank
		}
		return retired(a) - retired(b)
	})
}

func placeOfSet(name string, judging *policy.Set, stated *statedDocuments, replaced map[string]bool) applyPlace {
	var secrets []string
	old, stays := false, false
	for _, user := range judging.Users(name) {
		old = true
		stays = stays || !replaced[user.Policy.Name()]
		secrets = append(secrets, user.Policy.Secrets()...)
	}
	for _, next := range stated.policies {
		if slices.Contains(next.References(), name) {
			stays = true
			secrets = append(secrets, next.Secrets()...)
		}
	}
	switch {
	case !old:
		return applyPlace{rank: rankSetBefore, secrets: secrets}
	case !stays:
		return applyPlace{rank: rankSetAfter, secrets: secrets}
	}
	return applyPlace{rank: rankLive, secrets: secrets}
}

// meets reports whether there can be a secret that feels both changes.
func (a applyPlace) meets(b applyPlace) bool {
	return slices.ContainsFunc(a.secrets, func(one string) bool {
		return slices.ContainsFunc(b.secrets, func(other string) bool { return policy.PatternsMeet(one, other) })
	})
}

// holdBack has changes wait with those that wait for approvals, where one must not be made without the other.
func (p *applyPlan) holdBack() {
	for again := true; again; {
		again = false
		for _, item := range p.now() {
			if !item.counts || item.place.rank == rankRules || item.place.rank == rankSetBefore {
				continue
			}
			for _, other := range p.waiting() {
				if other.place.rank != rankRules && item.place.meets(other.place) {
					item.Needs, again = fmt.Sprintf("to wait for %s, which guards the same secrets", other.title()), true
					break
				}
			}
		}
	}
}

// inOrder refuses a plan on a store that makes one write after the other, when no order of its changes would do.
func (p *applyPlan) inOrder() error {
	var live []*applyItem
	for _, item := range p.now() {
		if !item.counts || item.place.rank != rankLive {
			continue
		}
		for _, other := range live {
			if item.place.meets(other.place) {
				return &Error{Code: CodeConflict, Message: fmt.Sprintf(
					"this store makes one change after the other, and between that of %s and that of %s secrets that both guard could be released which neither what judges now nor what shall judge would release. "+
						"Apply one of them first, in the order that is right: it is safe when what judges in between is", other.title(), item.title())}
			}
		}
		live = append(live, item)
	}
	return nil
}
