package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/client/release"
)

// load is many clients of one operation. What a guest does with a processor of its own, to make evidence and to open what it got, is done between
// the requests of all clients and is not in their times: here it would take the cores from the broker.
type load struct {
	waits []time.Duration // for each operation
	took  time.Duration   // until all were done
}

// median, slowest (the 99th percentile) and rate (a second) of a load.
func (l *load) median() time.Duration  { return quantile(l.waits, .5) }
func (l *load) slowest() time.Duration { return quantile(l.waits, .99) }
func (l *load) rate() float64          { return float64(len(l.waits)) / l.took.Seconds() }

func (l *load) String() string {
	return fmt.Sprintf("99%% under %s, %.0f/s", short(l.slowest()), l.rate())
}

// add counts another round of the same load.
func (l *load) add(more *load) {
	l.waits = append(l.waits, more.waits...)
	l.took += more.took
}

// times has clients do an operation so often each; do is told which client it is and which of its operations.
func times(clients, each int, do func(client, n int)) *load {
	l := &load{waits: make([]time.Duration, clients*each)}
	l.took = together(clients, clients*each, func(i int) {
		start := time.Now()
		do(i%clients, i/clients)
		l.waits[i] = time.Since(start)
	})
	return l
}

// callers are clients of a broker that send requests as bytes made before.
type callers struct {
	url    string
	http   *http.Client
	device *virtual.Device
	key    *envelope.PrivateKey
	keys   *release.Keys
}

// callers returns clients of the broker, whose connections are kept open.
func (p *process) callers(clients int) *callers {
	h := newHTTP(p.ca)
	h.Transport.(*http.Transport).MaxIdleConnsPerHost = clients
	c := &callers{
		url: p.url, http: h, device: must(virtual.LoadDevice(filepath.Join(p.dir, "tee"))), key: must(envelope.GenerateKey(envelope.X25519)),
	}
	c.keys = must(release.ParseKeys(c.call(http.MethodGet, release.KeysPath, nil)))
	return c
}

// call makes a request and returns the body of the answer, which must be 200.
func (c *callers) call(method, path string, body []byte) []byte {
	request := must(http.NewRequest(method, c.url+path, bytes.NewReader(body)))
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return answered(c.http.Do(request))
}

// answered reads an answer, which must be 200.
func answered(response *http.Response, err error) []byte {
	check(err)
	defer response.Body.Close()
	answer := must(io.ReadAll(response.Body))
	if response.StatusCode != http.StatusOK {
		check(fmt.Errorf("%s: %s: %.200s", response.Request.URL.Path, response.Status, answer))
	}
	return answer
}

// releases has clients fetch a secret so often each: all ask for their challenges, then all make their evidence, which is not counted, and then all ask
// for their releases. It also returns the challenges' part of that.
func (c *callers) releases(clients, each int, secret string) (whole, challenges *load) {
	count := clients * each
	nonces, bodies, answers := make([][]byte, count), make([][]byte, count), make([][]byte, count)
	requests := make([]*release.Request, count)
	ask := must(json.Marshal(release.ChallengeRequest{Kind: attest.Virtual}))
	challenges = times(clients, each, func(client, n int) {
		nonces[n*clients+client] = c.call(http.MethodPost, release.ChallengePath, ask)
	})
	together(2, count, func(i int) {
		challenge := must(release.DecodeChallenge(nonces[i]))
		r := &release.Request{Nonce: challenge.Nonce, Recipient: c.key.PublicJWK(), Secrets: []release.Want{{Name: secret}}}
		digest := must(r.Binding(challenge.Hash, c.key.Recipient()))
		r.Evidence = release.Evidence{Kind: attest.Virtual, Data: must(c.device.Evidence(rand.Reader, digest))}
		requests[i], bodies[i] = r, must(json.Marshal(r))
	})
	whole = times(clients, each, func(client, n int) {
		i := n*clients + client
		answers[i] = c.call(http.MethodPost, release.ReleasePath, bodies[i])
	})
	together(2, count, func(i int) { c.open(requests[i], answers[i]) })
	for i, wait := range challenges.waits {
		whole.waits[i] += wait
	}
	whole.took += challenges.took
	return whole, challenges
}

// open makes sure that an answer is a release.
func (c *callers) open(request *release.Request, answer []byte) {
	reply := must(release.DecodeReply(must(c.keys.Open(answer))))
	check(reply.Check(request, c.key.Recipient(), must(request.EvidenceDigest())))
	if reply.Results[0].Envelope == nil {
		check(fmt.Errorf("the secret is not released: %s", reply.Results[0].Code))
	}
	if len(must(c.key.Open(reply.Results[0].Envelope, reply.Context(&reply.Results[0])))) == 0 {
		check(errors.New("the secret is empty"))
	}
}
