//go:build unix

package node_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/kbs/kbstest"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
	"github.com/vouchsafe/vouchsafe/internal/snpjson"
)

// What the load works on. Each secret and the policy has one writer, so that it is known what there must be.
var crashSecrets = []string{"crash/app/one", "crash/app/two", "crash/app/three"}

const (
	crashRules    = "rules"        // the policy that is applied and activated all the time
	guardedSecret = "rules/app/it" // what it guards
)

// crashAllow releases crashSecrets.
const crashAllow = `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: crash}
spec:
  secrets: ["crash/app/*"]
  require:
    - {name: virtual, that: claims.kind == "virtual"}
`

// history is what must be known of a record: its state after all that was acknowledged, and that after the change which was under way
// when the broker was killed, if one was.
type history[S any] struct {
	known   S
	perhaps *S
}

// try makes a change that leads to next. It returns an error when the outcome is unknown.
func (h *history[S]) try(next S, do func() error) error {
	h.perhaps = &next
	err := do()
	var refused *admin.Error
	switch {
	case err == nil:
		h.known, h.perhaps = next, nil
	case errors.As(err, &refused) && refused.Status == http.StatusConflict: // nothing was changed
		h.perhaps = nil
		return nil
	}
	return err
}

// settle finds out which state there is.
func (h *history[S]) settle(is func(S) error) error {
	err := is(h.known)
	if err != nil && h.perhaps != nil && is(*h.perhaps) == nil {
		h.known, err = *h.perhaps, nil
	}
	h.perhaps = nil
	return err
}

// secretState is what is known of a secret: the values of its versions, nil for one that was destroyed.
type secretState struct {
	current, last uint64
	values        map[uint64][]byte
}

// policyState is what is known of a policy: the sources of its versions.
type policyState struct {
	active, last uint64
	sources      map[uint64]string
}

// received is a secret that a workload received.
type received struct {
	decision, secret string
	version          uint64 // 0 when the workload was not told
	value            []byte
	receipt          string
}

// load works on one broker until it is killed, and remembers what was acknowledged.
type load struct {
	random   *rand.Rand // of whoever holds mu
	mu       sync.Mutex
	secrets  map[string]*history[secretState]
	rules    history[policyState]
	keyIDs   []string            // of the keys that rotation was acknowledged to have made
	seen     map[string]bool     // decisions that an answer with secrets named, even if it broke off then
	releases []received          // received whole
	counts   map[string]int      // of acknowledged operations
	failures []error             // answers that a broker must not give
	killed   atomic.Bool         // or is being
	puts     atomic.Int64        // makes each value another
	client   func() *http.Client // with connections of its own
	p        *process
}

func newLoad(seed uint64) *load {
	l := &load{
		random: rand.New(rand.NewPCG(seed, 6)), secrets: map[string]*history[secretState]{}, seen: map[string]bool{}, counts: map[string]int{},
		rules: history[policyState]{known: policyState{sources: map[uint64]string{}}},
	}
	for _, name := range crashSecrets {
		l.secrets[name] = &history[secretState]{known: secretState{values: map[uint64][]byte{}}}
	}
	return l
}

// prepare makes what the load takes to be there.
func (l *load) prepare(ctx context.Context, p *process) error {
	c := p.admin()
	if _, err := c.ApplyPolicy(ctx, wire.PolicyApply{Source: crashAllow}); err != nil {
		return err
	}
	_, err := c.PutSecret(ctx, wire.SecretPut{SecretName: wire.SecretName{Name: guardedSecret}, Value: []byte("guarded")})
	return err
}

// run works until the broker is killed after a while. rotate has the data key rotated, too.
func (l *load) run(p *process, after time.Duration, rotate bool) {
	l.p = p
	l.killed.Store(false)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.ca)
	l.client = func() *http.Client {
		return &http.Client{Transport: &witness{l, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 2}}}
	}
	var workers sync.WaitGroup
	work := func(what string, step func(ctx context.Context) error) {
		workers.Go(func() {
			for {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				err := step(ctx)
				cancel()
				if err != nil {
					if !l.killed.Load() {
						l.fail(fmt.Errorf("%s: %w", what, err))
					}
					return
				}
				l.count(what)
			}
		})
	}
	for _, name := range crashSecrets {
		work("secret changes", l.changeSecret(p.admin(), name))
	}
	work("policy changes", l.changeRules(p.admin()))
	for _, kind := range []envelope.KeyType{envelope.X25519, envelope.P256, envelope.XWing} {
		work("native releases", l.fetch(kind))
	}
	work("KBS releases", l.fetchKBS())
	if rotate {
		work("rotations", l.rotate(p.admin()))
	}
	time.Sleep(after)
	l.killed.Store(true)
	p.kill()
	workers.Wait()
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, err)
}

func (l *load) count(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[what]++
}

func (l *load) intn(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.random.IntN(n)
}

// changeSecret returns a step that adds, activates or destroys a version.
func (l *load) changeSecret(c *admin.Client, name string) func(context.Context) error {
	h := l.secrets[name]
	in := wire.SecretName{Name: name}
	return func(ctx context.Context) error {
		next := h.known
		next.values = maps.Clone(next.values)
		live := slices.DeleteFunc(slices.Sorted(maps.Keys(next.values)), func(v uint64) bool { return next.values[v] == nil })
		kind := l.intn(4)
		switch {
		case len(live) > 60: // below the limit of versions
			oldest := slices.IndexFunc(live, func(v uint64) bool { return v != next.current })
			version := live[oldest]
			next.values[version] = nil
			return h.try(next, func() error {
				_, err := c.DestroySecret(ctx, wire.SecretDestroy{SecretName: in, Version: version})
				return err
			})
		case len(live) > 0 && kind == 0:
			next.current = live[l.intn(len(live))]
			return h.try(next, func() error {
				_, err := c.ActivateSecret(ctx, wire.SecretActivate{SecretName: in, Version: next.current})
				return err
			})
		default:
			value := fmt.Appendf(nil, "%s %d %s", name, l.puts.Add(1), strings.Repeat("x", l.intn(2000)))
			next.last++
			next.values[next.last] = value
			activate := kind == 1
			if activate || next.last == 1 {
				next.current = next.last
			}
			return h.try(next, func() error {
				_, err := c.PutSecret(ctx, wire.SecretPut{SecretName: in, Value: value, Activate: activate})
				return err
			})
		}
	}
}

