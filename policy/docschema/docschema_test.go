package docschema

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/approval"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// TestFiles holds the schemas in docs/reference to the code; VOUCHSAFE_UPDATE=1 writes them anew.
func TestFiles(t *testing.T) {
	for _, name := range Names() {
		want, err := Schema(name)
		if err != nil {
			t.Fatal(err)
		}
		file := "../../docs/reference/" + name + ".schema.json"
		if os.Getenv("VOUCHSAFE_UPDATE") != "" {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run make generate (%v)", file, err)
		}
	}
	if _, err := Schema("secret"); err == nil {
		t.Error("there is a schema of nothing")
	}
}

func compiled(t testing.TB) map[string]*jsonschema.Schema {
	out := map[string]*jsonschema.Schema{}
	for _, name := range Names() {
		text, err := Schema(name)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource(name, doc); err != nil {
			t.Fatal(err)
		}
		if out[name], err = c.Compile(name); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// parsed parses a document, and says which schema it has. Tests need their policy to be parsed: they are not.
func parsed(source []byte) (schema string, err error) {
	kind, _, err := policy.KindOf(source)
	if err != nil {
		return "", err
	}
	switch kind {
	case policy.DocumentKind:
		schema = "policy"
		_, err = policy.Parse("", source)
	case reference.DocumentKind:
		schema = "reference-set"
		_, err = reference.ParseDocument("", source)
	case "ApprovalRules":
		schema = "approval-rules"
		_, err = approval.Parse("", source)
	case policy.TestsKind:
		schema = "tests"
	}
	return schema, err
}

// plainValue is a document as an editor has it: YAML's times are texts.
func plainValue(t testing.TB, source []byte) any {
	var value any
	if err := yaml.Unmarshal(source, &value); err != nil {
		t.Fatal(err)
	}
	return asJSON(value)
}

func asJSON(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = asJSON(v[key])
		}
	case map[any]any:
		out := map[string]any{}
		for key, of := range v {
			text, _ := yaml.Marshal(key)
			out[string(bytes.TrimSpace(text))] = asJSON(of)
		}
		return out
	case []any:
		for i := range v {
			v[i] = asJSON(v[i])
		}
	case time.Time:
		return v.Format(time.RFC3339Nano)
	}
	return value
}

// documents are those in the tree, by their files.
func documents(t testing.TB) map[string][]byte {
	out := map[string][]byte{}
	for _, root := range []string{"../../examples", "../../docs", "../../cmd/vouchsafe/testdata"} {
		if err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".yaml" {
				return err
			}
			source, err := os.ReadFile(path)
			if schema, wrong := parsed(source); err == nil && schema != "" && wrong == nil {
				out[path] = source
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

const everything = `apiVersion: vouchsafe/v1
kind: ApprovalRules
spec:
  rules:
    - name: root-keys
      policies: ["root-*"]
      secrets: ["payments/root/**"]
      references: ["payments-image"]
      approvals: 2
      approvers: [alice@example.com, bob@example.com, carol@example.com]
      via: [oidc, certificate]
      breakGlass: 2
      rollback: 0
      immutable: true
      expires: 7d
  changes: {approvals: 2, via: [oidc], breakGlass: 3}
`

const values = `apiVersion: vouchsafe/v1
kind: ReferenceSet
metadata: {name: images}
spec:
  values:
    - {value: 6A6519d757e6, note: release 2.1, notBefore: 2026-01-01T00:00:00Z, expires: "2027-01-01T00:00:00+01:00"}
    - {value: next, state: staged}
`

const apart = `apiVersion: vouchsafe/v1
kind: PolicyTests
metadata: {name: app}
tests:
  - name: an old image
    claims: {file: claims.json, set: {measurement: "00", debug: true}, unset: [debug]}
    reference: {images: ["00ff"], none: []}
    secret: app/key
    time: 2026-01-01T00:00:00Z
    evidenceAge: 10m
    expect: deny
    by: image
`

func TestDocumentsValidate(t *testing.T) {
	schemas := compiled(t)
	all := documents(t)
	if len(all) < 15 {
		t.Fatalf("%d documents", len(all))
	}
	all["rules"], all["values"], all["tests"] = []byte(everything), []byte(values), []byte(apart)
	all["quoted"] = []byte(strings.Replace(everything, "immutable: true", `immutable: "true"`, 1))
	for file, source := range all {
		schema, err := parsed(source)
		if err != nil {
			t.Fatal(file, err)
		}
		if err := schemas[schema].Validate(plainValue(t, source)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestMistakesDoNotValidate: a schema that accepts everything would pass the other tests.
func TestMistakesDoNotValidate(t *testing.T) {
	schemas := compiled(t)
	for name, c := range map[string]struct{ schema, source, old, new string }{
		"member":      {"reference-set", values, "note", "notes"},
		"state":       {"reference-set", values, "staged", "retired"},
		"time":        {"reference-set", values, "2026-01-01T00:00:00Z", "tomorrow"},
		"kind":        {"reference-set", values, "ReferenceSet", "ReferenceSets"},
		"name":        {"reference-set", values, "name: images", "name: Images"},
		"missing":     {"reference-set", values, "value: next, ", ""},
		"approvals":   {"approval-rules", everything, "approvals: 2\n", "approvals: two\n"},
		"via":         {"approval-rules", everything, "certificate", "letter"},
		"another one": {"policy", values, "", ""},
	} {
		source := bytes.Replace([]byte(c.source), []byte(c.old), []byte(c.new), 1)
		if schemas[c.schema].Validate(plainValue(t, source)) == nil {
			t.Errorf("%s validates", name)
		}
	}
}

// TestMutations changes documents at random: what its parser still takes must validate.
func TestMutations(t *testing.T) {
	schemas := compiled(t)
	seeds := [][]byte{[]byte(everything), []byte(values)}
	all := documents(t)
	files := make([]string, 0, len(all))
	for file := range all {
		files = append(files, file)
	}
	slices.Sort(files)
	for _, file := range files[:4] {
		seeds = append(seeds, all[file])
	}
	mutate.Run(t, seeds, func(t *testing.T, source []byte) {
		schema, err := parsed(source)
		if err != nil || schema == "" || schema == "tests" {
			return
		}
		if err := schemas[schema].Validate(plainValue(t, source)); err != nil {
			t.Fatalf("%v\n%s", err, source)
		}
	})
}
