package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// ccaTokenVersion is a module that is not built on, so go.mod does not have it: what the test reads is pinned here, by the checksum that go.sum
// would have.
const (
	ccaTokenVersion = "v1.3.1"
	ccaTokenSum     = "h1:zUHXr2mPprxMYv5Mm2mumxzQZ3I9wy7QGayXqa9Rv/E="
)

// errAbsent is that of a module which go.mod does not have and that cannot be had now.
var errAbsent = errors.New("the module is not at hand")

// folders are where the modules are, once they are downloaded.
var folders = map[string]func() (string, error){
	goSEVGuest: sync.OnceValues(func() (string, error) { return download(goSEVGuest, "", "") }),
	goTDXGuest: sync.OnceValues(func() (string, error) { return download(goTDXGuest, "", "") }),
	goEventlog: sync.OnceValues(func() (string, error) { return download(goEventlog, "", "") }),
	goTPMTools: sync.OnceValues(func() (string, error) { return download(goTPMTools, "", "") }),
	ccaToken:   sync.OnceValues(func() (string, error) { return download(ccaToken, "@"+ccaTokenVersion, ccaTokenSum) }),
	ownData:    func() (string, error) { return root, nil },
}

// download has a module's content in the cache and says where. Without a version, it is what go.mod and go.sum say.
func download(module, version, sum string) (string, error) {
	// What goes wrong is said in the JSON, where there is any.
	out, failed := exec.Command("go", "mod", "download", "-json", "github.com/"+module+version).Output()
	var got struct{ Dir, Sum, Error string }
	if err := json.Unmarshal(out, &got); err != nil {
		return "", errors.Join(failed, err)
	}
	switch {
	case got.Dir == "" && version != "" && !strings.Contains(got.Error, "checksum mismatch"):
		return "", fmt.Errorf("%w: %s%s: %s", errAbsent, module, version, got.Error)
	case got.Dir == "":
		return "", fmt.Errorf("%s: %s", module, got.Error)
	case version != "" && got.Sum != sum:
		return "", fmt.Errorf("%s%s is %s, want %s", module, version, got.Sum, sum)
	}
	return got.Dir, nil
}

// folder returns where a module is. It skips where a module that go.mod does not have cannot be had.
func folder(t *testing.T, module string) string {
	t.Helper()
	dir, err := folders[module]()
	if errors.Is(err, errAbsent) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// from reads a module's file.
func from(t *testing.T, module, name string) []byte {
	t.Helper()
	return read(t, filepath.Join(folder(t, module), filepath.FromSlash(name)))
}

// TestModules holds that the table has every file that a module ships as real evidence, and nothing that is not there.
func TestModules(t *testing.T) {
	for module, dirs := range shipped {
		t.Run(module, func(t *testing.T) {
			var files []string
			for _, dir := range dirs {
				root := folder(t, module)
				err := filepath.WalkDir(filepath.Join(root, filepath.FromSlash(dir)), func(path string, entry fs.DirEntry, err error) error {
					if err != nil || entry.IsDir() || describes(entry.Name()) {
						return err
					}
					name, err := filepath.Rel(root, path)
					files = append(files, filepath.ToSlash(name))
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			used := map[string]bool{}
			for _, name := range files {
				i := slices.IndexFunc(vectors, func(v vector) bool {
					match, err := path.Match(v.name, name)
					return v.module == module && match && err == nil
				})
				if i < 0 {
					t.Errorf("%s is not in the table", name)
					continue
				}
				used[vectors[i].name] = true
			}
			for _, v := range vectors {
				if v.module == module && !used[v.name] {
					t.Errorf("the table has %s, which is not there", v.name)
				}
			}
		})
	}
	for _, v := range vectors {
		if v.module != "" && shipped[v.module] == nil {
			t.Errorf("%s is of a module that is not known: %s", v.name, v.module)
		}
	}
}

// describes reports whether a file of a module's test data is a program or a description of the others.
func describes(name string) bool {
	return slices.Contains([]string{".go", ".md", ".sh"}, path.Ext(name)) || name == "Makefile"
}

// every gives check each file of a pattern.
func every(module, pattern string, check func(t *testing.T, content []byte)) func(t *testing.T) {
	return func(t *testing.T) {
		root := folder(t, module)
		names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil || len(names) == 0 {
			t.Fatalf("%d files, %v", len(names), err)
		}
		for _, name := range names {
			t.Run(strings.TrimPrefix(filepath.ToSlash(name), filepath.ToSlash(root)+"/"), func(t *testing.T) { check(t, read(t, name)) })
		}
	}
}
