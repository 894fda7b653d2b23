package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// BenchmarkRelease is a whole release through the plugin, challenge and all, over HTTP. x-empty is to two calls of a path that answers what is in memory:
// what Vault, its connection to the plugin and HTTP cost with nothing behind them. The time to make the evidence is the guest's and not counted.
func BenchmarkRelease(b *testing.B) {
	m := newMount(b, vaulttest.Shared(b))
	m.fill(b)
	key, err := envelope.GenerateKey(envelope.XWing)
	if err != nil {
		b.Fatal(err)
	}
	post := func(path string, body any) []byte {
		status, answer, err := m.send(b, http.MethodPost, path, body)
		if err != nil || status != http.StatusOK {
			b.Fatalf("%s: %d %s, %v", path, status, answer, err)
		}
		return answer
	}
	var empty, whole time.Duration
	for b.Loop() {
		b.StopTimer()
		start := time.Now()
		for range 2 {
			if status, _, err := m.send(b, http.MethodGet, "v1/kinds", nil); err != nil || status != http.StatusOK {
				b.Fatal(status, err)
			}
		}
		empty += time.Since(start)
		b.StartTimer()
		start = time.Now()
		challenge, err := release.DecodeChallenge(post("v1/challenges", release.ChallengeRequest{Kind: "virtual"}))
		whole += time.Since(start)
		b.StopTimer()
		if err != nil {
			b.Fatal(err)
		}
		request := &release.Request{Nonce: challenge.Nonce, Recipient: key.PublicJWK(), Secrets: []release.Want{{Name: "demo/app/password"}}}
		runtime, err := request.RuntimeData(challenge.Hash, key.Recipient())
		if err != nil {
			b.Fatal(err)
		}
		evidence, err := client.Collect(b.Context(), virtualdevice.New(m.device), nil, runtime)
		if err != nil {
			b.Fatal(err)
		}
		request.Evidence = release.Evidence{Kind: "virtual", Data: evidence.Primary}
		b.StartTimer()
		start = time.Now()
		post("v1/releases", request)
		whole += time.Since(start)
	}
	b.ReportMetric(float64(whole)/float64(empty), "x-empty")
	b.ReportMetric(float64(empty.Microseconds())/float64(b.N), "empty-µs/op")
}
