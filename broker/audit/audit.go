package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"golang.org/x/mod/sumdb/note"
)

// MaxEntry is the longest entry in bytes: what the length prefix of a C2SP entry bundle can say.
const MaxEntry = 1<<16 - 1

// Defaults and bounds of Config.
const (
	DefaultPrefix        = "sys/audit"
	DefaultMaxPending    = 1024             // a second's worth where a commit of 256 takes 250 ms, as on a slow disk
	DefaultMaxBatch      = 256              // beyond it the cost of the sync is no longer what counts
	DefaultCommitTimeout = 30 * time.Second // longer than a healthy store ever needs, shorter than clients wait

	// maxPrefixSegments leaves room for the three segments that the log adds to its prefix.
	maxPrefixSegments = store.MaxSegments - 3
	// maxPrefix leaves room for the bytes of those.
	maxPrefix = store.MaxKey - 64
	// maxAttempts bounds how often one batch is tried when others write the same store, or left-over records are in the way.
	maxAttempts = 32
)

// Config says where a log is and how it works.
type Config struct {
	// Store keeps the log. Required.
	Store store.Store
	// Prefix is the key under which the log's records are; nothing else may be there. Default DefaultPrefix.
	Prefix string
	// Origin is the log's name, the first line of its checkpoints: by custom the URL where it is served, without the scheme. Required.
	Origin string
	// Signer signs checkpoints; its name must be Origin, and Verifiers must know it. See NewSigner. Without one the log is read-only.
	Signer note.Signer
	// Verifiers are the log's keys: the one that signs now and those that signed in the past. Required. See NewVerifiers.
	Verifiers note.Verifiers
	// Create makes an empty log where there is none. Without it that is ErrNoLog, so that a server whose log was wiped does not
	// quietly begin another. Needs a Signer.
	Create bool
	// Claim is this process's right to be the one that appends, where several have the store. Default: nobody else has it, or the store is atomic.
	Claim Claim
	// MaxPending is the most appends that wait while a batch is written; more get ErrOverloaded. Default DefaultMaxPending.
	MaxPending int
	// MaxBatch is the most appends committed together. Default DefaultMaxBatch.
	MaxBatch int
	// CommitTimeout bounds one call of the store for a commit. Default DefaultCommitTimeout.
	CommitTimeout time.Duration
}

// Claim is the right of one process to append to a log in a store that others have too. It keeps two from being in each other's way; it is not what
// keeps the log whole, see the package comment.
type Claim interface {
	// Check returns an error wrapping store.ErrUnavailable when the claim may be another's by now. It costs nothing.
	Check() error
	// Renew makes sure by a write to the store that the claim is held.
	Renew(ctx context.Context) error
}

func (c Config) withDefaults() (Config, error) {
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.MaxPending == 0 {
		c.MaxPending = DefaultMaxPending
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = DefaultMaxBatch
	}
	if c.CommitTimeout == 0 {
		c.CommitTimeout = DefaultCommitTimeout
	}
	if c.Store == nil || c.Verifiers == nil {
		return c, errors.New("audit log: Store and Verifiers are required")
	}
	if err := checkOrigin(c.Origin); err != nil {
		return c, fmt.Errorf("audit log: %w", err)
	}
	if err := checkPrefix(c.Prefix); err != nil {
		return c, fmt.Errorf("audit log: %w", err)
	}
	if c.MaxPending < 1 || c.MaxBatch < 1 || c.CommitTimeout < 0 {
		return c, errors.New("audit log: MaxPending, MaxBatch and CommitTimeout must not be negative")
	}
	if c.MaxBatch > maxAdopted {
		return c, fmt.Errorf("audit log: MaxBatch is %d, over %d", c.MaxBatch, maxAdopted)
	}
	if c.Signer == nil {
		if c.Create {
			return c, fmt.Errorf("audit log: Create: %w", ErrReadOnly)
		}
		return c, nil
	}
	// A log whose own verifiers do not know its signer could not be opened again.
	signed, err := signCheckpoint(Checkpoint{Origin: c.Origin}, c.Signer)
	if err != nil {
		return c, fmt.Errorf("audit log: %w", err)
	}
	if _, err := VerifyCheckpoint(c.Verifiers, c.Origin, signed); err != nil {
		return c, fmt.Errorf("audit log: Verifiers and Origin do not fit the Signer: %w", err)
	}
	return c, nil
}

