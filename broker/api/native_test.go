package api_test

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/initdata"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/client/release"
)

func TestReleaseToEveryKey(t *testing.T) {
	f := start(t, brokertest.Config{})
	f.PutSecret("app/key", []byte(plaintext))
	f.ApplyPolicy(brokertest.AllowVirtual("app/*"))
	for _, keyType := range envelope.KeyTypes() {
		t.Run(string(keyType), func(t *testing.T) {
			w := f.workload(keyType, "app/key").attest()
			reply := w.release()
			result := &reply.Results[0]
			value, err := w.key.Open(result.Envelope, reply.Context(result))
			if err != nil || string(value) != plaintext {
				t.Fatalf("opened %q, %v", value, err)
			}
			if result.ContentType != "text/plain" || result.Version != 1 || !strings.HasPrefix(result.Policy, "sha256:") ||
				result.Lease == nil || !result.Lease.Expires.After(reply.Issued) {
				t.Errorf("result %+v", result)
			}
			checkReceipt(t, f, reply)
		})
	}
	if seen := f.seen(); strings.Contains(seen, plaintext) || strings.Contains(seen, base64.StdEncoding.EncodeToString([]byte(plaintext))) {
		t.Error("the secret was seen outside an envelope")
	}
}

// checkReceipt proves with the receipt that the decision was logged, and that the operator finds it.
func checkReceipt(t *testing.T, f *fixture, reply *release.Reply) {
	t.Helper()
	client := f.admin(f.Token)
	explanation, err := client.Explain(t.Context(), reply.Decision)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := f.Log().Entry(t.Context(), explanation.Index)
	if err != nil {
		t.Fatal(err)
	}
	receipt, _, err := audit.VerifyReceipt(noteVerifiers(t, client), originOf(t, f), entry, []byte(reply.Receipt))
	if err != nil || receipt.Index != explanation.Index {
		t.Errorf("receipt of entry %d, decision at %d: %v", receipt.Index, explanation.Index, err)
	}
	if !bytes.Contains(entry, []byte(reply.Decision)) {
		t.Errorf("entry %s", entry)
	}
}

func TestDeniedAndUnknownSecrets(t *testing.T) {
	f := start(t, brokertest.Config{})
	f.PutSecret("app/key", []byte(plaintext))
	f.PutSecret("other/key", []byte(plaintext))
	f.ApplyPolicy(brokertest.AllowVirtual("app/*"))
	w := f.workload(envelope.X25519, "other/key", "app/key", "app/none", "other/none", "app/key")
	w.request.Secrets[4].Version = 9
	reply := w.attest().release()
	want := []release.Code{release.CodeDenied, "", release.CodeNotFound, release.CodeDenied, release.CodeNotFound}
	for i, r := range reply.Results {
		if r.Code != want[i] {
			t.Errorf("%s: %q, want %q", r.Secret, r.Code, want[i])
		}
		// A name that may not be read and one that does not exist must look the same.
		if r.Code != "" && (r.Policy != "" || r.Version != 0 || r.Lease != nil || r.Envelope != nil || r.ContentType != "") {
			t.Errorf("%s: %+v tells more than its code", r.Secret, r)
		}
	}
	explanation, err := f.admin(f.Token).Explain(t.Context(), reply.Decision)
	if err != nil || len(explanation.Decision.Secrets) != 5 || explanation.Decision.Secrets[0].Code != "no_policy" {
		t.Errorf("%+v, %v", explanation.Decision.Secrets, err)
	}

	// Invariant 8: the workload learns a code and an id, the operator the rule, its expression and what it saw.
	f.ApplyPolicy(strings.ReplaceAll(strings.Replace(brokertest.AllowVirtual("other/*"), "allow-virtual", "strict", 1),
		`claims.kind == "virtual"`, `claims.snp.guest_svn >= 7`))
	w = f.workload(envelope.X25519, "other/key").attest()
	reply = w.release()
	text, err := json.Marshal(reply)
	if err != nil || reply.Results[0].Code != release.CodeDenied || bytes.Contains(text, []byte("guest_svn")) || bytes.Contains(text, []byte("strict")) {
		t.Errorf("the workload is told %s, %v", text, err)
	}
	explanation, err = f.admin(f.Token).Explain(t.Context(), reply.Decision)
	if err != nil {
		t.Fatal(err)
	}
	text, _ = json.Marshal(explanation)
	for _, part := range []string{`"policy":"strict"`, `guest_svn`, `"outcome":"fail"`, `"claims.snp.guest_svn":0`} {
		if !bytes.Contains(text, []byte(part)) {
			t.Errorf("the explanation lacks %s: %s", part, text)
		}
	}
}

