package policy

import (
	"fmt"
	"testing"
	"time"
)

// tenRules is what a careful policy asks of an SNP guest.
var tenRules = []string{
	`claims.kind in ["snp", "virtual"]`,
	`claims.measurement in reference("images")`,
	`claims.snp.guest_svn >= 2`,
	`!claims.snp.smt_allowed || claims.snp.platform_smt`,
	`claims.snp.reported_tcb.bootloader >= 9`,
	`claims.snp.signing_key == "vcek" && claims.snp.product in ["Milan", "Genoa", "Turin"]`,
	`has(claims.snp.cpuid_family) && claims.snp.cpuid_family >= 25`,
	`claims.collateral.current && claims.collateral.source != "nowhere"`,
	`claims.report_data.startsWith("00")`,
	`evidence_age < duration("60s") && secret.startsWith("payments/")`,
}

func rulesOf(n int) []string {
	out := make([]string, 0, n)
	for i := range n {
		out = append(out, tenRules[i%len(tenRules)])
	}
	return out
}

func policyOf(tb testing.TB, rules []string) *Policy {
	tb.Helper()
	doc := "apiVersion: vouchsafe/v1\nkind: ReleasePolicy\nmetadata: {name: test}\nspec:\n  secrets: [\"payments/db/*\"]\n  require:\n"
	for i, expression := range rules {
		doc += fmt.Sprintf("    - name: r%d\n      that: |-\n        %s\n", i, expression)
	}
	return mustParse(tb, doc)
}

// perOp runs f often enough to time it, outside of the benchmark's own clock.
func perOp(f func()) float64 {
	const rounds = 2000
	start := time.Now()
	for range rounds {
		f()
	}
	return float64(time.Since(start).Nanoseconds()) / rounds
}

// BenchmarkEvaluate judges with the baseline and everything that is recorded. Its floor is CEL alone: the same compiled programs, run without
// looking at the claims for the record.
func BenchmarkEvaluate(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			p := policyOf(b, rulesOf(n))
			req := request(snpClaims())
			if result := p.Evaluate(req); !result.Allow {
				b.Fatalf("refused: %+v", result)
			}
			e := newEvaluation(req)
			floor := perOp(func() {
				for i := range p.rules {
					p.rules[i].program.Eval(e)
				}
			})
			b.ReportAllocs()
			for b.Loop() {
				p.Evaluate(req)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/floor, "x-floor")
		})
	}
}

// BenchmarkJudge asks for one secret among many, each with a policy of its own. The cost must not grow with their number: the metric is the
// ratio to a set of one policy, measured in the same run.
func BenchmarkJudge(b *testing.B) {
	one := policyOf(b, tenRules)
	build := func(n int) *Set {
		items := make([]Active, n)
		for i := range items {
			p := *one
			p.name = fmt.Sprintf("policy-%d", i)
			p.patterns = []pattern{newPattern(fmt.Sprintf("team-%d/service-%d/*", i%100, i))}
			items[i] = Active{&p, 1}
		}
		set, err := NewSet(items)
		if err != nil {
			b.Fatal(err)
		}
		return set
	}
	req := request(snpClaims())
	req.Secret = "team-0/service-0/password"
	req.Claims.ReportData = "00"
	single := build(1)
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("policies=%d", n), func(b *testing.B) {
			set := build(n)
			floor := perOp(func() { single.Judge(req) })
			for b.Loop() {
				if j := set.Judge(req); len(j.Results) != 1 {
					b.Fatalf("%d policies matched", len(j.Results))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/floor, "x-floor")
		})
	}
}

func BenchmarkNewSet(b *testing.B) {
	one := policyOf(b, tenRules[:1])
	items := make([]Active, 100_000)
	for i := range items {
		p := *one
		p.name = fmt.Sprintf("policy-%d", i)
		p.patterns = []pattern{newPattern(fmt.Sprintf("team-%d/service-%d/*", i%100, i))}
		items[i] = Active{&p, 1}
	}
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("policies=%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := NewSet(items[:n]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	doc := policyOf(b, tenRules).Source()
	for b.Loop() {
		if _, err := Parse("bench.yaml", doc); err != nil {
			b.Fatal(err)
		}
	}
}
