package session

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
	"github.com/vouchsafe/vouchsafe/store"
)

// Times of keys that brokers share.
const (
	// KeyLifetime is how long nonces are issued with one key: who learns one can make up nonces, not evidence that covers them.
	KeyLifetime = 24 * time.Hour
	// RefreshKeys is how often a broker looks for a new key, and keyAhead how long before its use a key is published: several times that, with clocks that
	// are apart.
	RefreshKeys = time.Minute
	keyAhead    = 5*time.Minute + 2*store.MaxSkew
)

const (
	maxSharedKeys      = 4
	maxSharedKeyRecord = 4096
)

// SharedKeys are the keys of nonces of brokers that share a store. They are its record sys/nonce-keys, which must be sealed below. The newest that
// is in use issues; all of them are accepted. One is added by whichever broker notices first that it is time, and is used some minutes later, when
// all know it; the one before is forgotten when its last nonce has expired.
type SharedKeys struct {
	store store.Store
	rand  io.Reader
	now   func() time.Time

	refreshing sync.Mutex
	keys       atomic.Pointer[[]sharedKey]
}

type sharedKey struct {
	Key  []byte    `json:"key"`
	From time.Time `json:"from"` // when nonces are first issued with it
}

type sharedKeyRecord struct {
	Schema int         `json:"schema"` // 1
	Keys   []sharedKey `json:"keys"`   // the newest last
}

const sharedKeysKey = store.SysNamespace + "/nonce-keys"

// OpenKeys reads the keys of a store, making the first where there is none. random and now have the defaults crypto/rand and time.Now.
func OpenKeys(ctx context.Context, s store.Store, random io.Reader, now func() time.Time) (*SharedKeys, error) {
	if s == nil {
		return nil, errors.New("session: shared keys need a store")
	}
	if random == nil {
		random = rand.Reader
	}
	if now == nil {
		now = time.Now
	}
	k := &SharedKeys{store: s, rand: random, now: now}
	if err := k.Refresh(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// Refresh reads the keys again, and adds one when it is time.
func (k *SharedKeys) Refresh(ctx context.Context) error {
	k.refreshing.Lock()
	defer k.refreshing.Unlock()
	const attempts = 4 // others add one at the same time
	for range attempts {
		r, version, err := k.read(ctx)
		if err != nil {
			return fmt.Errorf("session: the keys of nonces: %w", err)
		}
		changed, err := k.turn(&r)
		if err != nil {
			return fmt.Errorf("session: the keys of nonces: %w", err)
		}
		if !changed {
			k.keys.Store(&r.Keys)
			return nil
		}
		value, err := json.Marshal(r)
		if err != nil {
			return err
		}
		err = k.store.Apply(ctx, store.Write{Key: sharedKeysKey, Version: version, Value: value})
		if err == nil {
			k.keys.Store(&r.Keys)
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("session: a new key of nonces: %w", err)
		}
	}
	return fmt.Errorf("session: the keys of nonces: %w", store.ErrConflict)
}

func (k *SharedKeys) read(ctx context.Context) (r sharedKeyRecord, version uint64, err error) {
	stored, err := k.store.Get(ctx, sharedKeysKey)
	if errors.Is(err, store.ErrNotFound) {
		if k.keys.Load() != nil {
			return r, 0, fmt.Errorf("%w: %s was there and is gone", store.ErrLost, sharedKeysKey)
		}
		return sharedKeyRecord{Schema: 1}, 0, nil
	}
	if err != nil {
		return r, 0, err
	}
	bad := len(stored.Value) > maxSharedKeyRecord || strictjson.Unmarshal(stored.Value, &r) != nil || r.Schema != 1 ||
		len(r.Keys) == 0 || len(r.Keys) > maxSharedKeys
	for _, key := range r.Keys {
		bad = bad || len(key.Key) != KeySize
	}
	if bad {
		return r, 0, fmt.Errorf("%w: %s", store.ErrCorrupt, sharedKeysKey)
	}
	return r, stored.Version, nil
}

// turn adds a key when the newest has been in use long enough, and drops those whose nonces have expired.
func (k *SharedKeys) turn(r *sharedKeyRecord) (changed bool, err error) {
	now := k.now().UTC()
	for len(r.Keys) > 1 && r.Keys[1].From.Add(MaxLifetime+2*store.MaxSkew).Before(now) {
		r.Keys, changed = r.Keys[1:], true
	}
	n := len(r.Keys)
	if n > 0 && (n == maxSharedKeys || now.Before(r.Keys[n-1].From.Add(KeyLifetime))) {
		return changed, nil
	}
	fresh := sharedKey{Key: make([]byte, KeySize), From: now}
	if n > 0 {
		fresh.From = now.Add(keyAhead)
	}
	if _, err := io.ReadFull(k.rand, fresh.Key); err != nil {
		return false, fmt.Errorf("no randomness: %w", err)
	}
	r.Keys = append(r.Keys, fresh)
	return true, nil
}

// Run refreshes the keys until ctx ends.
func (k *SharedKeys) Run(ctx context.Context, logger *slog.Logger) {
	ticker := time.NewTicker(RefreshKeys)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		attempt, cancel := context.WithTimeout(ctx, RefreshKeys)
		if err := k.Refresh(attempt); err != nil && ctx.Err() == nil {
			logger.WarnContext(ctx, "the keys of nonces could not be read again", "cause", err)
		}
		cancel()
	}
}

// issuing returns the key that nonces are issued with now.
func (k *SharedKeys) issuing() []byte {
	keys := *k.keys.Load()
	now := k.now()
	for i := len(keys) - 1; i > 0; i-- {
		if !now.Before(keys[i].From) {
			return keys[i].Key
		}
	}
	return keys[0].Key
}

// accepted returns every key whose nonces may be good still.
func (k *SharedKeys) accepted() [][]byte {
	var all [][]byte
	for _, key := range *k.keys.Load() {
		all = append(all, key.Key)
	}
	return all
}

// oneKey is the key of a broker that shares nonces with nobody.
type oneKey []byte

func (k oneKey) issuing() []byte    { return k }
func (k oneKey) accepted() [][]byte { return [][]byte{k} }
