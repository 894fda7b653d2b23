package main

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// BenchmarkRelease is a whole release through the plugin, challenge and all, over HTTP, with Vault's storage in memory and on disk. x-empty is to two calls
// of a path that answers what is in memory, by as many clients and by turns: what Vault, its connection to the plugin and HTTP cost with nothing behind
// them. Times are medians of what a client waits; the time to make the evidence is the guest's, and not in them.
func BenchmarkRelease(b *testing.B) {
	for _, storage := range []struct {
		name   string
		server *vaulttest.Server
	}{{"memory", vaulttest.Shared(b)}, {"raft", vaulttest.Start(b, vaulttest.WithRaft(""))}} {
		m := newMount(b, storage.server)
		m.fill(b)
		for _, clients := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("storage=%s/clients=%d", storage.name, clients), func(b *testing.B) {
				each := max(4, 96/clients)
				r := newReleases(b, m, clients*each)
				var empty, whole load
				for b.Loop() {
					for range 2 {
						empty.run(clients, each, func(int) { r.send(http.MethodGet, "v1/kinds", nil) })
					}
					r.round(&whole, clients, each)
				}
				b.ReportMetric(float64(whole.quantile(.5)), "ns/op")
				b.ReportMetric(float64(whole.quantile(.5))/float64(2*empty.quantile(.5)), "x-empty")
				b.ReportMetric(float64(whole.quantile(.99))/1e6, "p99-ms")
				b.ReportMetric(float64(len(whole.waits))/whole.took.Seconds(), "releases/s")
				b.ReportMetric(float64(empty.quantile(.5))/1e6, "empty-ms")
				b.ReportMetric(float64(len(empty.waits))/empty.took.Seconds(), "empty/s")
			})
		}
	}
}

// load is what clients waited for their calls.
type load struct {
	waits []time.Duration
	took  time.Duration
}

// run has clients make calls, so many each, and returns how long each took. A call is told which it is.
func (l *load) run(clients, each int, call func(i int)) []time.Duration {
	waits := make([]time.Duration, clients*each)
	var all sync.WaitGroup
	start := time.Now()
	for c := range clients {
		all.Go(func() {
			for n := range each {
				begun := time.Now()
				call(n*clients + c)
				waits[n*clients+c] = time.Since(begun)
			}
		})
	}
	all.Wait()
	l.took += time.Since(start)
	l.waits = append(l.waits, waits...)
	return waits
}

func (l *load) quantile(part float64) time.Duration {
	slices.Sort(l.waits)
	return l.waits[min(len(l.waits)-1, int(part*float64(len(l.waits))))]
}

// releases are rounds of releases, whose requests are made between the calls that are measured.
type releases struct {
	b      *testing.B
	mount  *mount
	key    *envelope.PrivateKey
	keys   *release.Keys
	bodies []*release.Request
	nonces [][]byte
}

func newReleases(b *testing.B, m *mount, count int) *releases {
	key, err := envelope.GenerateKey(envelope.XWing)
	if err != nil {
		b.Fatal(err)
	}
	keys, err := release.ParseKeys(m.get(b, ".well-known/jwks.json"))
	if err != nil {
		b.Fatal(err)
	}
	return &releases{b: b, mount: m, key: key, keys: keys, bodies: make([]*release.Request, count), nonces: make([][]byte, count)}
}

// send makes a call that must succeed. It runs on goroutines of clients, where a benchmark cannot end.
func (r *releases) send(method, path string, body any) []byte {
	status, answer, err := r.mount.send(r.b, method, path, body)
	if err != nil || status != http.StatusOK {
		r.b.Errorf("%s: %d %.200s, %v", path, status, answer, err)
	}
	return answer
}

// round has each client fetch a secret so often.
func (r *releases) round(whole *load, clients, each int) {
	challenges := whole.run(clients, each, func(i int) {
		r.nonces[i] = r.send(http.MethodPost, "v1/challenges", release.ChallengeRequest{Kind: "virtual"})
	})
	whole.waits = whole.waits[:len(whole.waits)-len(challenges)] // they count with their releases
	if r.b.Failed() {
		r.b.FailNow()
	}
	for i, nonce := range r.nonces {
		r.bodies[i] = r.request(nonce)
	}
	answers := make([][]byte, len(r.bodies))
	waits := whole.run(clients, each, func(i int) { answers[i] = r.send(http.MethodPost, "v1/releases", r.bodies[i]) })
	counted := whole.waits[len(whole.waits)-len(waits):]
	for i, wait := range challenges {
		counted[i] += wait
	}
	if r.b.Failed() {
		r.b.FailNow()
	}
	for i, answer := range answers {
		r.check(r.bodies[i], answer)
	}
}

// request makes the evidence that answers a challenge.
func (r *releases) request(challenge []byte) *release.Request {
	c, err := release.DecodeChallenge(challenge)
	if err != nil {
		r.b.Fatal(err)
	}
	request := &release.Request{Nonce: c.Nonce, Recipient: r.key.PublicJWK(), Secrets: []release.Want{{Name: "demo/app/password"}}}
	runtime, err := request.RuntimeData(c.Hash, r.key.Recipient())
	if err != nil {
		r.b.Fatal(err)
	}
	evidence, err := client.Collect(r.b.Context(), virtualdevice.New(r.mount.device), nil, runtime)
	if err != nil {
		r.b.Fatal(err)
	}
	request.Evidence = release.Evidence{Kind: "virtual", Data: evidence.Primary}
	return request
}

// check makes sure that an answer is a release.
func (r *releases) check(request *release.Request, answer []byte) {
	payload, err := r.keys.Open(answer)
	if err != nil {
		r.b.Fatal(err)
	}
	reply, err := release.DecodeReply(payload)
	if err != nil {
		r.b.Fatal(err)
	}
	if err := reply.Check(request, r.key.Recipient(), ""); err != nil {
		r.b.Fatal(err)
	}
	if reply.Results[0].Envelope == nil {
		r.b.Fatalf("the secret is not released: %s", reply.Results[0].Code)
	}
}
