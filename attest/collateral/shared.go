package collateral

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// Shared is where replicas of a broker share what they fetched, so that a fleet asks a vendor once. Package broker/endorse implements it over a store.
// What comes from it is checked like everything else. Key sets, which nobody signed, are neither put there nor taken from there: what vouches for one is
// TLS to its verifier, and whoever can write to a store is none. It is safe for concurrent use.
type Shared interface {
	// Get returns an encoded item; an error wrapping fs.ErrNotExist when there is none of that name.
	Get(ctx context.Context, name string) ([]byte, error)
	// Put keeps an encoded item, unless there is one already and replaces, which is given that one, returns false.
	Put(ctx context.Context, name string, encoded []byte, replaces func(held []byte) bool) error
	// Claim reports whether the caller is the one to fetch the item. Until then others are told false. The one who fetched it lets go by Put,
	// one who failed by Release, one who died by the time.
	Claim(ctx context.Context, name string, now, until time.Time) (bool, error)
	// Release lets go of a claim.
	Release(ctx context.Context, name string) error
	// List returns the names of up to limit items.
	List(ctx context.Context, limit int) ([]string, error)
	// Watch sends the names of items that were put after it returned, "" when some may have been lost, until ctx ends; then it closes the channel.
	Watch(ctx context.Context) (<-chan string, error)
}

// Limits of sharing.
const (
	// maxShared is the largest encoded item that is shared, in bytes: a record of a store has 2 MiB at most, sealed. A larger one each replica fetches.
	maxShared = 1 << 20
	// claimFor is how long a replica may take to fetch what it claimed.
	claimFor = fetchFor
	// elsewhere is after how long another replica's fetch is looked for.
	elsewhere = 2 * time.Second
	// followAgain is after how long a watch that broke is tried again.
	followAgain = 10 * time.Second
)

// shareable reports whether an item of that name can be held against its publisher's signature, wherever it comes from.
func shareable(name Name) bool { return name.Type() != TypeJWKS }

// fromShared takes the item from another replica, or finds that another is about to fetch it. An empty result means that it is for this one to fetch.
// A store that is down must not keep a vendor from being asked.
func (m *Manager) fromShared(ctx context.Context, name Name, before *Item) (Result, error) {
	if !shareable(name) {
		return "", nil
	}
	if got := m.receive(ctx, name, before); got {
		return ResultFromShared, nil
	}
	now := m.config.Now()
	mine, err := m.config.Shared.Claim(ctx, name.text, now, now.Add(claimFor))
	switch {
	case err != nil:
		m.config.Logger.Warn("whether another replica fetches collateral is not known", "name", name.text, "error", err)
		return "", nil
	case !mine:
		return resultElsewhere, nil
	}
	// It may have come between the look and the claim.
	if got := m.receive(ctx, name, before); got {
		return ResultFromShared, nil
	}
	return "", nil
}

// receive takes an item from Shared when that has a newer one than is at hand, and reports whether it did.
func (m *Manager) receive(ctx context.Context, name Name, before *Item) bool {
	encoded, err := m.config.Shared.Get(ctx, name.text)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			m.config.Logger.Warn("shared collateral cannot be read", "name", name.text, "error", err)
		}
		return false
	}
	i, err := m.decodeShared(encoded)
	if err == nil && i.Name.text != name.text {
		err = fmt.Errorf("collateral: it holds the item %s", i.Name)
	}
	if err != nil {
		m.config.Logger.Error("shared collateral is of no use", "name", name.text, "error", err)
		return false
	}
	if !i.supersedes(before) {
		return false
	}
	result, err := m.put(i, false)
	if err != nil {
		m.config.Logger.Error("shared collateral cannot be kept", "name", name.text, "error", err)
	}
	return err == nil && result != older
}

// decodeShared reads and checks an item that another replica put.
func (m *Manager) decodeShared(encoded []byte) (*Item, error) {
	i, err := Decode(encoded)
	if err != nil {
		return nil, err
	}
	if i.Endorsement.Fetched.After(m.config.Now().Add(future)) {
		return nil, errors.New("collateral: it was fetched at a time that is still to come: check the clocks")
	}
	return i, m.verify(i)
}

// toShared gives an item to the other replicas.
func (m *Manager) toShared(ctx context.Context, i *Item) {
	if m.config.Shared == nil || i == nil || !shareable(i.Name) {
		return
	}
	encoded, err := i.Encode()
	if err == nil && len(encoded) > maxShared {
		m.config.Logger.Debug("collateral is too large to be shared", "name", i.Name.text, "bytes", len(encoded))
		return
	}
	if err == nil {
		err = m.config.Shared.Put(ctx, i.Name.text, encoded, func(other []byte) bool {
			held, err := Decode(other)
			return err != nil || i.supersedes(held)
		})
	}
	if err != nil && ctx.Err() == nil {
		m.config.Logger.Warn("collateral cannot be shared", "name", i.Name.text, "error", err)
	}
}

// letGo tells other replicas that this one did not get an item.
func (m *Manager) letGo(ctx context.Context, name Name) {
	if m.config.Shared == nil || !shareable(name) {
		return
	}
	if err := m.config.Shared.Release(ctx, name.text); err != nil && ctx.Err() == nil {
		m.config.Logger.Warn("a claim to fetch collateral cannot be let go", "name", name.text, "error", err)
	}
}

// follow takes in what other replicas put, until ctx ends.
func (m *Manager) follow(ctx context.Context) {
	for {
		if err := m.followOnce(ctx); err != nil && ctx.Err() == nil {
			m.config.Logger.Warn("what other replicas fetch cannot be followed", "error", err)
		}
		if pause(ctx, followAgain); ctx.Err() != nil {
			return
		}
	}
}

func (m *Manager) followOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a watch that is given up ends, or each of a store that fails would stay
	names, err := m.config.Shared.Watch(ctx)
	if err != nil {
		return err
	}
	if err := m.exchange(ctx); err != nil {
		return err
	}
	for name := range names {
		if name == "" {
			if err := m.exchange(ctx); err != nil {
				return err
			}
			continue
		}
		m.receiveText(ctx, name)
	}
	return nil
}

// exchange takes all that is shared, and gives what is not.
func (m *Manager) exchange(ctx context.Context) error {
	names, err := m.config.Shared.List(ctx, m.config.MaxItems)
	if err != nil {
		return err
	}
	theirs := make(map[string]bool, len(names))
	for _, name := range names {
		theirs[name] = true
		m.receiveText(ctx, name)
	}
	for _, i := range m.Items() {
		if !theirs[i.Name.text] && ctx.Err() == nil {
			m.toShared(ctx, i)
		}
	}
	return ctx.Err()
}

func (m *Manager) receiveText(ctx context.Context, text string) {
	name, err := ParseName(text)
	if err != nil || m.lanes[name.Vendor()] == nil || !shareable(name) {
		return // of a newer version, of a vendor that is not configured here, or nothing that anyone puts there
	}
	m.receive(ctx, name, m.Item(text))
}
