package rego_test

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/policy/rego"
)

// BenchmarkAllows measures the resource policy that most operators have. scripts/bench.sh prints it beside a policy in CEL.
func BenchmarkAllows(b *testing.B) {
	p := compile(b, "package policy\nimport rego.v1\ndefault allow := false\nallow if {\n not bad\n count(input.submods) > 0\n}\nbad if {\n some _, m in input.submods\n m[\"ear.status\"] != \"affirming\"\n}", rego.Allow)
	input := document(b, `{"submods":{"cpu0":{"ear.status":"affirming"},"gpu0":{"ear.status":"affirming"}}}`)
	for b.Loop() {
		if allow, err := p.Allows(b.Context(), rego.Request{Input: input, Data: resource, Time: time.Unix(1, 0)}); !allow {
			b.Fatal(err)
		}
	}
}

func BenchmarkTrustClaims(b *testing.B) {
	source, err := os.ReadFile("testdata/cpu.rego")
	if err != nil {
		b.Fatal(err)
	}
	p := compile(b, string(source), rego.TrustClaims)
	values := map[string]any{"snp_launch_measurement": []any{"aa", "bb"}, "snp_bootloader": []any{json.Number("9")}, "snp_minimum": json.Number("8")}
	request := rego.Request{
		Input:      document(b, `{"snp":{"measurement":"bb","reported_tcb_snp":22,"reported_tcb_bootloader":9,"policy_debug_allowed":false}}`),
		References: func(id string) any { return values[id] },
	}
	for b.Loop() {
		if claims, err := p.TrustClaims(b.Context(), request); claims["hardware"] != 2 {
			b.Fatal(claims, err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	source, err := os.ReadFile("testdata/cpu.rego")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		compile(b, string(source), rego.TrustClaims)
	}
}
