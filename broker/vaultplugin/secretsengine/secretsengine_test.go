package secretsengine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin/development"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin/logicalstore"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
)

// faulty is Vault's storage where writes can fail.
type faulty struct {
	logical.InmemStorage
	mu   sync.Mutex
	err  error
	left int // writes until err; negative: none fails
}

func (f *faulty) failAfter(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.err = n, err
}

func (f *faulty) Put(ctx context.Context, e *logical.StorageEntry) error {
	f.mu.Lock()
	if f.left == 0 {
		defer f.mu.Unlock()
		return f.err
	}
	f.left--
	f.mu.Unlock()
	return f.InmemStorage.Put(ctx, e)
}

// bench is a mount in this process.
type bench struct {
	backend *framework.Backend
	storage *faulty
	root    *virtual.Root
	device  *virtual.Device
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{storage: &faulty{left: -1}}
	b.open(t, nil)
	var err error
	if b.root, err = virtual.NewRoot(rand.Reader, time.Now()); err != nil {
		t.Fatal(err)
	}
	if b.device, err = b.root.NewDevice(rand.Reader, time.Now(), virtual.Config{}); err != nil {
		t.Fatal(err)
	}
	return b
}

// open makes the backend anew over the same storage, as after a restart of the plugin.
func (b *bench) open(t *testing.T, system logical.SystemView) {
	t.Helper()
	if b.backend != nil {
		b.backend.Cleanup(context.Background())
	}
	conf := logical.TestBackendConfig()
	conf.StorageView = b.storage
	if system != nil {
		conf.System = system
	}
	made, err := Factory(vaultplugin.Options{Development: development.Verifiers, Logger: slog.New(slog.DiscardHandler)}, "v1.0.0")(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	b.backend = made.(*framework.Backend)
	t.Cleanup(func() { made.Cleanup(context.Background()) })
}

func (b *bench) do(t *testing.T, operation logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	t.Helper()
	return b.backend.HandleRequest(t.Context(), &logical.Request{Operation: operation, Path: path, Data: data, Storage: b.storage, DisplayName: "test", ClientToken: "salted"})
}

// must writes to a path, which must succeed.
func (b *bench) must(t *testing.T, path string, data map[string]any) *logical.Response {
	t.Helper()
	r, err := b.do(t, logical.UpdateOperation, path, data)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if status := statusOf(r); status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, status, r.Data[logical.HTTPRawBody])
	}
	return r
}

func statusOf(r *logical.Response) int {
	if r == nil {
		return http.StatusOK
	}
	if status, ok := r.Data[logical.HTTPStatusCode].(int); ok {
		return status
	}
	return http.StatusOK
}

func (b *bench) configure(t *testing.T) {
	t.Helper()
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.root.Certificate().Raw})
	b.must(t, "config", map[string]any{
		"purpose": "development", "issuer": "http://vault.example/v1/vouchsafe", "kinds": []string{"virtual"}, "development_root": string(cert),
	})
	b.must(t, "policy-apply", map[string]any{"source": `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: demo}
spec:
  secrets: ["demo/*"]
  require:
    - {name: virtual, that: claims.kind == "virtual"}
`})
	b.must(t, "secrets/demo/password", map[string]any{"value": base64.StdEncoding.EncodeToString([]byte("hunter2"))})
}

