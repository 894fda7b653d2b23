package broker_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestInvariants holds docs/invariants.md to the sources: each test that it names exists, each invariant has one here that is named after
// it, and none of those is missing from it.
func TestInvariants(t *testing.T) {
	page, err := os.ReadFile("../docs/invariants.md")
	if err != nil {
		t.Fatal(err)
	}
	functions := map[string]map[string]bool{} // folder → its tests
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	testsOf := func(folder string) map[string]bool {
		if functions[folder] == nil {
			functions[folder] = map[string]bool{}
			files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(folder), "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				source, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				for _, match := range declared.FindAllSubmatch(source, -1) {
					functions[folder][string(match[1])] = true
				}
			}
		}
		return functions[folder]
	}
	named := map[string]bool{}
	for _, match := range regexp.MustCompile("`([a-z/]+)\\.(Test\\w+)`").FindAllSubmatch(page, -1) {
		folder, name := string(match[1]), string(match[2])
		if !testsOf(folder)[name] {
			t.Errorf("docs/invariants.md names %s.%s, which there is not", folder, name)
		}
		if folder == "broker" {
			named[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(testsOf("broker"))) {
		if strings.HasPrefix(name, "TestInvariant") && !named[name] && name != "TestInvariants" {
			t.Errorf("docs/invariants.md does not name %s", name)
		}
	}
	for _, n := range "12345678" {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(named)), func(name string) bool { return strings.HasPrefix(name, "TestInvariant"+string(n)) }) {
			t.Errorf("no test is named after invariant %c", n)
		}
	}
}
