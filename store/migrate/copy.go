package migrate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync"

	"github.com/vouchsafe/vouchsafe/store"
)

// copyAll copies what comes after the record's After, page by page.
func (m *migration) copyAll(ctx context.Context) error {
	err := m.pages(ctx, m.source, m.record.After, func(page []store.Entry) error {
		through := page[len(page)-1].Key
		seen := &chain{m.record.Seen}
		for _, e := range page {
			seen.add(e)
		}
		var size int64
		err := m.patiently(ctx, func() (err error) {
			size, err = m.copyPage(ctx, page, m.record.After, through)
			return err
		})
		if err != nil {
			return err
		}
		m.record.After, m.record.Seen = through, seen.sum
		m.record.Records += len(page)
		m.record.Bytes += size
		if err := m.save(ctx); err != nil {
			return err
		}
		m.Progress(Progress{Copy, m.record.Records, m.record.Bytes})
		return nil
	})
	if err != nil {
		return err
	}
	return m.patiently(ctx, func() error { return m.removeAfter(ctx) })
}

// copyPage has the target hold, between two keys, a page of the source and nothing else. It returns the size of the page's values.
func (m *migration) copyPage(ctx context.Context, page []store.Entry, after, through string) (int64, error) {
	have, err := m.between(ctx, after, through)
	if err != nil {
		return 0, err
	}
	var (
		batches [][]store.Entry
		limit   = 1
	)
	if m.target.Atomic() {
		limit = batchRecords
	}
	for begin := 0; begin < len(page); begin += limit {
		batches = append(batches, page[begin:min(begin+limit, len(page))])
	}
	var (
		mu   sync.Mutex
		size int64
	)
	err = each(ctx, len(batches), func(ctx context.Context, i int) error {
		done, err := m.copyBatch(ctx, batches[i], have)
		mu.Lock()
		defer mu.Unlock()
		size += done.size
		m.report.Written += done.written
		m.report.Unchanged += done.unchanged
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, e := range page {
		delete(have, e.Key)
	}
	return size, m.remove(ctx, have)
}

// copied is what copyBatch did.
type copied struct {
	size               int64
	written, unchanged int
}

// copyBatch copies records, of which have says the versions in the target.
func (m *migration) copyBatch(ctx context.Context, batch []store.Entry, have map[string]uint64) (copied, error) {
	var (
		done   copied
		writes []store.Write
		size   int
	)
	flush := func() error {
		if len(writes) == 0 {
			return nil
		}
		err := m.target.Apply(ctx, writes...)
		if errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("%w: %w", ErrBusy, err)
		}
		if err == nil {
			done.written += len(writes)
		}
		for _, w := range writes {
			clear(w.Value)
		}
		writes, size = nil, 0
		return err
	}
	for _, e := range batch {
		value, err := m.read(ctx, e)
		if err != nil {
			return done, err
		}
		done.size += int64(len(value))
		same, err := m.same(ctx, e.Key, have[e.Key], value)
		if err != nil {
			return done, err
		}
		if same {
			done.unchanged++
			continue
		}
		writes = append(writes, store.Write{Key: e.Key, Version: have[e.Key], Value: value})
		if size += len(value); size >= batchBytes {
			if err := flush(); err != nil {
				return done, err
			}
		}
	}
	return done, flush()
}

// read returns a value of the source, which must be of the version that was listed.
func (m *migration) read(ctx context.Context, e store.Entry) ([]byte, error) {
	got, err := m.source.Get(ctx, e.Key)
	if errors.Is(err, store.ErrNotFound) || err == nil && got.Version != e.Version {
		return nil, fmt.Errorf("%w: %s", ErrChanged, e.Key)
	}
	if err != nil {
		return nil, fmt.Errorf("read from the source: %w", err)
	}
	if got.Value == nil {
		got.Value = []byte{} // nil would delete
	}
	return got.Value, nil
}

// same reports whether the target has a value already, at a version that was listed. A record of it that is damaged is not the same.
func (m *migration) same(ctx context.Context, key string, version uint64, value []byte) (bool, error) {
	if version == 0 {
		return false, nil
	}
	got, err := m.target.Get(ctx, key)
	if errors.Is(err, store.ErrCorrupt) {
		return false, nil
	}
	if errors.Is(err, store.ErrNotFound) {
		return false, fmt.Errorf("%w: %s is gone", ErrBusy, key)
	}
	if err != nil {
		return false, err
	}
	return bytes.Equal(got.Value, value), nil
}

// between lists the target after a key and up to another.
func (m *migration) between(ctx context.Context, after, through string) (map[string]uint64, error) {
	have := map[string]uint64{}
	for {
		page, err := m.target.List(ctx, "", after, pageSize)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if through != "" && e.Key > through {
				return have, nil
			}
			if e.Key != RecordKey {
				have[e.Key] = e.Version
			}
			after = e.Key
		}
		if len(page) < pageSize {
			return have, nil
		}
	}
}

