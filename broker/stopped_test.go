package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

// later is a clock that tests put forward, so that the claims of brokers that were stopped have lapsed.
type later struct{ ahead atomic.Int64 }

func (c *later) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *later) skip()          { c.ahead.Add(int64(3 * time.Minute)) }

// change is something that a broker is stopped in.
type change struct {
	event string
	// prepare makes what do changes, whose names end with n. May be nil.
	prepare func(t *testing.T, b *brokertest.Broker, n int)
	do      func(t *testing.T, b *brokertest.Broker, n int) error
}

func named(what string, n int) string { return fmt.Sprintf("%s-%d", what, n) }

func putValue(b *brokertest.Broker, name, value string, activate bool) error {
	_, err := b.Broker.PutSecret(context.Background(), b.Admin, ns, broker.PutSecret{Name: name, Value: []byte(value), Activate: activate})
	return err
}

func policyOf(name, secret string, extra string) []byte {
	source := strings.Replace(brokertest.AllowVirtual(secret), "allow-virtual", name, 1)
	return []byte(source + "  # " + extra + "\n")
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// changes are every administrative change, and the requests of workloads.
func changes() map[string]change {
	return withDesk(map[string]change{
		"first version": {event: broker.EventSecretPut, do: func(_ *testing.T, b *brokertest.Broker, n int) error {
			return putValue(b, named("s/new", n), "one", true)
		}},
		"next version": {event: broker.EventSecretPut,
			prepare: func(t *testing.T, b *brokertest.Broker, n int) {
				mustDo(t, putValue(b, named("s/next", n), "one", true))
			},
			do: func(_ *testing.T, b *brokertest.Broker, n int) error {
				return putValue(b, named("s/next", n), "two", true)
			}},
		"activate version": {event: broker.EventSecretActivate,
			prepare: func(t *testing.T, b *brokertest.Broker, n int) {
				mustDo(t, putValue(b, named("s/act", n), "one", true))
				mustDo(t, putValue(b, named("s/act", n), "two", false))
			},
			do: func(t *testing.T, b *brokertest.Broker, n int) error {
				_, err := b.ActivateSecret(t.Context(), b.Admin, ns, named("s/act", n), 2)
				return err
			}},
		"destroy version": {event: broker.EventSecretDestroy,
			prepare: func(t *testing.T, b *brokertest.Broker, n int) {
				mustDo(t, putValue(b, named("s/des", n), "one", true))
				mustDo(t, putValue(b, named("s/des", n), "two", true))
			},
			do: func(t *testing.T, b *brokertest.Broker, n int) error {
				_, err := b.DestroySecret(t.Context(), b.Admin, ns, named("s/des", n), 1)
				return err
			}},
		"destroy all": {event: broker.EventSecretDestroy,
			prepare: func(t *testing.T, b *brokertest.Broker, n int) {
				mustDo(t, putValue(b, named("s/all", n), "one", true))
				mustDo(t, putValue(b, named("s/all", n), "two", true))
			},
			do: func(t *testing.T, b *brokertest.Broker, n int) error {
				_, err := b.DestroyAll(t.Context(), b.Admin, ns, named("s/all", n))
				return err
			}},
		"apply policy": {event: broker.EventPolicyApply, do: func(t *testing.T, b *brokertest.Broker, n int) error {
			_, err := b.Broker.ApplyPolicy(t.Context(), b.Admin, ns, "p", policyOf(named("new", n), named("p/new", n), "one"), false)
			return err
		}},
		"change policy": {event: broker.EventPolicyApply,
			prepare: func(t *testing.T, b *brokertest.Broker, n int) {
				_, err := b.Broker.ApplyPolicy(t.Context(), b.Admin, ns, "p", policyOf(named("change", n), named("p/change", n), "one"), false)
				mustDo(t, err)
			},
			do: func(t *testing.T, b *brokertest.Broker, n int) error {
				_, err := b.Broker.ApplyPolicy(t.Context(), b.Admin, ns, "p", policyOf(named("change", n), named("p/change", n), "two"), false)
				return err
			}},
		"apply documents": {event: broker.EventApply,
			prepare: func(t *testing.T, b *brokertest.Broker, n int) {
				_, err := b.Apply(t.Context(), b.Admin, ns, apply(broker.Apply{}, string(policyOf(named("doc", n), named("p/doc", n), "one"))))
				mustDo(t, err)
			},
			do: func(t *testing.T, b *brokertest.Broker, n int) error {
				_, err := b.Apply(t.Context(), b.Admin, ns, apply(broker.Apply{}, string(policyOf(named("doc", n), named("p/doc", n), "two")),
					string(policyOf(named("other", n), named("p/other", n), "one")), referenceDocument(named("set", n), "v")))
				return err
			}},
		"draft policy": {event: broker.EventPolicyDraft, do: func(t *testing.T, b *brokertest.Broker, n int) error {
			_, err := b.Broker.ApplyPolicy(t.Context(), b.Admin, ns, "p", policyOf(named("draft", n), named("p/draft", n), "one"), true)
			return err
		}},
		"retire policy": {event: broker.EventPolicyRetire,
			prepare: func(t *testing.T, b *brokertest.Broker, n int) {
				_, err := b.Broker.ApplyPolicy(t.Context(), b.Admin, ns, "p", policyOf(named("retire", n), named("p/retire", n), "one"), false)
				mustDo(t, err)
			},
			do: func(t *testing.T, b *brokertest.Broker, n int) error {
				_, err := b.ActivatePolicy(t.Context(), b.Admin, ns, named("retire", n), 0)
				return err
			}},
		"put references": {event: broker.EventReferencePut, do: func(t *testing.T, b *brokertest.Broker, n int) error {
			_, err := b.PutReferences(t.Context(), b.Admin, ns, named("put", n), []reference.Value{{Value: "v"}})
			return err
		}},
		"retire references": {event: broker.EventReferenceRetire,
			prepare: func(t *testing.T, b *brokertest.Broker, n int) {
				_, err := b.PutReferences(t.Context(), b.Admin, ns, named("ret", n), []reference.Value{{Value: "v"}})
				mustDo(t, err)
			},
			do: func(t *testing.T, b *brokertest.Broker, n int) error {
				_, err := b.RetireReferences(t.Context(), b.Admin, ns, named("ret", n), []string{"v"})
				return err
			}},
		"create token": {event: broker.EventTokenCreate, do: func(t *testing.T, b *brokertest.Broker, n int) error {
			_, _, err := b.Broker.CreateToken(t.Context(), b.Admin, access.Request{Name: named("token", n), Roles: access.SetOf(access.Auditor), Namespace: ns})
			return err
		}},
		"rotate key": {event: broker.EventKeyRotate, do: func(t *testing.T, b *brokertest.Broker, _ int) error {
			_, err := b.RotateKey(t.Context(), b.Admin, keys.Reply)
			return err
		}},
		"revoke enrolment": {event: broker.EventEnrolmentRevoked,
			prepare: func(t *testing.T, b *brokertest.Broker, n int) {
				value, err := json.Marshal(tpm.Enrolment{Host: named("host", n), EKDigest: named("ek", n), AKSPKIDigest: named("ak", n)})
				mustDo(t, err)
				mustDo(t, b.Data.Store.Apply(t.Context(), store.Write{Key: store.Key(ns, "enrolment", named("ak", n)), Value: value}))
			},
			do: func(t *testing.T, b *brokertest.Broker, n int) error {
				return b.RevokeEnrolment(t.Context(), b.Admin, ns, named("ak", n))
			}},
		"release": {event: broker.EventRelease, do: func(t *testing.T, b *brokertest.Broker, _ int) error {
			r, err := newGuest(t, b.Broker, b.Device).fetch("a/b", "a/c")
			if (r == nil) != (err != nil) {
				return fmt.Errorf("released %v, and %w", r, err)
			}
			if err == nil {
				_, err = b.Explain(t.Context(), b.Admin, ns, r.Decision)
			}
			return err
		}},
	})
}

// matters says which records a change is made of.
func matters(key string) bool {
	for _, prefix := range []string{"sys/audit", "sys/brokers/", "sys/seal", "sys/spent/", "sys/nonce-keys", "sys/session/", "sys/probe", ns + "/rules-revision"} {
		if strings.HasPrefix(key, prefix) {
			return false
		}
	}
	return true
}

func recordsOf(t *testing.T, s store.Store) map[string]uint64 {
	t.Helper()
	entries, err := s.List(t.Context(), "", "", 100_000)
	mustDo(t, err)
	all := map[string]uint64{}
	for _, e := range entries {
		if matters(e.Key) {
			all[e.Key] = e.Version
		}
	}
	return all
}

// entriesOf verifies every log of a store and returns their entries.
func entriesOf(t *testing.T, b *brokertest.Broker) []broker.Event {
	t.Helper()
	list, err := b.AuditLogs(t.Context(), b.Admin)
	mustDo(t, err)
	var all []broker.Event
	for _, info := range list {
		log, err := b.LogOf(t.Context(), info.Log)
		mustDo(t, err)
		if log.Size() == 0 {
			continue
		}
		verifier, err := note.NewVerifier(info.Key)
		mustDo(t, err)
		_, err = audit.Audit(t.Context(), log.ReadPath, audit.AuditConfig{
			Origin: info.Origin, Verifiers: note.VerifierList(verifier), Each: func(_ uint64, entry []byte) error {
				var e broker.Event
				all = append(all, e)
				return json.Unmarshal(entry, &all[len(all)-1])
			},
		})
		if err != nil {
			t.Fatalf("the log %s: %v", info.Origin, err)
		}
	}
	return all
}

// countOf returns how many entries are of an event.
func countOf(entries []broker.Event, event string) int {
	n := 0
	for _, e := range entries {
		if e.Type == event {
			n++
		}
	}
	return n
}

// TestInvariant2StoppedAnywhere stops a broker after every write of every change, and of a release, in a store that is shared and not atomic.
// Afterwards every log verifies, what was changed has its entry, nothing was released without a record, and the same call can be made again.
func TestInvariant2StoppedAnywhere(t *testing.T) {
	brokertest.OwnStore(t)
	points := 0
	for name, c := range changes() {
		t.Run(name, func(t *testing.T) {
			var (
				clock later
				view  *storetest.View
			)
			steps := brokertest.Steps(t, t.TempDir())
			steps.Opened = func(v *storetest.View) { view = v }
			first := brokertest.Start(t, brokertest.Config{Shared: steps.Shared(), Now: clock.now})
			first.PutSecret("a/b", []byte(plaintext))
			first.PutSecret("a/c", []byte(plaintext))
			first.ApplyPolicy(brokertest.AllowVirtual("a/*"))
			mustDo(t, first.Data.Close())
			raw := steps.Open()
			for after := 0; ; after++ {
				points++
				stopped := false
				var before map[string]uint64
				known := 0
				t.Run(fmt.Sprint(after), func(t *testing.T) { // which ends the brokers in it
					clock.skip()
					t.Run("stopped", func(t *testing.T) {
						b := brokertest.Start(t, brokertest.Config{Beside: first, Now: clock.now})
						if c.prepare != nil {
							c.prepare(t, b, after)
						}
						before, known = recordsOf(t, raw), countOf(entriesOf(t, b), c.event)
						view.CrashAfter(after)
						err := c.do(t, b, after)
						if stopped = view.Crashed(); stopped && err == nil && name != "release" {
							t.Logf("stopped after %d writes, and the change was made all the same", after)
						}
						if !stopped && err != nil {
							t.Fatalf("not stopped: %v", err)
						}
					})
					clock.skip()
					b := brokertest.Start(t, brokertest.Config{Beside: first, Now: clock.now})
					entries := entriesOf(t, b)
					var changed []string
					now := recordsOf(t, raw)
					for key, version := range now {
						if before[key] != version {
							changed = append(changed, key)
						}
					}
					for key := range before {
						if _, there := now[key]; !there {
							changed = append(changed, key)
						}
					}
					if recorded := countOf(entries, c.event); recorded < known || len(changed) > 0 && recorded == known {
						t.Fatalf("stopped after %d writes: changed %v, and the logs have %d entries of %s, as before", after, changed, known, c.event)
					}
					if err := c.do(t, b, after); err != nil && !alreadyMade(name, err) {
						t.Fatalf("stopped after %d writes, then made again: %v", after, err)
					}
					if value := newGuest(t, b.Broker, b.Device).mustFetch("a/b"); string(value) != plaintext {
						t.Errorf("released %q", value)
					}
					entriesOf(t, b)
				})
				if t.Failed() || !stopped {
					return
				}
			}
		})
	}
	t.Logf("stopped at %d points", points)
}

// alreadyMade reports whether an error says that there is nothing left to do.
func alreadyMade(change string, err error) bool {
	switch change {
	case "destroy version", "destroy all", "revoke enrolment":
		return codeOf(err) == broker.CodeNotFound
	}
	return false
}
