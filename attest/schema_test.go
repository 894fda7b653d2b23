package attest

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSchema(t *testing.T) {
	byPath := map[string]Field{}
	for _, f := range Schema() {
		if f.Path == "" || strings.HasSuffix(f.Path, ".") || f.Doc == "" || f.CEL == "" || len(f.Kinds) == 0 {
			t.Errorf("a claim without a name, a meaning or a kind: %+v", f)
		}
		if f.Path != strings.ToLower(f.Path) || byPath[f.Path].Path != "" {
			t.Errorf("%s is misspelt or there twice", f.Path)
		}
		if parent := f.Path[:max(0, strings.LastIndexByte(f.Path, '.'))]; parent != "" && byPath[parent].JSON != "object" {
			t.Errorf("%s comes before its parent", f.Path)
		}
		for _, kind := range f.Kinds {
			if !slices.Contains(Kinds(), kind) {
				t.Errorf("%s: the kind %s is not known", f.Path, kind)
			}
		}
		byPath[f.Path] = f
	}
	for path, want := range map[string]Field{
		"kind":                       {JSON: "string", CEL: "string"},
		"debug":                      {JSON: "boolean", CEL: "bool", Optional: true},
		"vmpl":                       {JSON: "integer", CEL: "int", Optional: true},
		"collateral":                 {JSON: "object", CEL: "attest.CollateralClaims", Optional: true},
		"collateral.expires":         {JSON: "string", CEL: "timestamp", Optional: true, Format: "date-time"},
		"snp.reported_tcb.microcode": {JSON: "integer", CEL: "int"},
		"snp.reported_tcb.fmc":       {JSON: "integer", CEL: "int", Optional: true},
		"snp.policy":                 {JSON: "integer", CEL: "int"},
		"tpm.pcrs":                   {JSON: "object", CEL: "map(int, string)", Optional: true},
		"boot.pcrs":                  {JSON: "array", CEL: "list(int)", Optional: true},
		"init_data_claims":           {JSON: "object", CEL: "map(string, string)", Optional: true},
		"devices":                    {JSON: "array", CEL: "list(attest.Claims)", Optional: true},
	} {
		have := byPath[path]
		if have.JSON != want.JSON || have.CEL != want.CEL || have.Optional != want.Optional || have.Format != want.Format {
			t.Errorf("%s: %+v, want %+v", path, have, want)
		}
	}
	if f := byPath["snp.reported_tcb.microcode"]; !f.ProvedBy(SNP) || !f.ProvedBy(Virtual) || f.ProvedBy(TPM) {
		t.Errorf("kinds of %s: %v", f.Path, f.Kinds)
	}
	if f := byPath["report_data"]; !f.ProvedBy(Sample) {
		t.Errorf("kinds of %s: %v", f.Path, f.Kinds)
	}
}

// TestAbsence: a claim that Schema says can be absent is left out of the JSON when it is zero, and one that it does not say so
// of is not, so that what a policy sees is what the schema promises.
func TestAbsence(t *testing.T) {
	full := Claims{}
	fill(reflect.ValueOf(&full).Elem())
	text, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	var have map[string]any
	if err := json.Unmarshal(text, &have); err != nil {
		t.Fatal(err)
	}
	for _, f := range Schema() {
		var value any = have
		there := true
		for name := range strings.SplitSeq(f.Path, ".") {
			members, _ := value.(map[string]any)
			value, there = members[name]
		}
		structure := f.JSON == "object" && !strings.HasPrefix(f.CEL, "map(")
		if there == f.Optional && !structure {
			t.Errorf("%s: optional %v and in the JSON of zero claims %v", f.Path, f.Optional, there)
		}
	}
	// A value of every type survives.
	in := Claims{Kind: SNP, Debug: Ptr(false), VMPL: Ptr(0), Collateral: &CollateralClaims{Expires: time.Unix(1, 0).UTC()},
		TPM: &TPMClaims{PCRs: map[int]string{7: "00"}}, Devices: []Claims{{Kind: SampleDevice}}}
	text, err = json.Marshal(in)
	var out Claims
	if err != nil || json.Unmarshal(text, &out) != nil || !reflect.DeepEqual(in, out) {
		t.Errorf("%+v became %+v", in, out)
	}
}

// fill makes every structure that a claim holds, with zero claims in it.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && f.Type().Elem().Kind() == reflect.Struct {
			f.Set(reflect.New(f.Type().Elem()))
			fill(f.Elem())
		}
	}
}
