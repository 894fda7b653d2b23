package collateral

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Defaults and limits of a Manager.
const (
	// DefaultMaxItems bounds what is at hand: certificates of a fleet of many thousand chips.
	DefaultMaxItems = 16384
	// DefaultMaxBytes bounds it in bytes, of memory and of disk alike.
	DefaultMaxBytes = 64 << 20
	// maxMaxItems and maxMaxBytes bound the settings.
	maxMaxItems = 1 << 20
	maxMaxBytes = 4 << 30
	// future is how far ahead of the clock what an item says of itself may be: clocks differ, but an item of tomorrow would
	// keep out all that come before it.
	future = time.Hour
)

// Config says what a Manager keeps, where, and whom it asks. All but Publishers may be left out.
type Config struct {
	Dir        string      // folder of the items, made where it is not there; "" keeps them in memory alone
	Publishers []Publisher // one of each vendor whose items are kept
	Shared     Shared      // where replicas share what they fetched; nil for none
	ReadOnly   bool        // nothing is fetched or written, whatever Publishers say: for commands that only look

	Command bool // what is wanted is not written down: a server may use the folder, whose list that is

	MaxItems int   // default DefaultMaxItems
	MaxBytes int64 // default DefaultMaxBytes

	Rescan time.Duration // how often the folder is looked through for what other processes put there; default 30 s

	Logger *slog.Logger     // default: slog.Default
	Now    func() time.Time // default: time.Now
	Jitter func() float64   // from 0 to 1, exclusive; default: math/rand
}

// Manager has items of collateral at hand and fetches those that are missing. It implements [attest.Endorsements], and is safe for concurrent use.
type Manager struct {
	config  Config
	lanes   map[Vendor]*lane
	current atomic.Pointer[map[string]*held] // replaced as a whole under mu, read without
	counts  counts

	mu      sync.Mutex // of all below, and of the folder
	folder  *folder
	bytes   int64
	damage  []Damage
	warned  map[string]time.Time // when the end of an item was warned of last
	running bool
	saved   []byte // the wanted file as it was written last
}

// held is an item at hand, and when it was asked for last, in seconds of Unix time.
type held struct {
	*Item
	asked atomic.Int64
}

var _ attest.Endorsements = (*Manager)(nil)

// Open returns a Manager with what the folder holds. Damaged files are set aside, which [Manager.Damage] reports; they never keep a broker from
// starting. What is whole passed its vendor's check when it was written, and whoever uses it verifies it, so that a broker with the certificates of
// a large fleet starts at once; [Manager.Run] and [Manager.Recheck] hold it against the check again.
func Open(c Config) (*Manager, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	m := &Manager{config: c, lanes: map[Vendor]*lane{}, warned: map[string]time.Time{}}
	m.current.Store(&map[string]*held{})
	for _, p := range c.Publishers {
		l, err := newLane(p, c.ReadOnly)
		if err != nil {
			return nil, err
		}
		if m.lanes[p.Vendor] != nil {
			return nil, fmt.Errorf("collateral: the vendor %s twice", p.Vendor)
		}
		m.lanes[p.Vendor] = l
	}
	if c.Dir != "" {
		var err error
		if m.folder, err = openFolder(c.Dir, c.ReadOnly); err != nil {
			return nil, err
		}
		if _, err := m.rescan(false); err != nil {
			return nil, err
		}
	}
	for _, l := range m.lanes {
		for _, name := range l.always {
			m.wantKept(name)
		}
	}
	return m, nil
}

