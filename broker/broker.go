package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"time"

	"golang.org/x/time/rate"

	"github.com/google/uuid"
	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/broker/logs"
	"github.com/vouchsafe/vouchsafe/broker/session"
	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/policy/provenance"
	"github.com/vouchsafe/vouchsafe/store"
)

// Config is what a Broker is made of. Fields without a default must be given.
type Config struct {
	Purpose   store.Purpose
	Store     store.Store       // everything is kept here; secrets in it must be sealed below it
	Log       *audit.Log        // over the same store, where no other broker has that
	Logs      *logs.Set         // or, where others have it, the logs of all
	Keys      *keys.Ring        // over the same store
	Tokens    *access.Tokens    // over the same store
	Shared    *Shared           // says that other brokers have the store, too
	Verifiers []attest.Verifier // one that implements Passports takes passports, too
	Sources   []source.Source   // where secrets may lie, beside being stored; those that issue need TendLeases running
	Enroller  *tpm.Enroller     // enrols TPM keys; nil where no maker's root is configured, and then enrolment is refused
	// Provenance is the keys by which signed statements of reference values are verified, by namespace; a namespace without any imports none.
	Provenance map[string]provenance.Config
	Issuer     string // the "iss" of tokens: the broker's URL
	Build      string // name and version of the program, for tokens; default "vouchsafe"

	Limits   Limits
	Observer Observer         // told of every judgement; default: nobody
	Logger   *slog.Logger     // default: slog.Default
	Rand     io.Reader        // default: crypto/rand
	Now      func() time.Time // default: time.Now
}

// Shared is what brokers need that have a store in common.
type Shared struct {
	NonceKeys *session.SharedKeys // needed
	Staleness time.Duration       // how old what the store returns may be

	// Check says whether the store is what it was when it was opened, for readiness. May be nil.
	Check func(ctx context.Context) error
}

// Limits bound what one broker takes on. Zero fields have the defaults that the constants state.
type Limits struct {
	ChallengeLifetime time.Duration // how long a nonce is good for
	SessionLifetime   time.Duration // how long an attested KBS session or token is good for
	Spent             int           // nonces remembered as spent
	Verifying         int           // evidence verified at once
	Waiting           int           // requests that wait to be verified; more are told to come back
	RefusalsPerSecond int           // refused evidence recorded, a second, and denied requests too; more is answered without a record
	Secrets           int           // secrets in one release
}

// The defaults of Limits.
const (
	// DefaultChallengeLifetime is what KBS clients expect of a session.
	DefaultChallengeLifetime = 5 * time.Minute
	// DefaultSessionLifetime is the lifetime of an attestation result token.
	DefaultSessionLifetime = 5 * time.Minute
	// DefaultWaiting is a second of work for two cores at a millisecond each; who waits longer is better told to come back.
	DefaultWaiting = 2048
	// DefaultRefusalsPerSecond keeps strangers, who can send bad evidence as fast as they like, from filling the disk: at about
	// 2 KiB each it is under 20 GiB a day even when it never lets up. Denials have claims and count by denialSize: under 70 GiB a day.
	DefaultRefusalsPerSecond = 100
	// DefaultSecrets is what one workload plausibly needs at boot.
	DefaultSecrets = 64
)

// Observer is told what the core does, for metrics. Its methods must not block. Every label is of a bounded set.
type Observer interface {
	Attested(protocol Protocol, kind attest.Kind, code string, took time.Duration)
	Judged(protocol Protocol, outcome Outcome, took time.Duration)
	Unrecorded(kind attest.Kind) // evidence or a request was refused beyond the rate that is recorded
}

// Broker judges and releases. It is safe for concurrent use.
type Broker struct {
	purpose   store.Purpose
	store     store.Store
	logs      *logs.Set
	shared    *Shared
	keys      *keys.Ring
	tokens    *access.Tokens
	appraiser *attest.Appraiser
	enroller  *tpm.Enroller
	passports Passports // nil where no verifier takes any
	nonces    *session.Nonces
	issuer    string
	build     string
	limits    Limits
	observer  Observer
	logger    *slog.Logger
	rand      io.Reader
	now       func() time.Time

	verifying  chan struct{} // one place for each verification at once
	waiting    chan struct{} // one place for each request that verifies or waits to
	replays    *replayPlaces
	refusals   *rate.Limiter // of records of refused evidence
	denials    *rate.Limiter // of records of requests for which nothing was released
	rules      *ruleBook
	issues     *issueBook
	quotas     *quotaBook
	uses       *useBook
	provenance map[string]provenance.Config
	writes     probe
}

