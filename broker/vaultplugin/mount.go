package vaultplugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/api"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin/logicalstore"
)

// Options are what the program gives to its mounts.
type Options struct {
	Build       string           // name and version of the program
	Collateral  string           // folder of this machine that every collateral_dir is in or below; empty: no mount may name one
	Development Development      // judges what development mounts take; nil: there are none
	Logger      *slog.Logger     // default: slog.Default
	Now         func() time.Time // default: time.Now
}

// Mount is one mount's broker. It is safe for concurrent use.
type Mount struct {
	options Options

	mu     sync.RWMutex // read by every request that uses the core
	core   *core        // nil until it is needed
	failed failure      // of making it
}

// failure is why a core could not be made, and until when nobody tries again: strangers ask, too, and what they can have the broker do must be bounded while
// it is broken as well. The zero value is none.
type failure struct {
	err   error
	at    time.Time
	pause time.Duration
}

// The pauses after a core could not be made: firstPause, then twice as long each time, up to lastPause.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// left is how much of the pause is left. A clock that went back ends it.
func (f *failure) left(now time.Time) time.Duration {
	if passed := now.Sub(f.at); f.err != nil && passed >= 0 {
		return max(f.pause-passed, 0)
	}
	return 0
}

// unavailable is what whoever asks meanwhile is told. Why is for the log.
func (f *failure) unavailable(now time.Time) error {
	return &broker.Error{Code: broker.CodeUnavailable, Message: messageUnavailable, RetryAfter: max(f.left(now), time.Second), Err: f.err}
}

// core is a broker over a mount's storage.
type core struct {
	config Config
	store  *logicalstore.Store
	broker *broker.Broker
	log    *audit.Log
	api    http.Handler

	stop   context.CancelFunc // of what goes on in the background
	behind sync.WaitGroup
}

// NewMount returns the broker of a mount, which nothing has been read of yet.
func NewMount(o Options) *Mount {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Mount{options: o}
}

// configPath is where a mount's configuration is in its storage.
const configPath = "config"

// retryUnavailable is told where nobody knows better.
const retryUnavailable = 5 * time.Second

// messageUnavailable is all that a caller is told of what is wrong with a mount.
const messageUnavailable = "the broker cannot answer now"

// openTimeout bounds how long it takes to make a core: a few reads of Vault's storage, and what a process that was killed left to put right.
const openTimeout = time.Minute

// errNoConfig says that a mount has no configuration.
var errNoConfig = &broker.Error{Code: broker.CodeUnavailable, Message: "this mount is not configured yet: write its config", RetryAfter: 30 * time.Second}

// Broker calls do with the mount's core, which stays as it is meanwhile.
func (m *Mount) Broker(ctx context.Context, storage logical.Storage, do func(*broker.Broker, *Config) error) error {
	c, release, err := m.use(ctx, storage)
	if err != nil {
		return err
	}
	defer release()
	return do(c.broker, &c.config)
}

// use returns the core, which is made if there is none. Release is called when it is no longer needed.
func (m *Mount) use(ctx context.Context, storage logical.Storage) (c *core, release func(), err error) {
	for {
		m.mu.RLock()
		if m.core != nil {
			return m.core, m.mu.RUnlock, nil
		}
		m.mu.RUnlock()
		if err := m.make(ctx, storage); err != nil {
			return nil, nil, err
		}
	}
}

// make makes the core, unless another request has.
func (m *Mount) make(ctx context.Context, storage logical.Storage) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.options.Now()
	switch {
	case m.core != nil:
		return nil
	case m.failed.left(now) > 0:
		return m.failed.unavailable(now)
	}
	config, err := readConfig(ctx, storage)
	if err == nil {
		m.core, err = m.open(ctx, storage, config, false)
	}
	switch {
	case err == nil:
		m.failed = failure{}
		return nil
	case errors.Is(err, errNoConfig), errors.Is(err, logical.ErrReadOnly), ctx.Err() != nil:
		return err // which says nothing of the next request
	}
	m.failed = failure{err: err, at: m.options.Now(), pause: min(max(2*m.failed.pause, firstPause), lastPause)}
	m.options.Logger.WarnContext(ctx, "a mount is not ready", "cause", err, "again_in", m.failed.pause)
	return m.failed.unavailable(m.failed.at)
}

// readConfig returns the stored configuration, or errNoConfig.
func readConfig(ctx context.Context, storage logical.Storage) (Config, error) {
	e, err := storage.Get(ctx, configPath)
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	if e == nil {
		return Config{}, errNoConfig
	}
	return parseConfig(e.Value)
}

// unusableError says what about a configuration makes nothing. It is for who configures the mount, and for the log: it may name what is on this machine.
type unusableError struct{ error }

func (e *unusableError) Unwrap() error { return e.error }

