package kbs_test

import (
	"net/http"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/broker/kbs"
	"github.com/vouchsafe/vouchsafe/broker/session"
)

// TestSessionsGoOnAtAnotherBroker attests at one of two brokers that share a store and asks the other by the cookie, as happens behind a load balancer.
func TestSessionsGoOnAtAnotherBroker(t *testing.T) {
	c := func(of func() *data.Data) brokertest.Config {
		return brokertest.Config{
			Verifiers: func(*data.Data) []attest.Verifier { return []attest.Verifier{sample.New(), sample.NewDevice()} },
			Handler: func(core *broker.Broker) http.Handler {
				stored, err := session.NewStored(of().Store, of().Nonces, "sys/session", nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				bodies, err := intake.NewReader(0)
				if err != nil {
					t.Fatal(err)
				}
				k, err := kbs.New(kbs.Config{Broker: core, Intake: bodies, Stored: stored})
				if err != nil {
					t.Fatal(err)
				}
				return k.Handler()
			},
		}
	}
	var opened [2]*data.Data
	keep := func(i int, c brokertest.Config) brokertest.Config {
		verifiers := c.Verifiers
		c.Verifiers = func(d *data.Data) []attest.Verifier { opened[i] = d; return verifiers(d) }
		return c
	}
	one := keep(0, c(func() *data.Data { return opened[0] }))
	one.Shared = brokertest.Steps(t, t.TempDir()).Shared()
	first := brokertest.Start(t, one)
	first.PutSecret("res/type/tag", []byte(secret))
	first.ApplyPolicy(allowAll)
	two := keep(1, c(func() *data.Data { return opened[1] }))
	two.Beside = first
	second := brokertest.Start(t, two)

	guest := client(t, first)
	challenge, err := guest.Auth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	guest.URL, guest.HTTP = second.URL, second.HTTP // the challenge of one is answered at the other
	if _, err := guest.Answer(t.Context(), challenge); err != nil {
		t.Fatal(err)
	}
	guest.URL, guest.HTTP = first.URL, first.HTTP
	if _, err := guest.Do(t.Context(), "GET", "resource/res/type/tag", nil, nil); err != nil {
		t.Fatalf("by a cookie of the other broker: %v", err)
	}
	// An id that nobody gave out is no session at either.
	guest.ForgetSession()
	_, err = guest.Do(t.Context(), "GET", "resource/res/type/tag", nil, http.Header{"Cookie": {"kbs-session-id=6b49d20000112233445566778899aabb"}})
	wantError(t, err, http.StatusUnauthorized, "TokenNotFound")
}
