package tpmdevice

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/tpm/tpmtest"
)

// enrolments is what a broker keeps: records by namespace and digest.
type enrolments map[string]*tpm.Enrolment

func (e enrolments) Lookup(_ context.Context, namespace, digest string) (*tpm.Enrolment, error) {
	if record := e[namespace+"/"+digest]; record != nil {
		return record, nil
	}
	return nil, tpm.ErrNotEnrolled
}

func (e enrolments) add(record *tpm.Enrolment) { e["default/"+record.AKSPKIDigest] = record }

// bench is a TPM, a broker's side of it, and the folder that the host keeps its key in.
type bench struct {
	soft     *tpmtest.TPM
	enroller *tpm.Enroller
	records  enrolments
	verifier *tpm.Verifier
	state    string
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{soft: tpmtest.Start(t), records: enrolments{}, state: t.TempDir()}
	roots, intermediates := b.soft.Authority()
	var err error
	if b.enroller, err = tpm.NewEnroller(tpm.EnrollerConfig{EKRoots: roots, EKIntermediates: intermediates}); err != nil {
		t.Fatal(err)
	}
	if b.verifier, err = tpm.New(tpm.Config{Enrolments: b.records}); err != nil {
		t.Fatal(err)
	}
	return b
}

// device opens the TPM for as long as the (sub)test runs or until it is closed: a software TPM has one client at a time.
func (b *bench) device(t testing.TB, config Config) *Device {
	t.Helper()
	config.Device = b.soft.Addr()
	if config.StateDir == "" {
		config.StateDir = b.state
	}
	device, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return device
}

// with opens the TPM for one function.
func (b *bench) with(t testing.TB, config Config, do func(*Device)) {
	t.Helper()
	device := b.device(t, config)
	defer func() {
		if err := device.Close(); err != nil {
			t.Error(err)
		}
	}()
	do(device)
}

