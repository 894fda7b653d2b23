package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/approval"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

// approvalKind is the member kind of the rules of approval.
const approvalKind = "ApprovalRules"

// documentID names what a document states. Of the rules of approval there is one, without a name.
type documentID struct{ kind, name string }

// statedDocuments is what documents state together.
type statedDocuments struct {
	policies map[string]*policy.Policy
	sets     map[string]reference.Stated
	rules    *approval.Rules // nil when none states them
	files    map[documentID]string
	prune    bool
}

// parseDocuments parses documents, and refuses two that state one thing.
func parseDocuments(documents []Document) (*statedDocuments, error) {
	if len(documents) == 0 {
		return nil, invalid("there are no documents to apply")
	}
	if len(documents) > MaxPage {
		return nil, invalid("%d documents; apply at most %d at once", len(documents), MaxPage)
	}
	s := &statedDocuments{policies: map[string]*policy.Policy{}, sets: map[string]reference.Stated{}, files: map[documentID]string{}}
	for _, d := range documents {
		id, err := s.parse(d)
		var problems *policy.Problems
		if errors.As(err, &problems) {
			return nil, &Error{Code: CodeInvalid, Message: err.Error(), Err: err}
		}
		if err != nil {
			return nil, asError(err)
		}
		if first, twice := s.files[id]; twice {
			return nil, invalid("%s and %s both state %s", clip(first), clip(d.Filename), id)
		}
		s.files[id] = d.Filename
	}
	return s, nil
}

func (s *statedDocuments) parse(d Document) (documentID, error) {
	kind, _, err := policy.KindOf(d.Source)
	if err != nil {
		kind = policy.DocumentKind // whose parser says where the mistake is
	}
	id := documentID{kind: kind}
	switch kind {
	case policy.DocumentKind:
		p, err := policy.Parse(d.Filename, d.Source)
		if err != nil {
			return id, err
		}
		id.name, s.policies[p.Name()] = p.Name(), p
	case reference.DocumentKind:
		set, err := reference.ParseDocument(d.Filename, d.Source)
		if err != nil {
			return id, err
		}
		id.name, s.sets[set.Name] = set.Name, set
	case approvalKind:
		if s.rules, err = approval.Parse(d.Filename, d.Source); err != nil {
			return id, err
		}
	default:
		return id, invalid("%s: %q is no kind of document that can be applied: ReleasePolicy, ReferenceSet or ApprovalRules", clip(d.Filename), clip(kind))
	}
	return id, nil
}

func (id documentID) String() string {
	switch id.kind {
	case approvalKind:
		return "the approval rules"
	case reference.DocumentKind:
		return fmt.Sprintf("the reference values %q", id.name)
	}
	return fmt.Sprintf("the policy %q", id.name)
}

// applyItem is one thing that documents state, or that none does.
type applyItem struct {
	AppliedDocument
	state  string      // what there is of it now, for the base
	counts bool        // somebody is judged otherwise by it
	senior bool        // or it is an approver's to make all the same
	judges *alteration // that makes it; nil of a draft of the rules that is not kept yet
	change Change      // to propose it
	place  applyPlace
}

func (i *applyItem) title() string { return documentID{i.Kind, i.Name}.String() }

func (i *applyItem) isNow() bool { return i.Action != ApplyUnchanged && i.Needs == "" }

// applyPlan is what applying documents does, as things are.
type applyPlan struct {
	base  string
	items []*applyItem // in the order in which they are made
}

func (p *applyPlan) item(kind, name string) *applyItem {
	return p.items[slices.IndexFunc(p.items, func(i *applyItem) bool { return i.Kind == kind && i.Name == name })]
}

func (p *applyPlan) filter(keep func(*applyItem) bool) (some []*applyItem) {
	for _, item := range p.items {
		if keep(item) {
			some = append(some, item)
		}
	}
	return some
}

