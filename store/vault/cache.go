package vault

import (
	"bytes"
	"hash/maphash"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// Limits of the cache: 16 MiB of values in all, and none that is large.
const (
	cacheShards   = 64
	shardEntries  = 256
	shardBytes    = 256 << 10
	maxCachedSize = 64 << 10
)

// cache keeps what was read or written for a bounded time. It knows only records that are there: that one is not is asked each time. One whose bound is 0
// keeps nothing.
type cache struct {
	bound  time.Duration
	now    func() time.Time
	seed   maphash.Seed
	shards [cacheShards]shard
}

// shard has a part of the keys. What was read while a key of the shard was being written may be from before, and is not kept.
type shard struct {
	mu      sync.Mutex
	writing int    // writes under way
	changes uint64 // writes begun or ended
	size    int    // bytes of values
	entries map[string]cached
}

type cached struct {
	record store.Record
	at     time.Time // before the request that it comes from was sent
}

// reading says when a read began, and what had happened until then.
type reading struct {
	at      time.Time
	changes uint64
}

func newCache(bound time.Duration, now func() time.Time) *cache {
	c := &cache{bound: bound, now: now, seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].entries = make(map[string]cached)
	}
	return c
}

func (c *cache) shard(key string) *shard { return &c.shards[maphash.String(c.seed, key)%cacheShards] }

// get returns a copy of the record if it was kept within the bound, and else what begins a read.
func (c *cache) get(key string) (store.Record, reading, bool) {
	if c.bound == 0 {
		return store.Record{}, reading{}, false
	}
	now, of := c.now(), c.shard(key)
	of.mu.Lock()
	defer of.mu.Unlock()
	if e, ok := of.entries[key]; ok {
		// A clock that went back says nothing of the age.
		if age := now.Sub(e.at); age >= 0 && age <= c.bound {
			r := e.record
			r.Value = bytes.Clone(r.Value)
			return r, reading{}, true
		}
		of.remove(key)
	}
	return store.Record{}, reading{at: now, changes: of.changes}, false
}

// keep remembers what a read returned.
func (c *cache) keep(r store.Record, from reading) {
	if c.bound == 0 {
		return
	}
	of := c.shard(r.Key)
	of.mu.Lock()
	defer of.mu.Unlock()
	if of.writing == 0 && of.changes == from.changes {
		of.insert(r, from.at)
	}
}

// begin forgets a record that is going to be written. The write ends with a call of the function that is returned, with what was
// written, or nil when it was deleted or is in doubt.
func (c *cache) begin(key string) (end func(*store.Record)) {
	if c.bound == 0 {
		return func(*store.Record) {}
	}
	at, of := c.now(), c.shard(key)
	of.mu.Lock()
	defer of.mu.Unlock()
	of.writing++
	of.changes++
	of.remove(key)
	return func(written *store.Record) {
		of.mu.Lock()
		defer of.mu.Unlock()
		of.writing--
		of.changes++
		if written != nil && of.writing == 0 {
			of.insert(*written, at)
		}
	}
}

func (s *shard) remove(key string) {
	if e, ok := s.entries[key]; ok {
		s.size -= len(e.record.Value)
		delete(s.entries, key)
	}
}

// insert copies the value. Where there is no room others go, whichever come first.
func (s *shard) insert(r store.Record, at time.Time) {
	s.remove(r.Key)
	if len(r.Value) > maxCachedSize {
		return
	}
	for key := range s.entries {
		if len(s.entries) < shardEntries && s.size+len(r.Value) <= shardBytes {
			break
		}
		s.remove(key)
	}
	r.Value = append([]byte{}, r.Value...)
	s.entries[r.Key] = cached{record: r, at: at}
	s.size += len(r.Value)
}
