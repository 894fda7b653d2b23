//go:build unix

package node_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
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

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
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
		line = strings.TrimSpace(line)
		last := strings.LastIndexByte(line, ' ') // labels have spaces, too
		if last < 0 {
			continue
		}
		name, value := line[:last], line[last+1:]
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

// impatience is how long every eighth workload waits for an answer before it goes away and asks again: what it leaves behind must not pile up.
const impatience = time.Second

// workloads are 64 of them, each of which asks again a while after it has its answer, until the context ends. Every eighth asks for what it may not have.
func (r *vaultRig) workloads(ctx context.Context, rest time.Duration) (*account, *sync.WaitGroup) {
	a := newAccount()
	var all sync.WaitGroup
	for i := range 64 {
		w, err := client.New(client.Config{
			URL: r.node.URL, Collector: virtualdevice.New(r.device), HTTP: &http.Client{Transport: &watcher{r.t, a, r.transport()}},
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
				a.believed(r.t, got, err, left)
				if err != nil {
					time.Sleep(20 * time.Millisecond)
				} else {
					time.Sleep(rest)
				}
			}
		})
	}
	return a, &all
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
