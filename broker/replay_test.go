package broker_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/uuid"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

// TestReplay tries drafts on releases that really happened.
func TestReplay(t *testing.T) {
	b, good := started(t, brokertest.Config{})
	b.PutSecret("c/d", []byte(plaintext))
	other, err := b.Root.NewDevice(rand.Reader, time.Now(), virtual.Config{Measurement: [48]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	stranger := newGuest(t, b.Broker, other)
	before := time.Now().Add(-time.Minute)
	for range 3 {
		good.mustFetch("a/b")
	}
	_, last := good.outcome("a/b")
	if outcome, _ := stranger.outcome("a/b"); outcome != broker.OutcomeReleased {
		t.Fatal(outcome)
	}
	if outcome, _ := good.outcome("c/d"); outcome != broker.OutcomeDenied { // no policy
		t.Fatal(outcome)
	}
	if outcome, _ := good.outcome("a/none"); outcome != broker.OutcomeNotFound { // allowed
		t.Fatal(outcome)
	}
	image := strings.Repeat("0", 96)
	replay := func(source string, who ...access.Caller) *broker.ReplayReport {
		t.Helper()
		by := append(who, b.Admin)[0]
		report, err := b.Replay(t.Context(), by, ns, broker.Replay{Filename: "draft", Source: []byte(source), Since: before}, nil)
		if err != nil {
			t.Fatal(err)
		}
		flipped := report.MoreFlips
		for _, f := range report.Flips {
			flipped += f.Count
		}
		if report.Judged != report.Same+flipped || report.Decisions != 7 || report.Unreadable != 0 {
			t.Fatalf("it does not add up: %+v", report)
		}
		return report
	}

	name := policyName(t, brokertest.AllowVirtual("a/*"))
	if r := replay(brokertest.AllowVirtual("a/*")); r.Changes() || len(r.Flips) != 0 || r.Same != 6 || r.Other != 1 || r.Instead != 1 {
		t.Errorf("the active version itself: %+v", r)
	}
	r := replay(document(name, "a/*", `claims.measurement == "`+image+`"`))
	if len(r.Flips) != 1 || !r.Changes() {
		t.Fatalf("only the good image: %+v", r)
	}
	f := r.Flips[0]
	if f.Allow || f.Count != 1 || f.Cause != broker.CauseDraft || f.Workload != "01"+strings.Repeat("0", 94) || f.Secret != "a/b" ||
		len(f.Rules) != 1 || f.Rules[0] != (policy.Refusing{Policy: name, Rule: "rule"}) {
		t.Errorf("%+v", f)
	}
	if len(r.Refusals) != 1 || r.Refusals[0].Count != 1 {
		t.Errorf("refusals %+v", r.Refusals)
	}
	// A draft that moves away from what it guarded leaves it to nobody, and one that guards more allows what was denied.
	r = replay(document(name, "c/*", `claims.kind == "virtual"`))
	var lost, won uint64
	for _, f := range r.Flips {
		if f.Allow {
			won += f.Count
		} else {
			lost += f.Count
			if len(f.Rules) != 0 {
				t.Errorf("refused by %v where no policy guards it", f.Rules)
			}
		}
	}
	if lost != 6 || won != 1 {
		t.Errorf("lost %d, won %d: %+v", lost, won, r)
	}
	// One beside the others can only take away.
	if r = replay(document("beside", "a/b", `claims.kind == "snp"`)); r.Instead != 0 || len(r.Flips) != 2 || r.Flips[0].Count != 4 || r.Flips[0].Decision != last {
		t.Errorf("beside the others: %+v", r)
	}
	// What has changed since is not the draft's doing.
	b.ApplyPolicy(document("since", "a/*", `claims.kind == "snp"`))
	if r = replay(document(name, "a/*", `claims.vmpl == 0`)); r.Changes() || len(r.Flips) != 3 || r.Flips[0].Cause != broker.CauseSince {
		t.Errorf("after a change: %+v", r)
	}
	for _, role := range []access.Role{access.Author, access.Approver, access.Auditor} {
		replay(brokertest.AllowVirtual("a/*"), authenticated(t, b, b.CreateToken(role)))
	}
}

func policyName(t *testing.T, source string) string {
	t.Helper()
	p, err := policy.Parse("", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return p.Name()
}

func TestReplayRefuses(t *testing.T) {
	b, _ := started(t, brokertest.Config{})
	good := broker.Replay{Source: []byte(brokertest.AllowVirtual("a/*"))}
	custodian := authenticated(t, b, b.CreateToken(access.Custodian))
	for name, test := range map[string]struct {
		who  access.Caller
		in   func(*broker.Replay)
		want broker.Code
	}{
		"a custodian":                  {custodian, func(*broker.Replay) {}, broker.CodeForbidden},
		"a bad draft":                  {b.Admin, func(r *broker.Replay) { r.Source = []byte("x") }, broker.CodeInvalid},
		"the end before the beginning": {b.Admin, func(r *broker.Replay) { r.Since, r.Until = time.Now(), time.Now().Add(-time.Hour) }, broker.CodeInvalid},
	} {
		in := good
		test.in(&in)
		if _, err := b.Replay(t.Context(), test.who, ns, in, nil); codeOf(err) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Replay(ctx, b.Admin, ns, good, nil); err == nil {
		t.Error("one that was called off ended well")
	}
	// The place is free again, whatever became of the one before.
	if _, err := b.Replay(t.Context(), b.Admin, ns, good, nil); err != nil {
		t.Error(err)
	}
}

// pastDecisions puts decisions of a real guest's claims, each of its own image, into the store as the broker writes them, and returns the policy they were judged by.
func pastDecisions(tb testing.TB, b *brokertest.Broker, many int, step time.Duration) (source string, from time.Time) {
	tb.Helper()
	text, err := os.ReadFile("../examples/snp-image/policy.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	p, err := policy.Parse("policy", text)
	if err != nil {
		tb.Fatal(err)
	}
	set, err := policy.NewSet([]policy.Active{{Policy: p, Version: 1}})
	if err != nil {
		tb.Fatal(err)
	}
	claims := genoa(tb)
	claims.Bound = new(true)
	image := claims.Measurement
	from = time.Now().Add(-time.Duration(many) * step).Truncate(time.Millisecond)
	var writes []store.Write
	for i := range many {
		at := from.Add(time.Duration(i) * step)
		claims.Measurement, claims.SNP.ReportID = fmt.Sprintf("%s%04x", image[:92], i%16), fmt.Sprintf("%064x", i)
		claims.SNP.ReportedTCB.Microcode = 20 + i%8
		request := policy.Request{
			Claims: claims, Secret: "payments/db/password", Time: at, EvidenceAge: time.Second,
			References: policy.Listed(map[string][]string{"payments-image": {image[:92] + "0003"}}),
		}
		j := set.Judge(request)
		secret := broker.SecretDecision{Secret: request.Secret, Outcome: broker.OutcomeDenied, Code: string(j.Code), Policy: j.Digest, Policies: j.Results}
		d := broker.Decision{
			Time: at, Namespace: ns, Protocol: broker.ProtocolNative, Outcome: broker.OutcomeDenied, Remote: "192.0.2.7", Kind: attest.SNP,
			Evidence: "sha256:" + strings.Repeat("0", 64), Recipient: "x", AttestedAt: at.Add(-time.Second), Claims: claims,
		}
		if j.Allow {
			d.Outcome, secret.Outcome, secret.Version = broker.OutcomeReleased, broker.OutcomeReleased, 1
		}
		d.Secrets = []broker.SecretDecision{secret}
		id := uuid.MustParse(broker.FirstDecision(at))
		id[15] = byte(i)
		d.ID = id.String()
		text, err := json.Marshal(struct {
			Index    uint64          `json:"index"`
			Decision broker.Decision `json:"decision"`
		}{uint64(i), d})
		if err != nil {
			tb.Fatal(err)
		}
		writes = append(writes, store.Write{Key: store.Key(ns, "decision", d.ID), Value: text})
		if len(writes) == 500 || i == many-1 {
			if err := b.Data.Store.Apply(tb.Context(), writes...); err != nil {
				tb.Fatal(err)
			}
			writes = writes[:0]
		}
	}
	return string(text), from
}

// TestReplayIsARealEvaluation holds what a replay says against judging each record in full, one by one.
func TestReplayIsARealEvaluation(t *testing.T) {
	const many = 2500 // more than two pages
	b := brokertest.Start(t, brokertest.Config{OwnFile: true})
	source, from := pastDecisions(t, b, many, time.Second)
	b.ApplyPolicy(source)
	var values []reference.Value
	content := genoa(t).Measurement
	for _, suffix := range []string{"0003", "0005", "000f"} {
		values = append(values, reference.Value{Value: content[:92] + suffix})
	}
	if _, err := b.PutReferences(t.Context(), b.Admin, ns, "payments-image", values); err != nil {
		t.Fatal(err)
	}
	draft := strings.Replace(source, "microcode >= 25\n      message: the host's firmware is too old", "microcode >= 23\n      message: the host's firmware is too old", 1)
	if draft == source {
		t.Fatal("the draft is no other one")
	}
	since, until := from.Add(100*time.Second), from.Add(2300*time.Second)
	report, err := b.Replay(t.Context(), b.Admin, ns, broker.Replay{Source: []byte(draft), Since: since, Until: until}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse("draft", []byte(draft))
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.NewSet([]policy.Active{{Policy: p}})
	if err != nil {
		t.Fatal(err)
	}
	references := policy.Listed(map[string][]string{"payments-image": {content[:92] + "0003", content[:92] + "0005", content[:92] + "000f"}})
	var same uint64
	want := map[string]uint64{}
	entries, err := b.Data.Store.List(t.Context(), store.Key(ns, "decision", ""), "", many)
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, e := range entries {
		record, err := b.Data.Store.Get(t.Context(), e.Key)
		if err != nil {
			t.Fatal(err)
		}
		var whole struct {
			Decision broker.Decision `json:"decision"`
		}
		if err := json.Unmarshal(record.Value, &whole); err != nil {
			t.Fatal(err)
		}
		d := whole.Decision
		if d.Time.Before(since) || !d.Time.Before(until) {
			continue
		}
		read++
		j := set.Judge(policy.Request{Claims: d.Claims, Secret: d.Secrets[0].Secret, Time: d.Time, EvidenceAge: d.Time.Sub(d.AttestedAt), References: references})
		if j.Allow == (d.Secrets[0].Outcome == broker.OutcomeReleased) {
			same++
			continue
		}
		want[fmt.Sprint(d.Claims.Measurement, j.Allow)]++
	}
	if read != 2200 || report.Decisions != uint64(read) || report.Same != same || same == 0 {
		t.Fatalf("read %d, the same %d; the report: %+v", read, same, report)
	}
	got := map[string]uint64{}
	for _, f := range report.Flips {
		got[fmt.Sprint(f.Workload, f.Allow)] += f.Count
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || len(want) == 0 {
		t.Errorf("flips %v, want %v", got, want)
	}
}

// genoa is what a real guest's evidence proved.
func genoa(tb testing.TB) *attest.Claims {
	tb.Helper()
	content, err := os.ReadFile("../examples/snp-image/claims.json")
	if err != nil {
		tb.Fatal(err)
	}
	claims, err := policy.ReadClaims(content)
	if err != nil {
		tb.Fatal(err)
	}
	return claims
}

// TestReplayMeetsDamage: a record that cannot be read is counted and does not end the replay.
func TestReplayMeetsDamage(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{OwnFile: true})
	source, from := pastDecisions(t, b, 20, time.Second)
	key := store.Key(ns, "decision", broker.FirstDecision(from.Add(500*time.Millisecond)))
	if err := b.Data.Store.Apply(t.Context(), store.Write{Key: key, Value: []byte(`{"decision":{"id":`)}); err != nil {
		t.Fatal(err)
	}
	report, err := b.Replay(t.Context(), b.Admin, ns, broker.Replay{Source: []byte(source)}, nil)
	if err != nil || report.Unreadable != 1 || report.Decisions != 21 || report.Judged != 20 {
		t.Errorf("%+v, %v", report, err)
	}
}

// BenchmarkReplay judges 100,000 recorded decisions of a real guest again, each of claims of its own, from a sealed file. "s/100k/core" is the processor time that takes, which is not to be over 5.
// Progress is asked for, and the memory in use while it runs is reported.
func BenchmarkReplay(b *testing.B) {
	const many = 100_000
	test := brokertest.Start(b, brokertest.Config{OwnFile: true})
	source, _ := pastDecisions(b, test, many, time.Millisecond*5)
	draft := strings.Replace(source, "microcode >= 25", "microcode >= 24", 1)
	var peak, calls uint64
	b.ResetTimer()
	used := processorTime(b)
	for b.Loop() {
		report, err := test.Replay(b.Context(), test.Admin, ns, broker.Replay{Source: []byte(draft)}, func(broker.ReplayProgress) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak, calls = max(peak, m.HeapInuse), calls+1
		})
		if err != nil || report.Decisions != many || report.Judged != many {
			b.Fatalf("%+v, %v", report, err)
		}
	}
	b.ReportMetric((processorTime(b)-used).Seconds()/float64(b.N), "s/100k/core")
	b.ReportMetric(float64(peak)/(1<<20), "MiB")
	b.ReportMetric(float64(calls)/float64(b.N), "progress")
}

// processorTime is what this process has used of all processors.
func processorTime(tb testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
