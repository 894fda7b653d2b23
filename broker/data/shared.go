package data

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/logs"
	"github.com/vouchsafe/vouchsafe/broker/session"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// Shared is a store that several brokers have.
type Shared struct {
	// Open opens what one broker has of the store, or with create makes it where there is none. It refuses a store of another purpose. Needed.
	Open func(ctx context.Context, purpose store.Purpose, create bool) (store.Store, error)
	// Where says in words where the store is, for errors and logs: "kv/vouchsafe in Vault at https://vault.example:8200".
	Where string
	// Staleness is how old what the store returns may be: changes that another broker makes take that long at most to be seen. 0: not at all.
	Staleness time.Duration
	// Name is what people know this broker by; default: the machine's name.
	Name string
	// Beat is how often the claim of the audit log is renewed; default logs.Beat.
	Beat time.Duration
}

// ErrShared is why something is refused that only works on a store which one broker has in a file.
var ErrShared = errors.New("brokers share this store, and it is not a file")

func (c Config) purpose() store.Purpose {
	if c.Purpose == "" {
		return store.Production
	}
	return c.Purpose
}

// createShared makes a shared store and opens it. One that is finished, which is to have a token, is refused.
func (c Config) createShared(ctx context.Context) (*Data, error) {
	inner, err := c.Shared.Open(ctx, c.purpose(), true)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	sealing := seal.Init(ctx, inner, c.Seal, c.seal())
	if sealing != nil && !errors.Is(sealing, seal.ErrAlreadySealed) {
		return nil, errors.Join(fmt.Errorf("data: %w", sealing), inner.Close())
	}
	if sealing == nil {
		return c.openOver(ctx, inner)
	}
	finished := func(err error) error {
		return fmt.Errorf("data: %s holds a broker's store already: it is made once, and every broker opens the same: %w", c.Shared.Where, err)
	}
	d, err := c.openOver(ctx, inner)
	if err != nil {
		return nil, finished(errors.Join(sealing, err))
	}
	tokens, err := d.Tokens.List(ctx, "", 1)
	if err == nil && len(tokens) > 0 {
		err = finished(sealing)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (c Config) openShared(ctx context.Context) (*Data, error) {
	inner, err := c.Shared.Open(ctx, c.purpose(), false)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	return c.openOver(ctx, inner)
}

// openOver opens the rest over a shared store, which it closes when it fails.
func (c Config) openOver(ctx context.Context, inner store.Store) (_ *Data, err error) {
	d := &Data{Shared: c.Shared, Purpose: c.purpose()}
	if checked, ok := inner.(interface{ Check(context.Context) error }); ok {
		d.check = checked.Check
	}
	if told, ok := inner.(interface{ Lost() error }); ok {
		d.lost = told.Lost
	}
	defer func() {
		if err == nil {
			return
		}
		err = errors.Join(fmt.Errorf("data: %w", err), d.Close())
		if d.Store == nil {
			err = errors.Join(err, inner.Close())
		}
	}()
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if err := c.openParts(ctx, d, inner); err != nil {
		return nil, err
	}
	if d.Nonces, err = session.OpenKeys(ctx, d.Store, c.Rand, c.Now); err != nil {
		return nil, err
	}
	name := c.Shared.Name
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			name = "unnamed"
		}
	}
	d.Logs, err = logs.Open(ctx, logs.Config{
		Store: d.Store, Keys: d.Keys, Name: name, Rand: c.Rand, Now: c.Now, Logger: c.Logger, Beat: c.Shared.Beat,
	})
	if err != nil {
		return nil, err
	}
	d.Log = d.Logs.Own()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	d.behind.Go(func() { d.followKeys(background, c.Logger) })
	d.behind.Go(func() { d.Nonces.Run(background, c.Logger) })
	if inner, ok := inner.(swept); ok {
		s := &sweeper{store: d.Store, swept: inner, now: c.Now, logger: c.Logger}
		if s.now == nil {
			s.now = time.Now
		}
		d.behind.Go(func() { s.run(background) })
	}
	return d, nil
}

// Check says whether a shared store is what it was when it was opened, where the store can tell.
func (d *Data) Check(ctx context.Context) error {
	if d.check == nil {
		return nil
	}
	return d.check(ctx)
}

// Lost returns an error wrapping store.ErrLost while the shared store is known to be gone from its place, where the store can tell. The store is not asked.
func (d *Data) Lost() error {
	if d.lost == nil {
		return nil
	}
	return d.lost()
}

// followKeys has the keys that other brokers rotate read again, as long as the store is open. A watch that ends with the store's connection is begun again.
func (d *Data) followKeys(ctx context.Context, logger *slog.Logger) {
	failed := func(err error) { logger.WarnContext(ctx, "the keys of other brokers could not be read", "cause", err) }
	for {
		err := d.Keys.Follow(ctx, failed)
		if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
			return
		}
		if err != nil {
			failed(err)
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return
		}
	}
}

// again is how long to wait before a watch that ended is begun again.
const again = 5 * time.Second
