package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vouchsafe/vouchsafe/store"
	"golang.org/x/mod/sumdb/tlog"
)

// maxBatchBytes bounds one commit, so that a store can hold it in memory; one append that is larger goes alone.
const maxBatchBytes = 8 << 20

// commitAll is the committer: it commits batches until nobody waits.
func (l *Log) commitAll() {
	for {
		batch := l.queue.take(l.config.MaxBatch)
		if len(batch) == 0 {
			return
		}
		l.commit(batch)
	}
}

// commit ends every request it is given, in one commit when nothing is in the way.
func (l *Log) commit(waiting []*request) {
	alone := false // one request per commit, to find the one the store refuses
	for attempt := 0; len(waiting) > 0; {
		if err := l.settle(); err != nil {
			failAll(waiting, err)
			return
		}
		p := l.plan(waiting, alone)
		waiting = p.later
		if len(p.batch) == 0 {
			continue
		}
		err := l.apply(p)
		if err == nil {
			l.publish(p)
			attempt = 0
			continue
		}

		var conflict *store.ConflictError
		known := errors.As(err, &conflict)
		switch owner := p.ownerOf(conflict); {
		case known && owner != nil:
			owner.finish(outcome{err: err})
			p.batch = slices.DeleteFunc(p.batch, func(r *request) bool { return r == owner })
			waiting = append(p.batch, waiting...)
		case known && l.records.owns(conflict.Key):
			if attempt++; attempt == maxAttempts {
				err = fmt.Errorf("%w: others write to the audit log: %v", store.ErrUnavailable, err) // not the caller's conflict
			} else {
				err = l.overtaken(conflict)
			}
			recorded := false
			if err == nil {
				recorded, err = l.recorded(p)
			}
			if err != nil {
				failAll(append(p.batch, waiting...), err)
				return
			}
			if recorded {
				l.finish(p, l.tip)
			} else {
				waiting = append(p.batch, waiting...)
			}
		case errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrConflict):
			l.doubtful = true
			if len(p.batch) == 1 {
				p.batch[0].finish(outcome{err: err})
				continue
			}
			alone = true
			waiting = append(p.batch, waiting...)
		default:
			l.doubtful = true
			failAll(append(p.batch, waiting...), fmt.Errorf("%w: the audit log's commit was not confirmed: %w", store.ErrUnavailable, err))
			return
		}
	}
}

func failAll(requests []*request, err error) {
	for _, r := range requests {
		r.finish(outcome{err: err})
	}
}

func (l *Log) apply(p *plan) error {
	ctx, cancel := context.WithTimeout(l.base, l.config.CommitTimeout)
	defer cancel()
	if !l.atomic {
		return l.applySteps(ctx, p)
	}
	return l.config.Store.Apply(ctx, slices.Concat(p.entries, p.tiles, p.effects, []store.Write{p.head})...)
}

// settle finds out what became of a commit that was not confirmed, before another is built on what may be the wrong head.
func (l *Log) settle() error {
	if err := l.reclaimed(); err != nil {
		return err
	}
	if !l.doubtful {
		return nil
	}
	ctx, cancel := context.WithTimeout(l.base, l.config.CommitTimeout)
	defer cancel()
	var err error
	if l.atomic {
		err = l.reload(ctx)
	} else {
		err = l.regain(ctx)
	}
	if err != nil && !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("%w: the audit log's head is not known: %w", store.ErrUnavailable, err)
	}
	l.doubtful = err != nil
	return err
}

// reload makes the stored head the one to go on from, if it is another. Readers do not see it until a commit on top of it succeeded, since before that
// it may not be durable.
func (l *Log) reload(ctx context.Context) error {
	s, err := l.since(ctx, l.tip)
	if err == nil {
		l.tip = s
	}
	return err
}

// since returns the stored state of the log: the known one where its head is stored still, else another that has all in it that was shown.
func (l *Log) since(ctx context.Context, known *state) (*state, error) {
	record, err := l.config.Store.Get(ctx, l.records.head())
	if err != nil {
		return nil, readError(l.records.head(), err)
	}
	if record.Version == known.version && bytes.Equal(record.Value, known.signed) {
		return known, nil
	}
	s, err := l.records.load(ctx, l.config.Verifiers, l.config.Origin)
	if err != nil {
		return nil, err
	}
	if err := l.continues(ctx, s); err != nil {
		return nil, err
	}
	return s, nil
}

