package brokertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/api"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/policy/provenance"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// Issuer is the issuer of a test broker's tokens, and Origin the name of its log.
const (
	Issuer = "https://broker.test"
	Origin = "broker.test/log"
)

// Config says what is not as usual.
type Config struct {
	// Handler makes what the TLS server serves; default: the native protocol and administration (package api), without backups.
	Handler func(*broker.Broker) http.Handler
	// Verifiers are used beside that of virtual evidence.
	Verifiers func(*data.Data) []attest.Verifier
	Enroller  *tpm.Enroller
	// Sources are where secrets may lie; what they issue is tended to until the test ends.
	Sources []source.Source
	// Provenance is the keys by which signed statements of reference values are verified, by namespace.
	Provenance map[string]provenance.Config
	Limits     broker.Limits
	Observer   broker.Observer
	Now        func() time.Time // default time.Now
	Dir        string           // of the store; default a temporary one

	// Beside starts another broker on the store of one, which must be shared. It has the same administrator and trusts the same virtual TEE.
	Beside *Broker
	// Shared is the store, where it is to be one that brokers share; default: what the environment variable VOUCHSAFE_TEST_STORE says, a file
	// otherwise. Tests with one of their own, or with OwnFile, are skipped where the variable asks for another: see [OwnStore].
	Shared *data.Shared
	// OwnFile makes it a file, whatever the variable says: for tests that put a store of theirs on top.
	OwnFile bool
}

// Broker is a running broker.
type Broker struct {
	*broker.Broker
	Data *data.Data

	URL  string       // of the server
	CA   []byte       // PEM: the server's certificate, which is its own root
	HTTP *http.Client // trusts CA; follows no redirects

	Token string        // of an administrator with every role
	Admin access.Caller // the same as the core knows it

	Root   *virtual.Root
	Device *virtual.Device // a good guest, of an all-zero measurement

	tb     testing.TB
	logs   logs
	shared *data.Shared
	seal   seal.Seal
}

// Start starts a broker that ends with the test. A failure ends the test.
func Start(tb testing.TB, c Config) *Broker {
	tb.Helper()
	if c.OwnFile || c.Shared != nil {
		OwnStore(tb)
	}
	b := &Broker{tb: tb}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Dir == "" {
		c.Dir = tb.TempDir()
	}
	b.open(c)
	verifier, err := virtual.NewVerifier(b.Root.Certificate())
	b.check(err, "virtual verifier")
	verifiers := []attest.Verifier{verifier}
	if c.Verifiers != nil {
		verifiers = append(verifiers, c.Verifiers(b.Data)...)
	}
	b.Broker, err = broker.New(tb.Context(), broker.Config{
		Purpose: store.Development, Store: b.Data.Store, Logs: b.Data.Logs, Keys: b.Data.Keys, Tokens: b.Data.Tokens, Shared: b.Sharing(),
		Verifiers: verifiers, Sources: c.Sources, Provenance: c.Provenance, Enroller: c.Enroller, Issuer: Issuer, Limits: c.Limits, Observer: c.Observer, Now: c.Now, Logger: b.Logger(),
	})
	b.check(err, "broker")
	b.tend()
	if c.Beside != nil {
		b.Token = c.Beside.Token
	} else {
		token, _, err := b.FirstToken(tb.Context(), "administrator", 0)
		b.check(err, "token")
		b.Token = token.Reveal()
	}
	b.Admin, err = b.Authenticate(tb.Context(), b.Token, "192.0.2.1")
	b.check(err, "administrator")
	if c.Handler == nil {
		c.Handler = b.native
	}
	b.serve(c.Handler(b.Broker))
	return b
}

// tend ends what sources issued, and writes down which reference values were matched, until before the store is closed.
func (b *Broker) tend() {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- b.TendLeases(ctx) }()
	go func() { ended <- b.TendReferences(ctx) }()
	b.tb.Cleanup(func() {
		stop()
		for range cap(ended) {
			if err := <-ended; err != nil {
				b.tb.Errorf("brokertest: tending leases and reference values: %v", err)
			}
		}
	})
}

// Sharing returns what a broker needs that has its store in common with others, nil where this one has it to itself.
func (b *Broker) Sharing() *broker.Shared {
	if b.shared == nil {
		return nil
	}
	return &broker.Shared{NonceKeys: b.Data.Nonces, Staleness: b.shared.Staleness}
}

