package bolt

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/feed"
	"github.com/vouchsafe/vouchsafe/store/header"
)

// Names inside the file.
var (
	headerBucket = []byte("vouchsafe")
	headerKey    = []byte("header")
	recordBucket = []byte("records")
)

// versionSize is how many bytes of a record's value are its version.
const versionSize = 8

// DefaultTimeout is how long Open waits for another process to let go of the file: enough for one that is shutting down.
const DefaultTimeout = 5 * time.Second

// initialMap is how much address space the file is mapped into at first. bbolt cannot enlarge the map while a read
// transaction is open, so that a write would wait for a running backup; with a map this size that does not happen below
// a GiB. It takes no memory.
const initialMap = 1 << 30

// fileMode keeps other users out of names and sizes; values are sealed anyway.
const fileMode = 0o600

// Config says which store to open. Only Path is needed.
type Config struct {
	Path    string           // the file; its folder must exist
	Purpose store.Purpose    // what the store must be, or becomes when it is created; default store.Production
	Create  bool             // make a store when there is none; default false, so that a mistyped path is an error
	Timeout time.Duration    // how long to wait for the lock; default DefaultTimeout
	Now     func() time.Time // for the date in a new header; default time.Now
	Random  io.Reader        // for the id in a new header; default crypto/rand
}

func (c Config) withDefaults() (Config, error) {
	if c.Purpose == "" {
		c.Purpose = store.Production
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	switch {
	case c.Path == "":
		return c, errors.New("bolt: no path for the store")
	case c.Purpose != store.Production && c.Purpose != store.Development:
		return c, fmt.Errorf("bolt: purpose %q is neither %q nor %q", c.Purpose, store.Production, store.Development)
	case c.Timeout < 0:
		return c, fmt.Errorf("bolt: lock time-out %v is negative", c.Timeout)
	}
	return c, nil
}

// Store is a store.Store in a bbolt file.
type Store struct {
	db     *bbolt.DB
	path   string
	header header.Header
	watch  feed.Feed

	requests  chan *request // to the committer; unbuffered, so that what is sent is taken
	closing   chan struct{} // closed by the first Close
	committer sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
}

// Open opens or creates a store. Besides what the file system says it returns [LockedError], [PurposeError],
// header.FormatError, and errors wrapping [ErrNoStore], [ErrNotStore] and store.ErrCorrupt.
func Open(c Config) (*Store, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(c.Path)
	fresh := errors.Is(err, fs.ErrNotExist)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("open store %s: %w", c.Path, ErrNotStore)
	case err == nil && info.Size() == 0:
		fresh = true // a creation that was interrupted before its first write
	case err != nil && !fresh:
		return nil, fmt.Errorf("open store: %w", err)
	}
	if fresh && !c.Create {
		return nil, fmt.Errorf("open store %s: %w: create one with \"vouchsafe init\"", c.Path, ErrNoStore)
	}
	if !fresh {
		if err := checkFront(c.Path, c.Timeout); err != nil {
			return nil, err
		}
	}
	db, err := openFile(c.Path, writeOptions(c.Timeout))
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, path: c.Path, requests: make(chan *request), closing: make(chan struct{})}
	if err := s.prepare(c); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.committer.Go(s.commitAll)
	return s, nil
}

// writeOptions are for the process that owns the file.
func writeOptions(timeout time.Duration) *bbolt.Options {
	options := &bbolt.Options{
		Timeout: timeout, FreelistType: bbolt.FreelistMapType, InitialMmapSize: initialMap, NoStatistics: true,
	}
	if math.MaxInt == math.MaxInt32 {
		options.InitialMmapSize = initialMap >> 4 // where addresses are scarce
	}
	return options
}

// openFile opens the file with bbolt and names its errors.
func openFile(path string, options *bbolt.Options) (db *bbolt.DB, err error) {
	defer catchDamage(&err)()
	db, err = bbolt.Open(path, fileMode, options)
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, &LockedError{Path: path}
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return nil, fmt.Errorf("open store %s: %w: %w", path, ErrNotStore, err)
	case err != nil:
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return db, nil
}

// prepare reads the header, or writes one into a file that has nothing.
func (s *Store) prepare(c Config) error {
	var found bool
	err := s.view(context.Background(), func(tx *bbolt.Tx) (err error) {
		s.header, found, err = readHeader(tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("open store %s: %w", c.Path, err)
	}
	if found {
		if s.header.Purpose != c.Purpose {
			return &PurposeError{Path: c.Path, Have: s.header.Purpose, Want: c.Purpose}
		}
		return nil
	}
	if !c.Create {
		return fmt.Errorf("open store %s: %w: create one with \"vouchsafe init\"", c.Path, ErrNoStore)
	}
	if s.header, err = header.New(c.Random, Format, c.Purpose, c.Now()); err != nil {
		return err
	}
	if err := s.db.Update(func(tx *bbolt.Tx) error { return writeHeader(tx, s.header) }); err != nil {
		return fmt.Errorf("create store %s: %w", c.Path, err)
	}
	if err := syncFolder(filepath.Dir(c.Path)); err != nil {
		return fmt.Errorf("create store %s: %w", c.Path, err)
	}
	return nil
}

// readHeader returns the header; found is false when the file has no buckets at all.
func readHeader(tx *bbolt.Tx) (h header.Header, found bool, err error) {
	bucket, records := tx.Bucket(headerBucket), tx.Bucket(recordBucket)
	if bucket == nil {
		if first, _ := tx.Cursor().First(); first != nil {
			return header.Header{}, false, ErrNotStore
		}
		return header.Header{}, false, nil
	}
	if records == nil {
		return header.Header{}, false, fmt.Errorf("%w: it has a header but no records", store.ErrCorrupt)
	}
	h, err = ParseHeader(bucket.Get(headerKey))
	return h, err == nil, err
}

func writeHeader(tx *bbolt.Tx, h header.Header) error {
	bucket, err := tx.CreateBucket(headerBucket)
	if err != nil {
		return err
	}
	if _, err := tx.CreateBucket(recordBucket); err != nil {
		return err
	}
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return bucket.Put(headerKey, data)
}

// syncFolder makes a new name in a folder survive a power failure.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// Header describes the file.
func (s *Store) Header() header.Header { return s.header }

// Path returns the path the store was opened with.
func (s *Store) Path() string { return s.path }

// Atomic is true: an Apply is one transaction.
func (s *Store) Atomic() bool { return true }

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (record store.Record, err error) {
	if err := store.CheckKey(key); err != nil {
		return store.Record{}, err
	}
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		value := tx.Bucket(recordBucket).Get([]byte(key))
		if value == nil {
			return fmt.Errorf("%w: %s", store.ErrNotFound, key)
		}
		version, err := versionOf(key, value)
		if err != nil {
			return err
		}
		record = store.Record{Key: key, Version: version, Value: bytes.Clone(value[versionSize:])}
		return nil
	})
	return record, err
}