// New makes a Broker over a store that has been opened. It refuses a configuration that is incomplete, or that would let
// development evidence into production.
func New(ctx context.Context, c Config) (*Broker, error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	appraiser, err := attest.NewAppraiser(c.Verifiers...)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	for _, kind := range appraiser.Kinds() {
		if kind.Development() && c.Purpose != store.Development {
			return nil, fmt.Errorf("broker: a %s broker cannot have a verifier of %q, which proves nothing about hardware", c.Purpose, kind)
		}
	}
	nonces, err := c.nonces()
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	b := &Broker{
		purpose: c.Purpose, store: c.Store, logs: c.Logs, shared: c.Shared, keys: c.Keys, tokens: c.Tokens,
		appraiser: appraiser, enroller: c.Enroller, passports: passportsOf(c.Verifiers), nonces: nonces, issuer: c.Issuer, build: c.Build, limits: c.Limits,
		observer: c.Observer, logger: c.Logger, rand: c.Rand, now: c.Now,
		verifying:  make(chan struct{}, c.Limits.Verifying),
		waiting:    make(chan struct{}, c.Limits.Verifying+c.Limits.Waiting),
		replays:    newReplayPlaces(c.Store),
		refusals:   rate.NewLimiter(rate.Limit(c.Limits.RefusalsPerSecond), c.Limits.RefusalsPerSecond),
		uses:       newUseBook(),
		provenance: c.Provenance,
		denials:    rate.NewLimiter(rate.Limit(c.Limits.RefusalsPerSecond), c.Limits.RefusalsPerSecond),
	}
	sources, err := sourcesOf(c.Sources)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	b.issues = newIssueBook(c.Store, sources, c.Logger)
	var others *sharedRules
	if c.Shared != nil {
		others = &sharedRules{staleness: c.Shared.Staleness, now: c.Now}
	}
	b.quotas = newQuotaBook(c.Store)
	b.rules = newRuleBook(c.Store, others)
	if _, err := b.rules.of(ctx, store.DefaultNamespace); err != nil {
		return nil, fmt.Errorf("broker: reading policies and reference values: %w", err)
	}
	return b, nil
}

// nonces makes what issues nonces and knows which were spent. What a broker that has the store to itself spent it remembers in memory, and its key is
// made anew at each start: nonces issued before a restart must not be good after it. Brokers that share a store remember it there.
func (c *Config) nonces() (*session.Nonces, error) {
	settings := session.NoncesConfig{Lifetime: c.Limits.ChallengeLifetime, Rand: c.Rand, Now: c.Now}
	if c.Shared != nil {
		spent, err := session.StoreSpent(c.Store, store.Key(store.SysNamespace, "spent"), c.Limits.Spent)
		if err != nil {
			return nil, err
		}
		settings.Keys, settings.Spent = c.Shared.NonceKeys, spent
		return session.NewNonces(settings)
	}
	settings.Key, settings.Spent = make([]byte, session.KeySize), session.NewMemorySpent(c.Limits.Spent)
	if _, err := io.ReadFull(c.Rand, settings.Key); err != nil {
		return nil, fmt.Errorf("no randomness: %w", err)
	}
	return session.NewNonces(settings)
}

func (c *Config) complete() error {
	switch {
	case c.Purpose != store.Production && c.Purpose != store.Development:
		return fmt.Errorf("the purpose is %q, not %q or %q", c.Purpose, store.Production, store.Development)
	case c.Store == nil || c.Log == nil && c.Logs == nil || c.Keys == nil || c.Tokens == nil:
		return errors.New("store, log, keys and tokens are all needed")
	case c.Log != nil && c.Logs != nil:
		return errors.New("there is one log, or the logs of a shared store, and not both")
	case c.Shared != nil && (c.Shared.NonceKeys == nil || c.Shared.Staleness < 0):
		return errors.New("brokers that share a store need shared keys of nonces, and a staleness that is not negative")
	case len(c.Verifiers) == 0:
		return errors.New("no verifier is configured, so that nothing could ever be released")
	case c.Issuer == "":
		return errors.New("an issuer is needed: the URL by which workloads reach the broker")
	}
	for namespace, keys := range c.Provenance {
		if err := CheckNamespace(namespace); err != nil {
			return err
		}
		if err := keys.Check(); err != nil {
			return fmt.Errorf("of the namespace %q: %w", namespace, err)
		}
	}
	for _, limit := range []*int{&c.Limits.Spent, &c.Limits.Verifying, &c.Limits.Waiting, &c.Limits.RefusalsPerSecond, &c.Limits.Secrets} {
		if *limit < 0 {
			return errors.New("a limit is negative")
		}
	}
	if c.Logs == nil {
		c.Logs = logs.Single(c.Log)
	}
	orDefault(&c.Limits.ChallengeLifetime, DefaultChallengeLifetime)
	orDefault(&c.Limits.SessionLifetime, DefaultSessionLifetime)
	orDefault(&c.Limits.Spent, session.DefaultSpent)
	orDefault(&c.Limits.Verifying, 2*runtime.GOMAXPROCS(0))
	orDefault(&c.Limits.Waiting, DefaultWaiting)
	orDefault(&c.Limits.RefusalsPerSecond, DefaultRefusalsPerSecond)
	orDefault(&c.Limits.Secrets, DefaultSecrets)
	if c.Limits.ChallengeLifetime < 0 || c.Limits.SessionLifetime < 0 {
		return errors.New("a lifetime is negative")
	}
	orDefault(&c.Build, "vouchsafe")
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Purpose says what the broker is for.
func (b *Broker) Purpose() store.Purpose { return b.purpose }

// Kinds returns the kinds of evidence the broker verifies.
func (b *Broker) Kinds() []attest.Kind { return b.appraiser.Kinds() }

// Keys returns the ring whose public keys are published.
func (b *Broker) Keys() *keys.Ring { return b.keys }

// Log returns the audit log that this broker appends to, which is public in the sense that an auditor may read all of it.
func (b *Broker) Log() *audit.Log { return b.logs.Own() }

// newID returns a UUIDv7: unguessable enough to be told to a workload, and sorting by time.
func (b *Broker) newID() (string, error) {
	id, err := uuid.NewV7FromReader(b.rand)
	if err != nil {
		return "", fmt.Errorf("no randomness: %w", err)
	}
	return id.String(), nil
}

// nobody is the default Observer.
type nobody struct{}

func (nobody) Attested(Protocol, attest.Kind, string, time.Duration) {}
func (nobody) Judged(Protocol, Outcome, time.Duration)               {}
func (nobody) Unrecorded(attest.Kind)                                {}
