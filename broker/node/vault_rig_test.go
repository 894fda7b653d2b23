//go:build unix

package node_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/localca"
	"github.com/vouchsafe/vouchsafe/broker/node"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
	"github.com/vouchsafe/vouchsafe/store/vault"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
	"github.com/vouchsafe/vouchsafe/store/vaultconn/rights"
)

// vaultRig is a node over TLS whose store is in a Vault that a test may harm, which it reaches through a proxy and logs in to by AppRole.
type vaultRig struct {
	t      *testing.T
	server *vaulttest.Server // the one that is asked
	active *vaulttest.Server // the one that is harmed; the same but in a cluster
	proxy  *vaulttest.Proxy
	mount  string
	policy string // of the broker's token
	role   vaulttest.AppRole
	idFile string // with the secret id
	node   *node.Node
	ca     []byte
	http   *http.Client // for the node's operator
	device *virtual.Device
	said   *output
}

const (
	rigSecret = "payments/db/password"
	rigDenied = "payments/others" // guarded by no policy
	rigValue  = "hunter2 of the payments"
	noRights  = `path "nothing" { capabilities = ["deny"] }`
)

// rights is the policy of the broker's token.
func (r *vaultRig) rights() string {
	needs := rights.Store{Mount: r.mount, Prefix: vault.DefaultPrefix}
	return rights.HCL(needs.Rights())
}

// permit gives the broker's token other rights.
func (r *vaultRig) permit(hcl string) {
	r.t.Helper()
	if err := r.server.Client(r.t).Sys().PutPolicyWithContext(r.t.Context(), r.policy, hcl); err != nil {
		r.t.Fatal(err)
	}
}

// newSecretID writes a secret id where the node looks for it.
func (r *vaultRig) newSecretID() {
	r.t.Helper()
	made := r.server.Write(r.t, "auth/"+r.role.Mount+"/role/"+r.role.Name+"/secret-id", nil)
	r.role.SecretID = made["secret_id"].(string)
	if err := os.WriteFile(r.idFile, []byte(r.role.SecretID), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func startVaultRig(t *testing.T, server, active *vaulttest.Server) *vaultRig {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	r := &vaultRig{t: t, server: server, active: active, policy: "broker", said: &output{}, idFile: filepath.Join(t.TempDir(), "secret-id")}
	r.mount = active.Mount(t, "kv", map[string]string{"version": "2"})
	r.permit(r.rights())
	r.role = active.AppRole(t, noRights, map[string]any{"token_policies": r.policy})
	r.newSecretID()
	r.proxy = vaulttest.NewProxy(t, server.Address)
	logger := slog.New(slog.NewTextHandler(r.said, &slog.HandlerOptions{Level: slog.LevelWarn}))

	key, err := seal.CreateKeyFile(filepath.Join(t.TempDir(), "seal.key"), rand.Reader)
	check(err)
	in := data.InVault{Conn: active.Conn(t), Address: active.Address, Mount: r.mount, Staleness: data.DefaultStaleness}
	settings := data.Config{Shared: data.Vault(in), Purpose: store.Development, Seal: key, Origin: "broker.test/log", Logger: logger}
	d, err := data.Create(t.Context(), settings)
	check(err)
	check(d.Close())

	conn, err := vaultconn.Open(t.Context(), vaultconn.Config{
		Address: r.proxy.Address, Development: true, Logger: logger,
		Auth: vaultconn.Auth{Method: vaultconn.MethodAppRole, Mount: r.role.Mount, RoleID: r.role.RoleID, SecretIDFile: r.idFile},
	})
	check(err)
	t.Cleanup(func() { _ = conn.Close() })
	in.Conn = conn
	settings.Shared = data.Vault(in)
	root, err := virtual.NewRoot(rand.Reader, time.Now())
	check(err)
	r.device, err = root.NewDevice(rand.Reader, time.Now(), virtual.Config{})
	check(err)
	files, err := localca.Ensure(t.TempDir(), []string{"localhost"}, time.Now())
	check(err)
	r.ca, err = os.ReadFile(files.CA)
	check(err)
	r.node, err = node.Open(t.Context(), node.Config{
		Data: settings, Vault: conn, Certificate: files.Certificate, Key: files.Key, Listen: "localhost:0", Logger: logger,
		Verifiers: func(*data.Data) ([]attest.Verifier, error) {
			v, err := virtual.NewVerifier(root.Certificate())
			return []attest.Verifier{v}, err
		},
		Limits: broker.Limits{RefusalsPerSecond: 10_000}, // so that each refusal is recorded
	})
	check(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.node.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, r.node.Close()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			text := r.said.String()
			t.Logf("the broker said at last:\n%s", text[max(0, len(text)-4000):])
		}
	})
	r.http = &http.Client{Transport: r.transport()}
	token, _, err := r.node.Broker.FirstToken(t.Context(), "administrator", 0)
	check(err)
	a, err := admin.New(admin.Config{Address: r.node.URL, Token: token.Reveal(), CACert: r.ca})
	check(err)
	_, err = a.PutSecret(t.Context(), wire.SecretPut{SecretName: wire.SecretName{Name: rigSecret}, Value: []byte(rigValue), Activate: true})
	check(err)
	_, err = a.ApplyPolicy(t.Context(), wire.PolicyApply{Source: brokertest.AllowVirtual(rigSecret)})
	check(err)
	return r
}

