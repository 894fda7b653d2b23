package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func mustDuration(t testing.TB, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// problemsOf parses a document that must be refused.
func problemsOf(t *testing.T, source string) []Problem {
	t.Helper()
	_, err := Parse("p.yaml", []byte(source))
	var p *Problems
	if !errors.As(err, &p) {
		t.Fatalf("the document is accepted, or the error is none of Problems: %v", err)
	}
	return p.List
}

const good = `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: payments-db, description: Payments image}
spec:
  secrets: ["payments/db/*", "payments/**"]
  require:
    - name: confidential-vm
      that: claims.kind in ["snp", "tdx"]
    - name: approved-image
      that: claims.measurement in reference("payments-image")
      message: this image is not in the approved set
  waive:
    - {rule: tcb-current, reason: ticket 71}
  release: {maxEvidenceAge: 60s, lease: 2h}
tests:
  - name: approved image
    claims: {values: {kind: snp, hardware_root: amd-genoa, measurement: "6a65", debug: false, vmpl: 0, migration_agent: false, collateral: {current: true, revocation_checked: false}}}
    reference: {payments-image: ["6a65"]}
    expect: allow
`

func TestParse(t *testing.T) {
	p := mustParse(t, good)
	if p.Name() != "payments-db" || p.Description() != "Payments image" || string(p.Source()) != good {
		t.Errorf("name %q, description %q", p.Name(), p.Description())
	}
	if !strings.HasPrefix(p.Digest(), "sha256:") || len(p.Digest()) != 7+64 {
		t.Errorf("digest %q", p.Digest())
	}
	if got := fmt.Sprint(p.Secrets(), p.Waivers(), p.Release(), p.References()); got !=
		"[payments/db/* payments/**] [{tcb-current ticket 71}] {1m0s 2h0m0s} [payments-image]" {
		t.Error(got)
	}
	if got := mustParse(t, document(t, "true")).Release(); got != (ReleaseTerms{DefaultMaxEvidenceAge, DefaultLease}) {
		t.Errorf("default terms are %v", got)
	}
}

// TestProblems changes one thing in a good document and tells where the problem must be found: at the text between the brackets ⟦ and ⟧.
func TestProblems(t *testing.T) {
	for _, tc := range []struct {
		old, new         string // new holds ⟦
		message, nearest string
	}{
		{"vouchsafe/v1", "⟦vouchsafe/v2", `found "vouchsafe/v2"`, "vouchsafe/v1"},
		{"kind: ReleasePolicy", "⟦kund: ReleasePolicy", `no member "kund"`, "kind"},
		{"name: payments-db,", "name: ⟦Payments-DB,", "is not a name", ""},
		{"name: payments-db,", "name: ⟦7,", "found a number", ""},
		{"secrets:", "⟦secret:", `no member "secret"`, "secrets"},
		{`"payments/**"`, `⟦"payments/**/x"`, "has ** before its end", ""},
		{`"payments/**"`, `⟦"pay*"`, "not a segment of its own", ""},
		{`"payments/**"`, `⟦"a//b"`, "empty segment", ""},
		{`"payments/**"`, `⟦"../b"`, "begins with a dot", ""},
		{`"payments/**"`, `⟦"a/b/c/d/e/f/g/h/i"`, "more than 8 segments", ""},
		{`"payments/**"`, `⟦"payments/db/*"`, "is there twice", ""},
		{"- name: approved-image", "- name: ⟦confidential-vm", `rule "confidential-vm" is there twice`, ""},
		{"      message: this", "      ⟦mesage: this", `no member "mesage"`, "message"},
		{"      message: this image", "      ⟦name: again\n      message: this image", `"name" is there twice`, ""},
		{"claims.measurement in", "⟦claims.mesurement in", `claims has no member "mesurement"`, "measurement"},
		{"claims.measurement in", "⟦claims.snp.measurement in", `claims.snp has no member "measurement"`, "claims.measurement"},
		{"claims.measurement in", "⟦claim.measurement in", `no variable "claim"`, "claims"},
		{"reference(\"payments-image\")", "⟦referense(\"payments-image\")", `no function "referense"`, "reference"},
		{"reference(\"payments-image\")", "⟦reference(secret)", "reference takes the name", ""},
		{"reference(\"payments-image\")", "⟦reference(\"Payments Image\")", "reference takes the name", ""},
		{"claims.measurement in", "claims.vmpl ⟦in", "in cannot look for int in a set of reference values", ""},
		{"claims.measurement in reference(\"payments-image\")", "⟦claims.measurement", "is of type string", ""},
		{"claims.measurement in reference(\"payments-image\")", "claims.measurement == ⟦", "Syntax error", ""},
		{"claims.measurement in reference(\"payments-image\")", "claims.measurement.matches(⟦secret)", "the pattern of matches is computed", ""},
		{"claims.measurement in reference(\"payments-image\")", "'claims.measurement.matches(⟦\"a(\")'", "missing closing )", ""},
		{"claims.measurement in reference(\"payments-image\")", "\"claims.kind == \\\"snp\\\" && ⟦claims.debg\"", `no member "debg"`, "debug"},
		{"claims.measurement in reference(\"payments-image\")", "'claims.kind == ''snp'' && ⟦claims.debg'", `no member "debg"`, "debug"},
		{"claims.measurement in reference(\"payments-image\")", "|\n        claims.kind == 'é'\n          && ⟦claims.debg", `no member "debg"`, "debug"},
		{"claims.measurement in reference(\"payments-image\")", ">-\n        claims.kind == 'é'\n        && ⟦claims.debg", `no member "debg"`, "debug"},
		{"claims.measurement in reference(\"payments-image\")", "claims.kind == 'é'\n        &&   ⟦claims.debg", `no member "debg"`, "debug"},
		{"claims.measurement in reference(\"payments-image\")", "dyn(⟦claims.measurement) == 1", `no function "dyn"`, ""},
		{"claims.measurement in reference(\"payments-image\")", "'⟦vouchsafe.Claims{debug: true}.debug'", "make no maps or objects", ""},
		{"claims.measurement in reference(\"payments-image\")", "claims.devices.⟦exists(claims, claims.debug)", "hides claims", ""},
		{"claims.measurement in reference(\"payments-image\")", "⟦!claims.debug", "tags are not read", ""},
		{"rule: tcb-current", "rule: ⟦tcb-curent", `the baseline has no rule "tcb-curent"`, "tcb-current"},
		{"rule: tcb-current", "rule: ⟦baseline.no-debug", "the baseline has no rule", "no-debug"},
		{"rule: tcb-current", "rule: ⟦bound", "cannot be waived", ""},
		{"reason: ticket 71", "reason: ⟦\" \"", "the text is empty", ""},
		{"    - {rule: tcb-current, reason: ticket 71}", "    - ⟦{rule: tcb-current}", `member "reason" is missing`, ""},
		{"lease: 2h", "lease: ⟦2 hours", "is not a duration", ""},
		{"lease: 2h", "lease: ⟦-1s", "out of range", ""},
		{"lease: 2h", "lease: ⟦90000h", "out of range", ""},
		{"maxEvidenceAge: 60s", "⟦maxEvidenceage: 60s", "no member", "maxEvidenceAge"},
		{"expect: allow", "expect: ⟦alow", `found "alow"`, "allow"},
		{"expect: allow", "expect: deny\n    by: ⟦baseline.no-debu", "there is no rule", "baseline.no-debug"},
		{"expect: allow", "expect: deny\n    by: ⟦baseline.tcb-current", "is waived", ""},
		{"expect: allow", "expect: allow\n    by: ⟦approved-image", "names a rule that refuses", ""},
		{"expect: allow", "expect: allow\n    secret: ⟦other/db", "does not guard", ""},
		{"claims: {values:", "claims: {set: {⟦measurment: x}, values:", `no member "measurment"`, "measurement"},
		{"{kind: snp, hardware_root", "⟦{knd: snp, hardware_root", `"knd"`, ""},
		{"metadata: {name", "metadata: ⟦&a {name", "anchors", ""},
		{"metadata: {name: payments-db, description: Payments image}", "metadata: ⟦[]", "found a list", ""},
	} {
		source := strings.Replace(good, tc.old, tc.new, 1)
		before, after, ok := strings.Cut(source, "⟦")
		if !ok || !strings.Contains(good, tc.old) {
			t.Fatalf("bad case %q", tc.new)
		}
		line := 1 + strings.Count(before, "\n")
		column := 1 + len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))
		found := problemsOf(t, before+after)
		p := found[0]
		if !strings.Contains(p.Message, tc.message) || p.Nearest != tc.nearest {
			t.Errorf("%s: got %v, want %q with nearest %q", tc.new, found, tc.message, tc.nearest)
		}
		// CEL marks a call at its parenthesis or dot, and a syntax error where it gives up: the line is what counts there.
		if p.Line != line || p.Column < column-2 || p.Column > column+20 {
			t.Errorf("%s: at %d:%d, want %d:%d: %s", tc.new, p.Line, p.Column, line, column, p.Message)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	found := problemsOf(t, "apiVersion: v2\nkind: Policy\nmetadata: {}\nspec:\n  secrets: []\n  require:\n    - {name: a, that: claims.x}\n    - {name: b, that: nonsense}\n")
	if len(found) != 6 {
		t.Errorf("%d problems:\n%v", len(found), &Problems{List: found})
	}
	for i := 1; i < len(found); i++ {
		if found[i].Line < found[i-1].Line {
			t.Errorf("problems are out of order: %v", found)
		}
	}
}

// TestWhatReviewersDoNotSee: what YAML takes for a line's end and a reviewer's screen does not shows him a comment where the parser finds a
// waiver, and what turns the direction of text shows him another expression than is evaluated (CVE-2021-42574).
func TestWhatReviewersDoNotSee(t *testing.T) {
	const visible = "  release: {maxEvidenceAge: 60s, lease: 2h}\n"
	for name, text := range map[string]string{
		"line separator":         "  release: {lease: 2h} # as before\u2028    maxEvidenceAge: 1h\n",
		"paragraph separator":    "  # nothing is waived\u2029  release: {lease: 2h}\n",
		"next line":              "  # nothing\u0085  release: {lease: 2h}\n",
		"carriage return alone":  "  release: {lease: 2000h}\r  release: {lease: 2h} #\n",
		"override in a comment":  visible + "  # \u202e reversed\n",
		"isolate in a comment":   visible + "  # \u2066 apart\n",
		"mark in an expression":  visible + "  # \u200f\n",
		"letter mark in a value": visible + "  # \u061c\n",
	} {
		source := strings.Replace(good, visible, text, 1)
		list := problemsOf(t, source)
		if len(list) != 1 || !strings.Contains(list[0].Message, "does not show") || list[0].Line < 14 {
			t.Errorf("%s: %v", name, list)
		}
	}
	if _, err := Parse("p.yaml", []byte(strings.ReplaceAll(good, "\n", "\r\n"))); err != nil {
		t.Errorf("lines that end as on Windows: %v", err)
	}
	if _, err := Parse("p.yaml", []byte(strings.Replace(good, "Payments image", "Зарплата ערב", 1))); err != nil {
		t.Errorf("other scripts: %v", err)
	}
}

func TestDocumentLimits(t *testing.T) {
	rules := func(n int) string {
		doc := document(t)
		for i := range n {
			doc += fmt.Sprintf("    - {name: r%d, that: 'claims.vmpl == %d'}\n", i, i)
		}
		return doc
	}
	for name, source := range map[string]string{
		"empty":           "",
		"comment only":    "# nothing\n",
		"null":            "~\n",
		"a list":          "[]",
		"two documents":   good + "---\n" + good,
		"too large":       good + "#" + strings.Repeat("x", MaxSource),
		"not UTF-8":       good + "# \xff\n",
		"no rules":        strings.Replace(document(t, "true"), "require:\n", "require: []\n", 1)[:len(document(t))+3],
		"no require":      "apiVersion: vouchsafe/v1\nkind: ReleasePolicy\nmetadata: {name: a}\nspec:\n  secrets: [a]\n",
		"null require":    "apiVersion: vouchsafe/v1\nkind: ReleasePolicy\nmetadata: {name: a}\nspec:\n  secrets: [a]\n  require:\n",
		"too many rules":  rules(MaxRules + 1),
		"nested":          strings.Repeat("[", 100) + strings.Repeat("]", 100),
		"merge key":       good + "<<: {spec: {}}\n",
		"long expression": document(t, `"`+strings.Repeat("x", MaxExpression)+`" == secret`),
		"deep expression": document(t, strings.Repeat("(", 500)+"true"+strings.Repeat(")", 500)),
		"deep list":       document(t, strings.Repeat("[", 200)+strings.Repeat("]", 200)+" == []"),
		"deep selection":  document(t, "claims"+strings.Repeat(".snp", 1000)),
		"deep index":      document(t, "claims.tpm.pcrs"+strings.Repeat("[7]", 1000)),
		"deep condition":  document(t, strings.Repeat("true ? true : ", 250)+"true"),
		"many elements":   document(t, "1 in ["+strings.Repeat("1,", 2000)+"1]"),
		"three loops":     document(t, `[1].all(a, [1].all(b, [1].all(c, a == b && b == c)))`),
		"huge pattern":    document(t, `secret.matches("((((a{9}){9}){9}){9}){9}")`),
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range problemsOf(t, source) {
				if p.Message == "" {
					t.Errorf("a problem says nothing: %+v", p)
				}
			}
		})
	}
	mustParse(t, rules(MaxRules))
}

