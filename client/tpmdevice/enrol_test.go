package tpmdevice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
)

func TestEnrolmentRefusals(t *testing.T) {
	b, foreign := newBench(t), newBench(t)
	var request, theirs *tpm.Request
	var err error
	b.with(t, Config{}, func(device *Device) {
		if request, err = device.EnrolRequest(); err != nil {
			t.Fatal(err)
		}
	})
	foreign.with(t, Config{}, func(device *Device) {
		if theirs, err = device.EnrolRequest(); err != nil {
			t.Fatal(err)
		}
	})
	loose := make(map[string][]byte) // attestation keys that prove nothing
	b.with(t, Config{}, func(device *Device) {
		for name, change := range map[string]func(*tpm2.TPMTPublic){
			"not restricted": func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = false },
			"can be moved": func(p *tpm2.TPMTPublic) {
				p.ObjectAttributes.FixedTPM, p.ObjectAttributes.FixedParent = false, false
			},
		} {
			loose[name] = createPublic(t, device, change)
		}
	})

	now := time.Now()
	tests := []struct {
		name   string
		change func(*tpm.Request)
		at     time.Time
		code   attest.Code
	}{
		{"TPM of an unknown maker", func(r *tpm.Request) { *r = *theirs }, now, attest.CodeCertUntrusted},
		{"certificate of another TPM", func(r *tpm.Request) { r.EKCertificate = theirs.EKCertificate }, now, attest.CodeCertMismatch},
		{"endorsement key of another TPM", func(r *tpm.Request) { r.EKPublic = theirs.EKPublic }, now, attest.CodeCertMismatch},
		{"certificate not yet valid", func(*tpm.Request) {}, now.AddDate(-1, 0, 0), attest.CodeCertExpired},
		{"no certificate", func(r *tpm.Request) { r.EKCertificate = nil }, now, attest.CodeCertMalformed},
		{"no keys", func(r *tpm.Request) { r.EKPublic, r.AKPublic = nil, nil }, now, attest.CodeMalformed},
		{"endorsement key as attestation key", func(r *tpm.Request) { r.AKPublic = r.EKPublic }, now, attest.CodeKeyAttributes},
		{"attestation key as endorsement key", func(r *tpm.Request) { r.EKPublic = r.AKPublic }, now, attest.CodeCertMismatch},
		{"attestation key not restricted", func(r *tpm.Request) { r.AKPublic = loose["not restricted"] }, now, attest.CodeKeyAttributes},
		{"attestation key can be moved", func(r *tpm.Request) { r.AKPublic = loose["can be moved"] }, now, attest.CodeKeyAttributes},
		{"bytes after the attestation key", func(r *tpm.Request) { r.AKPublic = append(bytes.Clone(r.AKPublic), 0) }, now, attest.CodeMalformed},
		{"endorsement key that signs", func(r *tpm.Request) {
			r.EKPublic = bytes.Clone(r.EKPublic)
			r.EKPublic[5] |= 4 // TPMA_OBJECT, bit 18
		}, now, attest.CodeKeyAttributes},
		{"endless chain", func(r *tpm.Request) { r.EKChain = make([][]byte, 100) }, now, attest.CodeTooLarge},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			changed := *request
			test.change(&changed)
			_, _, err := b.enroller.Challenge(changed, "host-1", test.at)
			refused(t, err, test.code)
		})
	}
	t.Run("no host", func(t *testing.T) {
		_, _, err := b.enroller.Challenge(*request, "", now)
		refused(t, err, attest.CodeMalformed)
	})
}

// createPublic makes a key below the storage root that differs from a proper attestation key.
func createPublic(t *testing.T, device *Device, change func(*tpm2.TPMTPublic)) []byte {
	t.Helper()
	parent, release, err := device.storageRoot()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	template := templates[ECDSAP256]
	change(&template)
	made, err := tpm2.Create{ParentHandle: parent, InPublic: tpm2.New2B(template)}.Execute(device.tpm)
	if err != nil {
		t.Fatal(err)
	}
	return made.OutPublic.Bytes()
}