func checkPrefix(prefix string) error {
	if err := store.CheckKey(store.Key(prefix, "head")); err != nil {
		return fmt.Errorf("prefix: %w", err)
	}
	segments := 1
	for i := range len(prefix) {
		if prefix[i] == '/' {
			segments++
		}
	}
	if len(prefix) > maxPrefix || segments > maxPrefixSegments {
		return fmt.Errorf("prefix: %w: %d bytes and %d segments are over %d and %d", store.ErrInvalid,
			len(prefix), segments, maxPrefix, maxPrefixSegments)
	}
	return nil
}

// Log is an open log. It is safe for concurrent use.
type Log struct {
	config  Config
	atomic  bool // the store is
	records records
	base    context.Context // of commits: what the context of Open carries, but not its end
	current atomic.Pointer[state]
	tiles   tileCache

	// What the committer has to itself. At most one runs at a time; queue.running says whether one does.
	tip      *state // where the next commit goes on
	doubtful bool   // an earlier commit may or may not have happened: read the head again first

	queue   queue
	effects effects

	refreshing sync.Mutex // held while Refresh reads
}

// Open opens the log and checks it: the signature of its head, and that the records on the tree's right edge add up to the root
// that was signed. With a Signer it signs the head anew and writes it back, so that what it builds on is known to be durable. Errors wrap
// ErrDamaged, ErrNoLog, or the store's.
func Open(ctx context.Context, config Config) (*Log, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Log{
		config:  config,
		atomic:  config.Store.Atomic(),
		records: records{config.Store, config.Prefix},
		base:    context.WithoutCancel(ctx),
	}
	l.queue.idle = sync.NewCond(&l.queue.mu)
	for range maxAttempts {
		err = l.open(ctx)
		if !errors.Is(err, store.ErrConflict) { // another process writes to it
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Log) open(ctx context.Context) error {
	s, err := l.records.load(ctx, l.config.Verifiers, l.config.Origin)
	if errors.Is(err, ErrNoLog) && l.config.Create {
		s = &state{tree: tree{edge: []tile{newTile()}}, tail: make([][]byte, 0, tileWidth), grown: make(chan struct{})}
		s.head = Checkpoint{Origin: l.config.Origin, Root: s.tree.root()}
	} else if err != nil {
		return err
	}
	switch {
	case l.config.Signer == nil:
	case l.atomic:
		s, err = l.confirm(ctx, s)
	default:
		err = l.adopt(ctx, s)
	}
	if err != nil {
		return err
	}
	l.tip = s
	l.current.Store(s)
	return nil
}

// confirm writes the head of a loaded state again. A head that was read may be in the system's cache only, when the commit that wrote it failed
// at the last step; after a write that succeeds it is durable, and may be shown.
func (l *Log) confirm(ctx context.Context, s *state) (*state, error) {
	signed, err := signCheckpoint(s.head, l.config.Signer)
	if err != nil {
		return nil, err
	}
	if err := l.config.Store.Apply(ctx, store.Write{Key: l.records.head(), Version: s.version, Value: signed}); err != nil {
		return nil, fmt.Errorf("audit log: write head: %w", err)
	}
	confirmed := *s
	confirmed.signed = signed
	confirmed.version++
	return &confirmed, nil
}

// Close waits for the appends that are under way and refuses others. It does not close the store.
func (l *Log) Close() error {
	l.queue.close()
	l.effects.wait()
	return nil
}

// Checkpoint returns the latest signed checkpoint.
func (l *Log) Checkpoint() []byte { return append([]byte(nil), l.current.Load().signed...) }

// Head returns what the latest checkpoint says.
func (l *Log) Head() Checkpoint { return l.current.Load().head }

// Size returns the number of entries.
func (l *Log) Size() uint64 { return l.current.Load().head.Size }

// Pending returns how many appends wait for the batch after the one being written, for metrics.
func (l *Log) Pending() int { return l.queue.pending() }

// Wait blocks until the log has more than size entries, and returns how many it has then.
func (l *Log) Wait(ctx context.Context, size uint64) (uint64, error) {
	for {
		s := l.current.Load()
		if s.head.Size > size {
			return s.head.Size, nil
		}
		select {
		case <-s.grown:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
