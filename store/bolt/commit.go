package bolt

import (
	"context"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/vouchsafe/vouchsafe/store"
)

// Bounds of one transaction: enough for the most callers there are to share a sync, and few enough bytes that the
// first of them does not wait long and memory stays flat.
const (
	maxGroup      = 256
	maxGroupBytes = 8 << 20
)

// request is an Apply waiting for the committer.
type request struct {
	writes []store.Write
	result error
	done   chan struct{}
}

func (r *request) size() int {
	n := 0
	for _, w := range r.writes {
		n += len(w.Key) + len(w.Value)
	}
	return n
}

// Apply implements store.Store.
func (s *Store) Apply(ctx context.Context, writes ...store.Write) error {
	if err := store.CheckWrites(writes); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{writes: writes, done: make(chan struct{})}
	select {
	case <-s.closing:
		return store.ErrClosed
	default:
	}
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return store.ErrClosed
	}
	<-r.done
	return r.result
}

// commitAll is the committer: it takes what waits, commits it and answers, until Close.
func (s *Store) commitAll() {
	group := make([]*request, 0, maxGroup)
	for {
		group = group[:0]
		select {
		case r := <-s.requests:
			group = append(group, r)
		case <-s.closing:
			return
		}
		group = s.gather(group)
		s.commit(group)
		for _, r := range group {
			close(r.done)
		}
		clear(group)
	}
}

// gather adds the requests that wait already, without waiting for more.
func (s *Store) gather(group []*request) []*request {
	for size := group[0].size(); len(group) < maxGroup && size < maxGroupBytes; {
		select {
		case r := <-s.requests:
			group = append(group, r)
			size += r.size()
		default:
			return group
		}
	}
	return group
}

// commit makes the group's writes in one transaction and sets each request's result.
func (s *Store) commit(group []*request) {
	events, err := s.transact(group)
	if err != nil {
		// Whether the transaction reached the disk is unknown, and so is every conflict that was judged by what it wrote.
		err = fmt.Errorf("%w: write to %s: %w", store.ErrUnavailable, s.path, err)
		for _, r := range group {
			r.result = err
		}
		s.watch.ReadAgain()
		return
	}
	s.watch.Publish(events)
}

func (s *Store) transact(group []*request) (events []store.Event, err error) {
	defer catchDamage(&err)()
	tx, err := s.db.Begin(true)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // its only error is that the transaction is over, after Commit
	records := tx.Bucket(recordBucket)
	for _, r := range group {
		if r.result = check(records, r.writes); r.result != nil {
			continue
		}
		for _, w := range r.writes {
			event, err := put(records, w)
			if err != nil {
				return nil, err
			}
			events = append(events, event)
		}
	}
	if len(events) == 0 {
		return nil, nil
	}
	return events, tx.Commit()
}

// check returns a conflict when any write's version is not the record's. It runs before the first put of a request, so
// that a request is all or nothing inside its transaction.
func check(records *bbolt.Bucket, writes []store.Write) error {
	for _, w := range writes {
		var have uint64
		if value := records.Get([]byte(w.Key)); value != nil {
			version, err := versionOf(w.Key, value)
			if err != nil {
				return err
			}
			have = version
		}
		if have != w.Version {
			return &store.ConflictError{Key: w.Key, Have: have, Want: w.Version}
		}
	}
	return nil
}

func put(records *bbolt.Bucket, w store.Write) (store.Event, error) {
	key := []byte(w.Key)
	if w.Value == nil {
		return store.Event{Key: w.Key}, records.Delete(key)
	}
	value := make([]byte, versionSize+len(w.Value))
	binary.BigEndian.PutUint64(value, w.Version+1)
	copy(value[versionSize:], w.Value)
	return store.Event{Key: w.Key, Version: w.Version + 1}, records.Put(key, value)
}
