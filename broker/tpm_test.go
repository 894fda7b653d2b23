package broker_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/tpm/tpmtest"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/client/tpmdevice"
)

// host is a machine with a TPM, and the broker that it asks.
type host struct {
	*guest
	t     *testing.T
	b     *brokertest.Broker
	core  *broker.Broker // that enrols it
	soft  *tpmtest.TPM
	state string
	clock *clock
}

// newHost runs a software TPM, and a broker that trusts its maker.
func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, soft: tpmtest.Start(t), state: t.TempDir(), clock: newClock()}
	roots, intermediates := h.soft.Authority()
	enroller, err := tpm.NewEnroller(tpm.EnrollerConfig{EKRoots: roots, EKIntermediates: intermediates})
	if err != nil {
		t.Fatal(err)
	}
	h.b = brokertest.Start(t, brokertest.Config{Enroller: enroller, Now: h.clock.now, Verifiers: func(d *data.Data) []attest.Verifier {
		v, err := tpm.New(tpm.Config{Enrolments: broker.NewEnrolments(d.Store)})
		if err != nil {
			t.Fatal(err)
		}
		return []attest.Verifier{v}
	}})
	h.core = h.b.Broker
	h.b.PutSecret("a/b", []byte(plaintext))
	h.guest = newGuest(t, h.b.Broker, nil)
	h.scope.Kind = attest.TPM
	return h
}

// with opens the TPM for one function; a software TPM has one client at a time.
func (h *host) with(config tpmdevice.Config, do func(*tpmdevice.Device)) {
	h.t.Helper()
	config.Device = h.soft.Addr()
	if config.StateDir == "" {
		config.StateDir = h.state
	}
	device, err := tpmdevice.Open(h.t.Context(), config)
	if err != nil {
		h.t.Fatal(err)
	}
	defer device.Close()
	do(device)
}

// begin asks for an enrolment and has the TPM open the challenge.
func (h *host) begin(who access.Caller, name string, config tpmdevice.Config) (id string, secret []byte) {
	h.t.Helper()
	h.with(config, func(device *tpmdevice.Device) {
		request, err := device.EnrolRequest()
		if err != nil {
			h.t.Fatal(err)
		}
		var challenge *tpm.Challenge
		if id, challenge, err = h.core.BeginEnrolment(h.t.Context(), who, ns, name, *request); err != nil {
			h.t.Fatal(err)
		}
		if secret, err = device.Activate(challenge); err != nil {
			h.t.Fatal(err)
		}
	})
	return id, secret
}

func (h *host) enrol(who access.Caller, name string, config tpmdevice.Config) (*tpm.Enrolment, error) {
	h.t.Helper()
	id, secret := h.begin(who, name, config)
	return h.core.CompleteEnrolment(h.t.Context(), who, ns, id, secret)
}

// quote makes a request with a quote over a nonce and the guest's key.
func (h *host) quote(nonce string, config tpmdevice.Config) broker.AttestRequest {
	h.t.Helper()
	digest, err := attest.RuntimeData{Hash: crypto.SHA384, Nonce: nonce, Recipient: h.key.Recipient().Canonical()}.Primary()
	if err != nil {
		h.t.Fatal(err)
	}
	request := broker.AttestRequest{Scope: h.scope, Nonce: nonce, Recipient: h.key.Recipient(), Evidence: attest.Evidence{Kind: attest.TPM}}
	h.with(config, func(device *tpmdevice.Device) {
		if request.Evidence.Primary, err = device.Evidence(h.t.Context(), digest); err != nil {
			h.t.Fatal(err)
		}
	})
	return request
}

func (h *host) release(request broker.AttestRequest) (*broker.Release, error) {
	h.t.Helper()
	r, _, err := h.b.AttestAndRelease(h.t.Context(), request, []broker.Want{{Secret: "a/b"}})
	return r, err
}

