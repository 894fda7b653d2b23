package api_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/tpm/tpmtest"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/client/tpmdevice"
)

// TestEnrolment enrols a key of a software TPM over the network, and holds the answers against their schemas.
func TestEnrolment(t *testing.T) {
	device := tpmtest.Start(t)
	roots, intermediates := device.Authority()
	enroller, err := tpm.NewEnroller(tpm.EnrollerConfig{EKRoots: roots, EKIntermediates: intermediates})
	if err != nil {
		t.Fatal(err)
	}
	a := newAnswers(t, start(t, brokertest.Config{Enroller: enroller}))
	guest, err := tpmdevice.Open(t.Context(), tpmdevice.Config{Device: device.Addr(), StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	request, err := guest.EnrolRequest()
	if err != nil {
		t.Fatal(err)
	}
	encode := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var begun wire.EnrolmentChallenge
	if err := json.Unmarshal(a.run("beginEnrolment", "/v1/admin/enrolment-begin", encode(wire.EnrolmentBegin{Host: "node-1", Request: *request})), &begun); err != nil {
		t.Fatal(err)
	}
	secret, err := guest.Activate(&begun.Challenge)
	if err != nil {
		t.Fatal(err)
	}
	complete := encode(wire.EnrolmentComplete{ID: begun.ID, Secret: secret})
	var enrolment tpm.Enrolment
	if err := json.Unmarshal(a.run("completeEnrolment", "/v1/admin/enrolment-complete", complete), &enrolment); err != nil {
		t.Fatal(err)
	}
	if status, _, answer := a.send("POST", "/v1/admin/enrolment-complete", a.Token, []byte(complete)); status != http.StatusNotFound {
		t.Errorf("a challenge was spent twice: %d %s", status, answer)
	}
	var page wire.List[tpm.Enrolment]
	if err := json.Unmarshal(a.run("listEnrolments", "/v1/admin/enrolments", ""), &page); err != nil || len(page.Items) != 1 || page.Items[0].Host != "node-1" {
		t.Errorf("%+v, %v", page, err)
	}
	a.run("revokeEnrolment", "/v1/admin/enrolments/"+enrolment.AKSPKIDigest, "")
	if _, _, err := a.Enrolments(t.Context(), a.Admin, "default", "", 0); err != nil {
		t.Error(err)
	}
}