func (r *vaultRig) transport() *http.Transport {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(r.ca)
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}
}

// metric returns the sum of the series of /metrics that begin with a text, and have in them what is behind a star there, and whether there are any.
func (r *vaultRig) metric(series string) (sum float64, found bool) {
	r.t.Helper()
	begin, label, _ := strings.Cut(series, "*")
	_, text := r.get("/metrics")
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(name, begin) || !strings.Contains(name, label) {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			sum, found = sum+v, true
		}
	}
	return sum, found
}

func (r *vaultRig) get(path string) (status int, text string) {
	r.t.Helper()
	answer, err := r.http.Get(r.node.URL + path)
	if err != nil {
		r.t.Errorf("%s: %v", path, err)
		return 0, ""
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Error(err)
	}
	return answer.StatusCode, string(body)
}

// answers counts what workloads were told.
type answers struct {
	mu        sync.Mutex
	released  map[string]*client.Secret // by decision
	refused   map[string]bool           // decisions
	failed    int                       // 503 with Retry-After
	abandoned int                       // the workload did not wait for the answer
}

// watcher looks at the answers of one workload before it does: a failure says when to come back.
type watcher struct {
	r    *vaultRig
	base http.RoundTripper
}

func (w *watcher) RoundTrip(q *http.Request) (*http.Response, error) {
	answer, err := w.base.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	switch answer.StatusCode {
	case http.StatusOK, http.StatusForbidden:
	case http.StatusServiceUnavailable:
		if n, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || n < 1 {
			w.r.t.Errorf("%s: 503 that does not say when to come back", q.URL.Path)
		}
	default:
		w.r.t.Errorf("%s: status %d", q.URL.Path, answer.StatusCode)
	}
	return answer, nil
}

// impatience is how long every eighth workload waits for an answer before it goes away and asks again: what it leaves behind must not pile up.
const impatience = time.Second