func (c *Config) complete() error {
	if c.MaxItems == 0 {
		c.MaxItems = DefaultMaxItems
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.MaxItems < 1 || c.MaxItems > maxMaxItems || c.MaxBytes < MaxItem || c.MaxBytes > maxMaxBytes {
		return fmt.Errorf("collateral: limits of %d items and %d bytes: 1 to %d items and %d to %d bytes are possible",
			c.MaxItems, c.MaxBytes, maxMaxItems, MaxItem, int64(maxMaxBytes))
	}
	if c.Rescan == 0 {
		c.Rescan = 30 * time.Second
	}
	if c.Rescan < 0 {
		return errors.New("collateral: a time between scans that is negative")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	return nil
}

// Endorsement returns the item of a name. It reads one map that never changes, whatever goes on beside it; only for what is missing does it take a lock,
// to note that it is wanted. It implements [attest.Endorsements].
func (m *Manager) Endorsement(_ context.Context, name string) (*attest.Endorsement, error) {
	if h := (*m.current.Load())[name]; h != nil {
		// Who is asked for is not dropped first. A minute's precision spares a write to memory that other processors read.
		if now := m.config.Now().Unix(); now-h.asked.Load() > 60 {
			h.asked.Store(now)
		}
		return h.Endorsement, nil
	}
	return nil, m.missing(name)
}

// Item returns the item of a name, nil when it is not at hand. It does not make it wanted.
func (m *Manager) Item(name string) *Item {
	if h := (*m.current.Load())[name]; h != nil {
		return h.Item
	}
	return nil
}

// Items returns everything at hand, in no order.
func (m *Manager) Items() []*Item {
	all := *m.current.Load()
	items := make([]*Item, 0, len(all))
	for _, h := range all {
		items = append(items, h.Item)
	}
	return items
}

// maxDamage bounds how much damage is remembered: a folder on a failing disk must not fill memory.
const maxDamage = 100

// noteDamage remembers what was set aside. The caller holds mu.
func (m *Manager) noteDamage(damage ...Damage) {
	m.damage = append(m.damage, damage...)
	m.damage = m.damage[max(0, len(m.damage)-maxDamage):]
}

// Damage returns which files were set aside since the Manager was opened, the latest hundred.
func (m *Manager) Damage() []Damage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Damage(nil), m.damage...)
}

// verify checks an item from wherever it comes, and takes in what it says of its time.
func (m *Manager) verify(i *Item) error {
	l := m.lanes[i.Name.Vendor()]
	if l == nil {
		return fmt.Errorf("collateral: %s: nothing here checks items of %s", i.Name, i.Name.Vendor())
	}
	now := m.config.Now()
	v, err := l.publisher.Check(i.Name, i.Endorsement, now)
	if err != nil {
		return err
	}
	if v.Issued.After(now.Add(future)) {
		return fmt.Errorf("collateral: %s was made at %s, which is still to come: check the clock", i.Name, v.Issued.UTC().Format(time.RFC3339))
	}
	i.Issued, i.Expires = v.Issued, v.Expires
	return nil
}

// outcome is what became of an item that was offered.
type outcome int

const (
	added     outcome = iota // it was new, or took the place of an older one
	unchanged                // the same is at hand; a later time of fetching was noted
	older                    // a newer one is at hand
)

// put keeps a verified item, on disk first. live says that it comes from its publisher just now, so that what does not say when it was made
// is newer than what is held.
func (m *Manager) put(i *Item, live bool) (outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := *m.current.Load()
	before := all[i.Name.text]
	result := added
	if before != nil {
		if !i.supersedes(before.Item) && !(live && i.Issued.IsZero()) {
			same := i.Endorsement.Digest == before.Endorsement.Digest
			if same && i.Kept && !before.Kept {
				i = before.kept()
			} else if same {
				return unchanged, nil
			} else {
				return older, nil
			}
		}
		if i.Endorsement.Digest == before.Endorsement.Digest {
			result = unchanged
		}
		if before.Kept && !i.Kept {
			i = i.kept()
		}
	}
	h := &held{Item: i}
	h.asked.Store(m.config.Now().Unix())
	next := make(map[string]*held, len(all)+1)
	for name, other := range all {
		next[name] = other
	}
	next[i.Name.text] = h
	size := m.bytes + int64(i.size())
	if before != nil {
		size -= int64(before.size())
	}
	size, victims, room := m.makeRoom(next, size, i.Name.text)
	if !room {
		return result, fmt.Errorf("%w: %d items of %d bytes, all wanted by an operator", ErrFull, len(next), size)
	}
	if m.folder != nil {
		if err := m.folder.write(i); err != nil {
			return result, err
		}
	}
	m.drop(victims)
	m.bytes = size
	m.current.Store(&next)
	if l := m.lanes[i.Name.Vendor()]; l != nil {
		l.arrived(i.Name.text)
	}
	return result, nil
}

// ErrFull is wrapped by the error of an item for which there is no room, because all that is at hand is wanted by an operator.
var ErrFull = errors.New("collateral is at its limits: raise them or remove some")

// kept returns i, marked as one that an operator wants.
func (i *Item) kept() *Item {
	k := *i
	k.Kept = true
	return &k
}

