package kbs_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/broker/kbs"
	"github.com/vouchsafe/vouchsafe/broker/kbs/kbstest"
)

// secret is the value of the resource res/type/tag, which sample and virtual guests may have. res/type/denied exists and no policy allows it.
const secret = "a secret of 27 bytes, or so"

const allowAll = `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: development}
spec:
  secrets: ["res/type/tag", "res/type/missing"]
  require:
    - {name: development, that: 'claims.kind in ["virtual", "sample"]'}
  waive:
    - {rule: genuine-hardware, reason: a test}
    - {rule: no-debug, reason: a test}
    - {rule: vmpl-0, reason: a test}
    - {rule: no-migration-agent, reason: a test}
    - {rule: tcb-current, reason: a test}
    - {rule: collateral-current, reason: a test}
`

// start runs a broker with this front end over TLS.
func start(tb testing.TB, c kbs.Config, b brokertest.Config) *brokertest.Broker {
	tb.Helper()
	bodies, err := intake.NewReader(0)
	if err != nil {
		tb.Fatal(err)
	}
	b.Handler = func(core *broker.Broker) http.Handler {
		c.Broker, c.Intake = core, bodies
		if c.Now == nil {
			c.Now = b.Now
		}
		k, err := kbs.New(c)
		if err != nil {
			tb.Fatal(err)
		}
		return k.Handler()
	}
	if b.Verifiers == nil {
		b.Verifiers = func(*data.Data) []attest.Verifier { return []attest.Verifier{sample.New(), sample.NewDevice()} }
	}
	started := brokertest.Start(tb, b)
	started.PutSecret("res/type/tag", []byte(secret))
	started.PutSecret("res/type/denied", []byte(secret))
	started.ApplyPolicy(allowAll)
	tb.Cleanup(func() {
		if held := bodies.Held(); held != 0 {
			tb.Errorf("%d bytes of bodies are still held", held)
		}
	})
	return started
}

// client is a guest with sample evidence and a P-256 key.
func client(tb testing.TB, b *brokertest.Broker) *kbstest.Client {
	tb.Helper()
	return &kbstest.Client{URL: b.URL, HTTP: b.HTTP, Key: newKey(tb, "P-256"), Attester: kbstest.Sample()}
}

func newKey(tb testing.TB, kind string) *kbstest.Key {
	tb.Helper()
	key, err := kbstest.NewKey(kind)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// virtualGuest attests by a device of the development TEE, in the JSON that guests of its layout send.
func virtualGuest(device *virtual.Device) kbstest.Attester {
	return kbstest.Attester{TEE: "virtual", Evidence: func(digest []byte) (json.RawMessage, error) {
		raw, err := device.Evidence(rand.Reader, digest)
		if err != nil {
			return nil, err
		}
		evidence, err := snp.Parse(raw)
		if err != nil {
			return nil, err
		}
		return reportJSON(evidence)
	}}
}

// reportJSON writes a report of version 3 as guests do.
func reportJSON(evidence *snp.Evidence) (json.RawMessage, error) {
	array := func(b []byte) (out []int) { // encoding/json makes base64 of bytes
		for _, c := range b {
			out = append(out, int(c))
		}
		return out
	}
	r := &evidence.Report
	version, err := r.CurrentTCB.Decode(snp.Genoa) // a device of the development TEE has one for all four
	if err != nil {
		return nil, err
	}
	type object = map[string]any
	tcb := object{"fmc": nil, "bootloader": version.Bootloader, "tee": version.TEE, "snp": version.SNP, "microcode": version.Microcode}
	firmware := func(f snp.Firmware) object { return object{"major": f.Major, "minor": f.Minor, "build": f.Build} }
	return json.Marshal(object{
		"attestation_report": object{
			"version": r.Version, "guest_svn": r.GuestSVN, "policy": r.Policy, "family_id": array(r.FamilyID[:]), "image_id": array(r.ImageID[:]),
			"vmpl": r.VMPL, "sig_algo": r.SignatureAlgo, "plat_info": r.PlatformInfo, "key_info": r.KeyInfo,
			"current_tcb": tcb, "reported_tcb": tcb, "committed_tcb": tcb, "launch_tcb": tcb,
			"report_data": array(r.ReportData[:]), "measurement": array(r.Measurement[:]), "host_data": array(r.HostData[:]),
			"id_key_digest": array(r.IDKeyDigest[:]), "author_key_digest": array(r.AuthorKeyDigest[:]),
			"report_id": array(r.ReportID[:]), "report_id_ma": array(r.ReportIDMA[:]), "chip_id": array(r.ChipID[:]),
			"cpuid_fam_id": r.CPU.Family, "cpuid_mod_id": r.CPU.Model, "cpuid_step": r.CPU.Stepping,
			"current": firmware(r.Current), "committed": firmware(r.Committed), "launch_mit_vector": nil, "current_mit_vector": nil,
			"signature": object{"r": array(r.R[:]), "s": array(r.S[:])},
		},
		"cert_chain": []object{{"cert_type": "VCEK", "data": array(evidence.Certificates.VCEK)}},
	})
}

// wantError fails the test unless err is the server's error JSON with a status and name.
func wantError(tb testing.TB, err error, status int, name string) *kbstest.Error {
	tb.Helper()
	var refused *kbstest.Error
	if !errors.As(err, &refused) || refused.Status != status || refused.Name != name {
		tb.Fatalf("got %v, want %d %s", err, status, name)
	}
	return refused
}

// nameOf returns the status and name of the server's error JSON.
func nameOf(err error) string {
	var refused *kbstest.Error
	if !errors.As(err, &refused) {
		return ""
	}
	return fmt.Sprint(refused.Status, " ", refused.Name)
}

// post sends a body by hand.
func post(ctx context.Context, c *kbstest.Client, path, body string) (*kbstest.Reply, error) {
	return c.Do(ctx, http.MethodPost, path, []byte(body), nil)
}
