package brokertest_test

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
)

// TestFetch is what a user's own test does: the real client against the real broker.
func TestFetch(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{})
	b.PutSecret("payments/db/password", []byte("hunter2"))
	b.ApplyPolicy(brokertest.AllowVirtual("payments/db/*"))
	workload, err := client.New(client.Config{URL: b.URL, CA: b.CA, Collector: virtualdevice.New(b.Device)})
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := workload.Fetch(t.Context(), "payments/db/password")
	if err != nil || len(secrets) != 1 || string(secrets[0].Value) != "hunter2" {
		t.Fatalf("fetched %v, %v", secrets, err)
	}
	var refused *client.Refused
	if _, err := workload.Fetch(t.Context(), "other/key"); !errors.As(err, &refused) || refused.Code != release.CodeDenied || refused.Decision == "" {
		t.Errorf("a secret that no policy allows: %v", err)
	}
	stranger := brokertest.Start(t, brokertest.Config{})
	if workload, err = client.New(client.Config{URL: b.URL, CA: b.CA, Collector: virtualdevice.New(stranger.Device)}); err != nil {
		t.Fatal(err)
	}
	if _, err := workload.Fetch(t.Context(), "payments/db/password"); !errors.As(err, &refused) || refused.Code != release.CodeEvidence {
		t.Errorf("a device of another root: %v", err)
	}
}

func TestHandlerAndTokens(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{Handler: func(*broker.Broker) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	}})
	response, err := b.HTTP.Get(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || string(text) != "hello" {
		t.Errorf("the server says %q, %v", text, err)
	}
	caller, err := b.Authenticate(t.Context(), b.CreateToken(access.Auditor), "")
	if err != nil || caller.Roles != access.SetOf(access.Auditor) {
		t.Errorf("%+v, %v", caller, err)
	}
}