// changeRules returns a step that applies a version of a policy, as a draft or not, or activates one.
func (l *load) changeRules(c *admin.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		next := l.rules.known
		next.sources = maps.Clone(next.sources)
		if kind := l.intn(3); kind == 0 && next.last > 0 {
			next.active = next.last - uint64(l.intn(int(min(next.last, 5))))
			return l.rules.try(next, func() error {
				_, err := c.ActivatePolicy(ctx, wire.PolicyActivate{PolicyName: wire.PolicyName{Name: crashRules}, Version: next.active})
				return err
			})
		} else {
			draft := kind == 1
			source := strings.ReplaceAll(crashAllow, "metadata: {name: crash}",
				fmt.Sprintf("metadata: {name: %s, description: edition %d}", crashRules, l.puts.Add(1)))
			source = strings.ReplaceAll(source, "crash/app/*", "rules/app/*")
			next.last++
			next.sources[next.last] = source
			if !draft {
				next.active = next.last
			}
			return l.rules.try(next, func() error {
				_, err := c.ApplyPolicy(ctx, wire.PolicyApply{Source: source, Draft: draft})
				return err
			})
		}
	}
}

// fetch returns a step that releases a secret by the native protocol.
func (l *load) fetch(kind envelope.KeyType) func(context.Context) error {
	w := l.p.workload(func(c *client.Config) { c.CA, c.HTTP, c.KeyType = nil, l.client(), kind })
	return func(ctx context.Context) error {
		got, err := w.Fetch(ctx, l.anySecret())
		var refused *client.Refused
		if errors.As(err, &refused) && refused.Code == "not_found" {
			return nil // before the first put
		}
		if err != nil {
			return err
		}
		l.receive(received{got[0].Decision, got[0].Name, got[0].Version, got[0].Value, got[0].Receipt})
		return nil
	}
}

// fetchKBS returns a step that releases a secret by the KBS protocol, attesting anew now and then.
func (l *load) fetchKBS() func(context.Context) error {
	device, err := virtualdevice.Load(l.p.Tee)
	if err != nil {
		l.p.t.Fatal(err)
	}
	key, err := kbstest.NewKey("P-256")
	if err != nil {
		l.p.t.Fatal(err)
	}
	c := &kbstest.Client{URL: l.p.URL, HTTP: l.client(), Key: key, Attester: virtualAttester(device)}
	attested := false
	return func(ctx context.Context) error {
		if !attested || l.intn(8) == 0 {
			_, err := c.Attest(ctx)
			if attested = err == nil; !attested {
				return err
			}
		}
		name := l.anySecret()
		reply, err := c.Do(ctx, http.MethodGet, "resource/"+name, nil, nil)
		var refused *kbstest.Error
		if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		value, err := key.Open(reply.Body)
		if err != nil {
			return err
		}
		l.receive(received{reply.Header.Get("Vouchsafe-Decision"), name, 0, value, ""})
		return nil
	}
}

// virtualAttester makes virtual evidence in the form in which KBS guests send reports.
func virtualAttester(device *virtualdevice.Device) kbstest.Attester {
	return kbstest.Attester{TEE: "virtual", Evidence: func(digest []byte) (json.RawMessage, error) {
		extended, err := device.Evidence(context.Background(), digest)
		if err != nil {
			return nil, err
		}
		return snpjson.Encode(extended)
	}}
}

func (l *load) anySecret() string { return crashSecrets[l.intn(len(crashSecrets))] }

func (l *load) receive(r received) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.value = bytes.Clone(r.value)
	l.releases = append(l.releases, r)
}

// releasedSoFar returns how many secrets were received.
func (l *load) releasedSoFar() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.releases)
}

// rotate returns a step that replaces a key.
func (l *load) rotate(c *admin.Client) func(context.Context) error {
	n := l.intn(3)
	return func(ctx context.Context) error {
		n++
		if n%3 == 0 {
			return c.RotateDataKey(ctx)
		}
		made, err := c.RotateKey(ctx, wire.KeyRotate{Purpose: []keys.Purpose{keys.Token, keys.Reply}[n%3-1]})
		if err == nil {
			l.mu.Lock()
			l.keyIDs = append(l.keyIDs, made.KeyID)
			l.mu.Unlock()
		}
		// Retired keys stay published for a day, and clients read 64 at most: pause, so that hundreds of rounds stay below.
		time.Sleep(time.Second)
		return err
	}
}

// witness notes every decision that an answer with status 200 names, before anybody reads the answer's body.
type witness struct {
	load *load
	base http.RoundTripper
}

func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := w.base.RoundTrip(r)
	if err == nil && response.StatusCode == http.StatusOK {
		if id := response.Header.Get("Vouchsafe-Decision"); id != "" {
			w.load.mu.Lock()
			w.load.seen[id] = true
			w.load.mu.Unlock()
		}
	}
	return response, err
}