func (p *applyPlan) now() []*applyItem { return p.filter((*applyItem).isNow) }
func (p *applyPlan) waiting() []*applyItem {
	return p.filter(func(i *applyItem) bool { return i.Needs != "" })
}

// waitingText names what waits, to compare two plans.
func (p *applyPlan) waitingText() string {
	var names []string
	for _, item := range p.waiting() {
		names = append(names, item.title())
	}
	return strings.Join(names, "\n")
}

// recounts reports whether anything that waits for nobody changes by what requests are judged.
func (p *applyPlan) recounts() bool {
	return slices.ContainsFunc(p.now(), func(i *applyItem) bool { return i.counts })
}

func (p *applyPlan) result() ApplyResult {
	r := ApplyResult{Base: p.base, Changes: []AppliedDocument{}}
	for _, item := range p.items {
		r.Changes = append(r.Changes, item.AppliedDocument)
		r.Made = r.Made || item.Made
	}
	return r
}

// planApply holds what documents state against what judges. It writes nothing, and says of each change whether the one who asks may make it alone.
func (b *Broker) planApply(ctx context.Context, who access.Caller, namespace string, d *desk, stated *statedDocuments, reason string) (*applyPlan, error) {
	p := &applyPlan{}
	planning := applying{b: b, who: who, namespace: namespace, desk: d, stated: stated, reason: reason, now: b.now().UTC().Truncate(time.Second), plan: p}
	for _, step := range []func(context.Context) error{planning.rules, planning.sets, planning.policies} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	changed := 0
	parts := [][]byte{[]byte(namespace + "\n")}
	for _, item := range p.items {
		parts = append(parts, []byte(fmt.Sprintf("%s %s %s\n", item.Kind, item.Name, item.state)))
		if item.Action != ApplyUnchanged {
			changed++
		}
	}
	if changed > MaxApplied {
		return nil, invalid("%d changes; apply at most %d at once", changed, MaxApplied)
	}
	p.base = digest(parts...)
	judging, err := b.judging(ctx, namespace, d)
	if err != nil {
		return nil, err
	}
	p.arrange(judging, stated)
	if approver := authorizeIn(who, namespace, access.Approver); approver != nil && authorizeIn(who, namespace, access.Author) == nil {
		for _, item := range p.now() {
			if item.counts || item.senior {
				item.Needs = asError(approver).Message
			}
		}
	}
	p.holdBack()
	return p, nil
}

// applying is the state of making a plan.
type applying struct {
	b         *Broker
	who       access.Caller
	namespace string
	desk      *desk
	stated    *statedDocuments
	reason    string
	now       time.Time
	plan      *applyPlan
	created   int // policies that are not there yet
	newSets   int // sets of reference values that are not there yet
}

// add adds an item; demand is what is asked of whoever makes it.
func (p *applying) add(item *applyItem, demand approval.Demand) {
	item.Filename = p.stated.files[documentID{item.Kind, item.Name}]
	if item.Action != ApplyUnchanged && item.counts {
		if rule := demand.Immutable(); rule != "" {
			item.Needs = fmt.Sprintf("rule %s says that this is immutable", rule)
		} else if !demand.Free() {
			item.Needs = demand.String()
		}
	}
	p.plan.items = append(p.plan.items, item)
}

// rules plans the rules of approval, which are never retired for want of a document.
func (p *applying) rules(ctx context.Context) error {
	if p.stated.rules == nil {
		return nil
	}
	d := p.desk
	item := &applyItem{AppliedDocument: AppliedDocument{Kind: approvalKind, Action: ApplyCreate}, counts: true, change: Change{Type: ChangeRulesActivate}}
	item.state = fmt.Sprintf("%d %d %s", d.Rules.Active, d.Rules.Changes, d.rules.Digest())
	if d.rules != nil {
		item.Action = ApplyChange
		if d.rules.Digest() == p.stated.rules.Digest() {
			item.Action = ApplyUnchanged
		} else {
			item.Before = string(d.rules.Source())
		}
	}
	if item.Action != ApplyUnchanged {
		item.After = string(p.stated.rules.Source())
		if v := d.Rules.last(p.stated.rules.Digest()); v != nil {
			var err error
			if item.judges, err = p.b.rulesActivation(ctx, p.namespace, d, v.Version, leave{}, person(p.who), p.reason); err != nil {
				return err
			}
		}
	}
	p.add(item, d.rules.OfChange())
	return nil
}

