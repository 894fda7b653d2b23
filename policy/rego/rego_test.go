package rego_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/policy/rego"
)

// compile compiles a module that is good.
func compile(t testing.TB, source string, query rego.Query) *rego.Policy {
	t.Helper()
	p, err := rego.NewCompiler().Compile(t.Context(), "test.rego", []byte(source), query)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func document(t testing.TB, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

var resource = map[string]any{"plugin": "resource", "resource-path": []any{"repo", "type", "tag"}, "query": map[string]any{}}

// TestResourcePolicies holds the forms of resource policies in the field against what they must say.
func TestResourcePolicies(t *testing.T) {
	const affirming = `package policy
import rego.v1
default allow = false
allow if {
	not any_not_affirming
	count(input.submods) > 0
}
any_not_affirming if {
	some _, submod in input.submods
	submod["ear.status"] != "affirming"
}`
	for _, c := range []struct {
		name, source, input string
		allow               bool
		syntax              rego.Syntax
	}{
		{"allow all", "package policy\ndefault allow = true", `{}`, true, rego.V1},
		{"deny all", "package policy\ndefault allow := false", `{}`, false, rego.V1},
		{"affirming", affirming, `{"submods":{"cpu0":{"ear.status":"affirming"},"gpu0":{"ear.status":"affirming"}}}`, true, rego.V1},
		{"one is not", affirming, `{"submods":{"cpu0":{"ear.status":"affirming"},"gpu0":{"ear.status":"warning"}}}`, false, rego.V1},
		{"no submods", affirming, `{}`, false, rego.V1},
		{"without an import", "package policy\ndefault allow = false\nallow if {\n not input.submods.cpu0[\"ear.veraison.annotated-evidence\"].sample\n}", `{"submods":{"cpu0":{}}}`, true, rego.V1},
		{"without if", "package policy\ndefault allow = false\nallow {\n input.submods.cpu0[\"ear.status\"] == \"affirming\"\n}", `{"submods":{"cpu0":{"ear.status":"affirming"}}}`, true, rego.V0},
		{"a path", "package policy\nimport rego.v1\ndefault allow := false\nallow if {\n data.plugin == \"resource\"\n data[\"resource-path\"] == [\"repo\", \"type\", \"tag\"]\n}", `{}`, true, rego.V1},
		{"a part of a path", "package policy\npath := data[\"resource-path\"]\nallow if { count(path) == 3; path[1] == input.type }", `{"type":"type"}`, true, rego.V1},
		{"numbers", "package policy\nallow if input.svn >= 3", `{"svn":4}`, true, rego.V1},
		{"every and in", "package policy\nallow if { every m in input.modules { m.ok }; \"a\" in input.names; count({x | x := input.names[_]}) == 2 }", `{"modules":[{"ok":true}],"names":["a","b"]}`, true, rego.V1},
		{"strings", "package policy\nallow if { startswith(lower(input.m), \"ab\"); regex.match(`^[a-f0-9]+$`, lower(input.m)); sprintf(\"%s/%d\", [\"a\", 1]) == \"a/1\"; concat(\"/\", data[\"resource-path\"]) == \"repo/type/tag\" }", `{"m":"AB01"}`, true, rego.V1},
		{"time", "package policy\nallow if time.now_ns() == time.parse_rfc3339_ns(\"2026-01-02T03:04:05Z\")", `{}`, true, rego.V1},
		{"with input", "package policy\nallow if ok with input as {\"x\": 1}\nok if input.x == 1", `{}`, true, rego.V1},
		{"future keywords", "package policy\nimport future.keywords.if\nimport future.keywords.in\ndefault allow := false\nallow if { 1 in [1] }", `{}`, true, rego.V1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := compile(t, c.source, rego.Allow)
			if p.Syntax() != c.syntax {
				t.Errorf("read as %s, not %s", p.Syntax(), c.syntax)
			}
			allow, err := p.Allows(t.Context(), rego.Request{Input: document(t, c.input), Data: resource, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
			if err != nil || allow != c.allow {
				t.Errorf("allow is %v, %v; want %v", allow, err, c.allow)
			}
		})
	}
}

// TestNoAnswer holds that what is not true refuses, and says why.
func TestNoAnswer(t *testing.T) {
	for source, want := range map[string]error{
		"package policy\nallow if input.x":                                    rego.ErrUndefined,
		"package policy\nallow := 1":                                          rego.ErrAnswer,
		"package policy\nallow := \"true\"":                                   rego.ErrAnswer,
		"package policy\nallow contains x if x := true":                       rego.ErrAnswer,
		"package policy\nallow := true if input.a\nallow := false if input.b": rego.ErrFailed,
	} {
		allow, err := compile(t, source, rego.Allow).Allows(t.Context(), rego.Request{Input: document(t, `{"a":1,"b":1}`), Data: resource})
		if allow || !errors.Is(err, want) {
			t.Errorf("%s: %v, %v; want %v", source, allow, err, want)
		}
	}
}

func TestTrustClaims(t *testing.T) {
	const source = `package policy
default executables := 33
default hardware := 97
trust_claims := {"executables": executables, "hardware": hardware, "file-system": 0}
executables := 3 if input.snp.measurement in query_reference_value("measurement")
hardware := 2 if {
	input.snp.reported_tcb_snp >= query_reference_value("minimum")
	input.snp.measurement == data.reference.measurement[_]
}
hardware := 96 if query_reference_value("absent") != null`
	p := compile(t, source, rego.TrustClaims)
	values := map[string]any{"measurement": []any{"aa", "bb"}, "minimum": json.Number("8")}
	request := rego.Request{
		Input: document(t, `{"snp":{"measurement":"bb","reported_tcb_snp":22}}`),
		Data:  map[string]any{"reference": values}, References: func(id string) any { return values[id] },
	}
	claims, err := p.TrustClaims(t.Context(), request)
	if err != nil || fmt.Sprint(claims) != "map[executables:3 file-system:0 hardware:2]" {
		t.Errorf("%v, %v", claims, err)
	}
	request.References, request.Data = nil, nil
	if claims, err := p.TrustClaims(t.Context(), request); err != nil || claims["executables"] != 33 || claims["hardware"] != 97 {
		t.Errorf("without reference values: %v, %v", claims, err)
	}
	for _, bad := range []string{`{}`, `{"a": 128}`, `{"a": 1.5}`, `{"a": "2"}`, `[1]`, `{1: 1}`, `{"a": -129}`, `{"a": 1e99}`} {
		p := compile(t, "package policy\ntrust_claims := "+bad, rego.TrustClaims)
		if claims, err := p.TrustClaims(t.Context(), rego.Request{}); !errors.Is(err, rego.ErrAnswer) {
			t.Errorf("%s: %v, %v", bad, claims, err)
		}
	}
	if _, err := p.Allows(t.Context(), request); !errors.Is(err, rego.ErrFailed) {
		t.Errorf("an attestation policy was asked whether it allows: %v", err)
	}
}

// TestRefused holds what must not compile, and where that is said to be.
func TestRefused(t *testing.T) {
	deep := strings.Repeat("[", rego.MaxDepth) + strings.Repeat("]", rego.MaxDepth)
	for _, c := range []struct {
		name, source, want string
		line               int
	}{
		{"network", "package policy\nallow if {\n  r := http.send({\"method\":\"get\",\"url\":\"http://localhost\"})\n  r.status_code == 200\n}", "http.send is not to be had here", 3},
		{"name lookup", "package policy\nallow if net.lookup_ip_addr(\"localhost\")", "net.lookup_ip_addr", 2},
		{"environment", "package policy\nallow if opa.runtime().env.HOME", "opa.runtime", 2},
		{"a parser", "package policy\nallow if rego.parse_module(\"a\", \"package a\")", "rego.parse_module", 2},
		{"randomness", "package policy\nallow if rand.intn(\"a\", 2) == 1", "rand.intn", 2},
		{"identifiers", "package policy\nallow if uuid.rfc4122(\"a\")", "uuid.rfc4122", 2},
		{"token with remote keys", "package policy\nallow if io.jwt.decode_verify(input.t, {})[0]", "io.jwt.decode_verify", 2},
		{"schema with references", "package policy\nallow if json.match_schema({}, {\"$ref\":\"http://localhost/\"})[0]", "json.match_schema", 2},
		{"printing", "package policy\nallow if { trace(\"a\") }", "trace", 2},
		{"cloud", "package policy\nallow if providers.aws.sign_req({}, {}, 1)", "providers.aws.sign_req", 2},
		{"paths", "package policy\nallow if graph.reachable_paths({}, [])", "graph.reachable_paths", 2},
		{"recursion", "package policy\nallow if f(1)\nf(x) if f(x)", "recursive", 3},
		{"function replaced", "package policy\nallow if count([]) == 0 with count as concat", "may replace input", 2},
		{"data replaced", "package policy\nallow if data.x with data.x as true", "may replace input", 2},
		{"rule replaced", "package policy\nallow if f(1) with f as count\nf(x) := x", "may replace input", 2},
		{"a long number", "package policy\nallow if 1e99999999 > 1", "too big", 2},
		{"many digits", "package policy\nallow if 1" + strings.Repeat("0", 500) + " > 1", "digits", 2},
		{"syntax", "package policy\n\nallow if {\n  input.x ==\n}", "", 5},
		{"type", "package policy\nallow if {\n  startswith(1, \"a\")\n}", "startswith", 3},
		{"unsafe", "package policy\nallow if x == 1", "x is unsafe", 2},
		{"another package", "package other\nallow := true", "the package is other", 1},
		{"no rule", "package policy\nother := true", "no rule \"allow\"", 0},
		{"empty", "# nothing\n", "", 0},
		{"large", "package policy\n#" + strings.Repeat("x", rego.MaxSource), "over 65536", 0},
		{"deep", "package policy\nx := [" + deep + "]", "deep", 2},
		{"rules that double", doubling(40, "[x%[2]d, x%[2]d]", "[0]") + "allow if x40 == [1]", "written out", 15},
		{"objects that double", doubling(40, "{\"a\": x%[2]d, \"b\": data.policy.x%[2]d}", "[0]") + "allow if x40.a == 1", "written out", 0},
		{"variables that double", "package policy\nallow if {\n" + strings.ReplaceAll(doubling(40, "[x%[2]d, x%[2]d]", "input.a")[len("package policy\n"):], "\n", ";") + " count(x40) == 2\n}", "written out", 3},
		{"elements that double", "package policy\nallow if {\nx0 := 1;" + members(40) + "count(x40) == 2\n}", "written out", 3},
		{"arrays that double", doubling(60, "array.concat(x%[2]d, x%[2]d)", `[0]`) + "allow if count(x60) > 0", "written out", 0},
		{"functions that double", "package policy\nf(x) := [x, x]\nallow if count(" + strings.Repeat("f(", 50) + "input.a" + strings.Repeat(")", 50) + ") == 2", "written out", 3},
		{"functions that double each other", doubled(40) + "allow if count(f40(1)) == 2", "written out", 0},
		{"results that double", "package policy\nf(x) := [x, x]\nallow if {\nx0 := 1;" + results(40) + "count(x40) == 2\n}", "written out", 4},
		{"bytes that are no text", "package policy\nallow := \"\xff\"", "", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := rego.NewCompiler().Compile(t.Context(), "test.rego", []byte(c.source), rego.Allow)
			var problems *rego.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(err.Error(), c.want) || c.line != 0 && problems.List[0].Line != c.line {
				t.Errorf("%v; want %q at line %d", err, c.want, c.line)
			}
		})
	}
}

// members is statements of which each has the one before twice, as the element of a list.
func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "some x%d in [[x%[2]d, x%[2]d]]; ", i+1, i)
	}
	return b.String()
}