// open opens the store, and makes the virtual TEE.
func (b *Broker) open(c Config) {
	b.tb.Helper()
	settings := data.Config{
		Dir: filepath.Join(c.Dir, "data"), Purpose: store.Development, Origin: Origin, Now: c.Now, Logger: b.Logger(),
	}
	var err error
	if c.Beside != nil {
		b.shared, b.seal, b.Root, b.Device = c.Beside.shared, c.Beside.seal, c.Beside.Root, c.Beside.Device
		if b.shared == nil {
			b.tb.Fatal("brokertest: the store of the other broker is not shared")
		}
		settings.Shared, settings.Seal = b.shared, b.seal
		b.Data, err = data.Open(b.tb.Context(), settings)
	} else {
		b.seal, err = seal.CreateKeyFile(filepath.Join(c.Dir, "seal.key"), rand.Reader)
		b.check(err, "seal")
		if b.shared = c.Shared; b.shared == nil && !c.OwnFile {
			b.shared = sharedStore(b.tb, c.Dir)
		}
		settings.Shared, settings.Seal = b.shared, b.seal
		b.Data, err = data.Create(b.tb.Context(), settings)
	}
	b.check(err, "data")
	b.tb.Cleanup(func() {
		if err := b.Data.Close(); err != nil {
			b.tb.Errorf("brokertest: closing the data: %v", err)
		}
	})
	if c.Beside != nil {
		return
	}
	b.Root, err = virtual.NewRoot(rand.Reader, c.Now())
	b.check(err, "virtual root")
	b.Device, err = b.Root.NewDevice(rand.Reader, c.Now(), virtual.Config{})
	b.check(err, "virtual device")
}

func (b *Broker) native(core *broker.Broker) http.Handler {
	b.tb.Helper()
	reader, err := intake.NewReader(0)
	b.check(err, "intake")
	front, err := api.New(api.Config{Broker: core, Intake: reader, Logger: b.Logger()})
	b.check(err, "front end")
	return front.Handler()
}

// serve starts the server. It is closed before the store, since clean-ups run last first.
func (b *Broker) serve(h http.Handler) {
	server := httptest.NewUnstartedServer(h)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	server.Config.ErrorLog = slog.NewLogLogger(b.Logger().Handler(), slog.LevelWarn)
	server.StartTLS()
	b.tb.Cleanup(server.Close)
	b.URL, b.HTTP = server.URL, server.Client()
	b.HTTP.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	b.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func (b *Broker) check(err error, what string) {
	b.tb.Helper()
	if err != nil {
		b.tb.Fatalf("brokertest: %s: %v", what, err)
	}
}

// Logger writes where Logs reads, at every level.
func (b *Broker) Logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(&b.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Logs returns what the broker has logged, JSON lines.
func (b *Broker) Logs() string { return b.logs.String() }

// PutSecret makes value the current version of a secret.
func (b *Broker) PutSecret(name string, value []byte) broker.SecretInfo {
	b.tb.Helper()
	info, err := b.Broker.PutSecret(context.Background(), b.Admin, store.DefaultNamespace, broker.PutSecret{
		Name: name, Value: bytes.Clone(value), ContentType: "text/plain", Activate: true,
	})
	b.check(err, "secret "+name)
	return info
}

// ApplyPolicy makes the policy that source states judge.
func (b *Broker) ApplyPolicy(source string) broker.PolicyInfo {
	b.tb.Helper()
	info, err := b.Broker.ApplyPolicy(context.Background(), b.Admin, store.DefaultNamespace, "policy.yaml", []byte(source), false)
	b.check(err, "policy")
	return info
}

// CreateToken returns the text of a token with the given roles in every namespace, which an administrator made.
func (b *Broker) CreateToken(roles ...access.Role) string {
	b.tb.Helper()
	token, _, err := b.Broker.CreateToken(context.Background(), b.Admin, access.Request{
		Name: access.SetOf(roles...).String(), Roles: access.SetOf(roles...), Namespace: access.AllNamespaces,
	})
	b.check(err, "token")
	return token.Reveal()
}

// Evidence returns evidence of the virtual device whose report data is digest.
func (b *Broker) Evidence(digest []byte) []byte {
	b.tb.Helper()
	evidence, err := b.Device.Evidence(rand.Reader, digest)
	b.check(err, "evidence")
	return evidence
}

// AllowVirtual returns the source of a policy named allow-virtual that releases the secrets of the given patterns to any device
// of this broker's root.
func AllowVirtual(patterns ...string) string {
	quoted := make([]string, len(patterns))
	for i, p := range patterns {
		quoted[i] = fmt.Sprintf("%q", p)
	}
	return `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: allow-virtual}
spec:
  secrets: [` + strings.Join(quoted, ", ") + `]
  require:
    - {name: virtual, that: claims.kind == "virtual"}
`
}

// logs is a buffer that many may write to.
type logs struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}
