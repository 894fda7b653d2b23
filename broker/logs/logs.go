package logs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/store"
)

// Config is what a Set of a shared store is made of. Store and Keys are needed.
type Config struct {
	Store  store.Store
	Keys   *keys.Ring
	Name   string           // of this broker, for people: by custom the machine's
	Rand   io.Reader        // default crypto/rand
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default slog.Default
	Beat   time.Duration    // default Beat; tests beat faster
}

// Set is the logs of a store. It is safe for concurrent use.
type Set struct {
	config   Config
	instance string
	own      atomic.Pointer[own]

	mu     sync.Mutex
	others map[int]*other

	stop    context.CancelFunc
	stopped chan struct{}
}

// own is the log that this broker appends to.
type own struct {
	slot  int
	log   *audit.Log
	claim *claim // nil where the store is not shared
}

// other is a log that another broker appends to, or that there is not.
type other struct {
	log  *audit.Log
	err  error
	read time.Time
}

// rereadAfter is how often the head of another broker's log is looked at, whoever asks: checkpoints are for everybody.
const rereadAfter = time.Second

// Single returns the Set of a store that one broker has, whose log is open.
func Single(log *audit.Log) *Set { return At(0, log) }

// At returns the Set of one log that the caller opened at a slot, whose claim is the caller's affair.
func At(slot int, log *audit.Log) *Set {
	s := &Set{}
	s.own.Store(&own{slot: slot, log: log})
	return s
}

// SingleBeside is Single in a store that brokers shared before, whose logs are still to be read.
func SingleBeside(log *audit.Log, s store.Store, ring *keys.Ring) *Set {
	set := Single(log)
	set.config = Config{Store: s, Keys: ring, Now: time.Now}
	set.others = map[int]*other{}
	return set
}

// Prefix is where the log of a slot is, 0 for the one of a store that is not shared.
func Prefix(slot int) string {
	if slot == 0 {
		return audit.DefaultPrefix
	}
	return audit.DefaultPrefix + "-" + strconv.Itoa(slot)
}

// Open claims a slot of a shared store, opens its log, making one where there is none, and renews the claim until Close.
func Open(ctx context.Context, c Config) (*Set, error) {
	if c.Store == nil || c.Keys == nil {
		return nil, errors.New("logs: a store and keys are needed")
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Beat == 0 {
		c.Beat = Beat
	}
	id, err := uuid.NewRandomFromReader(c.Rand)
	if err != nil {
		return nil, fmt.Errorf("logs: no randomness: %w", err)
	}
	s := &Set{config: c, instance: id.String(), others: map[int]*other{}}
	mine, err := s.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("logs: %w", err)
	}
	s.own.Store(mine)
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop, s.stopped = stop, make(chan struct{})
	go s.beat(background)
	return s, nil
}

// take claims a slot and opens its log.
func (s *Set) take(ctx context.Context) (*own, error) {
	c, err := take(ctx, s.config.Store, s.instance, s.config.Name, s.config.Now)
	if err != nil {
		return nil, err
	}
	key, err := s.config.Keys.LogOf(c.slot)
	if err != nil {
		return nil, err
	}
	log, err := audit.Open(ctx, audit.Config{
		Store: s.config.Store, Prefix: Prefix(c.slot), Origin: key.Origin, Signer: key.Signer, Verifiers: note.VerifierList(key.Verifier),
		Create: !c.record.Begun, Claim: c,
	})
	if err == nil {
		err = c.begun(ctx)
	}
	if err != nil {
		// Nobody else should wait for the claim to lapse, nor find a log that is damaged only to fail as well: it stays claimed then.
		if !errors.Is(err, audit.ErrDamaged) && !errors.Is(err, audit.ErrNoLog) {
			err = errors.Join(err, c.release(ctx))
		}
		return nil, fmt.Errorf("the audit log of slot %d: %w", c.slot, err)
	}
	return &own{slot: c.slot, log: log, claim: c}, nil
}

// beat renews the claim, and claims another slot when it was lost.
func (s *Set) beat(ctx context.Context) {
	defer close(s.stopped)
	ticker := time.NewTicker(s.config.Beat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		attempt, cancel := context.WithTimeout(ctx, s.config.Beat)
		s.renew(attempt)
		cancel()
	}
}

func (s *Set) renew(ctx context.Context) {
	mine := s.own.Load()
	err := mine.claim.Renew(ctx)
	if err == nil || ctx.Err() != nil {
		return
	}
	s.config.Logger.WarnContext(ctx, "the claim of the audit log could not be renewed", "slot", mine.slot, "cause", err)
	if !mine.claim.gone() {
		return
	}
	next, err := s.take(ctx)
	if err != nil {
		s.config.Logger.ErrorContext(ctx, "no audit log could be claimed in the place of one that was lost: nothing is released", "cause", err)
		return
	}
	s.own.Store(next)
	s.config.Logger.WarnContext(ctx, "goes on with another audit log, since another broker took over the one before", "slot", next.slot, "before", mine.slot)
	_ = mine.log.Close() // what is under way ends with the claim's error
}

// Own returns the log that this broker appends to.
func (s *Set) Own() *audit.Log { return s.own.Load().log }

// Slot returns the slot of that log, 0 where the store is not shared.
func (s *Set) Slot() int { return s.own.Load().slot }