// results is members by way of a function's last operand, its result.
func results(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "f(x%d, x%d); ", i, i+1)
	}
	return b.String()
}

// doubled is a module of functions of which each calls the one before with its argument twice.
func doubled(n int) string {
	var b strings.Builder
	b.WriteString("package policy\nf0(x) := [x]\n")
	for i := range n {
		fmt.Fprintf(&b, "f%d(x) := f%d([x, x])\n", i+1, i)
	}
	return b.String()
}

// doubling is a module whose rules each hold the one before twice.
func doubling(n int, again, first string) string {
	var b strings.Builder
	b.WriteString("package policy\nx0 := " + first + "\n")
	for i := range n {
		fmt.Fprintf(&b, "x%d := "+again+"\n", i+1, i)
	}
	return b.String()
}

// TestStopped holds that what would take for ever, or fill the memory, is stopped: acceptance of the release desk.
func TestStopped(t *testing.T) {
	for _, c := range []struct {
		name, source string
		want         error
	}{
		{"comprehensions in one another", "package policy\nn := numbers.range(1, 1000)\nallow if count([1 | n[_]; n[_]; n[_]]) > 0", rego.ErrSteps},
		{"a huge range", "package policy\nallow if count(numbers.range(1, 100000000000)) > 0", rego.ErrSteps},
		{"a huge range by steps", "package policy\nallow if count(numbers.range_step(1, 100000000000, 1)) > 0", rego.ErrSteps},
		{"every of everything", "package policy\nn := numbers.range(1, 1000)\nallow if { every a in n { every b in n { every c in n { a+b+c > 0 } } } }", rego.ErrSteps},
		{"functions in one another", doublingCalls(40) + "allow if f40(\"\") > 0", rego.ErrSteps},
		{"a string that doubles", doubling(60, "concat(\"\", [x%[2]d, x%[2]d])", `"0123456789"`) + "allow if count(x60) > 0", rego.ErrSize},
		{"a string replaced by itself", "package policy\na := replace(sprintf(\"%0999d\", [0]), \"0\", sprintf(\"%0999d\", [0]))\nb := replace(a, \"0\", a)\nallow if count(b) > 0", rego.ErrSize},
		{"a wide format", "package policy\nallow if count(sprintf(\"%999999d\", [1])) > 0", rego.ErrSize},
		{"a format as wide as an argument", "package policy\nallow if count(sprintf(\"%*d\", [999999, 1])) > 0", rego.ErrSize},
		{"a structure compared", doubling(12, "[x%[2]d, x%[2]d]", `[0]`) + "n := numbers.range(1, 1000)\nallow if { n[_] > 1; x12 < [n] }", rego.ErrSize},
		{"a structure written out", doubling(12, "[x%[2]d, x%[2]d]", `[0]`) + "n := numbers.range(1, 1000)\nallow if { some i in n; count(json.marshal([x12, i])) < 1 }", rego.ErrSize},
		{"a number that squares", doubling(60, "x%[2]d * x%[2]d", `123456789`) + "allow if x60 > 1", rego.ErrSize},
		{"a number from a text", "package policy\nallow if to_number(\"1e999999999\") % 2 == 1", rego.ErrSize},
		{"a number from JSON", "package policy\nallow if floor(json.unmarshal(\"1e999999999\")) == 1", rego.ErrUndefined},
		{"a shift", "package policy\nallow if bits.lsh(1, 10000000000) > 1", rego.ErrSize},
		{"a long pattern", "package policy\nallow if regex.match(\"(((a{100}){100}){100}){10}\", \"a\")", rego.ErrSize},
		{"large things kept", doubling(9, "[x%[2]d, x%[2]d]", `[0]`) + "n := numbers.range(1, 5000)\nallow if { a := [[x9, i] | some i in n]; b := [[a, i] | some i in n]; c := [[b, i] | some i in n]; count([a, b, c, [1 | n[_]; n[_]]]) == 3 }", rego.ErrSteps},
		{"a long walk", "package policy\nn := numbers.range(1, 1000)\nallow if { some p, q; walk([n], [p, _]); walk([n], [q, _]); p == q; false }", rego.ErrSteps},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := compile(t, c.source, rego.Allow)
			allow, err := p.Allows(context.Background(), rego.Request{Data: resource})
			if allow || !errors.Is(err, c.want) && !errors.Is(err, rego.ErrTime) { // on a slow machine the time ends before the steps
				t.Errorf("%v, %v; want %v", allow, err, c.want)
			}
		})
	}
}

