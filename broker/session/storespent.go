package session

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// Limits of a SharedSpent.
const (
	// pruneEvery is after how many nonces of its own a broker removes old records, and pruneBatch how many it then removes at
	// most. The second is larger, so that the records of brokers which are gone disappear too.
	pruneEvery = 32
	pruneBatch = 128

	// pruneAfter is how long past its expiry a record is kept: until no broker whose clock is MaxSkew behind takes the nonce for
	// good, with as much again because the clocks are read at different moments.
	pruneAfter = 2 * MaxSkew
)

// SharedSpent remembers spent nonces as records of a store that several brokers share: a nonce is spent by the one that creates
// its record. The key is prefix/<expiry, seconds in 8 hex digits>/<id in hex>, so that the oldest sort first and removing them
// reads nothing else. Each costs a durable write.
//
// How far this broker removed records is forgotten when it restarts. A clock that is more than 2 minutes behind then, and was not before, could
// revive a nonce: brokers that share a key need clocks that are kept.
//
// The number of records is bounded by the rate of attestations and the nonces' lifetime only; each broker keeps to the limit of its own.
type SharedSpent struct {
	store  store.Store
	prefix string // ends with "/"

	mu     sync.Mutex
	recent *MemorySpent // what this broker spent: bounds it, and answers repetitions without the store
	floor  time.Time    // records that expired before were removed, by this broker
	spends int
}

// StoreSpent returns a SharedSpent whose records lie under prefix, such as "sys/spent". One broker spends at most limit nonces at
// a time, DefaultSpent when limit is not positive.
func StoreSpent(s store.Store, prefix string, limit int) (*SharedSpent, error) {
	if s == nil {
		return nil, errors.New("session: spent nonces need a store")
	}
	prefix = strings.TrimSuffix(prefix, "/")
	if err := store.CheckKey(spentKey(prefix+"/", [16]byte{}, time.Unix(0, 0))); err != nil {
		return nil, fmt.Errorf("session: prefix of spent nonces: %w", err)
	}
	return &SharedSpent{store: s, prefix: prefix + "/", recent: NewMemorySpent(limit)}, nil
}

// Spend implements [Spent].
func (s *SharedSpent) Spend(ctx context.Context, id [16]byte, now, until time.Time) error {
	// An id that this broker has begun to spend is spent, even when the write then fails: the workload asks for another nonce.
	if err := s.recent.Spend(ctx, id, now, until); err != nil {
		return err
	}
	s.mu.Lock()
	old := until.Before(s.floor)
	s.spends++
	prune := s.spends%pruneEvery == 0
	s.mu.Unlock()
	if old {
		return ErrExpired
	}
	err := s.store.Apply(ctx, store.Write{Key: spentKey(s.prefix, id, until), Value: []byte{1}})
	if errors.Is(err, store.ErrConflict) {
		return ErrSpent
	}
	if err != nil {
		return fmt.Errorf("session: spending a nonce: %w", err)
	}
	if prune {
		// What is not removed now is removed later; the nonce is spent whatever comes of it.
		_, _ = s.Prune(ctx, now)
	}
	return nil
}

// Prune removes up to a fixed number of records that expired long enough before now, and returns how many it removed. Spend calls it; a
// broker that is idle need not.
func (s *SharedSpent) Prune(ctx context.Context, now time.Time) (int, error) {
	entries, err := s.store.List(ctx, s.prefix, "", pruneBatch)
	if err != nil {
		return 0, fmt.Errorf("session: listing spent nonces: %w", err)
	}
	before := now.Add(-pruneAfter)
	var writes []store.Write
	for _, e := range entries {
		expired, ok := s.expiry(e.Key)
		if !ok || !expired.Before(before) {
			break
		}
		writes = append(writes, store.Write{Key: e.Key, Version: e.Version})
	}
	if len(writes) == 0 {
		return 0, nil
	}
	s.mu.Lock()
	if before.After(s.floor) {
		s.floor = before
	}
	s.mu.Unlock()
	err = s.store.Apply(ctx, writes...)
	if errors.Is(err, store.ErrConflict) {
		return 0, nil // another broker removes the same
	}
	if err != nil {
		return 0, fmt.Errorf("session: removing spent nonces: %w", err)
	}
	return len(writes), nil
}

func (s *SharedSpent) expiry(key string) (time.Time, bool) {
	text, _, ok := strings.Cut(strings.TrimPrefix(key, s.prefix), "/")
	seconds, err := strconv.ParseUint(text, 16, 32)
	if !ok || err != nil {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

func spentKey(prefix string, id [16]byte, until time.Time) string {
	return fmt.Sprintf("%s%08x/%s", prefix, uint32(until.Unix()), hex.EncodeToString(id[:]))
}