// open makes a core over a storage. With create the audit log is begun where there is none.
func (m *Mount) open(ctx context.Context, storage logical.Storage, config Config, create bool) (_ *core, err error) {
	// What is made is used by requests after this one, and must not end with it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openTimeout)
	defer cancel()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &core{config: config, store: logicalstore.New(storage), stop: stop}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	judges, err := config.judges(&m.options, broker.NewEnrolments(c.store), c.store)
	if err != nil {
		return nil, &unusableError{err}
	}
	ring, err := keys.Open(ctx, keys.Config{Store: c.store, Origin: config.LogOrigin, Now: m.options.Now})
	if err != nil {
		return nil, err
	}
	tokens, err := access.NewTokens(access.Config{Store: c.store, Now: m.options.Now}) // Vault's are used; the core wants some
	if err != nil {
		return nil, err
	}
	signer := ring.LogSigner()
	c.log, err = audit.Open(ctx, audit.Config{
		Store: c.store, Origin: signer.Name(), Signer: signer, Verifiers: note.VerifierList(ring.LogVerifier()), Create: create,
	})
	if err != nil {
		return nil, err
	}
	c.broker, err = broker.New(ctx, broker.Config{
		Purpose: config.Purpose, Store: c.store, Log: c.log, Keys: ring, Tokens: tokens, Verifiers: judges.verifiers, Enroller: judges.enroller,
		Issuer: config.Issuer, Build: m.options.Build, Limits: config.limits(), Logger: m.options.Logger, Now: m.options.Now,
	})
	if err != nil {
		return nil, err
	}
	bodies, err := intake.NewReader(0)
	if err != nil {
		return nil, err
	}
	front, err := api.New(api.Config{Broker: c.broker, Intake: bodies, Logger: m.options.Logger, Authenticate: whoCalls})
	if err != nil {
		return nil, err
	}
	c.api = front.Handler()
	c.behind.Go(func() {
		if err := judges.collateral.Run(background); err != nil && background.Err() == nil {
			m.options.Logger.ErrorContext(background, "collateral is no longer looked after", "cause", err)
		}
	})
	c.behind.Go(func() { _ = c.broker.TendReferences(background) }) // which logs what fails
	c.behind.Go(func() {
		if err := c.store.Sweep(background); err != nil && background.Err() == nil {
			m.options.Logger.WarnContext(background, "what was left behind of large values could not be removed", "cause", err)
		}
	})
	return c, nil
}

// close ends a core that no request uses.
func (c *core) close() error {
	c.stop()
	c.behind.Wait()
	var errs []error
	if c.log != nil {
		errs = append(errs, c.log.Close())
	}
	return errors.Join(append(errs, c.store.Close())...)
}

// Close ends the mount's core: when Vault takes the mount down, is sealed, or changed something below it. The next request makes another.
func (m *Mount) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = failure{}
	if m.core == nil {
		return
	}
	if err := m.core.close(); err != nil {
		m.options.Logger.Warn("closing a mount", "cause", err)
	}
	m.core = nil
}

// Configure changes the configuration by members of a JSON object, and makes the core anew. The requests under way end first. Where the new one
// cannot be made, the old configuration stays, and the next request makes its core again.
func (m *Mount) Configure(ctx context.Context, storage logical.Storage, members []byte) (Config, error) {
	fail := func(err error) (Config, error) {
		return Config{}, &broker.Error{Code: broker.CodeInvalid, Message: err.Error(), Err: err}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, err := readConfig(ctx, storage)
	first := errors.Is(err, errNoConfig)
	if err != nil && !first {
		return Config{}, err
	}
	config, err := old.with(members)
	if err != nil {
		return fail(err)
	}
	if err := config.complete(); err != nil {
		return fail(err)
	}
	if !first {
		if err := old.keeps(&config); err != nil {
			return fail(err)
		}
	}
	text, err := json.Marshal(config)
	if err != nil {
		return fail(err)
	}
	if len(text) > maxConfig {
		return fail(fmt.Errorf("the configuration has %d bytes, over %d", len(text), maxConfig))
	}
	if m.core != nil {
		if err := m.core.close(); err != nil {
			m.options.Logger.WarnContext(ctx, "closing a mount", "cause", err)
		}
		m.core = nil
	}
	// Opened before it is stored: a configuration that nothing can be made of is not kept. Killed in between, the first one is written again.
	made, err := m.open(ctx, storage, config, first)
	var unusable *unusableError
	if errors.As(err, &unusable) {
		return fail(unusable)
	}
	if err != nil {
		return Config{}, err
	}
	if err := storage.Put(ctx, &logical.StorageEntry{Key: configPath, Value: text}); err != nil {
		return Config{}, errors.Join(fmt.Errorf("storing the configuration: %w", err), made.close())
	}
	m.core, m.failed = made, failure{}
	return config, nil
}

// Config returns the configuration that is stored.
func (m *Mount) Config(ctx context.Context, storage logical.Storage) (Config, error) {
	return readConfig(ctx, storage)
}

// Factory returns what makes mounts of backends that fresh makes; name is what a failure to make one is said with.
func Factory(name string, fresh func() *framework.Backend) logical.Factory {
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		b := fresh()
		if err := b.Setup(ctx, conf); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return b, nil
	}
}

// WarmAtStart has the core made when Vault initialises the mount, on the node that writes.
func (m *Mount) WarmAtStart(b *framework.Backend) {
	b.InitializeFunc = func(ctx context.Context, req *logical.InitializationRequest) error {
		if b.WriteSafeReplicationState() {
			m.warm(ctx, req.Storage)
		}
		return nil
	}
}

// warm makes the core before the first request, so that what a process left that was killed is put right early. Where it cannot, the first request tries again:
// a mount that is not configured, or a node that does not serve requests, is no reason for Vault not to start.
func (m *Mount) warm(ctx context.Context, storage logical.Storage) {
	if _, release, err := m.use(ctx, storage); err == nil { // or the log has why not
		release()
	}
}
