package migrate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// Sizes of the work. A page is what is lost at most when a migration is stopped.
const (
	pageSize = 256
	// parallel is how many records are read or written at the same time: enough to hide the way to Vault, few enough that the largest fit in memory.
	parallel = 16
	// batchRecords and batchBytes bound one Apply to a store that makes several writes in one sync.
	batchRecords = 64
	batchBytes   = 1 << 20
)

// Stage is what a migration does at the moment.
type Stage string

// The stages of a migration, in order.
const (
	Copy    Stage = "copy"
	Compare Stage = "compare"
	Settle  Stage = "settle"
)

// Progress says how far a migration is.
type Progress struct {
	Stage   Stage
	Records int   // of this stage
	Bytes   int64 // of their values
}

// Report is what a migration did.
type Report struct {
	From      string `json:"from"`
	To        string `json:"to"`
	Records   int    `json:"records"`
	Bytes     int64  `json:"bytes"`     // of values
	Resumed   bool   `json:"resumed"`   // it went on with one that was stopped
	Written   int    `json:"written"`   // by this run
	Unchanged int    `json:"unchanged"` // were there, as an earlier run wrote them, and were compared
	Removed   int    `json:"removed"`   // the source does not have them
	Digest    string `json:"digest"`    // SHA-256 in hexadecimal, see the package comment
}

// Config says what to migrate. Source and Target are needed; Plan does without Target.
type Config struct {
	Source, Target *seal.Store
	From, To       string // where they are, in words

	// Idle returns an error when a broker works on the source. Default: the caller holds its lock.
	Idle func(ctx context.Context) error
	// Settle is the last check of what was copied, before it counts, and may write to it. It is called again if a run is stopped in it.
	Settle func(ctx context.Context, target store.Store) error

	Progress func(Progress)   // called after each page; may be nil
	Now      func() time.Time // default time.Now
	Rand     io.Reader        // names the run; default crypto/rand

	page int // default pageSize; tests have small ones
}

func (c Config) withDefaults() (Config, error) {
	if c.Source == nil {
		return c, errors.New("migrate: a source is needed")
	}
	if c.Idle == nil {
		c.Idle = func(context.Context) error { return nil }
	}
	if c.Settle == nil {
		c.Settle = func(context.Context, store.Store) error { return nil }
	}
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.page == 0 {
		c.page = pageSize
	}
	if c.Target != nil && c.Source.ID() == c.Target.ID() {
		return c, fmt.Errorf("migrate: %w, or one is a copy of the other", ErrSame)
	}
	return c, nil
}

// migration is one run of Run.
type migration struct {
	Config
	source, target *seal.Store
	record         record
	version        uint64 // of the record
	report         Report
	pauses         []time.Duration
}

// pauses are waited between attempts at what was store.ErrUnavailable.
var defaultPauses = [...]time.Duration{250 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}

func newMigration(c Config) *migration {
	return &migration{Config: c, source: c.Source, target: c.Target, pauses: defaultPauses[:], report: Report{From: c.From, To: c.To}}
}

// Run migrates, or goes on with a migration that was stopped. Errors wrap those of this package and of the stores.
func Run(ctx context.Context, c Config) (Report, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Report{}, err
	}
	if c.Target == nil {
		return Report{}, errors.New("migrate: a target is needed")
	}
	m := newMigration(c)
	if err := m.run(ctx); err != nil {
		return m.report, fmt.Errorf("migrate from the store %s to the store %s: %w", c.From, c.To, err)
	}
	return m.report, nil
}

func (m *migration) run(ctx context.Context) error {
	if err := m.Idle(ctx); err != nil {
		return err
	}
	if err := m.begin(ctx); err != nil {
		return err
	}
	if m.record.State == copying {
		if err := m.copyAll(ctx); err != nil {
			return err
		}
		if err := m.compareAll(ctx); err != nil {
			return m.again(ctx, err)
		}
		m.record.State = verified
		if err := m.save(ctx); err != nil {
			return err
		}
	}
	m.report.Records, m.report.Bytes, m.report.Digest = m.record.Records, m.record.Bytes, m.record.Digest
	m.Progress(Progress{Stage: Settle, Records: m.record.Records, Bytes: m.record.Bytes})
	if err := m.Settle(ctx, m.target); err != nil {
		return err
	}
	if err := m.unchanged(ctx); err != nil {
		return m.again(ctx, err)
	}
	if err := m.Idle(ctx); err != nil {
		return err
	}
	m.record.State, m.record.Finished = finished, m.Now().UTC()
	return m.save(ctx)
}

