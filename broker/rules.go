package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/policy/rego"
	"github.com/vouchsafe/vouchsafe/store"
)

// rules is what a namespace's requests are judged by at one moment. It is immutable.
type rules struct {
	policies   *policy.Set
	references *reference.Snapshot
	rego       *regoRules
}

// ruleBook keeps the rules of each namespace compiled. A change marks a namespace changed before it is committed, and the next request
// that finds the mark reads the rules again before it is judged: a request that starts after a change was acknowledged is never
// judged by what was there before it, and one that cannot read the rules is not judged.
type ruleBook struct {
	store  store.Store
	shared *sharedRules // nil where no other broker changes the rules

	compiler *rego.Compiler

	mu         sync.Mutex
	namespaces map[string]*namespaceRules
}

type namespaceRules struct {
	changed  atomic.Uint64 // counts changes; it only grows
	altering chan struct{} // held by the one change that is judged and made: see alter
	current  atomic.Pointer[rulesAt]

	reading  sync.Mutex                // held by the one request that reads the rules again
	compiled map[string]*policy.Policy // by digest; guarded by reading

	compiledRego map[string]*rego.Policy // by kind and digest; guarded by reading
}

// rulesAt is the rules as of a number of changes.
type rulesAt struct {
	rules
	changes  uint64
	revision revisionAt // where others change the rules, too
}

func newRuleBook(s store.Store, shared *sharedRules) *ruleBook {
	return &ruleBook{store: s, shared: shared, compiler: rego.NewCompiler(), namespaces: map[string]*namespaceRules{}}
}

func (r *ruleBook) namespace(name string) *namespaceRules {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.namespaces[name]
	if n == nil {
		n = &namespaceRules{compiled: map[string]*policy.Policy{}, altering: make(chan struct{}, 1)}
		n.changed.Store(1)
		r.namespaces[name] = n
	}
	return n
}

// change says that a namespace's rules are about to change, or have.
func (r *ruleBook) change(namespace string) { r.namespace(namespace).changed.Add(1) }

// of returns the rules of a namespace, reading them again when they have changed.
func (r *ruleBook) of(ctx context.Context, namespace string) (*rulesAt, error) {
	n := r.namespace(namespace)
	if at := n.current.Load(); at != nil && at.changes == n.changed.Load() && r.shared.trusted(at) {
		return at, nil
	}
	n.reading.Lock()
	defer n.reading.Unlock()
	changes := n.changed.Load()
	before := n.current.Load()
	if before != nil && before.changes == changes && r.shared.trusted(before) {
		return before, nil
	}
	var revision revisionAt
	if r.shared != nil {
		now, keep, err := r.shared.look(ctx, r.store, namespace, before)
		if err != nil {
			return nil, err
		}
		if keep && before.changes == changes {
			at := *before
			at.revision = now
			n.current.Store(&at)
			return &at, nil
		}
		revision = now
		if keep { // but this broker changed the rules
			revision.read, revision.settled = now.checked, false
		}
	}
	policies, err := n.readPolicies(ctx, r.store, namespace)
	if err != nil {
		return nil, err
	}
	references, err := readReferences(ctx, r.store, namespace)
	if err != nil {
		return nil, err
	}
	inRego, err := n.readRego(ctx, r.store, r.compiler, namespace)
	if err != nil {
		return nil, err
	}
	at := &rulesAt{rules: rules{policies: policies, references: references, rego: inRego}, changes: changes, revision: revision}
	n.current.Store(at)
	return at, nil
}

// active reads the policies that judge now from the store, whatever is kept.
func (r *ruleBook) active(ctx context.Context, namespace string) (*policy.Set, error) {
	n := r.namespace(namespace)
	n.reading.Lock()
	defer n.reading.Unlock()
	return n.readPolicies(ctx, r.store, namespace)
}

// readPolicies compiles the active version of each policy. A policy that does not compile, which a newer version may have written, is an
// error: leaving it out could allow what it denies.
func (n *namespaceRules) readPolicies(ctx context.Context, s store.Store, namespace string) (*policy.Set, error) {
	compiled := map[string]*policy.Policy{}
	var active []policy.Active
	prefix := policyKey(namespace, "")
	err := each(ctx, s, prefix, func(key string) error {
		record, _, err := load[policyRecord](ctx, s, key)
		if err != nil {
			return err
		}
		if record.Name != strings.TrimPrefix(key, prefix) {
			return damaged("the record %s holds the policy %q", key, record.Name)
		}
		if record.Active == 0 {
			return nil
		}
		v := record.find(record.Active)
		if v == nil {
			return damaged("policy %q has no version %d, which is said to be active", record.Name, record.Active)
		}
		p := n.compiled[v.Digest]
		if p == nil {
			source, err := s.Get(ctx, policyVersionKey(namespace, record.Name, v.Version))
			if errors.Is(err, store.ErrNotFound) { // which callers would take for the secret's absence
				err = damaged("the source of policy %q version %d is missing", record.Name, v.Version)
			}
			if err != nil {
				return err
			}
			if p, err = policy.Parse(record.Name, source.Value); err != nil {
				return fmt.Errorf("%w: policy %q version %d does not compile here: %w", store.ErrCorrupt, record.Name, v.Version, err)
			}
			if p.Digest() != v.Digest || p.Name() != record.Name {
				return damaged("policy %q version %d is not what was recorded", record.Name, v.Version)
			}
		}
		compiled[v.Digest] = p
		active = append(active, policy.Active{Policy: p, Version: v.Version})
		return nil
	})
	if err != nil {
		return nil, err
	}
	n.compiled = compiled
	return policy.NewSet(active)
}

func readReferences(ctx context.Context, s store.Store, namespace string) (*reference.Snapshot, error) {
	var sets []reference.Set
	prefix := referenceKey(namespace, "")
	err := each(ctx, s, prefix, func(key string) error {
		record, err := s.Get(ctx, key)
		if err != nil {
			return err
		}
		set, err := reference.Decode(record.Value)
		if err != nil {
			return fmt.Errorf("%w: reference values %s: %w", store.ErrCorrupt, key, err)
		}
		if set.Name != strings.TrimPrefix(key, prefix) {
			return damaged("the record %s holds the reference values %q", key, set.Name)
		}
		sets = append(sets, set)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return reference.NewSnapshot(sets)
}
