package policy

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

const snpFile = `{"kind":"snp","claims":{"kind":"snp","hardware_root":"amd-genoa","bound":false,"measurement":"6a65","debug":false,
	"vmpl":0,"migration_agent":false,"tcb_status":"up-to-date","collateral":{"current":true,"revocation_checked":false}}}`

func TestRunTests(t *testing.T) {
	files := map[string]string{
		"wrapped.json": snpFile,
		"bare.json":    `{"kind":"tpm","hardware_root":"tpm-enrolled","tpm":{"ak_name":"00","enrolled":true,"bank":"sha256","pcrs":{"7":"aa"}}}`,
		"broken.json":  `{"kind":`, "list.json": `[]`, "twice.json": `{"kind":"tpm","kind":"snp"}`, "case.json": `{"Kind":"snp"}`, "null.json": `null`, "unknown.json": `{"kind":"snp","debugging":false}`, "two.json": `{}{}`,
	}
	open := func(name string) ([]byte, error) {
		text, ok := files[name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return []byte(text), nil
	}
	base := document(t, `claims.kind == "tpm" || claims.measurement in reference("images")`, `claims.kind == "snp" || claims.tpm.pcrs[7] == "aa"`) + "tests:\n"
	for _, tc := range []struct{ test, detail string }{
		{`claims: {file: wrapped.json}, reference: {images: ["6a65"]}, expect: allow`, ""},
		{`claims: {file: bare.json}, expect: allow`, ""},
		{`claims: {file: wrapped.json}, expect: deny, by: r0`, ""},
		{`claims: {file: wrapped.json}, expect: allow`, `refused by r0 (there is no reference set "images"`},
		{`claims: {file: wrapped.json}, expect: deny, by: r1`, "expected deny by r1; refused by r0 (there is no"},
		{`claims: {file: bare.json}, expect: deny`, "every rule allows"},
		{`claims: {file: bare.json, set: {tpm.pcrs.7: bb}}, expect: deny, by: r1`, ""},
		{`claims: {file: bare.json, unset: [tpm.pcrs]}, expect: deny, by: r1`, ""},
		{`claims: {file: bare.json, unset: [tpm]}, expect: deny, by: baseline.primary-evidence`, ""},
		{`claims: {file: bare.json, set: {bound: false}}, expect: deny, by: baseline.bound`, ""},
		{`claims: {file: bare.json, unset: [bound]}, expect: deny, by: baseline.bound`, ""},
		{`claims: {file: wrapped.json, set: {debug: true}}, reference: {images: ["6a65"]}, expect: deny, by: baseline.no-debug`, ""},
		{`claims: {file: wrapped.json, unset: [debug]}, reference: {images: ["6a65"]}, expect: deny, by: baseline.no-debug`, ""},
		{`claims: {file: wrapped.json}, reference: {images: ["6a65"]}, evidenceAge: 10m, expect: deny, by: release.max-evidence-age`, ""},
		{`claims: {values: {kind: tpm, hardware_root: tpm-enrolled, tpm: {enrolled: true}}, set: {tpm.pcrs.7: aa}}, expect: allow`, ""},
		{`claims: {values: {kind: tpm, bound: false}}, expect: deny, by: baseline.bound`, ""},
		{`claims: {file: missing.json}, expect: deny`, "file does not exist"},
		{`claims: {file: broken.json}, expect: deny`, "no JSON object"},
		{`claims: {file: twice.json}, expect: deny`, "twice"},
		{`claims: {file: case.json}, expect: deny`, "Kind"},
		{`claims: {file: list.json}, expect: deny`, "no JSON object"},
		{`claims: {file: null.json}, expect: deny`, "it is null"},
		{`claims: {file: two.json}, expect: deny`, "no JSON object"},
		{`claims: {file: unknown.json}, expect: deny`, "debugging"},
		{`claims: {file: bare.json, set: {tpm: 1}}, expect: deny`, "cannot unmarshal"},
		{`claims: {file: bare.json, set: {tpm: 1, tpm.pcrs.7: bb}}, expect: deny`, "no object"},
	} {
		p := mustParse(t, base+"  - {name: the test, "+tc.test+"}\n")
		got := RunTests(p, open)
		if len(got) != 1 || got[0].Pass != (tc.detail == "") || !strings.Contains(got[0].Detail, tc.detail) || got[0].Line == 0 {
			t.Errorf("%s: %+v", tc.test, got[0].Detail)
		}
		if again := RunTests(p, open); again[0].Pass != got[0].Pass {
			t.Errorf("%s: a second run says otherwise", tc.test)
		}
	}
	if got := RunTests(mustParse(t, base+"  - {name: a, claims: {file: f}, expect: deny}\n"), nil); got[0].Pass {
		t.Error("a file is read without open")
	}
	failing := func(string) ([]byte, error) { return nil, errors.New("no") }
	if got := RunTests(mustParse(t, base+"  - {name: a, claims: {file: f}, expect: deny}\n"), failing); got[0].Pass {
		t.Error("a test whose file cannot be read passes")
	}
}
