package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestDiagnose takes rules apart, and judges each part by itself.
func TestDiagnose(t *testing.T) {
	for that, want := range map[string]string{
		`claims.kind == "snp"`: ``,
		`claims.kind == "tdx"`: `claims.kind == "tdx" fail`,
		`claims.kind == "snp" && claims.snp.guest_svn >= 1000 && claims.vmpl == 0`:               `claims.kind == "snp" pass; claims.snp.guest_svn >= 1000 fail; claims.vmpl == 0 pass`,
		`(claims.kind == "tdx" || claims.vmpl == 7) && claims.kind == "snp"`:                     `claims.kind == "tdx" || claims.vmpl == 7 fail; claims.kind == "snp" pass`,
		`claims.kind == "tdx" && claims.tdx.mr_td == "aa"`:                                       `claims.kind == "tdx" fail; claims.tdx.mr_td == "aa" error`,
		`claims.measurement in reference("images") && "x" in reference("images")`:                `claims.measurement in reference("images") pass; "x" in reference("images") fail missed images=x`,
		`claims.measurement in reference("none")`:                                                `claims.measurement in reference("none") error missed none=`,
		`["a", "b"].exists(v, v in reference("images")) && claims.devices.all(d, d.kind == "x")`: `["a", "b"].exists(v, v in reference("images")) fail missed images=a images=b; claims.devices.all(d, d.kind == "x") error`,
	} {
		p := policyOf(t, []string{that})
		got := ""
		for _, d := range p.Diagnose(request(snpClaims())) {
			var parts []string
			for _, part := range d.Parts {
				text := fmt.Sprint(part.That, " ", part.Outcome)
				if len(part.Missed) > 0 {
					text += " missed"
				}
				for _, m := range part.Missed {
					text += " " + m.Set + "=" + m.Value
				}
				parts = append(parts, text)
			}
			got += strings.Join(parts, "; ")
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", that, got, want)
		}
	}
}

// TestDecideSaysWhatJudgeSays holds the judgement without a record against that with one.
func TestDecideSaysWhatJudgeSays(t *testing.T) {
	var items []Active
	for i, rules := range [][]string{tenRules, {`claims.kind == "tdx"`}, {`claims.tdx.mr_td == "x"`, `claims.vmpl == 0`}, {`claims.vmpl == 0`}} {
		doc := "apiVersion: vouchsafe/v1\nkind: ReleasePolicy\nmetadata: {name: p" + fmt.Sprint(i) + "}\nspec:\n  secrets: [\"payments/" +
			[]string{"db/*", "db/a", "**", "db/b"}[i] + "\"]\n  require:\n"
		for n, rule := range rules {
			doc += fmt.Sprintf("    - name: r%d\n      that: |-\n        %s\n", n, rule)
		}
		items = append(items, Active{Policy: mustParse(t, doc), Version: uint64(i + 1)})
	}
	for n := range 1 << len(items) {
		var some []Active
		for i, item := range items {
			if n&(1<<i) != 0 {
				some = append(some, item)
			}
		}
		set, err := NewSet(some)
		if err != nil {
			t.Fatal(err)
		}
		decider := set.Decider() // which keeps nothing of the request before
		for _, secret := range []string{"payments/db/a", "payments/db/b", "payments/x/y", "other"} {
			for _, age := range []int{0, 10_000_000_000_000} {
				req := request(snpClaims())
				req.Secret, req.EvidenceAge = secret, req.EvidenceAge+time.Duration(age)
				j, v := set.Judge(req), decider.Decide(req)
				var refusing []Refusing
				for _, result := range j.Results {
					for _, rule := range result.Rules {
						if rule.Outcome != Pass && rule.Outcome != Waived {
							refusing = append(refusing, Refusing{result.Policy, rule.Rule})
						}
					}
				}
				if v.Allow != j.Allow || v.Guarded != (j.Code != CodeNoPolicy) || fmt.Sprint(v.Refusing) != fmt.Sprint(refusing) {
					t.Errorf("policies %b, %s: %+v, and a judgement %s by %v", n, secret, v, j.Code, refusing)
				}
			}
		}
	}
}