// begin takes the target over, or goes on where an earlier run was.
func (m *migration) begin(ctx context.Context) error {
	r, version, err := m.admit(ctx)
	if err != nil {
		return err
	}
	m.report.Resumed = version != 0
	var id [16]byte
	if _, err := io.ReadFull(m.Rand, id[:]); err != nil {
		return fmt.Errorf("no randomness: %w", err)
	}
	m.record, m.version = r, version
	m.record.Run = hex.EncodeToString(id[:])
	if m.report.Resumed {
		if err := m.stillSeen(ctx); err != nil {
			return err
		}
	}
	return m.save(ctx)
}

// stillSeen goes back to the beginning if what an earlier run saw of the source is not what is there now.
func (m *migration) stillSeen(ctx context.Context) error {
	if m.record.After == "" {
		m.restart()
		return nil
	}
	seen := newChain()
	err := m.pages(ctx, m.source, "", func(page []store.Entry) error {
		for _, e := range page {
			if e.Key <= m.record.After {
				seen.add(e)
			}
		}
		if page[len(page)-1].Key > m.record.After {
			return errStop
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !seen.is(m.record.Seen) {
		m.restart()
		return nil
	}
	if m.record.State != verified {
		return nil // all is compared yet
	}
	// A source that was restored from a backup and used again may have the same versions with other values, which nothing after this would notice.
	var now Report
	if err := m.digestSource(ctx, &now); err != nil {
		return err
	}
	if now.Digest != m.record.Digest {
		m.restart()
	}
	return nil
}

func (m *migration) restart() {
	m.record.State, m.record.After, m.record.Seen = copying, "", []byte{}
	m.record.Records, m.record.Bytes, m.record.Digest = 0, 0, ""
}

// again has the next run compare everything, where this one found what it cannot explain.
func (m *migration) again(ctx context.Context, err error) error {
	if !errors.Is(err, ErrChanged) && !errors.Is(err, ErrMismatch) {
		return err
	}
	m.restart()
	return errors.Join(fmt.Errorf("%w; run the migration again, it puts right what differs", err), m.save(ctx))
}

// unchanged lists the source again.
func (m *migration) unchanged(ctx context.Context) error {
	seen := newChain()
	err := m.pages(ctx, m.source, "", func(page []store.Entry) error {
		for _, e := range page {
			seen.add(e)
		}
		return nil
	})
	if err == nil && !seen.is(m.record.Seen) {
		err = ErrChanged
	}
	return err
}

// errStop ends a listing before its end.
var errStop = errors.New("enough")

// pages visits the entries of a store after a key, but for this package's own. Pages may be short, and are not empty.
func (m *migration) pages(ctx context.Context, s *seal.Store, after string, visit func([]store.Entry) error) error {
	for {
		var page []store.Entry
		err := m.patiently(ctx, func() (err error) {
			page, err = s.List(ctx, "", after, m.page)
			return err
		})
		if err != nil {
			return err
		}
		last := len(page) < m.page
		if len(page) > 0 {
			after = page[len(page)-1].Key
		}
		if page = without(page); len(page) > 0 {
			if err := visit(page); errors.Is(err, errStop) {
				return nil
			} else if err != nil {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

// without leaves this package's record out.
func without(page []store.Entry) []store.Entry {
	out := make([]store.Entry, 0, len(page))
	for _, e := range page {
		if e.Key != RecordKey {
			out = append(out, e)
		}
	}
	return out
}

// patiently tries what was store.ErrUnavailable again, a few times, and what met a write that arrived late.
func (m *migration) patiently(ctx context.Context, do func() error) error {
	for _, pause := range m.pauses {
		err := do()
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrConflict) || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return do()
}

// chain digests the keys and versions of a listing so that it can be gone on with: SHA-256 of the one before, the length of the key, the key, and the version.
type chain struct{ sum []byte }

func newChain() *chain { return &chain{} }

func (c *chain) add(e store.Entry) {
	b := binary.BigEndian.AppendUint64(c.sum[:len(c.sum):len(c.sum)], uint64(len(e.Key)))
	b = append(b, e.Key...)
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(b, e.Version))
	c.sum = sum[:]
}

func (c *chain) is(sum []byte) bool { return string(c.sum) == string(sum) }

// addRecord puts a record in the digest of all.
func addRecord(h hash.Hash, key string, value []byte) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(key)))
	h.Write(size[:])
	io.WriteString(h, key)
	binary.BigEndian.PutUint64(size[:], uint64(len(value)))
	h.Write(size[:])
	h.Write(value)
}