// continues makes sure that what was shown once is a part of the log as it is stored now.
func (l *Log) continues(ctx context.Context, s *state) error {
	shown := l.current.Load().head
	if s.head.Size < shown.Size {
		return &DamageError{l.records.head(), fmt.Sprintf("went back from %d entries to %d", shown.Size, s.head.Size), ErrRolledBack}
	}
	root, err := l.rootOf(ctx, s, int64(shown.Size))
	if err != nil {
		return err
	}
	if root != shown.Root {
		return &DamageError{l.records.head(), fmt.Sprintf("has other entries than the %d it had", shown.Size), ErrForked}
	}
	return nil
}

// rootOf returns the root of the first size entries of a stored log. It does without the cache, whose tiles belong to what was shown: this is about
// what is stored.
func (l *Log) rootOf(ctx context.Context, s *state, size int64) (tlog.Hash, error) {
	return tlog.TreeHash(size, hashReader(func(id tileID) (*tile, error) { return l.records.readChecked(ctx, s, nil, id) }))
}

// overtaken deals with a record of the log that is not at the version expected.
func (l *Log) overtaken(conflict *store.ConflictError) error {
	before := l.tip
	l.doubtful = true
	if err := l.settle(); err != nil {
		return err
	}
	if l.tip == before { // it was not another process that was faster
		l.doubtful = true
		return &DamageError{conflict.Key, fmt.Sprintf("is at version %d, which no head accounts for", conflict.Have), nil}
	}
	return nil
}

// publish makes the planned state the log's and ends the requests of the batch.
func (l *Log) publish(p *plan) {
	for id, t := range p.next.filled {
		l.tiles.put(id, t)
	}
	l.tip = p.next
	l.finish(p, p.next)
}

// finish shows a state that has the entries of a plan and ends the requests of its batch.
func (l *Log) finish(p *plan, s *state) {
	l.show(s)
	for _, r := range p.batch {
		r.finish(outcome{state: s, index: r.index})
	}
}

// show makes a state the one that readers see.
func (l *Log) show(s *state) {
	if before := l.current.Swap(s); before != nil && before != s {
		close(before.grown)
	}
}

// plan is one commit.
type plan struct {
	next  *state
	batch []*request // whose entries are in it
	later []*request // who have to wait for the next

	entries, tiles []store.Write
	effects        []store.Write // the callers'; none in a store that is not atomic, where they come after the commit
	head           store.Write
	owners         map[string]*request // of the effects
}

// ownerOf returns whose write a conflict is about, nil if nobody's.
func (p *plan) ownerOf(conflict *store.ConflictError) *request {
	if conflict == nil {
		return nil
	}
	return p.owners[conflict.Key]
}

// plan makes a commit of as many of the waiting as fit, in order, and ends those whose requests are at fault. Two that write one
// record cannot be in one commit.
func (l *Log) plan(waiting []*request, alone bool) *plan {
	tip := l.tip
	p := &plan{owners: make(map[string]*request)}
	p.next = &state{
		tree:   tip.tree.clone(),
		tail:   tip.tail,
		filled: make(map[tileID]*tile),
		grown:  make(chan struct{}),
	}
	b := builder{log: l, next: p.next, stored: len(tip.tail)}
	size := 0
	for i, r := range waiting {
		if alone && len(p.batch) == 1 {
			p.later = append(p.later, waiting[i:]...)
			break
		}
		if o := r.prepare(p.next.tree.size); o.err != nil || o.panic != nil {
			r.finish(o)
			continue
		}
		own := slices.IndexFunc(r.writes, func(w store.Write) bool { return l.records.owns(w.Key) })
		if own >= 0 {
			r.finish(outcome{err: fmt.Errorf("%w: %q is the audit log's own record", store.ErrInvalid, r.writes[own].Key)})
			continue
		}
		more := sizeOf(r.entry, r.writes)
		if len(p.batch) > 0 && size+more > maxBatchBytes {
			p.later = append(p.later, waiting[i:]...)
			break
		}
		if slices.ContainsFunc(r.writes, func(w store.Write) bool { return p.owners[w.Key] != nil }) {
			p.later = append(p.later, r)
			continue
		}
		size += more
		if l.atomic {
			for _, w := range r.writes {
				p.owners[w.Key] = r
			}
			p.effects = append(p.effects, r.writes...)
		}
		p.batch = append(p.batch, r)
		b.add(r)
	}
	if len(p.batch) == 0 {
		return p
	}
	head, err := b.finish(tip.version)
	if err != nil {
		failAll(p.batch, err)
		p.batch = nil
		return p
	}
	p.entries, p.tiles, p.head = b.entries, b.tiles, head
	return p
}