// TestTPMEndToEnd enrols, attests and releases over a software TPM, and then does each thing that must be refused, with its own code.
func TestTPMEndToEnd(t *testing.T) {
	h := newHost(t)
	enrolled, err := h.enrol(h.b.Admin, "host-1", tpmdevice.Config{})
	if err != nil {
		t.Fatal(err)
	}
	// The PCRs as they are now are what the policy wants.
	first, err := h.b.Attest(t.Context(), h.quote(h.nonce(), tpmdevice.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	pcr := explain(t, h.b, first.Decision()).Claims.TPM.PCRs[7]
	h.b.ApplyPolicy(document("measured-host", "a/*", fmt.Sprintf(`claims.tpm.host == "host-1" && claims.tpm.pcrs[7] == "%s"`, pcr)))
	r, err := h.release(h.quote(h.nonce(), tpmdevice.Config{}))
	if err != nil || string(h.open(r, 0)) != plaintext {
		t.Fatal(r, err)
	}
	if d := explain(t, h.b, r.Decision); d.Claims.TPM.AKName != enrolled.AKName || !d.Claims.TPM.Enrolled {
		t.Errorf("%+v", d.Claims.TPM)
	}

	refused := func(name string, code attest.Code, request broker.AttestRequest) {
		t.Helper()
		r, err := h.release(request)
		if r != nil || codeOf(err) != broker.CodeEvidence {
			t.Fatalf("%s: %v, %v", name, r != nil, err)
		}
		e := wantCode(t, err, broker.CodeEvidence)
		if got := explain(t, h.b, e.Decision).Refusal.Code; got != code || strings.Contains(e.Message, string(code)) {
			t.Errorf("%s: the operator is told %s, want %s; the workload %q", name, got, code, e.Message)
		}
	}
	refused("a key that nobody enrolled", attest.CodeKeyNotEnrolled, h.quote(h.nonce(), tpmdevice.Config{StateDir: t.TempDir()}))
	stale := h.quote(h.nonce(), tpmdevice.Config{})
	stale.Nonce = h.nonce()
	refused("a stale nonce", attest.CodeBinding, stale)
	relayed := h.quote(h.nonce(), tpmdevice.Config{})
	mallory, err := envelope.GenerateKey(envelope.P256)
	if err != nil {
		t.Fatal(err)
	}
	relayed.Recipient = mallory.Recipient()
	refused("relayed with another recipient key", attest.CodeBinding, relayed)
	edited := func(change func(*tpm.Evidence)) broker.AttestRequest {
		t.Helper()
		request := h.quote(h.nonce(), tpmdevice.Config{})
		evidence, err := tpm.ParseEvidence(request.Evidence.Primary)
		if err != nil {
			t.Fatal(err)
		}
		change(evidence)
		if request.Evidence.Primary, err = json.Marshal(evidence); err != nil {
			t.Fatal(err)
		}
		return request
	}
	other := h.quote(h.nonce(), tpmdevice.Config{Bank: "sha384"})
	otherEvidence, err := tpm.ParseEvidence(other.Evidence.Primary)
	if err != nil {
		t.Fatal(err)
	}
	otherEvidence.Bank = "sha256"
	if other.Evidence.Primary, err = json.Marshal(otherEvidence); err != nil {
		t.Fatal(err)
	}
	refused("a quote over another selection", attest.CodePCRSelection, other)
	refused("another value for a PCR", attest.CodePCRDigest, edited(func(e *tpm.Evidence) { e.PCRs[7] = bytes.Repeat([]byte{1}, 32) }))
	refused("a damaged signature", attest.CodeSignature, edited(func(e *tpm.Evidence) { e.Signature[len(e.Signature)-1] ^= 1 }))

	// A PCR that changed: the evidence is good, and the policy refuses it.
	h.soft.Extend(crypto.SHA256, 7, make([]byte, 32))
	if r, err = h.release(h.quote(h.nonce(), tpmdevice.Config{})); err != nil || r.Results[0].Outcome != broker.OutcomeDenied {
		t.Fatalf("a changed PCR: %+v, %v", r, err)
	}
	if failed := failing(explain(t, h.b, r.Decision)); len(failed) != 1 || failed[0] != "rule" {
		t.Errorf("a changed PCR is denied by %q", failed)
	}
	// And back, after a reboot.
	h.soft.Reboot()
	if r, err = h.release(h.quote(h.nonce(), tpmdevice.Config{})); err != nil || string(h.open(r, 0)) != plaintext {
		t.Fatalf("after a reboot: %+v, %v", r, err)
	}
	if err := h.b.RevokeEnrolment(t.Context(), h.b.Admin, ns, enrolled.AKSPKIDigest); err != nil {
		t.Fatal(err)
	}
	refused("an enrolment that was revoked", attest.CodeKeyNotEnrolled, h.quote(h.nonce(), tpmdevice.Config{}))
	wantCode(t, h.b.RevokeEnrolment(t.Context(), h.b.Admin, ns, enrolled.AKSPKIDigest), broker.CodeNotFound)
}

// TestEnrolmentIsSpentOnce answers challenges late, twice, wrongly and for others.
func TestEnrolmentIsSpentOnce(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	enroller := access.Caller{Name: "rack", Roles: access.SetOf(access.Enroller), Namespace: ns}

	id, secret := h.begin(enroller, "host-1", tpmdevice.Config{})
	wantCode(t, second(h.b.CompleteEnrolment(ctx, enroller, ns, id, []byte("a guess"))), broker.CodeEvidence)
	wantCode(t, second(h.b.CompleteEnrolment(ctx, enroller, ns, id, secret)), broker.CodeNotFound) // spent by the guess

	mine, secretOfMine := h.begin(enroller, "host-1", tpmdevice.Config{})
	other, _ := h.begin(enroller, "host-1", tpmdevice.Config{StateDir: t.TempDir()})
	wantCode(t, second(h.b.CompleteEnrolment(ctx, enroller, ns, other, secretOfMine)), broker.CodeEvidence)
	wantCode(t, second(h.b.CompleteEnrolment(ctx, enroller, "other", mine, secretOfMine)), broker.CodeForbidden)

	var good atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			switch err := second(h.b.CompleteEnrolment(ctx, enroller, ns, mine, secretOfMine)); codeOf(err) {
			case "":
				good.Add(1)
			case broker.CodeNotFound, broker.CodeConflict:
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if good.Load() != 1 {
		t.Errorf("one challenge was good %d times", good.Load())
	}
	late, secret := h.begin(enroller, "host-1", tpmdevice.Config{})
	h.clock.add(time.Hour)
	wantCode(t, second(h.b.CompleteEnrolment(ctx, enroller, ns, late, secret)), broker.CodeEvidence)
	for _, id := range []string{"", "x", "../enrolment/x", strings.Repeat("x", 2000)} {
		if err := second(h.b.CompleteEnrolment(ctx, enroller, ns, id, secret)); codeOf(err) != broker.CodeNotFound {
			t.Errorf("%.20q: %v", id, err)
		}
	}
	for _, name := range []string{"", "two words", "line\nend", strings.Repeat("h", broker.MaxHost+1), "höst"} {
		if _, _, err := h.b.BeginEnrolment(ctx, enroller, ns, name, tpm.Request{}); codeOf(err) != broker.CodeInvalid {
			t.Errorf("host %.20q: %v", name, err)
		}
	}
	_, _, err := h.b.BeginEnrolment(ctx, enroller, ns, "host-1", tpm.Request{EKCertificate: []byte("x")})
	wantCode(t, err, broker.CodeEvidence)

	for _, role := range access.Roles() {
		who := access.Caller{Name: "x", Roles: access.SetOf(role), Namespace: ns}
		_, _, err := h.b.BeginEnrolment(ctx, who, ns, "host-1", tpm.Request{})
		if allowed := role == access.Enroller || role == access.Operator; (codeOf(err) != broker.CodeForbidden) != allowed {
			t.Errorf("%s begins: %v", role, err)
		}
		if err := h.b.RevokeEnrolment(ctx, who, ns, "x"); (codeOf(err) != broker.CodeForbidden) != (role == access.Operator) {
			t.Errorf("%s revokes: %v", role, err)
		}
	}
}

// TestHostNamesBelongToTPMs has the holder of an enroller's token, which lies on hosts, try to be another host.
func TestHostNamesBelongToTPMs(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	enroller := access.Caller{Name: "rack", Roles: access.SetOf(access.Enroller), Namespace: ns}
	if _, err := h.enrol(enroller, "host-1", tpmdevice.Config{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.enrol(enroller, "host-1", tpmdevice.Config{StateDir: t.TempDir()}); err != nil {
		t.Errorf("another key of the same TPM, under the same name: %v", err)
	}
	// Its key under another's name, and another TPM under its.
	wantCode(t, second(h.enrol(enroller, "db-1", tpmdevice.Config{})), broker.CodeForbidden)

	thief := &host{guest: h.guest, t: t, b: h.b, soft: tpmtest.Start(t), state: t.TempDir(), clock: h.clock}
	h.clock.add(time.Minute) // past the moment at which its certificate was made
	roots, intermediates := thief.soft.Authority()
	mine, more := h.soft.Authority()
	trusting, err := tpm.NewEnroller(tpm.EnrollerConfig{EKRoots: append(mine, roots...), EKIntermediates: append(more, intermediates...)})
	if err != nil {
		t.Fatal(err)
	}
	c := configOf(t, h.b)
	c.Enroller, c.Now = trusting, h.clock.now
	if thief.core, err = broker.New(ctx, c); err != nil {
		t.Fatal(err)
	}
	wantCode(t, second(thief.enrol(enroller, "host-1", tpmdevice.Config{})), broker.CodeForbidden)
	if _, err := thief.enrol(enroller, "host-2", tpmdevice.Config{}); err != nil {
		t.Errorf("under its own name: %v", err)
	}
	list, _, err := h.b.Enrolments(ctx, h.b.Admin, ns, "", 0)
	if err != nil || len(list) != 3 {
		t.Errorf("%d enrolments, %v", len(list), err)
	}
	// An operator may: the machine was replaced.
	if _, err := thief.enrol(h.b.Admin, "host-1", tpmdevice.Config{}); err != nil {
		t.Errorf("by an operator: %v", err)
	}
	wantCode(t, second(h.enrol(enroller, "host-1", tpmdevice.Config{})), broker.CodeForbidden)
}

// TestEnrolmentNeedsRoots asks a broker that trusts no maker.
func TestEnrolmentNeedsRoots(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{})
	_, _, err := b.BeginEnrolment(t.Context(), b.Admin, ns, "host-1", tpm.Request{})
	wantCode(t, err, broker.CodeInvalid)
	if _, err := broker.NewEnrolments(b.Data.Store).Lookup(context.Background(), ns, "none"); err == nil {
		t.Error("a key is enrolled")
	}
}
