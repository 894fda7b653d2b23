package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/rego"
)

// The resource policy that most operators have, and what it sees of a machine with one GPU.
const (
	benchRego = `package policy
import rego.v1
default allow := false
allow if {
	not any_not_affirming
	count(input.submods) > 0
	data["resource-path"][0] == "payments"
}
any_not_affirming if {
	some _, submod in input.submods
	submod["ear.status"] != "affirming"
}`
	benchToken = `{"eat_profile":"x","iat":1,"exp":2,"submods":{"cpu0":{"ear.status":"affirming","ear.veraison.annotated-evidence":{"snp":{"measurement":"6a65"}}},"gpu0":{"ear.status":"affirming"}}}`
)

// regoPart measures a Rego resource policy beside a release policy of ten rules, as a release has both: the tail too, for an evaluation is some hundred
// allocations and runs beside the collector.
func (b *bench) regoPart() section {
	s := section{Title: "A Rego resource policy, beside ten rules in CEL", Note: "floor: the release policy of ten rules with its baseline, by turns"}
	var input any
	check(json.Unmarshal([]byte(benchToken), &input))
	p := must(rego.NewCompiler().Compile(context.Background(), "bench.rego", []byte(benchRego), rego.Allow))
	request := rego.Request{
		Input: input, Time: time.Now(),
		Data: map[string]any{"plugin": "resource", "resource-path": []any{"payments", "db", "password"}, "query": map[string]any{}},
	}
	set, judged := benchPolicy(10)
	ask := func() {
		if allow, err := p.Allows(context.Background(), request); !allow {
			check(fmt.Errorf("the Rego policy refuses: %w", err))
		}
	}
	judge := func() { set.Judge(judged) }
	var inRego, inCEL []time.Duration
	for end := time.Now().Add(2 * b.time); time.Now().Before(end); {
		inCEL, inRego = append(inCEL, timed(judge)), append(inRego, timed(ask))
	}
	for _, q := range []struct {
		name string
		at   float64
	}{{"median", .5}, {"p99", .99}} {
		s.Rows = append(s.Rows, against(q.name, quantile(inRego, q.at), quantile(inCEL, q.at), 0))
	}
	return s
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// benchPolicy returns a policy of n rules as a set, and a request that it allows.
func benchPolicy(n int) (*policy.Set, policy.Request) {
	request := benchRequest()
	p := must(policy.Parse("bench.yaml", benchDocument(n)))
	set := must(policy.NewSet([]policy.Active{{Policy: p, Version: 1}}))
	if j := set.Judge(request); !j.Allow {
		check(fmt.Errorf("the policy of %d rules refuses: %+v", n, j))
	}
	return set, request
}
