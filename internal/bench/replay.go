package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// replayDecisions is how many recorded decisions a draft is tried on, and replayBudget what that may cost of one core.
const (
	replayDecisions = 100_000
	replayBudget    = 5 * time.Second
)

// replayPart measures trying a draft on recorded decisions of guests of which no two have the same claims.
func (b *bench) replayPart() section {
	s := section{
		Title: fmt.Sprintf("A draft of 10 rules tried on %d recorded decisions", replayDecisions),
		Note:  "cost: processor time of the broker, garbage collection and all; floor: evaluating the draft alone, as often",
	}
	dir := filepath.Join(b.dir, "replay")
	start(dir).stop()
	last := recordDecisions(dir)
	p := start(dir)
	defer p.stop()
	ctx := context.Background()
	must(p.admin.PutReferences(ctx, wire.ReferencesPut{
		ReferenceName: wire.ReferenceName{Name: "images"}, Values: []wire.ReferencePut{{Value: last.Claims.Measurement}},
	}))
	decider := must(policy.NewSet([]policy.Active{{Policy: must(policy.Parse("bench.yaml", benchDocument(10)))}})).Decider()
	var costs, floors, waits []time.Duration
	for range 3 {
		before := ownProcessor()
		for range replayDecisions {
			if !decider.Decide(last).Allow {
				check(fmt.Errorf("the draft refuses what it is to allow"))
			}
		}
		floors = append(floors, ownProcessor()-before)
		used, _ := p.used()
		begin := time.Now()
		report := must(p.admin.Replay(ctx, wire.Replay{Filename: "bench.yaml", Source: string(benchDocument(10))}, nil))
		waits = append(waits, time.Since(begin))
		after, _ := p.used()
		costs = append(costs, after-used)
		if report.Judged != replayDecisions || report.Same != replayDecisions {
			check(fmt.Errorf("%d of the decisions were judged again, and %d the same: %+v", report.Judged, report.Same, report.Flips))
		}
	}
	cost := quantile(costs, .5)
	r := within("all of them", cost, replayBudget)
	r.Floor = quantile(floors, .5)
	r.Ratio = float64(r.Cost) / float64(r.Floor)
	r.Note = fmt.Sprintf("%.0f decisions/s of one core, waits %s; %d MiB resident afterwards, the pages of the store that were read included",
		replayDecisions/cost.Seconds(), short(quantile(waits, .5)), p.resident()>>10)
	s.Rows = append(s.Rows, r)
	return s
}

// recordDecisions puts decisions into a broker's store as the broker writes them, past the broker, and returns the last request that was decided.
func recordDecisions(dir string) policy.Request {
	ctx := context.Background()
	key := must(seal.NewKeyFile(filepath.Join(dir, "seal.key")))
	d := must(data.Open(ctx, data.Config{Dir: filepath.Join(dir, "data"), Purpose: store.Development, Seal: key}))
	set, request := benchPolicy(10)
	claims := *request.Claims
	report := *claims.SNP
	claims.SNP, request.Claims = &report, &claims
	hex := func(size, i int) string { return fmt.Sprintf("%0*x", 2*size, i) }
	claims.Measurement, claims.InitData = strings.Repeat("6a65", 24), hex(32, 0)
	report.FamilyID, report.ImageID, report.ReportID, report.ChipID = hex(16, 0), hex(16, 0), hex(32, 1), strings.Repeat("37", 64)
	report.IDKeyDigest, report.CPUIDModel, report.CPUIDStepping = hex(48, 1), attest.Ptr(17), attest.Ptr(1)
	report.CurrentFirmware, report.CommittedFirmware = "1.55.21", "1.55.21"
	request.References = policy.Listed(map[string][]string{"images": {claims.Measurement}})
	from := time.Now().UTC().Add(-time.Hour).Truncate(time.Millisecond)
	var writes []store.Write
	for i := range replayDecisions {
		request.Time = from.Add(time.Duration(i) * 10 * time.Millisecond)
		claims.ReportData, report.ReportID = hex(64, i), hex(32, i)
		j := set.Judge(request)
		if !j.Allow {
			check(fmt.Errorf("the policy refuses: %+v", j))
		}
		id := broker.FirstDecision(request.Time)
		text := must(json.Marshal(struct {
			Index    int             `json:"index"`
			Decision broker.Decision `json:"decision"`
		}{i, broker.Decision{
			ID: id, Time: request.Time, Namespace: store.DefaultNamespace, Protocol: broker.ProtocolNative, Outcome: broker.OutcomeReleased, Remote: "192.0.2.7",
			Kind: claims.Kind, Evidence: "sha256:" + hex(32, i), Recipient: hex(16, i), AttestedAt: request.Time.Add(-request.EvidenceAge), Claims: &claims,
			Secrets: []broker.SecretDecision{{
				Secret: request.Secret, Version: 1, Outcome: broker.OutcomeReleased, Policy: j.Digest, Policies: j.Results, Matched: j.Matched,
			}},
		}}))
		writes = append(writes, store.Write{Key: store.Key(store.DefaultNamespace, "decision", id), Value: text})
		if len(writes) == 500 || i == replayDecisions-1 {
			check(d.Store.Apply(ctx, writes...))
			writes = writes[:0]
		}
	}
	check(d.Close())
	return request
}
