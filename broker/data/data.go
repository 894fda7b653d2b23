// Package data opens a broker's data directory: the store file, the seal over it, the signing keys, the administrators' tokens and the
// audit log, in that order, each checked before the next.
//
// The directory, mode 0700, has one file of its own, store.db; what seals it lies elsewhere if the operator is wise. A directory
// made for development is never opened for production, nor the reverse.
package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// StoreFile is the name of the store in a data directory.
const StoreFile = "store.db"

// Config says which data directory to open. Dir and Seal are needed.
type Config struct {
	Dir     string
	Purpose store.Purpose // default store.Production
	Seal    seal.Seal
	Origin  string           // the audit log's name; needed to create it, else the one it was created with
	Rand    io.Reader        // default crypto/rand
	Now     func() time.Time // default time.Now
}

// Data is an open data directory.
type Data struct {
	Bolt   *bolt.Store // what is on disk, for backups
	Store  *seal.Store // what the broker works on
	Keys   *keys.Ring
	Tokens *access.Tokens
	Log    *audit.Log
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
	return seal.Config{Random: c.Rand, Now: c.Now, Exclusive: true}
}

// open opens the rest over a store file, which it closes when it fails.
func (c Config) open(ctx context.Context, file *bolt.Store, create bool) (_ *Data, err error) {
	d := &Data{Bolt: file}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("data: %w", err), d.Close())
		}
	}()
	sealed, err := seal.Open(ctx, file, c.Seal, c.seal())
	if err != nil {
		return nil, err
	}
	d.Store = sealed
	if d.Keys, err = keys.Open(ctx, keys.Config{Store: sealed, Origin: c.Origin, Rand: c.Rand, Now: c.Now}); err != nil {
		return nil, err
	}
	if d.Tokens, err = access.NewTokens(access.Config{Store: sealed, Rand: c.Rand, Now: c.Now}); err != nil {
		return nil, err
	}
	signer := d.Keys.LogSigner()
	d.Log, err = audit.Open(ctx, audit.Config{
		Store: sealed, Origin: signer.Name(), Signer: signer, Verifiers: note.VerifierList(d.Keys.LogVerifier()), Create: create,
	})
	return d, err
}

// Close finishes what the log was writing and closes the store.
func (d *Data) Close() error {
	var errs []error
	if d.Log != nil {
		errs = append(errs, d.Log.Close())
	}
	// The sealed store clears its keys and closes the file below it.
	if d.Store != nil {
		return errors.Join(append(errs, d.Store.Close())...)
	}
	return errors.Join(append(errs, d.Bolt.Close())...)
}
