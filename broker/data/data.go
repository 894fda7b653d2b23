// Package data opens what a broker keeps: the store, the seal over it, the signing keys, the administrators' tokens and the audit log, in that order, each
// checked before the next.
//
// # A data directory
//
// The directory, mode 0700, has one file of its own, store.db; what seals it lies elsewhere if the operator is wise. One broker has it. A directory
// made for development is never opened for production, nor the reverse.
//
// # A shared store
//
// Config.Shared puts a store in the place of the file that several brokers have, such as one in Vault ([Vault]). They have the seal, the keys and everything
// else in common, and each an audit log of its own, see package logs. Open then begins what a broker does as long as it has the store: it renews its
// claim to its log, follows the keys that others rotate, and takes part in clearing away, once a day, what brokers that were stopped half-way left in the store.
package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/broker/logs"
	"github.com/vouchsafe/vouchsafe/broker/session"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/migrate"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// StoreFile is the name of the store in a data directory.
const StoreFile = "store.db"

// Config says what to open. Seal and one of Dir and Shared are needed.
type Config struct {
	Dir     string        // the data directory
	Shared  *Shared       // or the store that brokers share
	Purpose store.Purpose // default store.Production
	Seal    seal.Seal
	Origin  string           // the audit log's name; needed to create it, else the one it was created with
	Rand    io.Reader        // default crypto/rand
	Now     func() time.Time // default time.Now
	Logger  *slog.Logger     // of what goes on in the background; default slog.Default
}

// Data is an open store with all that is in it.
type Data struct {
	Purpose store.Purpose
	Bolt    *bolt.Store // what is on disk, for backups; nil where the store is shared
	Shared  *Shared     // nil where it is not
	Store   *seal.Store // what the broker works on
	Keys    *keys.Ring
	Tokens  *access.Tokens
	Log     *audit.Log // the log that this broker appended to when it was opened
	Logs    *logs.Set
	Nonces  *session.SharedKeys // of a shared store

	check func(context.Context) error // of the store, see Check
	lost  func() error                // of the store, see Lost

	stop   context.CancelFunc // of what goes on in the background
	behind sync.WaitGroup
}

// newStoreFile is the name that a store has until there is all in it that Open needs. Killed before that, Create leaves it behind, and
// the next Create begins anew.
const newStoreFile = StoreFile + ".new"

// Create makes a new data directory and opens it. Dir may exist but must hold no store. However it ends, the same call can be
// repeated unless it succeeded.
func Create(ctx context.Context, c Config) (*Data, error) {
	if c.Origin == "" {
		return nil, errors.New("data: a new audit log needs a name")
	}
	if c.Shared != nil {
		return c.createShared(ctx)
	}
	path, unfinished := filepath.Join(c.Dir, StoreFile), filepath.Join(c.Dir, newStoreFile)
	if _, err := os.Stat(path); err == nil {
		return nil, fmt.Errorf("data: %s exists already: a data directory is made once", path)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("data: %w", err)
	}
	if err := c.make(ctx, unfinished); err != nil {
		_ = os.Remove(unfinished) // or the next Create does
		return nil, fmt.Errorf("data: %w", err)
	}
	// Not a rename, which would replace what another process made meanwhile.
	if err := errors.Join(os.Link(unfinished, path), os.Remove(unfinished), syncDir(c.Dir)); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	return Open(ctx, c)
}

// make makes a whole store at path.
func (c Config) make(ctx context.Context, path string) error {
	file, err := bolt.Open(bolt.Config{Path: path, Purpose: c.Purpose, Create: true, Now: c.Now, Random: c.Rand})
	if err != nil {
		return err
	}
	if err := seal.Init(ctx, file, c.Seal, c.seal()); err != nil {
		return errors.Join(err, file.Close())
	}
	d, err := c.open(ctx, file, true)
	if err != nil {
		return err
	}
	return d.Close()
}

// syncDir makes a new name in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Open opens a data directory that Create made.
func Open(ctx context.Context, c Config) (*Data, error) {
	if c.Shared != nil {
		return c.openShared(ctx)
	}
	path := filepath.Join(c.Dir, StoreFile)
	file, err := bolt.Open(bolt.Config{Path: path, Purpose: c.Purpose, Now: c.Now, Random: c.Rand})
	if errors.Is(err, bolt.ErrNoStore) {
		return nil, fmt.Errorf("data: there is no store in %s: make one with \"vouchsafe init --data %s\": %w", c.Dir, c.Dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	return c.open(ctx, file, false)
}

func (c Config) seal() seal.Config {
	return seal.Config{Random: c.Rand, Now: c.Now, Exclusive: c.Shared == nil}
}

// open opens the rest over a store file, which it closes when it fails.
func (c Config) open(ctx context.Context, file *bolt.Store, create bool) (_ *Data, err error) {
	d := &Data{Bolt: file, Purpose: file.Header().Purpose}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("data: %w", err), d.Close())
		}
	}()
	if err := c.openParts(ctx, d, file); err != nil {
		return nil, err
	}
	key := d.Keys.LogSigner()
	settings := audit.Config{Store: d.Store, Origin: key.Name(), Signer: key, Verifiers: note.VerifierList(d.Keys.LogVerifier()), Create: create}
	d.Log, err = audit.Open(ctx, settings)
	if errors.Is(err, audit.ErrNoLog) {
		// Brokers that shared the store before it was brought here had logs of their own. This one begins its own beside them.
		if settings.Create, err = wasShared(ctx, d.Store, err); err == nil {
			d.Log, err = audit.Open(ctx, settings)
		}
	}
	if err != nil {
		return nil, err
	}
	d.Logs = logs.SingleBeside(d.Log, d.Store, d.Keys)
	return d, nil
}

// wasShared reports whether a store has logs of brokers that shared it. Otherwise it returns the error given.
func wasShared(ctx context.Context, s store.Store, none error) (bool, error) {
	for slot := 1; slot <= logs.MaxSlots; slot++ {
		_, err := s.Get(ctx, store.Key(logs.Prefix(slot), "head"))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return false, err
		}
	}
	return false, none
}

// openParts opens the seal, the keys and the tokens over a store.
func (c Config) openParts(ctx context.Context, d *Data, inner store.Store) (err error) {
	if d.Store, err = seal.Open(ctx, inner, c.Seal, c.seal()); err != nil {
		return err
	}
	if err := migrate.Check(ctx, d.Store); err != nil {
		return err
	}
	if d.Keys, err = keys.Open(ctx, keys.Config{Store: d.Store, Origin: c.Origin, Rand: c.Rand, Now: c.Now}); err != nil {
		return err
	}
	d.Tokens, err = access.NewTokens(access.Config{Store: d.Store, Rand: c.Rand, Now: c.Now})
	return err
}

// Close finishes what the log was writing and closes the store.
func (d *Data) Close() error {
	var errs []error
	if d.stop != nil {
		d.stop()
		d.behind.Wait()
	}
	switch {
	case d.Logs != nil:
		errs = append(errs, d.Logs.Close())
	case d.Log != nil:
		errs = append(errs, d.Log.Close())
	}
	// The sealed store clears its keys and closes the store below it.
	if d.Store != nil {
		errs = append(errs, d.Store.Close())
	} else if d.Bolt != nil {
		errs = append(errs, d.Bolt.Close())
	}
	return errors.Join(errs...)
}