func doublingCalls(n int) string {
	var b strings.Builder
	b.WriteString("package policy\nf0(x) := count(x)\n")
	for i := range n {
		fmt.Fprintf(&b, "f%d(x) := f%[2]d(concat(\"\", [x, \"0\"])) + f%[2]d(concat(\"\", [x, \"1\"]))\n", i+1, i)
	}
	return b.String()
}

// TestCancelled holds that the caller's context ends an evaluation.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	allow, err := compile(t, "package policy\nn := numbers.range(1, 1000)\nallow if count([1 | n[_]; n[_]; n[_]]) > 0", rego.Allow).Allows(ctx, rego.Request{})
	if allow || err == nil {
		t.Errorf("%v, %v", allow, err)
	}
}

// TestReferenceShapes holds that policies in the shape of the reference server's are taken, and say what they say there.
func TestReferenceShapes(t *testing.T) {
	values := map[string]any{
		"snp_launch_measurement": []any{"bb"}, "snp_bootloader": []any{9}, "snp_minimum": 8, "rtmr_1": []any{"cc"}, "tdvfkernel": "dd",
		"device_svn": []any{"1"}, "allowed_driver_versions": []any{"5"}, "snp_guest_abi_major": 0,
	}
	for _, c := range []struct{ file, input, want string }{
		{"cpu", `{"snp":{"measurement":"bb","reported_tcb_snp":22,"reported_tcb_bootloader":9,"policy_debug_allowed":false,"policy_abi_major":0}}`, "[3 2 2]"},
		{"cpu", `{"snp":{"measurement":"cc","reported_tcb_snp":7,"reported_tcb_bootloader":9,"policy_debug_allowed":false,"policy_abi_major":1}}`, "[33 97 3]"},
		{"cpu", `{"snp":{"measurement":"bb","policy_debug_allowed":true}}`, "[3 97 36]"},
		{"cpu", `{"tdx":{"quote":{"body":{"rtmr_1":"cc"}},"uefi_event_logs":[{"type_name":"x"},{"type_name":"EV_EFI_BOOT_SERVICES_APPLICATION","details":{"device_paths":["File(kernel)"]},"digests":[{"digest":"dd"}]}]}}`, "[3 97 36]"},
		{"cpu", `{}`, "[33 97 36]"},
		{"gpu", `{"sampledevice":{"svn":"1"}}`, "[0 2 36]"},
		{"gpu", `{"nvidia":{"secboot":true,"dbgstat":"disabled","x_nvidia_gpu_driver_version":"4"}}`, "[0 97 3]"},
	} {
		source, err := os.ReadFile("testdata/" + c.file + ".rego")
		if err != nil {
			t.Fatal(err)
		}
		claims, err := compile(t, string(source), rego.TrustClaims).TrustClaims(t.Context(), rego.Request{
			Input: document(t, c.input), Data: map[string]any{"reference": values}, References: func(id string) any { return values[id] },
		})
		if got := fmt.Sprint([]int{claims["executables"], claims["hardware"], claims["configuration"]}); err != nil || got != c.want {
			t.Errorf("%s of %s: %s, %v; want %s", c.file, c.input, got, err, c.want)
		}
	}
}