// removeAfter removes from the target what comes after the last key of the source.
func (m *migration) removeAfter(ctx context.Context) error {
	have, err := m.between(ctx, m.record.After, "")
	if err != nil {
		return err
	}
	return m.remove(ctx, have)
}

func (m *migration) remove(ctx context.Context, have map[string]uint64) error {
	for key, version := range have {
		err := m.target.Apply(ctx, store.Write{Key: key, Version: version})
		if errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("%w: %w", ErrBusy, err)
		}
		if err != nil {
			return err
		}
		m.report.Removed++
	}
	return nil
}

// compareAll reads everything again from both, and says in the record what it is.
func (m *migration) compareAll(ctx context.Context) error {
	var (
		digest  = sha256.New()
		seen    = newChain()
		records int
		size    int64
		after   string
	)
	err := m.pages(ctx, m.source, "", func(page []store.Entry) error {
		through := page[len(page)-1].Key
		err := m.patiently(ctx, func() error { return m.samePage(ctx, page, after, through) })
		if err != nil {
			return err
		}
		for begin := 0; begin < len(page); begin += parallel {
			n, err := m.compare(ctx, page[begin:min(begin+parallel, len(page))], digest)
			if err != nil {
				return err
			}
			size += n
		}
		for _, e := range page {
			seen.add(e)
		}
		after = through
		records += len(page)
		m.Progress(Progress{Compare, records, size})
		return nil
	})
	if err != nil {
		return err
	}
	if rest, err := m.between(ctx, after, ""); err != nil {
		return err
	} else if len(rest) > 0 {
		return fmt.Errorf("%w: it has %d records more", ErrMismatch, len(rest))
	}
	if !seen.is(m.record.Seen) {
		return ErrChanged
	}
	m.record.Records, m.record.Bytes, m.record.Digest = records, size, hex.EncodeToString(digest.Sum(nil))
	return nil
}

// samePage holds the keys of the target against a page of the source.
func (m *migration) samePage(ctx context.Context, page []store.Entry, after, through string) error {
	have, err := m.between(ctx, after, through)
	if err != nil {
		return err
	}
	for _, e := range page {
		if _, there := have[e.Key]; !there {
			return fmt.Errorf("%w: %s is missing", ErrMismatch, e.Key)
		}
		delete(have, e.Key)
	}
	for key := range have {
		return fmt.Errorf("%w: it has a record %s", ErrMismatch, key)
	}
	return nil
}

// compare compares records and puts those of the target in the digest. It returns the size of their values.
func (m *migration) compare(ctx context.Context, page []store.Entry, digest hash.Hash) (int64, error) {
	values := make([][]byte, len(page))
	err := each(ctx, len(page), func(ctx context.Context, i int) error {
		return m.patiently(ctx, func() error {
			want, err := m.read(ctx, page[i])
			if err != nil {
				return err
			}
			defer clear(want)
			got, err := m.target.Get(ctx, page[i].Key)
			if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
				return fmt.Errorf("%w: %w", ErrMismatch, err)
			}
			if err != nil {
				return err
			}
			if !bytes.Equal(got.Value, want) {
				return fmt.Errorf("%w: %s differs", ErrMismatch, page[i].Key)
			}
			values[i] = got.Value
			return nil
		})
	})
	if err != nil {
		return 0, err
	}
	var size int64
	for i, value := range values {
		addRecord(digest, page[i].Key, value)
		size += int64(len(value))
		clear(value)
	}
	return size, nil
}

// each calls do for 0 to n-1, several at a time, and returns the first error, after which no more are begun.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(n, parallel) {
		workers.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}
