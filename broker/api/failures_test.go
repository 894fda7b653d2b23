package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/api"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/client/release"
)

// TestStoreGone: when the store fails, every operation answers that it is not available, and a release releases nothing.
func TestStoreGone(t *testing.T) {
	f := start(t, brokertest.Config{})
	f.PutSecret("app/key", []byte(plaintext))
	f.ApplyPolicy(brokertest.AllowVirtual("app/*"))
	w := f.workload(envelope.X25519, "app/key").attest()
	if err := f.Data.Log.Close(); err != nil {
		t.Fatal(err)
	}
	if status, e := w.refused(); status != http.StatusServiceUnavailable || e.Code != release.CodeUnavailable || e.RetryAfter == 0 {
		t.Errorf("a release without a log: %d %+v", status, e)
	}
	if _, err := f.admin(f.Token).PutSecret(t.Context(), wire.SecretPut{SecretName: wire.SecretName{Name: "app/key"}}); statusOf(err) != http.StatusServiceUnavailable {
		t.Errorf("a change without a log: %v", err)
	}
	if err := f.Data.Store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, op := range f.api.Operations() {
		if len(op.Roles) == 0 {
			continue
		}
		status, header, answer := f.send(op.Method, target(op), f.Token, body(op))
		if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || bytes.Contains(answer, []byte("closed")) {
			t.Errorf("%s without a store: %d %s", op.ID, status, answer)
		}
	}
}

// TestBackupBreaksOff: a backup that fails half way must not look like one that ended.
func TestBackupBreaksOff(t *testing.T) {
	reader, err := intake.NewReader(0)
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("disk gone")
	part := bytes.Repeat([]byte("x"), 1<<20)
	b := brokertest.Start(t, brokertest.Config{Handler: func(b *broker.Broker) http.Handler {
		a, err := api.New(api.Config{
			Broker: b, Intake: reader,
			Backup: func(_ context.Context, w io.Writer, recipients []string) error {
				if recipients[0] == "age1early" {
					return failed
				}
				_, err := w.Write(part)
				return errors.Join(err, failed)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return a.Handler()
	}})
	client, err := admin.New(admin.Config{Address: b.URL, Token: b.Token, HTTP: b.HTTP})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := client.Backup(t.Context(), &out, "age1late"); err == nil || out.Len() == 0 {
		t.Errorf("half a backup of %d bytes: %v", out.Len(), err)
	}
	if err := client.Backup(t.Context(), &out, "age1early"); statusOf(err) != http.StatusServiceUnavailable || strings.Contains(err.Error(), "disk") {
		t.Errorf("a backup that did not begin: %v", err)
	}
	for _, recipients := range [][]string{nil, {""}, {"age1 x"}, {strings.Repeat("a", 3000)}, make([]string, broker.MaxBackupRecipients+1)} {
		if err := client.Backup(t.Context(), &out, recipients...); statusOf(err) != http.StatusBadRequest {
			t.Errorf("%.40q: %v", recipients, err)
		}
	}
	if err := client.RotateDataKey(t.Context()); statusOf(err) != http.StatusNotFound {
		t.Errorf("a rotation that is not configured: %v", err)
	}
}

// TestPolicyProblems: what is wrong with a policy comes with its line and column.
func TestPolicyProblems(t *testing.T) {
	f := start(t, brokertest.Config{})
	source := strings.Replace(brokertest.AllowVirtual("app/*"), "claims.kind", "claims.kin", 1)
	_, err := f.admin(f.Token).ApplyPolicy(t.Context(), wire.PolicyApply{Source: source, Filename: "x.yaml"})
	var e *admin.Error
	if !errors.As(err, &e) || e.Status != http.StatusBadRequest || len(e.Problems) != 1 || e.Problems[0].Line != 7 || e.Problems[0].Nearest != "kind" {
		t.Errorf("%+v", e)
	}
}

// TestAuditProofs: an auditor verifies what the network gave, from the key and the first checkpoint on.
func TestAuditProofs(t *testing.T) {
	f := start(t, brokertest.Config{})
	client := f.admin(f.Token)
	checkpoint := func() audit.Checkpoint {
		t.Helper()
		signed, err := client.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c, err := audit.VerifyCheckpoint(noteVerifiers(t, client), originOf(t, f), signed)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	older := checkpoint()
	for range 5 {
		f.PutSecret("app/key", []byte(plaintext))
	}
	newer := checkpoint()
	answer, err := client.Consistency(t.Context(), wire.ConsistencyQuery{Old: older.Size, New: newer.Size})
	if err != nil {
		t.Fatal(err)
	}
	var proof tlog.TreeProof
	for _, h := range answer.Proof {
		proof = append(proof, tlog.Hash(h))
	}
	if err := audit.VerifyConsistency(older, newer, proof); err != nil {
		t.Error(err)
	}
	entry, err := f.Log().Entry(t.Context(), newer.Size-1)
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := client.Receipt(t.Context(), newer.Size-1)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := audit.VerifyReceipt(noteVerifiers(t, client), originOf(t, f), entry, receipt); err != nil {
		t.Error(err)
	}
	bundle, err := client.Tile(t.Context(), "entries/000.p/6")
	if err != nil || !bytes.Contains(bundle, []byte(`"secret.put"`)) || bytes.Contains(bundle, []byte(plaintext)) {
		t.Errorf("entries %.100q, %v", bundle, err)
	}
}

func TestNewRefuses(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{})
	reader, err := intake.NewReader(0)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]api.Config{
		"nothing": {}, "no broker": {Intake: reader}, "no intake": {Broker: b.Broker},
		"sys": {Broker: b.Broker, Intake: reader, Namespace: "sys"}, "slash": {Broker: b.Broker, Intake: reader, Namespace: "a/b"},
	} {
		if _, err := api.New(c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestKinds(t *testing.T) {
	f := start(t, brokertest.Config{})
	kinds, err := f.admin("").Kinds(t.Context())
	if err != nil || !slices.Equal(kinds.Kinds, []attest.Kind{attest.Sample, attest.SampleDevice, attest.Virtual}) {
		t.Errorf("%v, %v", kinds, err)
	}
}

// noteVerifiers returns the log's key as the network gives it.
func noteVerifiers(t *testing.T, client *admin.Client) note.Verifiers {
	t.Helper()
	key, err := client.LogKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
	if err != nil {
		t.Fatal(err)
	}
	return note.VerifierList(verifier)
}