// TestCostLimit runs expressions whose cost CEL cannot bound beforehand, below the limit and above.
func TestCostLimit(t *testing.T) {
	const pairs = `claims.devices.all(a, claims.devices.all(b, a.kind == b.kind))`
	ones := strings.Repeat("1,", 300) + "1"
	for _, tc := range []struct {
		that    string
		devices int
		want    Outcome
	}{
		{pairs, 3, Pass},
		{pairs, 2000, Error},
		{"[" + ones + "].all(a, [" + ones + "].all(b, a == b))", 0, Error},
	} {
		p := mustParse(t, document(t, tc.that))
		claims := snpClaims()
		for range tc.devices {
			claims.Devices = append(claims.Devices, *tpmClaims())
		}
		started := time.Now()
		got := outcome(t, p.Evaluate(request(claims)), "r0")
		t.Logf("%d devices took %v: %s", tc.devices, time.Since(started), got.Message)
		if got.Outcome != tc.want {
			t.Errorf("%d devices: %s %s", tc.devices, got.Outcome, got.Message)
		}
	}
}

func TestWarnings(t *testing.T) {
	check := func(rules ...string) string {
		_, warnings, err := Check("p.yaml", []byte(document(t, rules...)+"tests:\n  - {name: t, claims: {values: {kind: snp}}, expect: deny}\n"),
			WithReferences([]string{"images"}))
		if err != nil {
			t.Fatal(err)
		}
		return (&Problems{List: warnings}).Error()
	}
	const kind = `claims.kind == "snp" && claims.measurement in reference("images")`
	for _, tc := range []struct {
		rules []string
		want  string // "" for no warning
	}{
		{[]string{kind}, ""},
		{[]string{`claims.kind in ["snp", "virtual"] && claims.vmpl == 0`, `claims.measurement in reference("images")`}, ""},
		{[]string{`claims.vmpl == 0`}, "which kinds"},
		{[]string{kind, `1 == 1`}, "always true"},
		{[]string{kind, `claims.vmpl == 0 && false`}, "always false"},
		{[]string{kind, `true || claims.debug`}, "always true"},
		{[]string{`claims.kind == "snpp"`}, `did you mean "snp"`},
		{[]string{kind, `claims.kind != "virtul"`}, `did you mean "virtual"`},
		{[]string{kind, `claims.tpm.enrolled`}, "claims.tpm.enrolled is proved by kinds tpm"},
		{[]string{kind, `claims.measurement in reference("image")`}, `did you mean "images"`},
		{[]string{kind, `claims.measurement in reference("images")`}, ""},
		{[]string{kind, `claims.measurement.matches("aa")`}, "anywhere"},
		{[]string{kind, `claims.snp.chip_id != "` + strings.Repeat("Ab", 64) + `"`}, "lower case"},
		{[]string{kind, `!(claims.measurement in ["` + strings.Repeat("0A", 48) + `"])`}, "lower case"},
		{[]string{kind, `claims.measurement != "` + strings.Repeat("0a", 48) + `"`}, ""},
		{[]string{`claims.kind in ["snp", "tpm"]`, `claims.measurement in reference("images") || claims.boot.secure_boot`}, "whose machine"},
		{[]string{`claims.kind == "tpm"`, `claims.tpm.pcrs[7] in reference("images")`}, "whose machine"},
		{[]string{`claims.kind == "csv"`, `claims.csv.chip_key in reference("images")`}, "not measured"},
		{[]string{`claims.kind == "csv"`, `claims.measurement in reference("images")`}, ""},
		{[]string{`claims.kind == "csv"`, `claims.csv.report_version == 2`}, "not measured"},
		{[]string{`claims.kind == "az-snp-vtpm"`, `claims.tpm.pcrs[11] in reference("images")`}, "which paravisor"},
		{[]string{`claims.kind in ["snp", "az-tdx-vtpm"]`, `claims.hardware_root != "" && claims.tpm.ak_digest != ""`}, "which paravisor"},
		{[]string{`claims.kind == "tpm"`, `claims.tpm.enrolled`}, ""},
		{[]string{`claims.kind == "tpm" && claims.tpm.host.startsWith("projects/p/")`}, ""},
		{[]string{`claims.kind in ["snp", "tpm"]`, `claims.hardware_root != "google-ak" || claims.measurement in reference("images")`}, ""},
	} {
		got := check(tc.rules...)
		if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%v: %q, want %q", tc.rules, got, tc.want)
		}
	}
}

