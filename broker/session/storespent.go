package session

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// SharedSpent remembers spent nonces as records of a store that several brokers share: a nonce is spent by the one that creates
// its record. The key is prefix/<expiry, seconds in 8 hex digits>/<id in hex>, so that the oldest sort first and removing them
// reads nothing else. Each costs a durable write.
//
// Records are removed, and nonces refused for their age, by the store's clock besides the broker's own, where the store is [store.Clocked]: a broker whose own
// clock is wrong can neither remove a record too early nor accept the nonce of one that was removed. Over a store without a clock, how far this broker
// removed records is forgotten when it restarts, and brokers that share it need clocks that are kept.
//
// The number of records is bounded by the rate of attestations and the nonces' lifetime only; each broker keeps to the limit of its own.
type SharedSpent struct {
	store  store.Store
	prefix string       // ends with "/"
	recent *MemorySpent // what this broker spent: bounds it, and answers repetitions without the store
	pruner pruner
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
	return &SharedSpent{
		store: s, prefix: prefix + "/", recent: NewMemorySpent(limit), pruner: pruner{store: s, prefix: prefix + "/"},
	}, nil
}

// Spend implements [Spent].
func (s *SharedSpent) Spend(ctx context.Context, id [16]byte, now, until time.Time) error {
	// An id that this broker has begun to spend is spent, even when the write then fails: the workload asks for another nonce.
	if err := s.recent.Spend(ctx, id, now, until); err != nil {
		return err
	}
	if until.Before(s.pruner.removed()) {
		return ErrExpired
	}
	err := s.store.Apply(ctx, store.Write{Key: spentKey(s.prefix, id, until), Value: []byte{1}})
	if errors.Is(err, store.ErrConflict) {
		return ErrSpent
	}
	if err != nil {
		return fmt.Errorf("session: spending a nonce: %w", err)
	}
	// The answer to that write is the latest, so what another broker had removed when it was made has expired by this time.
	if shared, ok := sharedTime(s.store); ok && until.Before(shared.Add(-store.MaxSkew)) {
		return ErrExpired
	}
	s.pruner.added(ctx, now)
	return nil
}

// Prune removes up to a fixed number of records that expired long enough before now, and returns how many it removed. Spend calls it, beside the request
// on a store that is not atomic; a broker that is idle need not.
func (s *SharedSpent) Prune(ctx context.Context, now time.Time) (int, error) {
	return s.pruner.prune(ctx, now)
}

func spentKey(prefix string, id [16]byte, until time.Time) string {
	return fmt.Sprintf("%s%08x/%s", prefix, uint32(until.Unix()), hex.EncodeToString(id[:]))
}