// request makes a whole request for a release.
func (b *bench) request(t *testing.T) map[string]any {
	t.Helper()
	challenge := b.must(t, "challenge", map[string]any{"kind": "virtual"})
	key, err := envelope.GenerateKey(envelope.XWing)
	if err != nil {
		t.Fatal(err)
	}
	request := &release.Request{Nonce: challenge.Data["nonce"].(string), Recipient: key.PublicJWK(), Secrets: []release.Want{{Name: "demo/password"}}}
	runtime, err := request.RuntimeData(challenge.Data["hash"].(string), key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := client.Collect(t.Context(), virtualdevice.New(b.device), nil, runtime)
	if err != nil {
		t.Fatal(err)
	}
	request.Evidence = release.Evidence{Kind: "virtual", Data: evidence.Primary}
	text, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	return members
}

// TestTooLarge: of what a stranger sends nothing is copied that a server would not have read, wherever in the request it is.
func TestTooLarge(t *testing.T) {
	b := newBench(t)
	b.configure(t)
	half := strings.Repeat("a", intake.MaxBody/2+1)
	for name, data := range map[string]map[string]any{
		"a text":     {"kind": half + half},
		"two":        {"kind": half, "nonce": half},
		"a member":   {"kind": "virtual", "evidence": map[string]any{half: half}},
		"a list":     {"secrets": []any{map[string]any{"name": half}, half}},
		"a number":   {"kind": json.Number(strings.Repeat("1", intake.MaxBody+1))},
		"many":       {"secrets": make([]any, intake.MaxBody)},
		"not known":  {"kind": "virtual", "unknown": half + half},
		"deep, many": {"secrets": []any{map[string]any{"x": []any{half}}, []any{[]any{half}}}},
	} {
		for _, path := range []string{"challenge", "release", "v1/challenges", "v1/releases"} {
			r, err := b.do(t, logical.UpdateOperation, path, data)
			if err != nil || statusOf(r) != http.StatusBadRequest || !strings.Contains(fmt.Sprintf("%s", r.Data[logical.HTTPRawBody]), "the request has over") {
				t.Errorf("%s, %s: %d, %v", name, path, statusOf(r), err)
			}
		}
	}
	b.must(t, "release", b.request(t))
}

// TestSensitiveFields: Vault does not show the fields in which a secret is sent.
func TestSensitiveFields(t *testing.T) {
	b := newBench(t)
	for path, field := range map[string]string{"secrets/a": "value", "enrolment-complete": "secret"} {
		schema := b.backend.Route(path).Fields[field]
		if schema == nil || schema.DisplayAttrs == nil || !schema.DisplayAttrs.Sensitive {
			t.Errorf("%s of %s is shown", field, path)
		}
	}
	if schema := b.backend.Route("leases/").Fields["secret"]; schema == nil || schema.DisplayAttrs != nil {
		t.Errorf("the name of a secret is %+v", schema)
	}
}

func TestNotConfigured(t *testing.T) {
	b := newBench(t)
	r, err := b.do(t, logical.UpdateOperation, "challenge", map[string]any{"kind": "snp"})
	if err != nil || statusOf(r) != http.StatusServiceUnavailable || !strings.Contains(string(r.Data[logical.HTTPRawBody].([]byte)), "not configured") {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := b.do(t, logical.ReadOperation, "config", nil); r != nil || err != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if err := b.backend.Initialize(t.Context(), &logical.InitializationRequest{Storage: b.storage}); err != nil {
		t.Errorf("Vault would not start: %v", err)
	}
}

// TestNoRecordNoRelease fails each write of a release in turn: nothing is released then, and afterwards the mount goes on.
func TestNoRecordNoRelease(t *testing.T) {
	b := newBench(t)
	b.configure(t)
	for n := range 12 {
		request := b.request(t)
		b.storage.failAfter(n, errors.New("the disk is full"))
		r, err := b.do(t, logical.UpdateOperation, "release", request)
		b.storage.failAfter(-1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if statusOf(r) == http.StatusOK {
			if n == 0 {
				t.Fatal("released without a record")
			}
			t.Logf("a release has %d writes", n)
			break
		}
		if statusOf(r) != http.StatusServiceUnavailable || strings.Contains(string(r.Data[logical.HTTPRawBody].([]byte)), "disk") {
			t.Errorf("with write %d failing: %d %s", n, statusOf(r), r.Data[logical.HTTPRawBody])
		}
		if n%2 == 0 { // and after the plugin was killed there
			b.open(t, nil)
		}
		b.must(t, "release", b.request(t))
	}
	// Every entry has the record that it names.
	decisions, err := b.do(t, logical.ListOperation, "decisions/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range decisions.Data["keys"].([]string) {
		if r, err := b.do(t, logical.ReadOperation, "explain/"+id, nil); err != nil || statusOf(r) != http.StatusOK {
			t.Errorf("%s: %+v, %v", id, r, err)
		}
	}
}

func TestNodesThatDoNotServePassRequestsOn(t *testing.T) {
	b := newBench(t)
	b.configure(t)
	for _, state := range []consts.ReplicationState{consts.ReplicationPerformanceStandby, consts.ReplicationPerformanceSecondary} {
		b.open(t, &logical.StaticSystemView{ReplicationStateVal: state})
		if err := b.backend.Initialize(t.Context(), &logical.InitializationRequest{Storage: b.storage}); err != nil {
			t.Error(err)
		}
		for _, path := range []string{"challenge", "release", "config", "secrets/demo/password"} {
			if _, err := b.do(t, logical.UpdateOperation, path, nil); !errors.Is(err, logical.ErrReadOnly) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

func TestReadOnlyStorageIsVaultsToDealWith(t *testing.T) {
	b := newBench(t)
	b.storage.failAfter(0, logical.ErrReadOnly)
	_, err := b.do(t, logical.UpdateOperation, "config", map[string]any{"issuer": "https://vault.example/v1/vouchsafe", "kinds": []string{"snp"}})
	if !errors.Is(err, logical.ErrReadOnly) {
		t.Errorf("%v", err)
	}
}

// TestAWipedLogIsNotBegunAgain takes the log away below a mount.
func TestAWipedLogIsNotBegunAgain(t *testing.T) {
	b := newBench(t)
	b.configure(t)
	b.must(t, "release", b.request(t))
	b.backend.Cleanup(t.Context())
	if err := logical.ClearView(t.Context(), logical.NewStorageView(b.storage, "record/sys/audit/")); err != nil {
		t.Fatal(err)
	}
	b.open(t, nil)
	r, err := b.do(t, logical.UpdateOperation, "challenge", map[string]any{"kind": "virtual"})
	if err != nil || statusOf(r) != http.StatusServiceUnavailable {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := b.do(t, logical.UpdateOperation, "config", map[string]any{"max_secrets": 3}); err != nil || statusOf(r) == http.StatusOK {
		t.Errorf("a new configuration began another log: %+v, %v", r, err)
	}
}

func TestAConfigurationThatMakesNothingIsNotKept(t *testing.T) {
	b := newBench(t)
	b.configure(t)
	for name, config := range map[string]map[string]any{
		"a root that is none": {"development_root": "nonsense"}, "cca without anchors": {"kinds": []string{"cca"}}, "tokens of nobody": {"kinds": []string{"token"}},
		"a vendor unknown": {"collateral_fetch": []string{"acme"}}, "makers that are none": {"tpm_maker_roots": "x"}, "lists that are none": {"tpm_revocation_lists": "x"},
		"a grace of years": {"collateral_grace": 366 * 24 * 3600}, "devices that are not verified": {"nvidia_allow_unmeasured": true},
		"hosts without discovery": {"token_verifiers": []any{map[string]any{"name": "a", "roots": "x", "jwks_hosts": []string{"keys.example"}}}},
	} {
		r, err := b.do(t, logical.UpdateOperation, "config", config)
		if err != nil || statusOf(r) != http.StatusBadRequest {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	b.must(t, "release", b.request(t))
}

// TestOverload: more denials than are recorded in a second are told to come back, in Vault's form and before the store grows.
func TestOverload(t *testing.T) {
	b := newBench(t)
	b.configure(t)
	b.must(t, "config", map[string]any{"refusals_per_second": 1})
	b.must(t, "policy-retire/demo", nil)
	overloaded := 0
	for range 4 {
		r, err := b.do(t, logical.UpdateOperation, "release", b.request(t))
		if err != nil {
			t.Fatal(err)
		}
		if statusOf(r) != http.StatusTooManyRequests {
			continue
		}
		overloaded++
		var answer struct{ Data release.Error }
		if err := json.Unmarshal(r.Data[logical.HTTPRawBody].([]byte), &answer); err != nil || answer.Data.Code != release.CodeOverloaded || answer.Data.RetryAfter == 0 {
			t.Errorf("%s, %v", r.Data[logical.HTTPRawBody], err)
		}
		if len(r.Headers["Retry-After"]) != 1 {
			t.Errorf("%v", r.Headers)
		}
	}
	if overloaded == 0 {
		t.Error("nobody was told to come back")
	}
}

// TestSealWrapped: what Vault is told to wrap by its seal is where the values of secrets and the keys that sign are, whole or in parts, and nothing besides.
func TestSealWrapped(t *testing.T) {
	b := newBench(t)
	b.configure(t)
	large := bytes.Repeat([]byte{1}, logicalstore.PartSize+1)
	b.must(t, "secrets/demo/large", map[string]any{"value": base64.StdEncoding.EncodeToString(large)})
	var wrapped []string
	for _, folder := range b.backend.SpecialPaths().SealWrapStorage {
		paths, err := logical.CollectKeysWithPrefix(t.Context(), b.storage, folder)
		if err != nil {
			t.Fatal(err)
		}
		wrapped = append(wrapped, paths...)
	}
	slices.Sort(wrapped)
	want := []string{
		"part/default/secret-value/demo/large/1/1/0", "part/default/secret-value/demo/large/1/1/1",
		"record/default/secret-value/demo/large/1", "record/default/secret-value/demo/password/1",
		"record/sys/key/log", "record/sys/key/reply", "record/sys/key/token",
	}
	if !slices.Equal(wrapped, want) {
		t.Errorf("%q is wrapped, want %q", wrapped, want)
	}
}
