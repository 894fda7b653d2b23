package broker

import (
	"context"
	"errors"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy/approval"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

func referenceKey(namespace, name string) string { return store.Key(namespace, "reference", name) }

// PutReferences adds values to a set, or replaces those of them that are in it, and makes the set where there is none. Who added them, and
// when, is recorded here, whatever the values say. They count at once, which needs an approver's role besides an author's, unless they are staged. So
// does replacing one that counts by a staged one: it would count no more, and a policy may keep out what is in a set.
func (b *Broker) PutReferences(ctx context.Context, who access.Caller, namespace, name string, values []reference.Value) (reference.Set, error) {
	if err := authorizeIn(who, namespace, access.Author); err != nil {
		return reference.Set{}, err
	}
	if len(values) == 0 || len(values) > MaxPage {
		return reference.Set{}, invalid("%d reference values; put 1 to %d at once", len(values), MaxPage)
	}
	now := b.now().UTC().Truncate(time.Second)
	for i := range values {
		if values[i].State == "" {
			values[i].State = reference.Active
		}
		if values[i].State == reference.Active {
			if err := authorizeIn(who, namespace, access.Approver); err != nil {
				return reference.Set{}, err
			}
		}
		values[i].AddedBy, values[i].AddedAt, values[i].LastMatched = who.Name, now, time.Time{}
	}
	return b.changeReferences(ctx, who, namespace, name, EventReferencePut, true, func(set reference.Set) (reference.Set, error) {
		for _, v := range values {
			if old, there := set.Find(v.Value); there && old.State == reference.Active {
				if err := authorizeIn(who, namespace, access.Approver); err != nil {
					return reference.Set{}, err
				}
			}
		}
		return fold(set, values, putByHand)
	})
}

// putByHand puts a value that somebody vouches for. Where it came from stays known if a statement said so: nothing else does, and for what was retired
// whoever brings it back vouches alone.
func putByHand(set reference.Set, v reference.Value) (reference.Set, error) {
	v.Origin = nil
	if old, there := set.Find(v.Value); there && old.Origin != nil && old.State != reference.Retired {
		v.Origin, v.Provenance = old.Origin, old.Provenance
	}
	return set.Put(v)
}

// RetireReferences makes values of a set count no more; they stay in it for the record. Approvers may.
func (b *Broker) RetireReferences(ctx context.Context, who access.Caller, namespace, name string, values []string) (reference.Set, error) {
	if err := authorizeIn(who, namespace, access.Approver); err != nil {
		return reference.Set{}, err
	}
	return b.changeReferences(ctx, who, namespace, name, EventReferenceRetire, false, func(set reference.Set) (reference.Set, error) {
		return fold(set, values, reference.Set.Retire)
	})
}

// fold applies one change for each value, or none when one of them fails.
func fold[V any](set reference.Set, values []V, change func(reference.Set, V) (reference.Set, error)) (reference.Set, error) {
	for _, v := range values {
		var err error
		if set, err = change(set, v); err != nil {
			return reference.Set{}, err
		}
	}
	return set, nil
}

func (b *Broker) changeReferences(ctx context.Context, who access.Caller, namespace, name, event string, create bool, change func(reference.Set) (reference.Set, error)) (reference.Set, error) {
	before, at, err := b.referenceSet(ctx, namespace, name)
	if err != nil {
		return reference.Set{}, asError(err)
	}
	after, text, err := changed(before, at, create, change)
	if err != nil {
		return reference.Set{}, err
	}
	if at == 0 {
		if err := b.roomForSets(ctx, namespace, 1); err != nil {
			return reference.Set{}, err
		}
	}
	if counting(before) == counting(after) {
		// Nobody is judged otherwise: what is staged, or a note.
		done, err := b.changing(ctx, namespace)
		if err != nil {
			return reference.Set{}, err
		}
		defer done()
		return after, b.commit(ctx, who, namespace, Event{Type: event, Object: name, Digest: digest(text)}, store.Write{Key: referenceKey(namespace, name), Version: at, Value: text})
	}
	err = b.alter(ctx, who, namespace, leave{}, func(d *desk) (*alteration, error) {
		if before, at, err = b.referenceSet(ctx, namespace, name); err != nil {
			return nil, err
		}
		if after, text, err = changed(before, at, create, change); err != nil {
			return nil, err
		}
		return b.recounting(ctx, namespace, d, Event{Type: event, Object: name, Digest: digest(text)}, store.Write{Key: referenceKey(namespace, name), Version: at, Value: text})
	})
	if err != nil {
		return reference.Set{}, err
	}
	return after, nil
}

// recounting is the alteration that writes a set of which other values count than before.
func (b *Broker) recounting(ctx context.Context, namespace string, d *desk, event Event, w store.Write) (*alteration, error) {
	a := &alteration{event: event, writes: []store.Write{w}, touched: approval.Touched{References: []string{event.Object}}}
	if d.rules == nil {
		return a, nil // then nobody asks which policies judge by it
	}
	policies, err := b.judging(ctx, namespace, d)
	if err != nil {
		return nil, err
	}
	for _, user := range policies.Users(event.Object) {
		a.touched.Policies = append(a.touched.Policies, approval.Policy{Name: user.Policy.Name(), Secrets: user.Policy.Secrets()})
	}
	return a, nil
}

// changed applies a change to a set, and encodes what came of it.
func changed(before reference.Set, at uint64, create bool, change func(reference.Set) (reference.Set, error)) (after reference.Set, text []byte, err error) {
	if at == 0 && !create {
		return after, nil, notFound("there are no reference values named %q", before.Name)
	}
	after, err = change(before)
	var denied *Error
	switch {
	case errors.As(err, &denied):
		return reference.Set{}, nil, denied
	case errors.Is(err, reference.ErrNotFound):
		return reference.Set{}, nil, &Error{Code: CodeNotFound, Message: err.Error(), Err: err}
	case err != nil:
		return reference.Set{}, nil, &Error{Code: CodeInvalid, Message: err.Error(), Err: err}
	}
	if text, err = reference.Encode(after); err != nil {
		return reference.Set{}, nil, asError(err)
	}
	return after, text, nil
}

// counting is the digest of what of a set decides about requests: the values that are active, and from when until when. It is "" of a set of which none is.
func counting(set reference.Set) string {
	type value struct {
		Value     string    `json:"value"`
		NotBefore time.Time `json:"not_before,omitzero"`
		Expires   time.Time `json:"expires,omitzero"`
	}
	var values []value
	for _, v := range set.Values {
		if v.State == reference.Active {
			values = append(values, value{v.Value, v.NotBefore, v.Expires})
		}
	}
	if values == nil {
		return ""
	}
	text, err := encode(values)
	if err != nil { // texts and times that a set has always encode
		panic(err)
	}
	return digest(text)
}

// referenceSet reads a set, which is empty, and its record's version 0, where there is none.
func (b *Broker) referenceSet(ctx context.Context, namespace, name string) (reference.Set, uint64, error) {
	set, err := reference.New(name)
	if err != nil {
		return set, 0, invalid("%w", err)
	}
	record, err := b.store.Get(ctx, referenceKey(namespace, name))
	if errors.Is(err, store.ErrNotFound) {
		return set, 0, nil
	}
	if err != nil {
		return set, 0, err
	}
	set, err = reference.Decode(record.Value)
	return set, record.Version, err
}

// References returns one set of reference values.
func (b *Broker) References(ctx context.Context, who access.Caller, namespace, name string) (reference.Set, error) {
	if err := authorizeOn(who, namespace, access.Some(), readers...); err != nil {
		return reference.Set{}, err
	}
	set, at, err := b.referenceSet(ctx, namespace, name)
	if err != nil {
		return reference.Set{}, asError(err)
	}
	if at == 0 {
		return reference.Set{}, notFound("there are no reference values named %q", name)
	}
	return set, nil
}

// ReferenceSets returns a page of the names of the sets.
func (b *Broker) ReferenceSets(ctx context.Context, who access.Caller, namespace, after string, limit int) (names []string, more bool, err error) {
	if err := authorizeOn(who, namespace, access.Some(), readers...); err != nil {
		return nil, false, err
	}
	root := referenceKey(namespace, "")
	return b.pageOf(ctx, root, root, root, after, limit)
}
