package examples_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/initdata"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
	"github.com/vouchsafe/vouchsafe/policy"
)

// examples parses the policy of every example.
func examples(t *testing.T) map[string]*policy.Policy {
	t.Helper()
	files, err := filepath.Glob("*/policy.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d policies, %v", len(files), err)
	}
	book, err := filepath.Glob("policies/*/policy.yaml")
	if err != nil || len(book) < 12 {
		t.Fatalf("%d policies to start from, %v", len(book), err)
	}
	files = append(files, book...)
	out := map[string]*policy.Policy{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, warnings, err := policy.Check(file, source)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range warnings {
			t.Errorf("%s:%s", file, w)
		}
		out[filepath.Dir(file)] = p
	}
	return out
}

// TestPolicies runs the tests of every policy as "vouchsafe policy test" does, and wants one for each rule that refuses by it.
func TestPolicies(t *testing.T) {
	for folder, p := range examples(t) {
		t.Run(folder, func(t *testing.T) {
			root, err := os.OpenRoot(folder)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			allowed := false
			results := policy.RunTests(p, root.ReadFile)
			for _, result := range results {
				if !result.Pass {
					t.Errorf("line %d, %s: %s", result.Line, result.Name, result.Detail)
				}
				allowed = allowed || result.Result.Allow
			}
			if !allowed {
				t.Error("no test is allowed")
			}
			for _, rule := range policy.Cover(p, results) {
				if !rule.Covered() && folder != "quickstart" {
					t.Errorf("no test is refused by the rule %s, or none passes it", rule.Rule)
				}
			}
		})
	}
}

// TestClaimsAreOfRealEvidence holds the SNP examples' claims against what the verifier makes of the evidence they were made from.
func TestClaimsAreOfRealEvidence(t *testing.T) {
	verifier, err := snp.New(snp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := verifier.Verify(t.Context(), attest.Input{
		Namespace: "default", Evidence: vectors.Read(t, "snp/genoa-v3-evidence.json"), Binding: attest.Unbound(),
		Time: time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC),
	})
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("policies/*/snp.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"minimum-tcb", "own-chips", "pod-init-data", "root-key", "slsa-builder", "staged-rollout"} {
		files = append(files, "policies/"+folder+"/claims.json")
	}
	for _, file := range append(files, "snp-image/claims.json", "kbs-guest/claims.json") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var kept struct{ Claims *attest.Claims }
		if err := json.Unmarshal(text, &kept); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(kept.Claims, claims) {
			t.Errorf("%s is not what the evidence proves", file)
		}
	}
}

// TestInitData holds the digest in the KBS guest's policy against the document beside it.
func TestInitData(t *testing.T) {
	body, err := os.ReadFile("kbs-guest/initdata.toml")
	if err != nil {
		t.Fatal(err)
	}
	document, err := initdata.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"aa.toml", "cdh.toml", "policy.rego"} {
		if document.Data[name] == "" {
			t.Errorf("no %s in the document", name)
		}
	}
	source, err := os.ReadFile("kbs-guest/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if digest := hex.EncodeToString(document.Digest); !slices.Contains(strings.Fields(strings.NewReplacer("[", " ", "]", " ").Replace(string(source))), digest) {
		t.Errorf("the document's digest %s is not in the policy", digest)
	}
}