// enrol does what an operator, the broker and the guest do together.
func (b *bench) enrol(t testing.TB, device *Device) *tpm.Enrolment {
	t.Helper()
	request, err := device.EnrolRequest()
	if err != nil {
		t.Fatal(err)
	}
	challenge, pending, err := b.enroller.Challenge(*request, "host-1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	secret, err := device.Activate(challenge)
	if err != nil {
		t.Fatal(err)
	}
	record, err := pending.Complete(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.records.add(throughJSON(t, record))
	return record
}

// throughJSON stores a record and reads it again, as the broker does.
func throughJSON[T any](t testing.TB, v *T) *T {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	again := new(T)
	if err := json.Unmarshal(text, again); err != nil {
		t.Fatal(err)
	}
	return again
}

// evidence opens the TPM and quotes over a digest.
func (b *bench) evidence(t testing.TB, config Config, digest []byte) []byte {
	t.Helper()
	var data []byte
	b.with(t, config, func(device *Device) {
		var err error
		if data, err = device.Evidence(t.Context(), digest); err != nil {
			t.Fatal(err)
		}
	})
	return data
}

func (b *bench) verify(t testing.TB, evidence, digest []byte) (*attest.Claims, error) {
	t.Helper()
	return b.verifier.Verify(t.Context(), attest.Input{
		Namespace: "default", Evidence: evidence, Binding: attest.BoundTo(digest), Time: time.Now(),
	})
}

// refused fails the test unless err is a refusal with the code.
func refused(t *testing.T, err error, code attest.Code) {
	t.Helper()
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("got %v, want a refusal with %s", err, code)
	}
}

// edit changes evidence.
func edit(t *testing.T, data []byte, change func(*tpm.Evidence)) []byte {
	t.Helper()
	evidence, err := tpm.ParseEvidence(data)
	if err != nil {
		t.Fatal(err)
	}
	change(evidence)
	changed, err := json.Marshal(evidence)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

const recipientA, recipientB = `{"crv":"P-256","kty":"EC","x":"AA","y":"AA"}`, `{"crv":"P-256","kty":"EC","x":"BB","y":"BB"}`

// digest is the runtime-data digest of a nonce and a recipient key.
func digest(t testing.TB, nonce, recipient string) []byte {
	t.Helper()
	sum, err := attest.RuntimeData{Hash: crypto.SHA384, Nonce: nonce, Recipient: []byte(recipient)}.Primary()
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestEnrolQuoteVerify(t *testing.T) {
	b := newBench(t)
	for _, algorithm := range []Algorithm{ECDSAP256, RSA2048} {
		for _, bank := range []string{"sha256", "sha384"} {
			t.Run(string(algorithm)+" "+bank, func(t *testing.T) {
				config := Config{Algorithm: algorithm, Bank: bank, StateDir: t.TempDir()}
				var record *tpm.Enrolment
				b.with(t, config, func(device *Device) { record = b.enrol(t, device) })
				nonce := digest(t, "n", recipientA)
				claims, err := b.verify(t, b.evidence(t, config, nonce), nonce)
				if err != nil {
					t.Fatal(err)
				}
				if claims.HardwareRoot != attest.RootTPMEnrolled || !*claims.Bound || !claims.TPM.Enrolled || claims.TPM.Host != "host-1" ||
					claims.TPM.AKName != record.AKName || claims.TPM.EKDigest != record.EKDigest || claims.TPM.Bank != bank ||
					len(claims.TPM.PCRs) != tpm.NumPCRs || !claims.Collateral.Current {
					t.Errorf("claims %+v, tpm %+v, collateral %+v", claims, claims.TPM, claims.Collateral)
				}
				if claims.Boot != nil || claims.Debug != nil || claims.Measurement != "" {
					t.Error("claims that a quote without a log cannot prove")
				}
			})
		}
	}
}

func TestKeySurvivesReboot(t *testing.T) {
	b := newBench(t)
	b.with(t, Config{}, func(device *Device) { b.enrol(t, device) })
	b.soft.Extend(crypto.SHA256, 4, make([]byte, 32))
	before, err := b.verify(t, b.evidence(t, Config{}, digest(t, "n", recipientA)), digest(t, "n", recipientA))
	if err != nil {
		t.Fatal(err)
	}
	b.soft.Reboot()
	after, err := b.verify(t, b.evidence(t, Config{}, digest(t, "m", recipientA)), digest(t, "m", recipientA))
	if err != nil {
		t.Fatal(err)
	}
	if after.TPM.PCRs[4] == before.TPM.PCRs[4] {
		t.Errorf("before %+v, after %+v: a reboot resets PCRs", before.TPM, after.TPM)
	}
	info, err := os.Stat(filepath.Join(b.state, KeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v; want mode 0600", info, err)
	}
	if files, _ := os.ReadDir(b.state); len(files) != 1 {
		t.Errorf("files left in the state folder: %v", files)
	}
}

func TestRefusals(t *testing.T) {
	b := newBench(t)
	b.with(t, Config{}, func(device *Device) { b.enrol(t, device) })
	mine := digest(t, "nonce 2", recipientA)
	before := b.evidence(t, Config{}, mine)
	b.soft.Extend(crypto.SHA256, 7, make([]byte, 32))
	good := b.evidence(t, Config{}, mine)
	if _, err := b.verify(t, good, mine); err != nil {
		t.Fatal(err)
	}

	t.Run("stale nonce", func(t *testing.T) {
		_, err := b.verify(t, b.evidence(t, Config{}, digest(t, "nonce 1", recipientA)), mine)
		refused(t, err, attest.CodeBinding)
	})
	t.Run("relayed with another recipient key", func(t *testing.T) {
		_, err := b.verify(t, good, digest(t, "nonce 2", recipientB))
		refused(t, err, attest.CodeBinding)
	})
	t.Run("a PCR changed and the old value presented", func(t *testing.T) {
		old, err := tpm.ParseEvidence(before)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.verify(t, edit(t, good, func(e *tpm.Evidence) { e.PCRs = old.PCRs }), mine)
		refused(t, err, attest.CodePCRDigest)
	})
	t.Run("two PCRs swapped", func(t *testing.T) {
		_, err := b.verify(t, edit(t, good, func(e *tpm.Evidence) { e.PCRs[6], e.PCRs[7] = e.PCRs[7], e.PCRs[6] }), mine)
		refused(t, err, attest.CodePCRDigest)
	})
	t.Run("a key nobody enrolled", func(t *testing.T) {
		_, err := b.verify(t, b.evidence(t, Config{StateDir: t.TempDir()}, mine), mine)
		refused(t, err, attest.CodeKeyNotEnrolled)
	})
	t.Run("a key enrolled in another namespace", func(t *testing.T) {
		_, err := b.verifier.Verify(t.Context(), attest.Input{
			Namespace: "tenant", Evidence: good, Binding: attest.BoundTo(mine), Time: time.Now()})
		refused(t, err, attest.CodeKeyNotEnrolled)
	})
	t.Run("the enrolled key named, another signed", func(t *testing.T) {
		other := b.evidence(t, Config{StateDir: t.TempDir()}, mine)
		real, err := tpm.ParseEvidence(good)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.verify(t, edit(t, other, func(e *tpm.Evidence) { e.AKPublic, e.AKTPMPublic = real.AKPublic, nil }), mine)
		refused(t, err, attest.CodeSignature)
		_, err = b.verify(t, edit(t, other, func(e *tpm.Evidence) { e.AKPublic = real.AKPublic }), mine)
		refused(t, err, attest.CodeKeyAttributes)
	})
	t.Run("another selection", func(t *testing.T) {
		b.with(t, Config{}, func(device *Device) {
			for _, pcrs := range [][]uint{{0, 1, 2, 3, 4, 5, 6, 7}, {7}} {
				quoted, err := tpm2.Quote{
					SignHandle:     tpm2.AuthHandle{Handle: device.ak.handle, Name: device.ak.name, Auth: tpm2.PasswordAuth(nil)},
					QualifyingData: tpm2.TPM2BData{Buffer: mine[:32]},
					InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
					PCRSelect:      device.selection(pcrs...),
				}.Execute(device.tpm)
				if err != nil {
					t.Fatal(err)
				}
				_, err = b.verify(t, edit(t, good, func(e *tpm.Evidence) {
					e.Message, e.Signature = quoted.Quoted.Bytes(), tpm2.Marshal(quoted.Signature)
				}), mine)
				refused(t, err, attest.CodePCRSelection)
			}
		})
	})
	t.Run("another bank", func(t *testing.T) {
		other := b.evidence(t, Config{Bank: "sha384"}, mine)
		_, err := b.verify(t, edit(t, other, func(e *tpm.Evidence) { e.Bank = "sha256" }), mine)
		refused(t, err, attest.CodePCRSelection)
	})
	t.Run("an attestation that is not a quote", func(t *testing.T) {
		b.with(t, Config{}, func(device *Device) {
			certified, err := tpm2.Certify{
				ObjectHandle:   tpm2.AuthHandle{Handle: device.ak.handle, Name: device.ak.name, Auth: tpm2.PasswordAuth(nil)},
				SignHandle:     tpm2.AuthHandle{Handle: device.ak.handle, Name: device.ak.name, Auth: tpm2.PasswordAuth(nil)},
				QualifyingData: tpm2.TPM2BData{Buffer: mine[:32]},
				InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
			}.Execute(device.tpm)
			if err != nil {
				t.Fatal(err)
			}
			_, err = b.verify(t, edit(t, good, func(e *tpm.Evidence) {
				e.Message, e.Signature = certified.CertifyInfo.Bytes(), tpm2.Marshal(certified.Signature)
			}), mine)
			refused(t, err, attest.CodeMalformed)
		})
	})
}

func TestNoFlippedByteOfTheQuotePasses(t *testing.T) {
	b := newBench(t)
	b.with(t, Config{}, func(device *Device) { b.enrol(t, device) })
	nonce := digest(t, "n", recipientA)
	good := b.evidence(t, Config{}, nonce)
	parsed, err := tpm.ParseEvidence(good)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]func(*tpm.Evidence) []byte{
		"message":       func(e *tpm.Evidence) []byte { return e.Message },
		"signature":     func(e *tpm.Evidence) []byte { return e.Signature },
		"ak_public":     func(e *tpm.Evidence) []byte { return e.AKPublic },
		"ak_tpm_public": func(e *tpm.Evidence) []byte { return e.AKTPMPublic },
		"PCR 0":         func(e *tpm.Evidence) []byte { return e.PCRs[0] },
		"PCR 23":        func(e *tpm.Evidence) []byte { return e.PCRs[23] },
	}
	for name, field := range fields {
		for at := range field(parsed) {
			for _, bit := range []byte{1, 0x80} {
				flipped := edit(t, good, func(e *tpm.Evidence) { field(e)[at] ^= bit })
				if _, err := b.verify(t, flipped, nonce); err == nil {
					t.Errorf("%s with byte %d changed passes", name, at)
				}
			}
		}
	}
}