// makeRoom takes items out of a map of that size in bytes until it is within the limits: those that nobody asked for longest, never one that an operator
// wants, nor the one that has just come. It returns the size then, what it took out, and whether that is enough.
func (m *Manager) makeRoom(all map[string]*held, size int64, newest string) (int64, []*held, bool) {
	var victims []*held
	for len(all) > m.config.MaxItems || size > m.config.MaxBytes {
		var victim *held
		for name, h := range all {
			if name != newest && !h.Kept && (victim == nil || h.asked.Load() < victim.asked.Load()) {
				victim = h
			}
		}
		if victim == nil {
			return size, victims, false
		}
		delete(all, victim.Name.text)
		size -= int64(victim.size())
		victims = append(victims, victim)
	}
	return size, victims, true
}

// drop removes the files of items that had to make room.
func (m *Manager) drop(victims []*held) {
	if m.folder == nil || m.config.ReadOnly {
		return
	}
	for _, h := range victims {
		if err := m.folder.remove(h.Name); err != nil {
			m.config.Logger.Warn("collateral that was dropped is still on disk", "name", h.Name.text, "error", err)
		}
	}
}

// rescan takes in what the folder holds and other processes have put there, and returns that. verify says whether each item must pass its
// vendor's check first.
func (m *Manager) rescan(verify bool) (news []*Item, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.folder == nil {
		return nil, nil
	}
	all := *m.current.Load()
	// One copy of the map for all that is found, not one each.
	next := make(map[string]*held, len(all))
	for name, h := range all {
		next[name] = h
	}
	changed := false
	damage, gone, err := m.folder.scan(maxMaxItems, func(i *Item) error {
		if m.lanes[i.Name.Vendor()] == nil {
			return nil // of a vendor that is not configured: left alone, not used
		}
		if verify {
			if err := m.verify(i); err != nil {
				return err
			}
		}
		before := next[i.Name.text]
		if before != nil {
			if !i.supersedes(before.Item) {
				return nil
			}
			m.bytes -= int64(before.size())
		}
		h := &held{Item: i}
		h.asked.Store(m.config.Now().Unix())
		next[i.Name.text] = h
		m.bytes += int64(i.size())
		changed = true
		news = append(news, i)
		m.lanes[i.Name.Vendor()].arrived(i.Name.text)
		return nil
	})
	for _, d := range damage {
		m.config.Logger.Error("collateral cannot be used", "file", d.File, "reason", d.Reason)
	}
	m.noteDamage(damage...)
	for _, name := range gone {
		if h := next[name]; h != nil {
			delete(next, name)
			m.bytes -= int64(h.size())
			changed = true
		}
	}
	if changed {
		size, victims, room := m.makeRoom(next, m.bytes, "")
		if !room {
			m.config.Logger.Warn(ErrFull.Error(), "items", len(next), "bytes", size)
		}
		m.drop(victims)
		m.bytes = size
		m.current.Store(&next)
	}
	return news, err
}

// Recheck holds everything at hand against its vendor's check, drops and sets aside what does not pass, and returns how many that were. done is told
// how far it is, if it is not nil.
func (m *Manager) Recheck(ctx context.Context, done func(checked, of int)) (bad int, err error) {
	items := m.Items()
	for n, i := range items {
		if err := ctx.Err(); err != nil {
			return bad, err
		}
		again := *i
		if err := m.verify(&again); err != nil {
			bad++
			m.reject(i, err)
		}
		if done != nil {
			done(n+1, len(items))
		}
	}
	return bad, nil
}

// reject drops an item that was at hand and should not have been.
func (m *Manager) reject(i *Item, reason error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := *m.current.Load()
	if h := all[i.Name.text]; h == nil || h.Item != i {
		return // replaced meanwhile
	}
	next := make(map[string]*held, len(all))
	for name, h := range all {
		if name != i.Name.text {
			next[name] = h
		}
	}
	m.bytes -= int64(i.size())
	m.current.Store(&next)
	m.config.Logger.Error("collateral does not pass its check and was set aside", "name", i.Name.text, "reason", reason)
	m.noteDamage(Damage{i.Name.text + suffix, reason.Error()})
	if m.folder != nil {
		delete(m.folder.seen, i.Name.text)
		if err := m.folder.setAside(m.folder.path(i.Name), i.Name.text+suffix); err != nil {
			m.config.Logger.Error("collateral that does not pass its check is still on disk", "name", i.Name.text, "error", err)
		}
	}
}
