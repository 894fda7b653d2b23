package vaultplugin_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/vouchsafe/vouchsafe/"

type pkg struct {
	ImportPath, Name, Dir string
	GoFiles               []string
	Deps                  []string
}

// packages lists this module's packages, which the tests of the house do not see.
func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Dir,GoFiles,Deps", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// TestHouse holds this module to the rules of internal/house: a comment for each package, no function init, and nothing in the program that is for tests.
func TestHouse(t *testing.T) {
	list := packages(t)
	if len(list) < 6 {
		t.Fatalf("only %d packages were found", len(list))
	}
	for _, p := range list {
		comments := 0
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc != nil {
				comments++
			}
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
					t.Errorf("%s/%s has a function init", p.ImportPath, name)
				}
			}
		}
		if comments != 1 {
			t.Errorf("%s has %d package comments", p.ImportPath, comments)
		}
		for _, test := range []string{"store/storetest", "internal/vaulttest", "internal/vaulttest/pluginstore", "internal/mutate", "attest/tpm/tpmtest", "internal/testserver"} {
			if slices.Contains(p.Deps, module+test) {
				t.Errorf("%s links %s, which is for tests", p.ImportPath, test)
			}
		}
	}
}

// TestOnlyTheProgramLinksDevelopmentEvidence is a part of invariant 6: what a mount is made of has no verifier of evidence that anybody can make.
func TestOnlyTheProgramLinksDevelopmentEvidence(t *testing.T) {
	for _, p := range packages(t) {
		if p.Name == "main" || strings.HasSuffix(p.ImportPath, "/development") {
			continue
		}
		for _, dep := range []string{"attest/virtual", "attest/sample", "broker/dev"} {
			if slices.Contains(p.Deps, module+dep) {
				t.Errorf("%s links %s", p.ImportPath, dep)
			}
		}
	}
}
