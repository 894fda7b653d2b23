//go:build unix

package node_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// inspector looks at a data directory that no broker has open, and holds it against what a load remembers.
type inspector struct {
	t       *testing.T
	dir     string
	origin  string
	known   note.Verifiers
	old     []byte         // the latest checkpoint seen
	entries []broker.Event // the log, as far as it was read
	places  map[string]int // of decisions in it
	bytes   [][]byte       // the entries themselves
	checked int            // releases of the load that were looked at
	proved  int            // receipts among them
}

// newInspector trusts the log's key that it finds: from then on it must not change.
func newInspector(t *testing.T, dir string) *inspector {
	t.Helper()
	i := &inspector{t: t, dir: dir, places: map[string]int{}}
	d := i.open()
	defer i.close(d)
	i.origin = d.Keys.LogSigner().Name()
	verifier, err := note.NewVerifier(d.Keys.LogVerifierText())
	if err != nil {
		t.Fatal(err)
	}
	i.known = note.VerifierList(verifier)
	return i
}

func (i *inspector) open() *data.Data {
	i.t.Helper()
	sealed, err := seal.NewKeyFile(filepath.Join(i.dir, "seal.key"))
	if err != nil {
		i.t.Fatal(err)
	}
	d, err := data.Open(i.t.Context(), data.Config{Dir: filepath.Join(i.dir, "data"), Purpose: store.Development, Seal: sealed})
	if err != nil {
		i.t.Fatal(err)
	}
	return d
}

func (i *inspector) close(d *data.Data) {
	i.t.Helper()
	if err := d.Close(); err != nil {
		i.t.Fatal(err)
	}
}

// inspect checks everything. Secrets' values are read from the store: that only a release reveals them is for other tests.
func (i *inspector) inspect(l *load) {
	i.t.Helper()
	ctx := i.t.Context()
	if _, err := bolt.Check(ctx, bolt.CheckConfig{Path: filepath.Join(i.dir, "data", data.StoreFile)}); err != nil {
		i.t.Error(err)
	}
	d := i.open()
	defer i.close(d)
	result, err := d.Store.Check(ctx, seal.CheckConfig{Damaged: func(_ string, err error) { i.t.Error(err) }})
	if err != nil || result.Damaged > 0 {
		i.t.Errorf("%d damaged records: %v", result.Damaged, err)
	}
	i.audit(ctx, d)
	for _, err := range l.failures {
		i.t.Error(err)
	}
	for name, h := range l.secrets {
		if err := h.settle(func(s secretState) error { return secretIs(ctx, d.Store, name, s) }); err != nil {
			i.t.Errorf("secret %s: %v", name, err)
		}
	}
	if err := l.rules.settle(func(p policyState) error { return policyIs(ctx, d.Store, crashRules, p) }); err != nil {
		i.t.Errorf("policy: %v", err)
	}
	published := string(d.Keys.JWKS())
	for _, id := range l.keyIDs {
		if !strings.Contains(published, `"`+id+`"`) {
			i.t.Errorf("the key %s that a rotation made is gone", id)
		}
	}
	for id := range l.seen {
		if _, ok := i.places[id]; !ok {
			i.t.Errorf("an answer named the decision %s, which is not in the log", id)
		}
	}
	for ; i.checked < len(l.releases); i.checked++ {
		if err := i.explained(ctx, d, l, &l.releases[i.checked]); err != nil {
			i.t.Errorf("a release of %s: %v", l.releases[i.checked].secret, err)
		}
	}
}

// audit verifies the log against the latest checkpoint seen, and reads what is new in it.
func (i *inspector) audit(ctx context.Context, d *data.Data) {
	i.t.Helper()
	report, err := audit.Audit(ctx, d.Log.ReadPath, audit.AuditConfig{
		Origin: i.origin, Verifiers: i.known, Old: i.old,
		Each: func(index uint64, entry []byte) error {
			if index < uint64(len(i.entries)) {
				return nil // it is what it was: Old says so
			}
			var e broker.Event
			if err := json.Unmarshal(entry, &e); err != nil {
				return err
			}
			if e.Decision != "" {
				if err := decisionIs(ctx, d.Store, index, &e); err != nil {
					return fmt.Errorf("entry %d: %w", index, err)
				}
				i.places[e.Decision] = int(index)
			}
			i.entries, i.bytes = append(i.entries, e), append(i.bytes, bytes.Clone(entry))
			return nil
		},
	})
	if err != nil {
		i.t.Fatalf("audit: %v", err)
	}
	i.old = report.Signed
}

