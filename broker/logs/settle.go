package logs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/store"
)

// ErrInUse says that a broker works on a store.
var ErrInUse = errors.New("a broker uses the store")

// Idle returns an error wrapping ErrInUse when a broker has a claim on a store. One that was killed has its claim until that lapses.
func Idle(ctx context.Context, s store.Store, now time.Time) error {
	claimed, err := listClaims(ctx, s)
	if err != nil {
		return err
	}
	for slot := 1; slot <= MaxSlots; slot++ {
		if !claimed[slot] {
			continue
		}
		r, version, err := readClaim(ctx, s, slot)
		if err != nil {
			return err
		}
		if r.free(version, now) == 0 {
			return fmt.Errorf("%w: %q, which said so last at %s; stop it, and if it was killed, wait until %s", ErrInUse, r.Name,
				r.Renewed.Format(time.RFC3339), r.Renewed.Add(Lapse+store.MaxSkew).Format(time.RFC3339))
		}
	}
	return nil
}

// Settled is a log that was found in order.
type Settled struct {
	Log     int    `json:"log"`
	Origin  string `json:"origin"`
	Entries uint64 `json:"entries"`
}

// Settle brings every log of a store that nobody uses to its end, by making entries that a broker wrote and did not live to sign a part of it, and computes each
// again from its entries. After that it does not matter whether the store is one that brokers share: in a store that one broker has, the logs of slots
// are not opened for appending any more.
func Settle(ctx context.Context, s store.Store, ring *keys.Ring) ([]Settled, error) {
	var all []Settled
	for slot := range MaxSlots + 1 {
		_, err := s.Get(ctx, store.Key(Prefix(slot), "head"))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		one, err := settle(ctx, s, ring, slot)
		if err != nil {
			return nil, fmt.Errorf("audit log %d: %w", slot, err)
		}
		all = append(all, one)
	}
	return all, nil
}

func settle(ctx context.Context, s store.Store, ring *keys.Ring, slot int) (Settled, error) {
	key, err := ring.LogOf(slot)
	if err != nil {
		return Settled{}, err
	}
	config := audit.Config{Store: inSteps{s}, Prefix: Prefix(slot), Origin: key.Origin, Signer: key.Signer, Verifiers: note.VerifierList(key.Verifier)}
	log, err := audit.Open(ctx, config)
	if err != nil {
		return Settled{}, err
	}
	if err := log.Close(); err != nil {
		return Settled{}, err
	}
	config.Signer = nil
	if log, err = audit.Open(ctx, config); err != nil {
		return Settled{}, err
	}
	defer log.Close() //nolint:errcheck // it writes nothing
	if log.Size() > 0 {
		_, err = audit.Audit(ctx, log.ReadPath, audit.AuditConfig{Origin: key.Origin, Verifiers: config.Verifiers})
	}
	return Settled{Log: slot, Origin: key.Origin, Entries: log.Size()}, err
}

// inSteps has a log look for entries beyond its head, as a store that is not atomic may have them, in whatever store it is now.
type inSteps struct{ store.Store }

// Atomic is false.
func (inSteps) Atomic() bool { return false }