// workloads are 64 of them, each of which asks again as soon as it has its answer, until the context ends. Every eighth asks for what it may not have.
func (r *vaultRig) workloads(ctx context.Context) (*answers, *sync.WaitGroup) {
	a := &answers{released: map[string]*client.Secret{}, refused: map[string]bool{}}
	var all sync.WaitGroup
	for i := range 64 {
		w, err := client.New(client.Config{
			URL: r.node.URL, Collector: virtualdevice.New(r.device), HTTP: &http.Client{Transport: &watcher{r, r.transport()}},
			KeyType: envelope.X25519, Retry: client.Retry{Max: 1}, Timeout: time.Minute,
		})
		if err != nil {
			r.t.Fatal(err)
		}
		name, patience := rigSecret, time.Minute
		if i%8 == 0 {
			name = rigDenied
		}
		if i%8 == 1 {
			patience = impatience
		}
		all.Go(func() {
			for ctx.Err() == nil {
				// The last question is answered, too: its context is not the one that ends.
				one, cancel := context.WithTimeout(context.Background(), patience)
				got, err := w.Fetch(one, name)
				left := one.Err() != nil
				cancel()
				a.add(r.t, got, err, left)
				if err != nil {
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	return a, &all
}

func (a *answers) add(t *testing.T, got []client.Secret, err error, left bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var refused *client.Refused
	switch {
	case err == nil:
		if len(got) != 1 || string(got[0].Value) != rigValue {
			t.Errorf("released %v", got)
			return
		}
		if a.released[got[0].Decision] != nil {
			t.Errorf("two answers have the decision %s", got[0].Decision)
		}
		a.released[got[0].Decision] = &got[0]
	case errors.As(err, &refused):
		if refused.Code != "denied" || refused.Decision == "" || len(refused.Secrets) != 1 || refused.Secrets[0].Name != rigDenied {
			t.Errorf("a wrong refusal: %v", err)
		}
		a.refused[refused.Decision] = true
	case left:
		a.abandoned++
	case errors.Is(err, client.ErrUnavailable):
		a.failed++
	default:
		t.Errorf("neither released, refused nor unavailable: %v", err)
	}
}

// sum returns how many answers of each kind there are so far.
func (a *answers) sum() (released, refused, failed int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.released), len(a.refused), a.failed
}

// entry is one entry of a log, and what is needed to hold a receipt to it.
type entry struct {
	broker.Event
	log      int
	index    uint64
	bytes    []byte
	origin   string
	verifier note.Verifiers
}

// recorded verifies every log and returns the entries of decisions by their ids.
func (r *vaultRig) recorded() map[string]entry {
	r.t.Helper()
	ctx := r.t.Context()
	list, err := r.node.Data.Logs.List(ctx, r.node.Data.Keys)
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]entry{}
	for _, info := range list {
		log, err := r.node.Broker.LogOf(ctx, info.Log)
		if err != nil {
			r.t.Fatal(err)
		}
		if log.Size() == 0 {
			continue
		}
		verifier, err := note.NewVerifier(info.Key)
		if err != nil {
			r.t.Fatal(err)
		}
		known := note.VerifierList(verifier)
		_, err = audit.Audit(ctx, log.ReadPath, audit.AuditConfig{Origin: info.Origin, Verifiers: known, Each: func(index uint64, text []byte) error {
			e := entry{log: info.Log, index: index, bytes: bytes.Clone(text), origin: info.Origin, verifier: known}
			if err := json.Unmarshal(text, &e.Event); err != nil {
				return err
			}
			if e.Type != broker.EventRelease {
				return nil
			}
			if _, twice := all[e.Decision]; twice {
				return fmt.Errorf("decision %s is recorded twice", e.Decision)
			}
			all[e.Decision] = e
			return nil
		}})
		if err != nil {
			r.t.Fatalf("log %d does not verify: %v", info.Log, err)
		}
	}
	return all
}

// addUp holds the answers against the logs, the decisions and the leases: who was told something is in them, and nothing is in them beyond what those might have
// been told who had no answer.
func (r *vaultRig) addUp(a *answers) {
	r.t.Helper()
	entries := r.recorded()
	releasedInLog, refusedInLog, made := 0, 0, 0
	for id, e := range entries {
		switch e.Outcome {
		case broker.OutcomeReleased:
			releasedInLog++
			if a.released[id] == nil && decisionIs(r.t.Context(), r.node.Data.Store, e.index, &e.Event) == nil {
				made++
			}
		case broker.OutcomeDenied:
			refusedInLog++
		}
	}
	for id, s := range a.released {
		e, ok := entries[id]
		if !ok || e.Outcome != broker.OutcomeReleased {
			r.t.Errorf("release %s is not in the log", id)
			continue
		}
		if err := decisionIs(r.t.Context(), r.node.Data.Store, e.index, &e.Event); err != nil {
			r.t.Errorf("release %s: %v", id, err)
		}
		if receipt, _, err := audit.VerifyReceipt(e.verifier, e.origin, e.bytes, []byte(s.Receipt)); err != nil || receipt.Index != e.index {
			r.t.Errorf("release %s: its receipt: %v", id, err)
		}
	}
	for id := range a.refused {
		if e, ok := entries[id]; !ok || e.Outcome != broker.OutcomeDenied {
			r.t.Errorf("refusal %s is not in the log", id)
		}
	}
	beyond := releasedInLog - len(a.released) + refusedInLog - len(a.refused)
	if beyond < 0 || beyond > a.failed+a.abandoned {
		r.t.Errorf("%d entries beyond the answers, and only %d had none", beyond, a.failed+a.abandoned)
	}
	if unrecorded, _ := r.metric("vouchsafe_unrecorded_refusals_total"); unrecorded != 0 {
		r.t.Errorf("%v refusals are not recorded", unrecorded)
	}
	r.t.Logf("%d released, %d refused, %d failed, %d abandoned; in the logs %d released, %d refused; of the releases beyond the answers %d have a decision",
		len(a.released), len(a.refused), a.failed, a.abandoned, releasedInLog, refusedInLog, made)
}

// bounds samples what must not grow without end, until the context ends.
func (r *vaultRig) bounds(ctx context.Context) (goroutines, memory, pending float64) {
	for ctx.Err() == nil {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		goroutines, memory = max(goroutines, float64(runtime.NumGoroutine())), max(memory, float64(m.HeapAlloc))
		waiting, _ := r.metric("vouchsafe_vault_requests_waiting")
		flying, _ := r.metric("vouchsafe_vault_requests_in_flight")
		appends, _ := r.metric("vouchsafe_audit_pending")
		pending = max(pending, appends)
		if flying > vaultconn.DefaultInFlight || waiting > 4*vaultconn.DefaultInFlight {
			r.t.Errorf("%v requests are under way and %v wait", flying, waiting)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return goroutines, memory, pending
}
