package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/broker/logs"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// Where says in words where the store of a configuration is.
func (c Config) Where() string {
	if c.Shared != nil {
		return c.Shared.Where
	}
	return filepath.Join(c.Dir, StoreFile)
}

// OpenSealed opens a store and its seal, and nothing over it, for work on the store as a whole while no broker has it. With create it is made, empty, where
// there is none. Whether brokers that share it are at work is what [Idle] says.
func OpenSealed(ctx context.Context, c Config, create bool) (*seal.Store, error) {
	inner, err := c.inner(ctx, create)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	if create {
		if err := seal.Init(ctx, inner, c.Seal, c.seal()); err != nil && !errors.Is(err, seal.ErrAlreadySealed) {
			return nil, errors.Join(fmt.Errorf("data: %w", err), inner.Close())
		}
	}
	s, err := seal.Open(ctx, inner, c.Seal, c.seal())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("data: %w", err), inner.Close())
	}
	return s, nil
}

// inner opens the store below the seal.
func (c Config) inner(ctx context.Context, create bool) (store.Store, error) {
	if c.Shared != nil {
		return c.Shared.Open(ctx, c.purpose(), create)
	}
	if create {
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			return nil, err
		}
	}
	return bolt.Open(bolt.Config{Path: filepath.Join(c.Dir, StoreFile), Purpose: c.Purpose, Create: create, Now: c.Now, Random: c.Rand})
}

// Idle returns an error wrapping logs.ErrInUse when a broker has a claim on a store.
func Idle(ctx context.Context, s store.Store) error { return logs.Idle(ctx, s, time.Now()) }

// Settle brings the audit logs of a store that nobody uses to their ends, and verifies each as a whole.
func Settle(ctx context.Context, s store.Store) ([]logs.Settled, error) {
	ring, err := keys.Open(ctx, keys.Config{Store: s})
	if err != nil {
		return nil, err
	}
	all, err := logs.Settle(ctx, s, ring)
	if err == nil && len(all) == 0 {
		err = errors.New("data: the store has no audit log: it is not a broker's")
	}
	return all, err
}