// TestMeterKeepsMeaning holds that functions mean behind the meter what they mean without.
func TestMeterKeepsMeaning(t *testing.T) {
	source, err := os.ReadFile("testdata/functions.rego")
	if err != nil {
		t.Fatal(err)
	}
	claims, err := compile(t, string(source), rego.TrustClaims).TrustClaims(t.Context(), rego.Request{Time: time.Unix(1767323045, 0)})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range claims {
		if value != 1 {
			t.Errorf("%s is %d", name, value)
		}
	}
}

// FuzzCompile holds that no module breaks the compiler or its limits, and that what compiles ends.
func FuzzCompile(f *testing.F) {
	for _, name := range []string{"functions.rego", "cpu.rego", "gpu.rego"} {
		if text, err := os.ReadFile("testdata/" + name); err == nil {
			f.Add(text)
		}
	}
	for _, source := range []string{
		"package policy\ndefault allow = false\nallow if {\n not x\n count(input.submods) > 0\n}\nx if input.y",
		"package policy\nallow { input.a[_] == data[\"resource-path\"][0] }",
		"package policy\nimport rego.v1\nallow if every x in input { x.y > 3 } else := false",
		"package policy\nallow if http.send({})",
		"package policy\nallow if f(1) with input as {}\nf(x) := x + 1 if x < 3",
		"package policy\nallow if x == `a` if sprintf(\"%d\", [1e400])",
	} {
		f.Add([]byte(source))
	}
	input := map[string]any{"submods": map[string]any{"cpu0": map[string]any{"ear.status": "affirming"}}}
	c := rego.NewCompiler()
	f.Fuzz(func(t *testing.T, source []byte) {
		p, err := c.Compile(context.Background(), "fuzz.rego", source, rego.Allow)
		if err != nil {
			var problems *rego.Problems
			if !errors.As(err, &problems) || len(problems.List) == 0 || problems.Error() == "" {
				t.Fatalf("not problems: %v", err)
			}
			return
		}
		if allow, err := p.Allows(context.Background(), rego.Request{Input: input, Data: resource}); allow && err != nil {
			t.Fatal("allowed with an error")
		} else if errors.Is(err, rego.ErrStuck) {
			t.Fatalf("did not stop: %q", source)
		}
	})
}