// Append appends to the own log, and returns its slot as well; see [audit.Log.Append].
func (s *Set) Append(ctx context.Context, entry []byte, writes ...store.Write) (audit.Receipt, error) {
	return s.Own().Append(ctx, entry, writes...)
}

// AppendFunc appends to the own log; see [audit.Log.AppendFunc]. The function is also told the slot.
func (s *Set) AppendFunc(ctx context.Context, build func(slot int, index uint64) (entry []byte, writes []store.Write, err error)) (audit.Receipt, error) {
	mine := s.own.Load()
	return mine.log.AppendFunc(ctx, func(index uint64) ([]byte, []store.Write, error) { return build(mine.slot, index) })
}

// Log returns the log of a slot for reading, as it is now or was up to a second ago. The error of one that there is not wraps store.ErrNotFound.
func (s *Set) Log(ctx context.Context, slot int) (*audit.Log, error) {
	return s.read(ctx, slot, rereadAfter)
}

// LogWith is Log of a log that has an entry, if it has.
func (s *Set) LogWith(ctx context.Context, slot int, index uint64) (*audit.Log, error) {
	log, err := s.read(ctx, slot, rereadAfter)
	if err == nil && index >= log.Size() {
		return s.read(ctx, slot, 0)
	}
	return log, err
}

func (s *Set) read(ctx context.Context, slot int, notOlder time.Duration) (*audit.Log, error) {
	if mine := s.own.Load(); slot == mine.slot {
		return mine.log, nil
	}
	if s.config.Store == nil || slot < 0 || slot > MaxSlots {
		return nil, fmt.Errorf("%w: there is no audit log %d", store.ErrNotFound, slot)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.others[slot]
	if o == nil {
		o = &other{}
		s.others[slot] = o
	}
	if begun := s.config.Now(); o.read.IsZero() || begun.Sub(o.read) >= notOlder {
		if o.log == nil {
			o.log, o.err = s.open(ctx, slot)
		} else {
			o.err = o.log.Refresh(ctx)
		}
		if ctx.Err() == nil {
			o.read = begun
		}
	}
	if o.err != nil {
		return nil, o.err
	}
	return o.log, nil
}

// open opens a log for reading.
func (s *Set) open(ctx context.Context, slot int) (*audit.Log, error) {
	key, err := s.config.Keys.LogOf(slot)
	if err != nil {
		return nil, err
	}
	log, err := audit.Open(ctx, audit.Config{
		Store: s.config.Store, Prefix: Prefix(slot), Origin: key.Origin, Verifiers: note.VerifierList(key.Verifier),
	})
	if errors.Is(err, audit.ErrNoLog) {
		return nil, fmt.Errorf("%w: there is no audit log %d", store.ErrNotFound, slot)
	}
	return log, err
}

// Info describes a log.
type Info struct {
	Log     int       `json:"log" doc:"its number: 0 for that of a store which one broker has, 1 to 64 where brokers share one"`
	Origin  string    `json:"origin" doc:"its name, the first line of its checkpoints"`
	Key     string    `json:"key" doc:"the key that its checkpoints verify with (c2sp.org/signed-note)"`
	Broker  string    `json:"broker,omitempty" doc:"the machine whose broker last had it"`
	Renewed time.Time `json:"renewed,omitzero" doc:"when that broker last said that it has it"`
	Active  bool      `json:"active" doc:"a broker appends to it"`
}

// List describes the logs of the store: the one of before it was shared, if there is one, and that of every slot that was ever claimed. It reads
// some record of each possible slot.
func (s *Set) List(ctx context.Context, ring *keys.Ring) ([]Info, error) {
	info := func(slot int) (Info, error) {
		key, err := ring.LogOf(slot)
		return Info{Log: slot, Origin: key.Origin, Key: key.Text, Active: slot == s.Slot()}, err
	}
	if s.config.Store == nil {
		only, err := info(0)
		return []Info{only}, err
	}
	claimed, err := listClaims(ctx, s.config.Store)
	if err != nil {
		return nil, err
	}
	var list []Info
	for slot := range MaxSlots + 1 {
		if !claimed[slot] { // a log may be there whose claim is not
			_, err := s.config.Store.Get(ctx, store.Key(Prefix(slot), "head"))
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
		}
		one, err := info(slot)
		if err != nil {
			return nil, err
		}
		if claimed[slot] {
			r, version, err := readClaim(ctx, s.config.Store, slot)
			if err != nil {
				return nil, err
			}
			one.Broker, one.Renewed, one.Active = r.Name, r.Renewed, r.free(version, s.config.Now()) == 0
		}
		list = append(list, one)
	}
	return list, nil
}

// Check returns an error when nothing could be committed, because the claim was not renewed or is another's.
func (s *Set) Check() error {
	if c := s.own.Load().claim; c != nil {
		return c.Check()
	}
	return nil
}

// closing bounds the release of a slot when a broker ends.
const closing = 5 * time.Second

// Close ends the appends under way and gives the slot back. It does not close the store.
func (s *Set) Close() error {
	if s.stop != nil {
		s.stop()
		<-s.stopped
	}
	mine := s.own.Load()
	err := mine.log.Close()
	if mine.claim != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closing)
		defer cancel()
		if err := mine.claim.release(ctx); err != nil {
			s.config.Logger.Warn("the audit log's slot could not be given back: it lapses", "slot", mine.slot, "cause", err)
		}
	}
	return err
}
