package broker

import (
	"context"
	"errors"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
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
		values[i].Origin = nil // which only a statement gives
	}
	return b.changeReferences(ctx, who, namespace, name, EventReferencePut, true, func(set reference.Set) (reference.Set, error) {
		for _, v := range values {
			if old, there := set.Find(v.Value); there && old.State == reference.Active {
				if err := authorizeIn(who, namespace, access.Approver); err != nil {
					return reference.Set{}, err
				}
			}
		}
		return fold(set, values, reference.Set.Put)
	})
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
	set, err := reference.New(name)
	if err != nil {
		return reference.Set{}, invalid("%w", err)
	}
	key := referenceKey(namespace, name)
	record, err := b.store.Get(ctx, key)
	switch {
	case err == nil:
		if set, err = reference.Decode(record.Value); err != nil {
			return reference.Set{}, asError(err)
		}
	case errors.Is(err, store.ErrNotFound) && create:
	case errors.Is(err, store.ErrNotFound):
		return reference.Set{}, notFound("there are no reference values named %q", name)
	default:
		return reference.Set{}, asError(err)
	}
	set, err = change(set)
	var denied *Error
	if errors.As(err, &denied) {
		return reference.Set{}, denied
	}
	if errors.Is(err, reference.ErrNotFound) {
		return reference.Set{}, &Error{Code: CodeNotFound, Message: err.Error(), Err: err}
	}
	if err != nil {
		return reference.Set{}, &Error{Code: CodeInvalid, Message: err.Error(), Err: err}
	}
	text, err := reference.Encode(set)
	if err != nil {
		return reference.Set{}, asError(err)
	}
	done, err := b.changing(ctx, namespace)
	if err != nil {
		return reference.Set{}, err
	}
	defer done()
	err = b.commit(ctx, who, namespace, Event{Type: event, Object: name, Digest: digest(text)}, store.Write{Key: key, Version: record.Version, Value: text})
	return set, err
}

// References returns one set of reference values.
func (b *Broker) References(ctx context.Context, who access.Caller, namespace, name string) (reference.Set, error) {
	if err := authorizeIn(who, namespace, readers...); err != nil {
		return reference.Set{}, err
	}
	if _, err := reference.New(name); err != nil {
		return reference.Set{}, invalid("%w", err)
	}
	record, err := b.store.Get(ctx, referenceKey(namespace, name))
	if errors.Is(err, store.ErrNotFound) {
		return reference.Set{}, notFound("there are no reference values named %q", name)
	}
	if err != nil {
		return reference.Set{}, asError(err)
	}
	set, err := reference.Decode(record.Value)
	if err != nil {
		return reference.Set{}, asError(err)
	}
	return set, nil
}

// ReferenceSets returns a page of the names of the sets.
func (b *Broker) ReferenceSets(ctx context.Context, who access.Caller, namespace, after string, limit int) (names []string, more bool, err error) {
	if err := authorizeIn(who, namespace, readers...); err != nil {
		return nil, false, err
	}
	root := referenceKey(namespace, "")
	return b.pageOf(ctx, root, root, root, after, limit)
}