// named returns what documents state and, to prune, what there is besides.
func (p *applying) named(ctx context.Context, stated []string, root string) ([]string, error) {
	if p.stated.prune {
		if err := each(ctx, p.b.store, root, func(key string) error {
			stated = append(stated, strings.TrimPrefix(key, root))
			return nil
		}); err != nil {
			return nil, err
		}
	}
	slices.Sort(stated)
	return slices.Compact(stated), nil
}

func (p *applying) sets(ctx context.Context) error {
	names, err := p.named(ctx, slices.Collect(maps.Keys(p.stated.sets)), referenceKey(p.namespace, ""))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := p.set(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (p *applying) set(ctx context.Context, name string) error {
	before, at, err := p.b.referenceSet(ctx, p.namespace, name)
	if err != nil {
		return err
	}
	stated, there := p.stated.sets[name]
	put, retire := stated.Change(before, p.who.Name, p.now)
	item := &applyItem{AppliedDocument: AppliedDocument{Kind: reference.DocumentKind, Name: name, Action: ApplyChange}}
	switch {
	case len(put)+len(retire) == 0 && (at != 0 || !there):
		item.Action = ApplyUnchanged
	case !there:
		item.Action = ApplyRetire
	case at == 0:
		item.Action = ApplyCreate
	}
	if item.state, err = stateOf(before); err != nil {
		return err
	}
	if item.Action == ApplyUnchanged {
		if there {
			p.add(item, approval.Demand{})
		}
		return nil
	}
	if at == 0 {
		p.newSets++
		if err := p.b.roomForSets(ctx, p.namespace, p.newSets); err != nil {
			return err
		}
	}
	after, text, err := changed(before, at, true, func(set reference.Set) (reference.Set, error) {
		if set, err = fold(set, put, putByHand); err != nil {
			return set, err
		}
		return fold(set, retire, reference.Set.Retire)
	})
	if err != nil {
		return err
	}
	if at != 0 {
		item.Before = string(reference.Document(before))
	}
	item.After = string(reference.Document(after))
	item.counts = counting(before) != counting(after)
	item.senior = len(retire) > 0 || slices.ContainsFunc(put, func(v reference.Value) bool {
		old, _ := before.Find(v.Value)
		return v.State == reference.Active || old.State == reference.Active
	})
	event := Event{Type: EventReferencePut, Object: name, Digest: digest(text), Reason: p.reason}
	if len(put) == 0 && len(retire) > 0 {
		event.Type = EventReferenceRetire
	}
	write := store.Write{Key: referenceKey(p.namespace, name), Version: at, Value: text}
	if item.judges = (&alteration{event: event, writes: []store.Write{write}}); item.counts {
		if item.judges, err = p.b.recounting(ctx, p.namespace, p.desk, event, write); err != nil {
			return err
		}
	}
	item.change = countedChange(before, put, retire)
	p.add(item, p.desk.demand(item.judges))
	return nil
}

// stateOf is a set as a base has it: without when its values last matched.
func stateOf(set reference.Set) (string, error) {
	set.Values = slices.Clone(set.Values)
	for i := range set.Values {
		set.Values[i].LastMatched = time.Time{}
	}
	text, err := encode(set)
	return digest(text), err
}

// countedChange is what of a change of a set has to be proposed: first the values that come to count, and when there are none those that cease to. What is left is
// for the next time.
func countedChange(before reference.Set, put []reference.Value, retire []string) Change {
	c := Change{Type: ChangeReferencePut, Name: before.Name}
	for _, v := range put {
		old, _ := before.Find(v.Value)
		switch {
		case v.State == reference.Active && old.State == reference.Active && old.NotBefore.Equal(v.NotBefore) && old.Expires.Equal(v.Expires): // a note
		case v.State == reference.Active:
			c.Values = append(c.Values, v)
		case old.State == reference.Active:
			retire = append(retire, v.Value)
		}
	}
	if len(c.Values) > 0 {
		return c
	}
	c.Type = ChangeReferenceRetire
	for _, value := range retire {
		if old, _ := before.Find(value); old.State == reference.Active {
			c.Retire = append(c.Retire, value)
		}
	}
	return c
}

// sameValues reports whether two changes of one type and name put and retire the same values.
func sameValues(a, b *Change) bool {
	bare := func(values []reference.Value) (some []reference.Value) {
		for _, v := range values {
			some = append(some, reference.Value{Value: v.Value, NotBefore: v.NotBefore.UTC(), Expires: v.Expires.UTC(), Note: v.Note})
		}
		return some
	}
	return reflect.DeepEqual(bare(a.Values), bare(b.Values)) && slices.Equal(a.Retire, b.Retire)
}

func (p *applying) policies(ctx context.Context) error {
	names, err := p.named(ctx, slices.Collect(maps.Keys(p.stated.policies)), policyKey(p.namespace, ""))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := p.policy(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (p *applying) policy(ctx context.Context, name string) error {
	record, at, err := loadOrZero[policyRecord](ctx, p.b.store, policyKey(p.namespace, name))
	if err != nil {
		return err
	}
	record.Name = name
	active := record.find(record.Active)
	if record.Active != 0 && active == nil {
		return damaged("policy %q has no version %d, which is said to be active", name, record.Active)
	}
	stated := p.stated.policies[name]
	if at == 0 && stated != nil {
		p.created++
		if err := p.b.roomForPolicies(ctx, p.namespace, p.created); err != nil {
			return err
		}
	}
	item := &applyItem{AppliedDocument: AppliedDocument{Kind: policy.DocumentKind, Name: name, Action: ApplyChange}, counts: true}
	item.state = fmt.Sprintf("%d %d", record.Active, record.Changes)
	switch {
	case stated == nil && active == nil:
		return nil
	case stated == nil:
		item.Action = ApplyRetire
	case active == nil:
		item.Action = ApplyCreate
	case active.Digest == stated.Digest():
		item.Action = ApplyUnchanged
		p.add(item, approval.Demand{})
		return nil
	}
	if active != nil {
		before, err := p.b.policySource(ctx, p.namespace, name, active)
		if err != nil {
			return err
		}
		item.Before = string(before.Source())
	}
	event := Event{Type: EventPolicyRetire, Object: name, Version: record.Active, Reason: p.reason}
	item.change = Change{Type: ChangePolicyRetire, Name: name}
	var version uint64
	var writes, garbage []store.Write
	if stated != nil {
		item.After, item.change.Type = string(stated.Source()), ChangePolicyActivate
		v := record.last(stated.Digest())
		if v == nil {
			if writes, garbage, err = p.b.addPolicyVersion(ctx, p.desk, p.namespace, &record, stated, p.who, p.reason); err != nil {
				return err
			}
			v = &record.Versions[len(record.Versions)-1]
		}
		version = v.Version
		event = Event{Type: EventPolicyApply, Object: name, Version: version, Digest: v.Digest, Activated: true, Reason: p.reason}
	}
	a, err := p.b.activation(p.namespace, p.desk, &record, at, version, event, leave{}, person(p.who))
	if err != nil {
		return err
	}
	a.writes, a.garbage = append(writes, a.writes...), append(garbage, a.garbage...)
	item.judges = a
	p.add(item, p.desk.demand(a))
	return nil
}