// decisionIs holds the records that a decision's entry stands for against it.
func decisionIs(ctx context.Context, s store.Store, index uint64, e *broker.Event) error {
	record, err := s.Get(ctx, store.Key(e.Namespace, "decision", e.Decision))
	if err != nil {
		return err
	}
	var kept struct {
		Index    uint64
		Decision json.RawMessage
	}
	if err := json.Unmarshal(record.Value, &kept); err != nil {
		return err
	}
	sum := sha256.Sum256(kept.Decision)
	if kept.Index != index || e.Digest != "sha256:"+hex.EncodeToString(sum[:]) {
		return fmt.Errorf("the record of decision %s is not what the log has", e.Decision)
	}
	for _, secret := range e.Secrets {
		if secret.Outcome != broker.OutcomeReleased {
			continue
		}
		if _, err := s.Get(ctx, store.Key(e.Namespace, "lease", secret.Name, secret.Lease)); err != nil {
			return err
		}
	}
	return nil
}

// explained holds a secret that a workload received against the log.
func (i *inspector) explained(ctx context.Context, d *data.Data, l *load, r *received) error {
	place, ok := i.places[r.decision]
	if !ok {
		return fmt.Errorf("decision %q is not in the log", r.decision)
	}
	e := &i.entries[place]
	at := slices.IndexFunc(e.Secrets, func(s broker.EventSecret) bool { return s.Name == r.secret })
	if e.Type != broker.EventRelease || at < 0 || e.Secrets[at].Outcome != broker.OutcomeReleased {
		return fmt.Errorf("entry %d says %+v", place, e)
	}
	if r.version == 0 {
		r.version = e.Secrets[at].Version
	}
	if r.version != e.Secrets[at].Version {
		return fmt.Errorf("version %d was received, and entry %d says %d", r.version, place, e.Secrets[at].Version)
	}
	// A version that was destroyed since has no value to compare; that it was there is all that is known.
	if want, there := l.secrets[r.secret].known.values[r.version]; !there || want != nil && !bytes.Equal(want, r.value) {
		return fmt.Errorf("version %d was received with a value that it has not", r.version)
	}
	if r.receipt == "" {
		return nil
	}
	receipt, checkpoint, err := audit.VerifyReceipt(i.known, i.origin, i.bytes[place], []byte(r.receipt))
	if err != nil {
		return err
	}
	if receipt.Index != uint64(place) {
		return fmt.Errorf("the receipt is of entry %d, not %d", receipt.Index, place)
	}
	proof, err := d.Log.Consistency(ctx, checkpoint.Size, d.Log.Size())
	if err != nil {
		return err
	}
	i.proved++
	return audit.VerifyConsistency(checkpoint, d.Log.Head(), proof)
}

// secretIs returns how a secret differs from what it must be.
func secretIs(ctx context.Context, s store.Store, name string, want secretState) error {
	record, err := s.Get(ctx, store.Key(store.DefaultNamespace, "secret", name))
	if errors.Is(err, store.ErrNotFound) && want.last == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	var have struct {
		broker.SecretInfo
		Last uint64
	}
	if err := json.Unmarshal(record.Value, &have); err != nil {
		return err
	}
	if have.Current != want.current || have.Last != want.last {
		return fmt.Errorf("version %d of %d is current, not %d of %d", have.Current, have.Last, want.current, want.last)
	}
	for _, v := range have.Versions {
		value, known := want.values[v.Version]
		if !known || (v.Destroyed != nil) != (value == nil) {
			return fmt.Errorf("version %d is not as it must be: destroyed %v", v.Version, v.Destroyed)
		}
	}
	for version, value := range want.values {
		record, err := s.Get(ctx, store.Key(store.DefaultNamespace, "secret-value", name, strconv.FormatUint(version, 10)))
		switch {
		case value == nil && !errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("version %d was destroyed and is there: %v", version, err)
		case value != nil && (err != nil || !bytes.Equal(record.Value, value)):
			return fmt.Errorf("version %d: %d bytes, %v", version, len(record.Value), err)
		}
	}
	return nil
}

// policyIs returns how a policy differs from what it must be. The oldest versions may be gone.
func policyIs(ctx context.Context, s store.Store, name string, want policyState) error {
	record, err := s.Get(ctx, store.Key(store.DefaultNamespace, "policy", name))
	if errors.Is(err, store.ErrNotFound) && want.last == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	var have struct {
		broker.PolicyInfo
		Last uint64
	}
	if err := json.Unmarshal(record.Value, &have); err != nil {
		return err
	}
	if have.Active != want.active || have.Last != want.last || len(have.Versions) != int(min(want.last, broker.MaxPolicyVersions)) {
		return fmt.Errorf("version %d of %d is active, not %d of %d", have.Active, have.Last, want.active, want.last)
	}
	for _, v := range have.Versions {
		source, err := s.Get(ctx, store.Key(store.DefaultNamespace, "policy-version", name, strconv.FormatUint(v.Version, 10)))
		if err != nil || string(source.Value) != want.sources[v.Version] {
			return fmt.Errorf("version %d has another source: %v", v.Version, err)
		}
		if (v.State == broker.PolicyActive) != (v.Version == want.active) {
			return fmt.Errorf("version %d is %s, and %d is to judge", v.Version, v.State, want.active)
		}
	}
	return nil
}
