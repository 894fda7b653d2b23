package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"runtime"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/kbs/kbstest"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
	"github.com/vouchsafe/vouchsafe/internal/snpjson"
)

// releaseBudget is the most that a whole release may cost, as a multiple of its public-key operations.
const releaseBudget = 1.5

const releasePolicy = `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: bench}
spec:
  secrets: ["bench/**"]
  require:
    - {name: virtual, that: claims.kind == "virtual"}
    - {name: image, that: 'claims.measurement in reference("demo-image")'}
`

// newHTTP returns a client that trusts a broker and has connections of its own.
func newHTTP(ca []byte) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

// stopwatch adds up how long a client waits for answers.
type stopwatch struct {
	base   http.RoundTripper
	waited time.Duration
}

func (s *stopwatch) RoundTrip(r *http.Request) (*http.Response, error) {
	start := time.Now()
	response, err := s.base.RoundTrip(r)
	s.waited += time.Since(start)
	return response, err
}

// workload is a client in use; each has connections of its own, and is for one goroutine.
type workload struct {
	watch *stopwatch
	fetch func(name string)
}

// native returns a workload of the native protocol.
func (p *process) native(kind envelope.KeyType) *workload {
	h := newHTTP(p.ca)
	w := &workload{watch: &stopwatch{base: h.Transport}}
	h.Transport = w.watch
	c := must(client.New(client.Config{
		URL: p.url, Collector: p.device(), HTTP: h, KeyType: kind, Retry: client.Retry{Max: 1},
	}))
	w.fetch = func(name string) { must(c.Fetch(context.Background(), name)) }
	return w
}

// nativeOnce is native with new connections for each release.
func (p *process) nativeOnce(kind envelope.KeyType) *workload {
	w := p.native(kind)
	kept := w.fetch
	w.fetch = func(name string) {
		w.watch.base.(*http.Transport).CloseIdleConnections()
		kept(name)
	}
	return w
}

// guest returns a workload of the KBS protocol, which attests for each secret.
func (p *process) guest() *workload {
	h := newHTTP(p.ca)
	w := &workload{watch: &stopwatch{base: h.Transport}}
	h.Transport = w.watch
	device := p.device()
	key := must(kbstest.NewKey("P-256"))
	c := &kbstest.Client{URL: p.url, HTTP: h, Key: key, Attester: kbstest.Attester{
		TEE: "virtual",
		Evidence: func(digest []byte) (json.RawMessage, error) {
			extended, err := device.Evidence(context.Background(), digest)
			if err != nil {
				return nil, err
			}
			return snpjson.Encode(extended)
		},
	}}
	w.fetch = func(name string) {
		c.ForgetSession()
		must(c.Attest(context.Background()))
		reply := must(c.Do(context.Background(), http.MethodGet, "resource/"+name, nil, nil))
		must(key.Open(reply.Body))
	}
	return w
}

func (p *process) device() *virtualdevice.Device {
	return must(virtualdevice.Load(filepath.Join(p.dir, "tee")))
}

// outcome is what many releases cost.
type outcome struct {
	processor, system time.Duration // of the broker's processor for each, and how much of it in the system
	median, slowest   time.Duration // of a client's waiting for each; slowest is the 99th percentile
	rate              float64       // a second
}

// drive has workloads fetch secrets for a while.
func (p *process) drive(clients int, during time.Duration, secrets int, make func() *workload) outcome {
	workloads := []*workload{}
	for range clients {
		w := make()
		w.fetch(secretName(0))
		workloads = append(workloads, w)
	}
	waits := [][]time.Duration{}
	for range clients {
		waits = append(waits, nil)
	}
	end := time.Now().Add(during)
	usedBefore, systemBefore := p.used()
	took := together(clients, clients, func(i int) {
		w := workloads[i]
		for time.Now().Before(end) {
			w.watch.waited = 0
			w.fetch(secretName(rand.IntN(secrets)))
			waits[i] = append(waits[i], w.watch.waited)
		}
	})
	used, system := p.used()
	var all []time.Duration
	for _, w := range waits {
		all = append(all, w...)
	}
	return outcome{
		processor: (used - usedBefore) / time.Duration(len(all)), system: (system - systemBefore) / time.Duration(len(all)),
		median: quantile(all, .5), slowest: quantile(all, .99),
		rate: float64(len(all)) / took.Seconds(),
	}
}

func secretName(n int) string { return fmt.Sprintf("bench/s%03d/s%d", n%1000, n) }

// releasePart measures whole releases.
func (b *bench) releasePart() section {
	s := section{
		Title: "A whole release over TLS, of one secret: challenge, evidence, policy, envelope, record, receipt, signed reply",
		Note: "cost: processor time of the broker's process, the system's on its behalf included; floor: that of the public-key operations that one needs. " +
			"Waits are of the client, disk and a shared machine included: the clients take as much of the cores as the broker",
	}
	p := start(filepath.Join(b.dir, "release"))
	defer p.stop()
	p.prepare()
	verify, sign, note := verifyP384(), signP256(), signEd25519()
	native := all(verify, verify, wrapping(envelope.X25519), sign, note)
	guest := all(verify, verify, sign, note, wrapping(envelope.P256), sign, note)
	for _, kind := range []struct {
		name    string
		floor   func()
		budget  float64
		clients []int
		make    func() *workload
	}{
		{"native, X25519", native, releaseBudget, []int{1, 8, 64}, func() *workload { return p.native(envelope.X25519) }},
		{"KBS, P-256, attesting each time", guest, releaseBudget, []int{1, 8, 64}, p.guest},
		{"native, a new connection each", all(native, sign, wrapping(envelope.XWing)), 0, []int{8}, func() *workload { return p.nativeOnce(envelope.X25519) }},
	} {
		for _, clients := range kind.clients {
			// Before and after: how fast a core is changes with who shares it.
			// As many threads as the load keeps busy: one client and the broker take turns.
			threads := min(clients, runtime.GOMAXPROCS(0))
			before := processorTime(b.time/2, threads, kind.floor, verify)
			o := p.drive(clients, 4*b.time, 1, kind.make)
			after := processorTime(b.time/2, threads, kind.floor, verify)
			floor, one := (before[0]+after[0])/2, (before[1]+after[1])/2
			r := against(fmt.Sprintf("%s, %d clients", kind.name, clients), o.processor, floor, kind.budget)
			r.Note = fmt.Sprintf("%.0f/s, waits %s, 99%% under %s; %s of it in the system; with one P-384 verification less, as SNP, %.2f×",
				o.rate, short(o.median), short(o.slowest), short(o.system), float64(o.processor-one)/float64(floor-one))
			s.Rows = append(s.Rows, r)
		}
	}
	return s
}

// prepare gives a broker what releases need.
func (p *process) prepare() {
	must(p.admin.ApplyPolicy(context.Background(), wire.PolicyApply{Source: releasePolicy}))
	must(p.admin.PutSecret(context.Background(), wire.SecretPut{
		SecretName: wire.SecretName{Name: secretName(0)}, Value: make([]byte, 64), Activate: true,
	}))
}
