package api_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
)

// BenchmarkRelease measures whole native releases over TLS, the client's part included: a challenge, evidence, one secret, and its record on disk.
// "x-floor" is the ratio to the public-key operations of both sides alone, on one core, measured in the same run.
func BenchmarkRelease(b *testing.B) {
	for _, clients := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			test := brokertest.Start(b, brokertest.Config{})
			test.PutSecret("app/key", []byte(plaintext))
			test.ApplyPolicy(brokertest.AllowVirtual("app/*"))
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(test.CA)
			workload, err := client.New(client.Config{
				URL: test.URL, KeyType: envelope.X25519, Collector: virtualdevice.New(test.Device),
				HTTP: &http.Client{Transport: &http.Transport{
					MaxIdleConnsPerHost: clients, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
				}},
			})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := workload.Fetch(b.Context(), "app/key"); err != nil { // the reply keys and the first connection
				b.Fatal(err)
			}
			floor := publicKeyFloor(b)

			var (
				wait   sync.WaitGroup
				left   atomic.Int64
				failed atomic.Pointer[error]
			)
			left.Store(int64(b.N))
			b.ResetTimer()
			for range clients {
				wait.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := workload.Fetch(b.Context(), "app/key"); err != nil {
							failed.Store(&err)
							return
						}
					}
				})
			}
			wait.Wait()
			b.StopTimer()
			if err := failed.Load(); err != nil {
				b.Fatal(*err)
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(floor), "x-floor")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "releases/s")
		})
	}
}

// publicKeyFloor measures what one release costs in public-key operations: of the device, the report's signature; of the broker, verifying it
// and the device's certificate, the envelope, and signing checkpoint and reply; of the client, its key, the reply's signature and the envelope.
func publicKeyFloor(b *testing.B) time.Duration {
	b.Helper()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	device, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(err)
	reply, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	_, log, err := ed25519.GenerateKey(rand.Reader)
	check(err)
	digest := make([]byte, 48)
	const rounds = 100
	start := time.Now()
	for range rounds {
		report, err := ecdsa.SignASN1(rand.Reader, device, digest)
		check(err)
		for range 2 {
			if !ecdsa.VerifyASN1(&device.PublicKey, digest, report) {
				b.Fatal("P-384")
			}
		}
		key, err := envelope.GenerateKey(envelope.X25519)
		check(err)
		sealed, err := key.Recipient().Seal(envelope.Context{}, []byte(plaintext))
		check(err)
		ed25519.Sign(log, digest)
		signed, err := ecdsa.SignASN1(rand.Reader, reply, digest[:32])
		check(err)
		if !ecdsa.VerifyASN1(&reply.PublicKey, digest[:32], signed) {
			b.Fatal("P-256")
		}
		_, err = key.Open(sealed, envelope.Context{})
		check(err)
	}
	return time.Since(start) / rounds
}
