package doctor

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ids are those of findings in Go source.
var ids = regexp.MustCompile(`(?:ID: |\.add\((?:Problem|Warning|Note|OK|severity), )"([a-z0-9.-]+)"`)

// page lists them for whoever writes scripts.
const page = "../../docs/evidence/guests.md"

func findingsIn(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range ids.FindAllStringSubmatch(string(source), -1) {
			found = append(found, match[1])
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// TestEveryFindingHasItsMachine: what can be found is found on some machine in testdata. Of those that are not there, the reasons are here.
func TestEveryFindingHasItsMachine(t *testing.T) {
	without := map[string]string{
		"tsm.unknown": "a caller that cannot ask",
	}
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var wanted strings.Builder
	for _, path := range archives {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		wanted.Write(text)
	}
	found := findingsIn(t, "*.go")
	if len(found) < 50 {
		t.Fatalf("only %d findings are in the source", len(found))
	}
	for _, id := range found {
		if _, known := without[id]; !known && !strings.Contains(wanted.String(), " "+id+"\n") {
			t.Errorf("no machine has %s", id)
		}
	}
}

// TestFindingsAreDocumented: the page lists them all, and no others.
func TestFindingsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n## Findings\n")
	if !found {
		t.Fatalf("%s has no section on findings", page)
	}
	var listed []string
	for _, match := range regexp.MustCompile("(?m)^\\| `([a-z0-9.-]+)` \\|").FindAllStringSubmatch(table, -1) {
		listed = append(listed, match[1])
	}
	all := append(findingsIn(t, "*.go"), findingsIn(t, "../../cmd/vouchsafe-agent/doctor.go")...)
	for i, id := range all {
		all[i] = strings.TrimSuffix(id, "-") // those that end in a kind
	}
	for _, id := range all {
		if !slices.Contains(listed, id) {
			t.Errorf("%s is not in %s", id, page)
		}
	}
	for _, id := range listed {
		if !slices.Contains(all, id) {
			t.Errorf("%s lists %s, which is no finding", page, id)
		}
	}
}
