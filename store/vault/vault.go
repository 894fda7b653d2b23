package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/header"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// Format is the version of the layout that this package reads and writes.
const Format = 1

// Defaults of a Config.
const (
	DefaultPrefix    = "vouchsafe"
	DefaultPollEvery = time.Second
	DefaultParallel  = 8
)

// Bounds of a Config.
const (
	MaxStaleness = time.Minute // longer, and nobody would expect it of a store
	MaxParallel  = 64
	maxPrefix    = 128 // bytes
)

// Names directly below the prefix that are not records'. No segment of a key is escaped to one of them.
const (
	headerName = "=header"
	partsName  = "=parts"
)

// Config says which store to open. Conn and Mount are needed.
type Config struct {
	Conn  *vaultconn.Conn // stays the caller's, to be closed after the store
	Mount string          // of a KV engine of version 2, such as "vouchsafe" or "team/kv"

	// Prefix is the folder of the engine that the store's secrets are in: letters, digits, "-" and "_", and "/" between folders. Default DefaultPrefix.
	Prefix string

	Purpose store.Purpose // what the store must be, or becomes when it is created; default store.Production

	// Create makes a store where there is none, and sets the engine to keep one version of each secret if it has nothing but the store in it. Default
	// false, so that a mistyped mount or prefix is an error.
	Create bool

	// Staleness is how old what Get returns may be: what this store read or wrote at most so long ago may be returned again, though another has changed or
	// deleted it since. At most MaxStaleness. Default 0: every Get asks Vault.
	Staleness time.Duration

	Logger    *slog.Logger     // told that the store is lost, and that it is back; default slog.Default
	Now       func() time.Time // default time.Now
	Random    io.Reader        // names sets of parts and stores; default crypto/rand
	PollEvery time.Duration    // how often a Watch looks for changes that others made; default DefaultPollEvery, at least 10 ms
	Parallel  int              // how many requests one call makes at a time; default DefaultParallel, at most MaxParallel
}

func (c Config) withDefaults() (Config, error) {
	c.Mount = strings.Trim(c.Mount, "/")
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.Purpose == "" {
		c.Purpose = store.Production
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.PollEvery == 0 {
		c.PollEvery = DefaultPollEvery
	}
	if c.Parallel == 0 {
		c.Parallel = DefaultParallel
	}
	switch {
	case c.Conn == nil:
		return c, errors.New("vault store: no connection to Vault")
	case !isPath(c.Mount, func(b byte) bool { return b > ' ' && b <= '~' }) || strings.Contains("/"+c.Mount+"/", "/../") || strings.Contains("/"+c.Mount+"/", "/./"):
		return c, fmt.Errorf("vault store: %q is not the path of a mount", c.Mount)
	case !isPath(c.Prefix, plain) || len(c.Prefix) > maxPrefix:
		return c, fmt.Errorf("vault store: prefix %q is not of letters, digits, \"-\" and \"_\", in folders joined by \"/\", of at most %d bytes", c.Prefix, maxPrefix)
	case c.Purpose != store.Production && c.Purpose != store.Development:
		return c, fmt.Errorf("vault store: purpose %q is neither %q nor %q", c.Purpose, store.Production, store.Development)
	case c.Staleness < 0 || c.Staleness > MaxStaleness:
		return c, fmt.Errorf("vault store: staleness %v is not between 0 and %v", c.Staleness, MaxStaleness)
	case c.PollEvery < 10*time.Millisecond:
		return c, fmt.Errorf("vault store: polling every %v is not at least every 10 ms", c.PollEvery)
	case c.Parallel < 1 || c.Parallel > MaxParallel:
		return c, fmt.Errorf("vault store: %d requests at a time is not between 1 and %d", c.Parallel, MaxParallel)
	}
	return c, nil
}

// isPath reports whether s is segments of the bytes that are allowed, joined by "/".
func isPath(s string, allowed func(byte) bool) bool {
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "" {
			return false
		}
		for i := range len(segment) {
			if !allowed(segment[i]) {
				return false
			}
		}
	}
	return true
}

// Store is a store.Store in a KV engine of Vault.
type Store struct {
	conn   *vaultconn.Conn
	config Config
	now    func() time.Time
	header header.Header

	mount, data, subkeys, metadata string // paths of the engine and of the prefix in it; all but the first end with "/"

	cache    *cache
	presence presence
	parts    knownParts
	watch    watchers

	settled, orphaned time.Duration // the constants settled and sweepParts, but in tests

	mu      sync.Mutex
	closed  bool
	calls   sync.WaitGroup  // under way; added to with mu held
	closing context.Context // ended by the first Close, as end does
	end     context.CancelFunc
}