func TestNonces(t *testing.T) {
	now := time.Now()
	f := start(t, brokertest.Config{Now: func() time.Time { return now }})
	f.PutSecret("app/key", []byte(plaintext))
	f.ApplyPolicy(brokertest.AllowVirtual("app/*"))
	refused := func(t *testing.T, w *workload) {
		t.Helper()
		if status, e := w.refused(); status != http.StatusForbidden || e.Code != release.CodeNonce {
			t.Errorf("%d %+v", status, e)
		}
	}
	t.Run("twice", func(t *testing.T) {
		w := f.workload(envelope.X25519, "app/key").attest()
		w.release()
		refused(t, w)
	})
	t.Run("twice after a refusal", func(t *testing.T) {
		w := f.workload(envelope.X25519, "app/key").attest()
		good := w.request.Evidence.Data
		w.request.Evidence.Data = good[:len(good)-1]
		if status, e := w.refused(); status != http.StatusForbidden || e.Code != release.CodeEvidence {
			t.Errorf("%d %+v", status, e)
		}
		w.request.Evidence.Data = good
		refused(t, w)
	})
	t.Run("of another kind", func(t *testing.T) {
		w := f.workload(envelope.X25519, "app/key")
		w.request.Nonce = f.challenge(attest.Sample)
		refused(t, w.quote())
	})
	t.Run("of another protocol", func(t *testing.T) {
		for _, scope := range []broker.Scope{
			{Protocol: broker.ProtocolKBS, Namespace: "default", Kind: attest.Virtual, Hash: crypto.SHA384},
			{Protocol: broker.ProtocolNative, Namespace: "other", Kind: attest.Virtual, Hash: crypto.SHA384},
			{Protocol: broker.ProtocolNative, Namespace: "default", Kind: attest.Virtual, Hash: crypto.SHA256},
			{Protocol: broker.ProtocolNative, Namespace: "default", Kind: attest.Virtual, Hash: crypto.SHA384, Session: "x"},
		} {
			challenge, err := f.Challenge(t.Context(), scope)
			if err != nil {
				t.Fatal(err)
			}
			w := f.workload(envelope.X25519, "app/key")
			w.request.Nonce = challenge.Nonce
			refused(t, w.quote())
		}
	})
	t.Run("made up", func(t *testing.T) {
		w := f.workload(envelope.X25519, "app/key")
		w.request.Nonce = base64.StdEncoding.EncodeToString(make([]byte, 32))
		refused(t, w.quote())
	})
	t.Run("of another broker", func(t *testing.T) {
		w := f.workload(envelope.X25519, "app/key")
		w.request.Nonce = start(t, brokertest.Config{}).challenge(attest.Virtual)
		refused(t, w.quote())
	})
	t.Run("expired", func(t *testing.T) {
		w := f.workload(envelope.X25519, "app/key").attest()
		now = now.Add(broker.DefaultChallengeLifetime + time.Second)
		refused(t, w)
	})
}