// readAhead is how many bytes of values GetEach copies in one transaction, unless the first alone is longer: some ten records of decisions. It is
// less than what a processor's cache holds, and few enough that no transaction stays open for long.
const readAhead = 64 << 10

// GetEach implements store.BulkReader. No transaction is open while f runs.
func (s *Store) GetEach(ctx context.Context, keys []string, f func(store.Record, error) error) error {
	buffer := make([]byte, 0, readAhead)
	var batch []store.Record
	for len(keys) > 0 {
		var err error
		batch, buffer, err = s.getSome(ctx, keys, batch[:0], buffer[:0])
		for _, record := range batch {
			if err := f(record, nil); err != nil {
				return err
			}
		}
		keys = keys[len(batch):]
		if err == nil {
			continue
		}
		if err := f(store.Record{Key: keys[0]}, err); err != nil {
			return err
		}
		keys = keys[1:]
	}
	return nil
}

// getSome appends the first of keys to batch and their values to buffer, as many as there is space for and one at least. With an error they are those before
// the one that it is about.
func (s *Store) getSome(ctx context.Context, keys []string, batch []store.Record, buffer []byte) ([]store.Record, []byte, error) {
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		cursor := tx.Bucket(recordBucket).Cursor()
		for _, key := range keys {
			if err := store.CheckKey(key); err != nil {
				return err
			}
			found, value := cursor.Seek([]byte(key))
			if string(found) != key || value == nil {
				return fmt.Errorf("%w: %s", store.ErrNotFound, key)
			}
			version, err := versionOf(key, value)
			if err != nil {
				return err
			}
			value = value[versionSize:]
			if len(batch) > 0 && len(value) > cap(buffer)-len(buffer) { // what batch has must stay where it is
				return nil
			}
			start := len(buffer)
			buffer = append(buffer, value...)
			batch = append(batch, store.Record{Key: key, Version: version, Value: buffer[start:len(buffer):len(buffer)]})
		}
		return nil
	})
	return batch, buffer, err
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) (entries []store.Entry, err error) {
	if err := store.CheckList(prefix, limit); err != nil {
		return nil, err
	}
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		cursor := tx.Bucket(recordBucket).Cursor()
		key, value := cursor.Seek([]byte(max(prefix, after)))
		if after != "" && string(key) == after {
			key, value = cursor.Next()
		}
		for ; key != nil && len(entries) < limit && strings.HasPrefix(string(key), prefix); key, value = cursor.Next() {
			version, err := versionOf(string(key), value)
			if err != nil {
				return err
			}
			entries = append(entries, store.Entry{Key: string(key), Version: version})
		}
		return nil
	})
	return entries, err
}

// view runs read in a transaction and turns what bbolt says, or how it fails on a damaged page, into the contract's
// errors.
func (s *Store) view(ctx context.Context, read func(*bbolt.Tx) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer catchDamage(&err)()
	err = s.db.View(read)
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	}
	if errors.Is(err, berrors.ErrInvalidMapping) {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}

// catchDamage is to be deferred as catchDamage(&err)(). It turns a panic into an error wrapping store.ErrCorrupt: bbolt
// asserts what it expects of a page and indexes into it, and a page that the disk cannot read is a memory fault, which
// must cost one call and not the broker.
func catchDamage(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if p := recover(); p != nil {
			*err = fmt.Errorf("%w: the store file cannot be read (%v): check it, and restore a backup", store.ErrCorrupt, p)
		}
	}
}

func versionOf(key string, value []byte) (uint64, error) {
	if len(value) < versionSize || len(value) > versionSize+store.MaxValue {
		return 0, fmt.Errorf("%w: %s has %d bytes in the file", store.ErrCorrupt, key, len(value))
	}
	version := binary.BigEndian.Uint64(value)
	if version == 0 {
		return 0, fmt.Errorf("%w: %s has version 0", store.ErrCorrupt, key)
	}
	return version, nil
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan store.Event, error) {
	if err := store.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.watch.Watch(ctx, prefix)
}

// View runs read in a read transaction of the whole file, which package backup copies from.
func (s *Store) View(ctx context.Context, read func(*bbolt.Tx) error) error { return s.view(ctx, read) }

// Close waits for the transaction being committed and for open reads, and ends every Watch. An Apply still waiting its
// turn gets store.ErrClosed.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.closing)
		s.committer.Wait()
		s.watch.Close()
		if err := s.db.Close(); err != nil {
			s.closeErr = fmt.Errorf("close store %s: %w", s.path, err)
		}
	})
	return s.closeErr
}