// Open opens or creates a store. Its errors are [MountError], [PurposeError], header.FormatError, and those wrapping [ErrNoStore], [ErrNotStore],
// store.ErrCorrupt for a header that is damaged, and store.ErrUnavailable.
func Open(ctx context.Context, c Config) (*Store, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{conn: c.Conn, config: c, now: c.Now, cache: newCache(c.Staleness, c.Now), settled: settled, orphaned: sweepParts}
	s.presence.turn = make(chan struct{}, 1)
	s.closing, s.end = context.WithCancel(context.Background())
	s.mount = vaultconn.Path(strings.Split(c.Mount, "/")...)
	s.data, s.subkeys, s.metadata = s.mount+"/data/"+c.Prefix+"/", s.mount+"/subkeys/"+c.Prefix+"/", s.mount+"/metadata/"+c.Prefix+"/"
	if s.header, err = s.prepare(ctx); err != nil {
		return nil, fmt.Errorf("open store %s: %w", s.Path(), err)
	}
	s.presence.seen = s.now()
	return s, nil
}

// Path returns where the store is, as the Vault command line names it.
func (s *Store) Path() string { return s.config.Mount + "/" + s.config.Prefix }

// Header describes the store.
func (s *Store) Header() header.Header { return s.header }

// Atomic is false: the writes of an Apply are made one after the other, each durable before the next.
func (s *Store) Atomic() bool { return false }

// Clock implements store.Clocked by Vault's clock.
func (s *Store) Clock() (time.Time, bool) { return s.conn.Clock() }

// enter begins a call of a store that is at its place; leave ends it.
func (s *Store) enter(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := s.Lost(); err != nil {
		s.leave()
		return err
	}
	return nil
}

// begin is enter for what looks whether the store is lost.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	s.calls.Add(1)
	return nil
}

func (s *Store) leave() { s.calls.Done() }

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Record{}, err
	}
	if err := s.enter(ctx); err != nil {
		return store.Record{}, err
	}
	defer s.leave()
	known, from, ok := s.cache.get(key)
	if ok {
		return known, nil
	}
	r, err := s.get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		if lost := s.present(ctx, s.lately()); lost != nil {
			err = fmt.Errorf("%s: %w", key, lost)
		}
	}
	if err != nil {
		return store.Record{}, err
	}
	s.cache.keep(r, from)
	return r, nil
}

// maxRereads bounds how often a value in parts is read again because it was replaced meanwhile.
const maxRereads = 5

// get reads a record. That parts are missing means that the record is damaged only if it still names them.
func (s *Store) get(ctx context.Context, key string) (store.Record, error) {
	missing := ""
	for range maxRereads {
		c, err := s.read(ctx, escapeKey(key))
		if errors.Is(err, errAbsent) || errors.Is(err, errGutted) {
			return store.Record{}, fmt.Errorf("%w: %s", store.ErrNotFound, key)
		}
		if err != nil {
			return store.Record{}, fmt.Errorf("%s: %w", key, err)
		}
		r, err := parseRecord(c.Data)
		switch {
		case err != nil:
			return store.Record{}, fmt.Errorf("%s: %w", key, err)
		case r.Deleted:
			return store.Record{}, fmt.Errorf("%w: %s", store.ErrNotFound, key)
		case r.Parts == 0:
			return store.Record{Key: key, Version: c.Metadata.Version, Value: r.Value}, nil
		case r.ID == missing:
			return store.Record{}, fmt.Errorf("%s: %w: a part of it is missing or is another's", key, store.ErrCorrupt)
		}
		value, err := s.join(ctx, key, r)
		if err == nil {
			s.parts.learn(key, c.Metadata.Version, r)
			return store.Record{Key: key, Version: c.Metadata.Version, Value: value}, nil
		}
		if !errors.Is(err, errParts) {
			return store.Record{}, fmt.Errorf("%s: %w", key, err)
		}
		missing = r.ID
	}
	return store.Record{}, fmt.Errorf("%w: %s is replaced again and again while it is read", store.ErrUnavailable, key)
}

// each calls do for 0 to n-1, as many at a time as one call may make requests, and returns the error of the least i that failed. After an error no
// more are begun.
func (s *Store) each(n int, do func(i int) error) error {
	var (
		mu    sync.Mutex
		next  int
		first = n
		err   error
		wait  sync.WaitGroup
	)
	work := func() {
		for {
			mu.Lock()
			i := next
			if i >= n || err != nil {
				mu.Unlock()
				return
			}
			next++
			mu.Unlock()
			if failed := do(i); failed != nil {
				mu.Lock()
				if i < first {
					first, err = i, failed
				}
				mu.Unlock()
			}
		}
	}
	for range min(n, s.config.Parallel) - 1 {
		wait.Go(work)
	}
	work()
	wait.Wait()
	return err
}

// Close waits for calls under way, which Vault's time limits bound, and ends every Watch. The connection stays open.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.watch.close()
	s.calls.Wait()
	return nil
}
