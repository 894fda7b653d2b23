package audit

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Config says where a log is and how it works.
type Config struct {
	// Store keeps the log. Required.
	Store store.Store
	// Prefix is the key under which the log's records are. Default "sys/audit".
	Prefix string
	// Origin is the log's name, the first line of its checkpoints: by custom the URL where it is served, without the scheme. Required.
	Origin string
	// Signer signs checkpoints; its name must be Origin, and Verifiers must know it. See NewSigner. Without one the log is read-only.
	Signer note.Signer
	// Verifiers are the log's keys, those that signed in the past too. Required. See NewVerifiers.
	Verifiers note.Verifiers
	// Create makes an empty log where there is none. Without it that is ErrNoLog, so that a server whose log was wiped does not
	// quietly begin another.
	Create bool
	// MaxPending is the most appends that wait while a batch is written. More get ErrOverloaded. Default 1024.
	MaxPending int
	// MaxBatch is the most appends committed together. Default 256.
	MaxBatch int
	// CommitTimeout bounds one call of the store. Default 30 seconds.
	CommitTimeout time.Duration
}

// MaxEntry is the longest entry in bytes: what the length prefix of a C2SP entry bundle can say.
const MaxEntry = 1<<16 - 1

// Log is an open log. It is safe for concurrent use.
type Log struct{}

// Entry is one entry of a log.
type Entry struct {
	Index uint64
	Data  []byte
}

var errTODO = errors.New("not implemented")

// Open opens the log and checks it: the signature of its head, and that the records on the tree's right edge add up to the root
// that was signed. Errors wrap ErrDamaged, ErrUnverified, ErrNoLog, or the store's.
func Open(ctx context.Context, config Config) (*Log, error) { return nil, errTODO }

// Append records an entry of 1 to MaxEntry bytes and makes the writes with it.
func (l *Log) Append(ctx context.Context, entry []byte, writes ...store.Write) (Receipt, error) {
	return Receipt{}, errTODO
}

// AppendFunc is Append for an entry that holds its own index.
func (l *Log) AppendFunc(ctx context.Context, make func(index uint64) (entry []byte, writes []store.Write, err error)) (Receipt, error) {
	return Receipt{}, errTODO
}

// Close waits for the appends that are under way and refuses others. It does not close the store.
func (l *Log) Close() error { return nil }

// Checkpoint returns the latest signed checkpoint.
func (l *Log) Checkpoint() []byte { return nil }

// Head returns what the latest checkpoint says.
func (l *Log) Head() Checkpoint { return Checkpoint{} }

// Size returns the number of entries.
func (l *Log) Size() uint64 { return 0 }

// Pending returns how many appends wait, for metrics.
func (l *Log) Pending() int { return 0 }

// Wait blocks until the log has more than size entries, and returns how many.
func (l *Log) Wait(ctx context.Context, size uint64) (uint64, error) { return 0, errTODO }

// Entry returns the entry at index.
func (l *Log) Entry(ctx context.Context, index uint64) ([]byte, error) { return nil, errTODO }

// Entries yields the entries from index from up to before index to.
func (l *Log) Entries(ctx context.Context, from, to uint64) iter.Seq2[Entry, error] { return nil }

// Tail yields the entries from index from on, and waits for more until ctx ends.
func (l *Log) Tail(ctx context.Context, from uint64) iter.Seq2[Entry, error] { return nil }

// Prove returns the proof that the tree of size entries has the one at index.
func (l *Log) Prove(ctx context.Context, index, size uint64) (tlog.RecordProof, error) {
	return nil, errTODO
}

// Receipt returns the receipt of the entry at index under the latest checkpoint.
func (l *Log) Receipt(ctx context.Context, index uint64) (Receipt, error) { return Receipt{}, errTODO }

// Consistency returns the proof that the tree of newer entries begins with that of older entries.
func (l *Log) Consistency(ctx context.Context, older, newer uint64) (tlog.TreeProof, error) {
	return nil, errTODO
}

// ReadPath returns a resource of c2sp.org/tlog-tiles: "checkpoint", "tile/<L>/<N>[.p/<W>]" or "tile/entries/<N>[.p/<W>]".
// Errors wrap store.ErrInvalid for another path, store.ErrNotFound for what is not there (yet).
func (l *Log) ReadPath(ctx context.Context, path string) ([]byte, error) { return nil, errTODO }

// Fetch reads a C2SP path of a log, as [Log.ReadPath] does, or an HTTP client.
type Fetch func(ctx context.Context, path string) ([]byte, error)

// AuditConfig says what an audit checks a log against.
type AuditConfig struct {
	Origin    string         // the log's name. Required.
	Verifiers note.Verifiers // its keys, those of the past too. Required.
	// Old is a signed checkpoint that the auditor kept from before, which the log must still contain. Optional, and
	// without it a log that was replaced as a whole by one with the same key is not found out.
	Old []byte
	// Each is called with every entry in order, when its whole bundle was checked against its tile. Optional. An error of it ends the audit.
	Each func(index uint64, entry []byte) error
}

// Report says what an audit found to be in order.
type Report struct {
	Checkpoint Checkpoint // what was audited
	Signed     []byte     // the same as it was signed, to keep for the next audit's Old
	Bytes      uint64     // the length of all entries together
	Old        Checkpoint // what Old said, if it was given
}

// Audit reads a whole log and recomputes every hash of it from the entries.
func Audit(ctx context.Context, fetch Fetch, config AuditConfig) (Report, error) { return Report{}, errTODO }