func TestActivation(t *testing.T) {
	b, foreign := newBench(t), newBench(t)
	now := time.Now()
	b.with(t, Config{}, func(device *Device) {
		request, err := device.EnrolRequest()
		if err != nil {
			t.Fatal(err)
		}
		challenge, pending, err := b.enroller.Challenge(*request, "host-1", now)
		if err != nil {
			t.Fatal(err)
		}
		stored := throughJSON(t, pending)
		secret, err := device.Activate(throughJSON(t, challenge))
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := json.Marshal(pending); bytes.Contains(text, secret) {
			t.Error("the pending enrolment holds its secret")
		}

		wrong := bytes.Clone(secret)
		wrong[0] ^= 1
		for name, answer := range map[string][]byte{"wrong": wrong, "short": secret[:31], "empty": nil} {
			_, err := stored.Complete(answer, now)
			refused(t, err, attest.CodeKeyNotEnrolled)
			if err == nil {
				t.Errorf("a %s secret completes an enrolment", name)
			}
		}
		_, err = stored.Complete(secret, stored.Expires)
		refused(t, err, attest.CodeKeyNotEnrolled)
		if record, err := stored.Complete(secret, now); err != nil || record.Host != "host-1" || record.EnrolledAt.IsZero() {
			t.Errorf("the right secret: %+v, %v", record, err)
		}

		// The TPM itself must refuse a challenge for another key or another TPM.
		other := *request
		other.AKPublic = createPublic(t, device, func(*tpm2.TPMTPublic) {})
		elsewhere, _, err := b.enroller.Challenge(other, "host-1", now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := device.Activate(elsewhere); err == nil {
			t.Error("the TPM opens a challenge made for another attestation key")
		}
		foreign.with(t, Config{}, func(theirs *Device) {
			if _, err := theirs.Activate(challenge); err == nil {
				t.Error("a TPM opens a challenge made for another TPM")
			}
		})
		damaged := &tpm.Challenge{CredentialBlob: bytes.Clone(challenge.CredentialBlob), EncryptedSecret: challenge.EncryptedSecret}
		damaged.CredentialBlob[len(damaged.CredentialBlob)-1] ^= 1
		if _, err := device.Activate(damaged); err == nil {
			t.Error("the TPM opens a damaged challenge")
		}
		if _, err := device.Activate(challenge); err != nil {
			t.Errorf("after failed challenges: %v", err)
		}
	})
}

func TestDamagedRecords(t *testing.T) {
	b := newBench(t)
	var record *tpm.Enrolment
	var loose []byte
	b.with(t, Config{}, func(device *Device) {
		record = b.enrol(t, device)
		loose = createPublic(t, device, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = false })
	})
	nonce := digest(t, "n", recipientA)
	good := b.evidence(t, Config{}, nonce)
	bare := edit(t, good, func(e *tpm.Evidence) { e.AKTPMPublic = nil })

	unavailable := func(t *testing.T, err error) {
		t.Helper()
		var missing *attest.Unavailable
		if !errors.As(err, &missing) {
			t.Errorf("got %v, want Unavailable", err)
		}
	}
	for name, change := range map[string]func(*tpm.Enrolment){
		"no public area":  func(e *tpm.Enrolment) { e.AKPublic = nil },
		"of another key":  func(e *tpm.Enrolment) { e.AKPublic = loose },
		"name of another": func(e *tpm.Enrolment) { e.AKName = "00" },
	} {
		t.Run(name, func(t *testing.T) {
			damaged := *record
			change(&damaged)
			b.records.add(&damaged)
			_, err := b.verify(t, bare, nonce)
			unavailable(t, err)
		})
	}
	t.Run("a record that waives the attributes", func(t *testing.T) {
		weak := *record
		weak.AKPublic = bytes.Clone(record.AKPublic)
		weak.AKPublic[5] &^= 1 // TPMA_OBJECT, bit 16: restricted
		public, err := tpm.ParsePublic(weak.AKPublic)
		if err != nil {
			t.Fatal(err)
		}
		weak.AKName = hexOf(public.Name())
		b.records.add(&weak)
		_, err = b.verify(t, bare, nonce)
		refused(t, err, attest.CodeKeyAttributes)
	})
	t.Run("store down", func(t *testing.T) {
		verifier, err := tpm.New(tpm.Config{Enrolments: broken{}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = verifier.Verify(t.Context(), attest.Input{
			Namespace: "default", Evidence: good, Binding: attest.BoundTo(nonce), Time: time.Now()})
		unavailable(t, err)
	})
	t.Run("endorsement certificate expired since", func(t *testing.T) {
		old := *record
		old.EKExpires = time.Now().Add(-time.Hour)
		b.records.add(&old)
		claims, err := b.verify(t, good, nonce)
		if err != nil || claims.Collateral.Current {
			t.Errorf("%v, %+v: want a claim that the collateral is not current", err, claims)
		}
	})
}

// broken is a store that cannot be reached.
type broken struct{}

func (broken) Lookup(context.Context, string, string) (*tpm.Enrolment, error) {
	return nil, errors.New("connection refused")
}