// TestStrangers holds that each kind whose evidence anyone can make is warned of, until a rule names a claim that tells whose it is.
func TestStrangers(t *testing.T) {
	check := func(rules ...string) string {
		_, warnings, err := Check("p.yaml", []byte(document(t, rules...)+"tests:\n  - {name: t, claims: {values: {kind: snp}}, expect: deny}\n"))
		if err != nil {
			t.Fatalf("%v: %v", rules, err)
		}
		return (&Problems{List: warnings}).Error()
	}
	for _, tc := range []struct {
		kind   string
		none   []string // rules that say nothing of whose it is
		enough [][]string
		want   string
	}{
		{"snp", []string{`claims.vmpl == 0`, `claims.snp.guest_svn > 1`, `claims.init_data == "aa"`, `claims.snp.family_id == "aa"`},
			[][]string{{`claims.measurement == "aa"`}, {`claims.snp.id_key_digest == "aa"`}, {`claims.snp.author_key_digest == "aa"`}, {`claims.snp.chip_id == "aa"`}}, "what runs in them"},
		{"tdx", []string{`claims.tdx.rtmr1 == "aa"`, `claims.tdx.rtmr2 == "aa"`, `claims.tdx.mr_owner == "aa"`},
			[][]string{{`claims.measurement == "aa" && claims.tdx.rtmr1 == "aa"`}, {`claims.tdx.mr_td == "aa"`, `"aa" in claims.boot.boot_loaders`}}, "which firmware"},
		{"tdx", []string{`claims.measurement == "aa"`, `claims.tdx.mr_seam == "aa"`, `claims.boot.loader_says.kernel == "aa"`, `claims.boot.secure_boot`},
			[][]string{{`claims.measurement == "aa"`, `claims.boot.kernel == "aa"`}, {`claims.measurement == "aa"`, `claims.boot.secure_boot_variables["db"] == "aa"`}}, "firmware started"},
		{"sgx", []string{`claims.sgx.isv_svn > 1`, `claims.sgx.config_id == "aa"`}, [][]string{{`claims.measurement == "aa"`}, {`claims.sgx.mr_enclave == "aa"`}, {`claims.sgx.mr_signer == "aa"`}}, "who signed"},
		{"nitro", []string{`claims.nitro.region == "eu-central-1"`, `claims.nitro.signed`}, [][]string{{`claims.measurement == "aa"`}, {`claims.nitro.pcrs[8] == "aa"`}, {`claims.nitro.instance_id == "i-0"`}}, "any customer"},
		{"cca", []string{`claims.cca.implementation_id == "aa"`}, [][]string{{`claims.measurement == "aa"`}}, "realms"},
		{"csv", []string{`claims.csv.vm_id == "aa"`, `claims.csv.user_key_digest == "aa"`}, [][]string{{`claims.measurement == "aa"`}}, "CSV guests"},
		{"token", []string{`claims.token.verifier == "google"`, `claims.token.tee == "tdx"`, `claims.token.software == "GCE"`},
			[][]string{{`claims.measurement == "aa"`}, {`claims.token.container.image_digest == "aa"`}, {`claims.token.project == "p"`}, {`"p" in claims.token.policies_matched`}}, "whose workload"},
	} {
		only := `claims.kind == "` + tc.kind + `"`
		for _, rule := range append(tc.none, `claims.tcb_status == "up-to-date"`) {
			if got := check(only, rule); !strings.Contains(got, tc.want) {
				t.Errorf("%s, %s: %q, want %q", tc.kind, rule, got, tc.want)
			}
		}
		for _, rules := range tc.enough {
			if got := check(append(rules, only)...); got != "" {
				t.Errorf("%s, %v: %q", tc.kind, rules, got)
			}
		}
	}
	// A kind that is not accepted is not warned of, nor is one that proves nothing of hardware.
	if got := check(`claims.kind in ["virtual", "sample"]`); got != "" {
		t.Error(got)
	}
}
