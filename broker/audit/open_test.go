package audit

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/store"
	"golang.org/x/mod/sumdb/tlog"
)

func TestOpenRefuses(t *testing.T) {
	s := newBolt(t)
	good := testConfig(t, s)
	for name, change := range map[string]func(*Config){
		"no store":            func(c *Config) { c.Store = nil },
		"no verifiers":        func(c *Config) { c.Verifiers = nil },
		"no origin":           func(c *Config) { c.Origin = "" },
		"origin with a space": func(c *Config) { c.Origin = "a log" },
		"origin with a plus":  func(c *Config) { c.Origin = "a+log" },
		"origin too long":     func(c *Config) { c.Origin = strings.Repeat("o", MaxOrigin+1) },
		"signer of another":   func(c *Config) { c.Signer = testSigner(t, "another", "log") },
		"signer unknown":      func(c *Config) { c.Signer = testSigner(t, testOrigin, "another") },
		"create read-only":    func(c *Config) { c.Signer = nil },
		"bad prefix":          func(c *Config) { c.Prefix = "sys//audit" },
		"long prefix":         func(c *Config) { c.Prefix = strings.Repeat("long/", 200) + "er" },
		"deep prefix":         func(c *Config) { c.Prefix = "a/b/c/d/e/f/g/h/i/j" },
		"negative limit":      func(c *Config) { c.MaxPending = -1 },
		"negative batch":      func(c *Config) { c.MaxBatch = -1 },
		"negative time-out":   func(c *Config) { c.CommitTimeout = -1 },
	} {
		config := good
		change(&config)
		if _, err := Open(t.Context(), config); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if left, err := s.List(t.Context(), DefaultPrefix+"/", "", 1); err != nil || len(left) > 0 {
		t.Fatalf("a refused open wrote %v, %v", left, err)
	}

	config := good
	config.Create = false
	if _, err := Open(t.Context(), config); !errors.Is(err, ErrNoLog) {
		t.Errorf("no log: %v", err)
	}
	l := mustOpen(t, good)
	mustAppend(t, l, []byte("one"))
	l.Close()
	config.Origin, config.Signer = "another", testSigner(t, "another", "log")
	config.Verifiers = testVerifiers(t, "another", "log")
	if _, err := Open(t.Context(), config); !errors.Is(err, ErrDamaged) || !errors.Is(err, ErrUnverified) {
		t.Errorf("under another origin: %v", err)
	}
	s.Close()
	if _, err := Open(t.Context(), good); !errors.Is(err, store.ErrClosed) {
		t.Errorf("closed store: %v", err)
	}
}

func TestReadOnly(t *testing.T) {
	s := newBolt(t)
	l := mustOpen(t, testConfig(t, s))
	grow(t, l, 10)
	before := logRecords(t, s)
	config := testConfig(t, s)
	config.Signer, config.Create = nil, false
	l = mustOpen(t, config)
	if _, err := l.Append(t.Context(), []byte("e")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("append: %v", err)
	}
	if _, err := auditLog(t, l, nil); err != nil {
		t.Error(err)
	}
	record, err := s.Get(t.Context(), l.records.head())
	if err != nil || record.Version != l.current.Load().version || !bytes.Equal(record.Value, before[record.Key]) {
		t.Errorf("the head was written: %v", err)
	}
}

// TestTwoPrefixes has two logs in one store, which know nothing of each other.
func TestTwoPrefixes(t *testing.T) {
	s := newBolt(t)
	one := mustOpen(t, testConfig(t, s))
	config := testConfig(t, s)
	config.Prefix = "sys/audit2"
	two := mustOpen(t, config)
	grow(t, one, 300)
	grow(t, two, 20)
	if one.Size() != 300 || two.Size() != 20 {
		t.Fatalf("%d and %d entries", one.Size(), two.Size())
	}
}

// TestAnotherKey opens a log with a new key: earlier receipts still verify with both keys known, and with the new key alone they do not.
func TestAnotherKey(t *testing.T) {
	s := newBolt(t)
	l := mustOpen(t, testConfig(t, s))
	grow(t, l, 20)
	entry := []byte("under the first key")
	r := mustAppend(t, l, entry)
	l.Close()
	config := testConfig(t, s)
	config.Signer = testSigner(t, testOrigin, "second")
	config.Verifiers = testVerifiers(t, testOrigin, "second", "log")
	l = mustOpen(t, config)
	mustAppend(t, l, []byte("under the second key"))
	text, err := r.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := VerifyReceipt(config.Verifiers, testOrigin, entry, text); err != nil {
		t.Error(err)
	}
	second := testVerifiers(t, testOrigin, "second")
	if _, _, err := VerifyReceipt(second, testOrigin, entry, text); !errors.Is(err, ErrUnverified) {
		t.Errorf("with the second key only: %v", err)
	}
	if _, err := VerifyCheckpoint(second, testOrigin, l.Checkpoint()); err != nil {
		t.Error(err)
	}
	if _, err := Audit(t.Context(), l.ReadPath, AuditConfig{Origin: testOrigin, Verifiers: config.Verifiers, Old: r.Checkpoint}); err != nil {
		t.Error(err)
	}
}

// TestQuestionsPastTheEnd asks for what is not there.
func TestQuestionsPastTheEnd(t *testing.T) {
	l := mustOpen(t, testConfig(t, newBolt(t)))
	grow(t, l, 10)
	ctx := t.Context()
	notFound := map[string]error{}
	_, notFound["entry"] = l.Entry(ctx, 10)
	_, notFound["receipt"] = l.Receipt(ctx, 10)
	_, notFound["proof"] = l.Prove(ctx, 0, 11)
	_, notFound["huge proof"] = l.Prove(ctx, 0, 1<<64-1)
	_, notFound["consistency"] = l.Consistency(ctx, 1, 11)
	_, notFound["huge entry"] = l.Entry(ctx, 1<<64-1)
	for _, err := range l.Entries(ctx, 0, 11) {
		notFound["entries"] = err
	}
	for what, err := range notFound {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	invalid := map[string]error{}
	_, invalid["proof"] = l.Prove(ctx, 5, 5)
	_, invalid["consistency"] = l.Consistency(ctx, 6, 5)
	for what, err := range invalid {
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if proof, err := l.Consistency(ctx, 0, 5); err != nil || len(proof) != 0 {
		t.Errorf("from nothing: %v", err)
	}
}

func TestVerifyConsistencyEdges(t *testing.T) {
	l := mustOpen(t, testConfig(t, newBolt(t)))
	empty := l.Head()
	grow(t, l, 5)
	five := l.Head()
	if err := VerifyConsistency(empty, five, nil); err != nil {
		t.Error(err)
	}
	if err := VerifyConsistency(five, five, nil); err != nil {
		t.Error(err)
	}
	bad, fork, other := empty, five, five
	bad.Root[0] ^= 1
	fork.Root[0] ^= 1
	other.Origin = "another"
	for name, c := range map[string]struct{ err, want error }{
		"backwards":        {VerifyConsistency(five, empty, nil), ErrRolledBack},
		"two roots":        {VerifyConsistency(five, fork, nil), ErrForked},
		"another log":      {VerifyConsistency(five, other, nil), ErrProof},
		"bad empty root":   {VerifyConsistency(bad, five, nil), ErrProof},
		"proof of nothing": {VerifyConsistency(empty, five, tlog.TreeProof{{}}), ErrProof},
		"proof of same":    {VerifyConsistency(five, five, tlog.TreeProof{{}}), ErrProof},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
}