// TestRelayedEvidence: someone who gets hold of good evidence cannot have the secret encrypted to a key of their own, or change anything else
// that the evidence covers.
func TestRelayedEvidence(t *testing.T) {
	f := start(t, brokertest.Config{})
	f.PutSecret("app/key", []byte(plaintext))
	f.ApplyPolicy(brokertest.AllowVirtual("app/*"))
	other := start(t, brokertest.Config{})
	for name, change := range map[string]func(w *workload){
		"another recipient key": func(w *workload) { w.request.Recipient = f.workload(envelope.X25519).key.PublicJWK() },
		"another nonce":         func(w *workload) { w.request.Nonce = f.challenge(attest.Virtual) },
		"additional evidence":   func(w *workload) { w.request.Additional = `{}` },
		"another broker's root": func(w *workload) { w.device = other.Device; w.quote() },
		"one bit of it":         func(w *workload) { w.request.Evidence.Data[0x90] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			w := f.workload(envelope.X25519, "app/key").attest()
			change(w)
			status, e := w.refused()
			if status != http.StatusForbidden || e.Code != release.CodeEvidence || e.Decision == "" {
				t.Fatalf("%d %+v", status, e)
			}
			explanation, err := f.admin(f.Token).Explain(t.Context(), e.Decision)
			if err != nil || explanation.Decision.Refusal == nil || strings.Contains(e.Message, string(explanation.Decision.Refusal.Code)) {
				t.Errorf("the workload is told %q, the operator %+v, %v", e.Message, explanation.Decision.Refusal, err)
			}
		})
	}
}

func TestDevicesAndInitData(t *testing.T) {
	f := start(t, brokertest.Config{})
	f.PutSecret("app/key", []byte(plaintext))
	f.ApplyPolicy(strings.Replace(brokertest.AllowVirtual("app/*"), `claims.kind == "virtual"`,
		`'claims.init_data_bound && claims.devices.exists(d, d.kind == "sampledevice") && claims.init_data_claims["aa.toml"] == "x = 1"'`, 1) +
		"  waive:\n    - {rule: genuine-hardware, reason: a device of tests has no root}\n")
	const document = "algorithm = \"sha256\"\nversion = \"0.1.0\"\n[data]\n\"aa.toml\" = \"x = 1\"\n"
	init, err := initdata.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	w := f.workload(envelope.P256, "app/key")
	if w.device, err = f.Device.With(func(c *virtual.Config) { c.HostData, err = snp.HostData(init) }); err != nil {
		t.Fatal(err)
	}
	w.request.InitData = document
	w.request.Nonce = f.challenge(attest.Virtual)
	digest, err := attest.RuntimeData{Hash: crypto.SHA384, Nonce: w.request.Nonce, Recipient: w.key.Recipient().Canonical()}.Device()
	if err != nil {
		t.Fatal(err)
	}
	w.request.Additional = fmt.Sprintf(`{"sampledevice": %s}`, sample.Evidence("1", digest))
	reply := w.quote().release()
	if value, err := w.key.Open(reply.Results[0].Envelope, reply.Context(&reply.Results[0])); err != nil || string(value) != plaintext {
		t.Errorf("opened %q, %v", value, err)
	}
}

// TestReleaseLargerThanAnAnswer: what does not fit is refused before it is recorded as released, and what does is released.
func TestReleaseLargerThanAnAnswer(t *testing.T) {
	f := start(t, brokertest.Config{})
	large := bytes.Repeat([]byte{7}, broker.MaxSecret)
	var names []string
	for i := range 9 {
		names = append(names, fmt.Sprintf("app/%d", i))
		if _, err := f.admin(f.Token).PutSecret(t.Context(), wire.SecretPut{SecretName: wire.SecretName{Name: names[i]}, Value: large}); err != nil {
			t.Fatal(err)
		}
	}
	f.ApplyPolicy(brokertest.AllowVirtual("app/*"))
	if status, e := f.workload(envelope.X25519, names...).attest().refused(); status != http.StatusBadRequest || e.Code != "invalid_request" {
		t.Errorf("%d %+v", status, e)
	}
	w := f.workload(envelope.X25519, names[:8]...).attest()
	reply := w.release()
	for i := range reply.Results {
		if value, err := w.key.Open(reply.Results[i].Envelope, reply.Context(&reply.Results[i])); err != nil || !bytes.Equal(value, large) {
			t.Errorf("%d: %d bytes, %v", i, len(value), err)
		}
	}
}
