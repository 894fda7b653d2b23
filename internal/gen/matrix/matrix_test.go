package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	vectorsdir "github.com/vouchsafe/vouchsafe/internal/vectors"
)

const root = "../../.."

func TestPageIsCurrent(t *testing.T) {
	var want bytes.Buffer
	if err := render(&want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, "docs", "evidence", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/evidence/README.md is stale: go run ./internal/gen/matrix > docs/evidence/README.md")
	}
}

// TestRows: every kind has one row, its page is there, and so are the tests that it names.
func TestRows(t *testing.T) {
	var kinds []attest.Kind
	for _, r := range rows {
		kinds = append(kinds, r.kind)
		if len(r.tests) == 0 || r.verified == "" || r.not == "" {
			t.Errorf("%s: a row that says too little", r.kind)
		}
		page, _, _ := strings.Cut(r.page, "#")
		if _, err := os.Stat(filepath.Join(root, "docs", "evidence", page)); err != nil {
			t.Errorf("%s: %v", r.kind, err)
		}
		for _, name := range r.proof {
			if !slices.ContainsFunc(vectors, func(v vector) bool { return v.name == name && v.kind == string(r.kind) }) {
				t.Errorf("%s: there is no vector %s of this kind", r.kind, name)
			}
		}
		for _, test := range r.tests {
			folder, name, _ := strings.Cut(test, " ")
			if !hasTest(t, filepath.Join(root, folder), name) {
				t.Errorf("%s: there is no test %s in %s", r.kind, name, folder)
			}
		}
	}
	slices.Sort(kinds)
	known := attest.Kinds()
	slices.Sort(known)
	if !slices.Equal(kinds, known) {
		t.Errorf("rows of %v, and the kinds are %v", kinds, known)
	}
}

func hasTest(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && bytes.Contains(text, []byte("func "+name+"(t *testing.T)"))
	})
}

// TestRealEvidence judges each piece of real evidence as the table says, and holds that the table has all of the folder of vectors.
func TestRealEvidence(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			judge := judgeOf(v)
			if judge == nil {
				t.Fatal("nothing judges it")
			}
			if v.module == "" { // skips where the file is absent
				vectorsdir.Read(t, v.name)
			}
			judge(t)
		})
	}
	for _, table := range []map[string]func(t *testing.T){judges, shippedJudges} {
		for name := range table {
			if !slices.ContainsFunc(vectors, func(v vector) bool { return v.name == name }) {
				t.Errorf("%s is judged, and is not in the table", name)
			}
		}
	}
	folder := vectorsdir.Folder()
	if _, err := os.Stat(folder); err != nil {
		return
	}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if !slices.ContainsFunc(vectors, func(v vector) bool { return v.module == "" && v.name == filepath.ToSlash(name) }) {
			t.Errorf("%s is in the folder of vectors, and the table does not have it", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
