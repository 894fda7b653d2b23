package broker_test

import (
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/tpm/tpmtest"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/client/tpmdevice"
)

// TestRevokedTPMsStayOut has a host that was revoked, and still has an enroller's token, enrol itself again.
func TestRevokedTPMsStayOut(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	enroller := access.Caller{Name: "rack", Roles: access.SetOf(access.Enroller), Namespace: ns}
	h.b.ApplyPolicy(document("p", "a/*", `claims.tpm.enrolled`))
	first, err := h.enrol(enroller, "host-1", tpmdevice.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.b.RevokeEnrolment(ctx, h.b.Admin, ns, first.AKSPKIDigest); err != nil {
		t.Fatal(err)
	}
	other := tpmdevice.Config{StateDir: t.TempDir()}
	wantCode(t, second(h.enrol(enroller, "host-1", tpmdevice.Config{})), broker.CodeForbidden)
	wantCode(t, second(h.enrol(enroller, "host-2", tpmdevice.Config{})), broker.CodeForbidden)
	wantCode(t, second(h.enrol(enroller, "host-2", other)), broker.CodeForbidden)
	_, err = h.release(h.quote(h.nonce(), tpmdevice.Config{}))
	wantCode(t, err, broker.CodeEvidence)

	// An operator takes it back, and it is like any other.
	again, err := h.enrol(h.b.Admin, "host-1", tpmdevice.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.release(h.quote(h.nonce(), tpmdevice.Config{})); err != nil {
		t.Error(err)
	}
	if _, err := h.enrol(enroller, "host-1", other); err != nil {
		t.Error(err)
	}
	// Revoked twice, key by key.
	if err := h.b.RevokeEnrolment(ctx, h.b.Admin, ns, again.AKSPKIDigest); err != nil {
		t.Fatal(err)
	}
	if _, err := h.release(h.quote(h.nonce(), other)); err != nil {
		t.Errorf("the key that was not revoked: %v", err)
	}
	list, _, err := h.b.Enrolments(ctx, h.b.Admin, ns, "", 0)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if err := h.b.RevokeEnrolment(ctx, h.b.Admin, ns, list[0].AKSPKIDigest); err != nil {
		t.Error(err)
	}
}

// TestReplacedHostsLoseTheirName has an operator give a host's name to another TPM: the old one has it no more.
func TestReplacedHostsLoseTheirName(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	h.b.ApplyPolicy(document("p", "a/*", `claims.tpm.host == "host-1"`))
	if _, err := h.enrol(h.b.Admin, "host-1", tpmdevice.Config{}); err != nil {
		t.Fatal(err)
	}
	if r, err := h.release(h.quote(h.nonce(), tpmdevice.Config{})); err != nil || r.Results[0].Outcome != broker.OutcomeReleased {
		t.Fatal(r, err)
	}
	replacement := &host{guest: h.guest, t: t, b: h.b, soft: tpmtest.Start(t), state: t.TempDir(), clock: h.clock}
	h.clock.add(time.Minute) // past the moment at which its certificate was made
	roots, intermediates := replacement.soft.Authority()
	trusting, err := tpm.NewEnroller(tpm.EnrollerConfig{EKRoots: roots, EKIntermediates: intermediates})
	if err != nil {
		t.Fatal(err)
	}
	c := configOf(t, h.b)
	c.Enroller, c.Now = trusting, h.clock.now
	if replacement.core, err = broker.New(ctx, c); err != nil {
		t.Fatal(err)
	}
	if _, err := replacement.enrol(h.b.Admin, "host-1", tpmdevice.Config{}); err != nil {
		t.Fatal(err)
	}
	if r, err := h.release(replacement.quote(h.nonce(), tpmdevice.Config{})); err != nil || r.Results[0].Outcome != broker.OutcomeReleased {
		t.Errorf("the new machine: %v, %v", r, err)
	}
	_, err = h.release(h.quote(h.nonce(), tpmdevice.Config{}))
	wantCode(t, err, broker.CodeEvidence)
}
