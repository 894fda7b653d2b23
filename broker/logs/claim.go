package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
	"github.com/vouchsafe/vouchsafe/store"
)

// MaxSlots is how many brokers may share a store.
const MaxSlots = 64

// Times of a claim.
const (
	Beat  = 10 * time.Second // between renewals
	Fence = 20 * time.Second // since the last renewal was begun, after which nothing is committed
	Lapse = 30 * time.Second // since the last renewal, after which the claim may be another's
)

// ErrNoSlot says that as many brokers as possible share the store.
var ErrNoSlot = fmt.Errorf("%d brokers use this store already, the most that can share one", MaxSlots)

const (
	claimRecords = store.SysNamespace + "/brokers/"
	// maxClaim bounds a record before it is parsed, in bytes.
	maxClaim = 4096
	maxName  = 255
)

func claimKey(slot int) string { return claimRecords + strconv.Itoa(slot) }

// record is a claim as it is stored.
type record struct {
	Schema   int       `json:"schema"` // 1
	Instance string    `json:"instance"`
	Name     string    `json:"name"` // of the machine, for people
	Claimed  time.Time `json:"claimed"`
	Renewed  time.Time `json:"renewed"`
	Released bool      `json:"released"`
	Begun    bool      `json:"begun"` // the slot's log was made: from then on one that is not there was wiped
}

func readClaim(ctx context.Context, s store.Store, slot int) (r record, version uint64, err error) {
	stored, err := s.Get(ctx, claimKey(slot))
	if errors.Is(err, store.ErrNotFound) {
		return r, 0, nil
	}
	if err != nil {
		return r, 0, fmt.Errorf("the claim of slot %d: %w", slot, err)
	}
	if len(stored.Value) > maxClaim || strictjson.Unmarshal(stored.Value, &r) != nil || r.Schema != 1 {
		return r, 0, fmt.Errorf("%w: the claim of slot %d", store.ErrCorrupt, slot)
	}
	return r, stored.Version, nil
}

// claim is a broker's right to a slot. It implements audit.Claim.
type claim struct {
	store store.Store
	slot  int
	now   func() time.Time

	mu      sync.Mutex // held while renewing
	record  record
	version uint64

	state   sync.Mutex
	renewed time.Time // when the last renewal that succeeded was begun
	lost    error
}

// Check implements audit.Claim.
func (c *claim) Check() error {
	c.state.Lock()
	defer c.state.Unlock()
	if c.lost != nil {
		return c.lost
	}
	if passed := c.now().Sub(c.renewed); passed >= Fence {
		return fmt.Errorf("%w: the claim of this broker's audit log, slot %d, was not renewed for %v", store.ErrUnavailable, c.slot, passed.Round(time.Second))
	}
	return nil
}

// Renew implements audit.Claim.
func (c *claim) Renew(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Lock()
	lost := c.lost
	c.state.Unlock()
	if lost != nil {
		return lost
	}
	return c.write(ctx, false)
}

// write renews the claim, or releases it. The caller holds mu.
func (c *claim) write(ctx context.Context, release bool) error {
	const attempts = 3 // a data key's rotation writes every record again
	var err error
	for range attempts {
		begun := c.now()
		next := c.record
		next.Renewed, next.Released = begun.UTC(), release
		value, encoding := json.Marshal(next)
		if encoding != nil {
			return encoding
		}
		err = c.store.Apply(ctx, store.Write{Key: claimKey(c.slot), Version: c.version, Value: value})
		if err == nil {
			c.record, c.version = next, c.version+1
			c.state.Lock()
			c.renewed = begun
			c.state.Unlock()
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("%w: renewing the claim of slot %d: %w", store.ErrUnavailable, c.slot, err)
		}
		have, version, reading := readClaim(ctx, c.store, c.slot)
		if reading != nil {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, reading)
		}
		if version == 0 {
			// Claims are not removed. Another slot, with another log, would only hide that something is wrong.
			return fmt.Errorf("%w: %w: the claim of slot %d was there", store.ErrUnavailable, store.ErrLost, c.slot)
		}
		if have.Instance != c.record.Instance {
			lost := fmt.Errorf("%w: the audit log of slot %d was taken over by another broker, %q", store.ErrUnavailable, c.slot, have.Name)
			c.state.Lock()
			c.lost = lost
			c.state.Unlock()
			return lost
		}
		c.version = version
	}
	return fmt.Errorf("%w: renewing the claim of slot %d: %v", store.ErrUnavailable, c.slot, err)
}

// begun notes in the claim that the slot's log is there.
func (c *claim) begun(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.record.Begun {
		return nil
	}
	c.record.Begun = true
	return c.write(ctx, false)
}

// gone reports whether the claim is another's for good.
func (c *claim) gone() bool {
	c.state.Lock()
	defer c.state.Unlock()
	return c.lost != nil
}

// release gives the slot back.
func (c *claim) release(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone() {
		return nil
	}
	return c.write(ctx, true)
}

// free says how good a slot is to take, 0 for one that is taken: released ones, then those that have lapsed, then new ones.
func (r record) free(version uint64, now time.Time) int {
	switch {
	case version == 0:
		return 1
	case r.Released:
		return 3
	case r.Renewed.Add(Lapse + store.MaxSkew).Before(now):
		return 2
	}
	return 0
}

// listClaims returns the slots that were ever claimed.
func listClaims(ctx context.Context, s store.Store) (map[int]bool, error) {
	entries, err := s.List(ctx, claimRecords, "", 2*MaxSlots)
	if err != nil {
		return nil, fmt.Errorf("listing the brokers of this store: %w", err)
	}
	claimed := map[int]bool{}
	for _, e := range entries {
		if slot, err := strconv.Atoi(strings.TrimPrefix(e.Key, claimRecords)); err == nil && e.Key == claimKey(slot) {
			claimed[slot] = true
		}
	}
	return claimed, nil
}

// take claims a slot for an instance.
func take(ctx context.Context, s store.Store, instance, name string, now func() time.Time) (*claim, error) {
	type candidate struct {
		slot    int
		version uint64
		begun   bool
	}
	if len(name) > maxName {
		name = name[:maxName]
	}
	const attempts = 3 // others take slots at the same time
	for range attempts {
		var by [4][]candidate
		claimed, err := listClaims(ctx, s)
		if err != nil {
			return nil, err
		}
		for slot := 1; slot <= MaxSlots; slot++ {
			var (
				r       record
				version uint64
			)
			if claimed[slot] {
				if r, version, err = readClaim(ctx, s, slot); err != nil {
					return nil, err
				}
			}
			how := r.free(version, now())
			by[how] = append(by[how], candidate{slot, version, r.Begun})
		}
		free := append(append(by[3], by[2]...), by[1]...)
		if len(free) == 0 {
			return nil, ErrNoSlot
		}
		for _, f := range free {
			begun := now()
			c := &claim{store: s, slot: f.slot, now: now, renewed: begun, version: f.version + 1, record: record{
				Schema: 1, Instance: instance, Name: name, Claimed: begun.UTC(), Renewed: begun.UTC(), Begun: f.begun,
			}}
			value, err := json.Marshal(c.record)
			if err != nil {
				return nil, err
			}
			err = s.Apply(ctx, store.Write{Key: claimKey(f.slot), Version: f.version, Value: value})
			if err == nil {
				return c, nil
			}
			if !errors.Is(err, store.ErrConflict) {
				return nil, fmt.Errorf("claiming slot %d: %w", f.slot, err)
			}
		}
	}
	return nil, fmt.Errorf("%w: others claim slots faster than this broker", store.ErrUnavailable)
}
