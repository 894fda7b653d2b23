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
)

// lastReply is a transport that keeps the status and Retry-After of the last answer.
type lastReply struct {
	http.RoundTripper
	status     int
	retryAfter string
}

func (l *lastReply) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := l.RoundTripper.RoundTrip(request)
	if err == nil {
		l.status, l.retryAfter = response.StatusCode, response.Header.Get("Retry-After")
	}
	return response, err
}

// TestBusy has the broker reach its limits, and lose its log: clients are told to come back, in the form that they know.
func TestBusy(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{Limits: broker.Limits{Spent: 1}})
	last := &lastReply{RoundTripper: b.HTTP.Transport}
	c := client(t, b)
	c.HTTP = &http.Client{Transport: last}
	if _, err := c.Attest(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := client(t, b)
	other.HTTP = c.HTTP
	_, err := other.Attest(t.Context())
	wantError(t, err, http.StatusTooManyRequests, "Overloaded")
	if last.retryAfter == "" || last.retryAfter == "0" {
		t.Errorf("Retry-After: %q", last.retryAfter)
	}
	if err := b.Data.Log.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = c.Do(t.Context(), http.MethodGet, "resource/res/type/tag", nil, nil)
	wantError(t, err, http.StatusServiceUnavailable, "Unavailable")
	if last.retryAfter == "" || last.retryAfter == "0" {
		t.Errorf("Retry-After: %q", last.retryAfter)
	}
}

// TestTokensAreOfOneNamespace serves two namespaces from one broker: what was attested to one of them counts nowhere in the other.
func TestTokensAreOfOneNamespace(t *testing.T) {
	bodies, err := intake.NewReader(0)
	if err != nil {
		t.Fatal(err)
	}
	serve := func(core *broker.Broker, namespace string) http.Handler {
		k, err := kbs.New(kbs.Config{Broker: core, Intake: bodies, Namespace: namespace})
		if err != nil {
			t.Fatal(err)
		}
		return k.Handler()
	}
	b := brokertest.Start(t, brokertest.Config{
		Verifiers: func(*data.Data) []attest.Verifier { return []attest.Verifier{sample.New()} },
		Handler: func(core *broker.Broker) http.Handler {
			ours, theirs := serve(core, "default"), serve(core, "tenant")
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Tenant") != "" {
					theirs.ServeHTTP(w, r)
					return
				}
				ours.ServeHTTP(w, r)
			})
		},
	})
	b.PutSecret("res/type/tag", []byte(secret))
	b.ApplyPolicy(allowAll)
	c := client(t, b)
	token, err := c.Attest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tenant := http.Header{"Tenant": {"yes"}}
	_, err = c.Do(t.Context(), http.MethodGet, "resource/res/type/tag", nil, tenant)
	wantError(t, err, http.StatusUnauthorized, "TokenNotFound")
	tenant.Set("Authorization", "Bearer "+token)
	_, err = c.Do(t.Context(), http.MethodGet, "resource/res/type/tag", nil, tenant)
	wantError(t, err, http.StatusUnauthorized, "TokenVerifierError")
	challenge, err := c.Auth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	crossed := *c
	crossed.HTTP = &http.Client{Transport: withHeader{b.HTTP.Transport}}
	_, err = crossed.Answer(t.Context(), challenge)
	wantError(t, err, http.StatusUnauthorized, "AttestationError")
	if got, err := c.GetBearer(t.Context(), token, "res/type/tag"); err != nil || string(got) != secret {
		t.Errorf("%q, %v", got, err)
	}
	for _, namespace := range []string{"sys", "a/b", "*", ".."} {
		if _, err := kbs.New(kbs.Config{Broker: b.Broker, Intake: bodies, Namespace: namespace}); err == nil {
			t.Errorf("namespace %q: accepted", namespace)
		}
	}
	if _, err := kbs.New(kbs.Config{Broker: b.Broker, Intake: bodies, DenyStatus: http.StatusOK}); err == nil {
		t.Error("deny_status 200: accepted")
	}
	if _, err := kbs.New(kbs.Config{Broker: b.Broker, Intake: bodies, Sessions: -1}); err == nil {
		t.Error("-1 sessions: accepted")
	}
}

// withHeader sends every request to the tenant.
type withHeader struct{ http.RoundTripper }

func (h withHeader) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Tenant", "yes")
	return h.RoundTripper.RoundTrip(request)
}
