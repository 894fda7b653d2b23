package docs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/vouchsafe/vouchsafe/internal/fences"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/approval"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

const root = ".."

// pages returns the Markdown files of the project by their path below its root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "bin" || entry.Name() == "testdata") {
			return fs.SkipDir
		}
		if entry.IsDir() || filepath.Ext(name) != ".md" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		path, err := filepath.Rel(root, name)
		out[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 10 {
		t.Fatalf("only %d pages were found", len(out))
	}
	return out
}

// blocks calls f with every fenced block of a language.
func blocks(t *testing.T, language string, f func(where string, b fences.Block)) {
	t.Helper()
	for page, text := range pages(t) {
		list, err := fences.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", page, err)
		}
		for _, b := range list {
			if b.Language == language {
				f(fmt.Sprintf("%s:%d", page, b.Line), b)
			}
		}
	}
}

// claims are the files that the embedded tests of documented policies read, by the names they have there.
var claims = map[string]string{
	"genoa.json": "examples/snp-image/claims.json",
	"host.json":  "examples/tpm-host/claims.json",
}

func openClaims(name string) ([]byte, error) {
	path, ok := claims[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return os.ReadFile(filepath.Join(root, path))
}

// TestPolicies checks every release policy that a page shows, and rules shown alone, and runs their tests. A note before a block says what
// a reader is shown as a mistake: "refused: TEXT" an error, "warned: TEXT" a warning, "fails: TEXT" a test that does not pass.
func TestPolicies(t *testing.T) {
	checked := 0
	blocks(t, "yaml", func(where string, b fences.Block) {
		source := b.Text
		switch {
		case strings.Contains(source, "kind: ApprovalRules"):
			if _, err := approval.Parse("rules.yaml", []byte(source)); err != nil {
				t.Errorf("%s: %v", where, err)
			}
			return
		case strings.Contains(source, "kind: "+reference.DocumentKind):
			if _, err := reference.ParseDocument("values.yaml", []byte(source)); err != nil {
				t.Errorf("%s: %v", where, err)
			}
			return
		case strings.Contains(source, "kind: ReleasePolicy"):
		case strings.Contains(source, "kind: "+policy.TestsKind):
			checkTests(t, where, source)
			return
		case strings.HasPrefix(source, "- ") && strings.Contains(source, "that:"):
			source = "apiVersion: vouchsafe/v1\nkind: ReleasePolicy\nmetadata: {name: shown}\nspec:\n  secrets: [\"a/*\"]\n  require:\n" + indent(source)
		default:
			return
		}
		checked++
		checkPolicy(t, where, b.Note, source)
	})
	if checked < 10 {
		t.Errorf("only %d policies were found", checked)
	}
}

// checkTests runs tests that stand apart, of a policy that an example has.
func checkTests(t *testing.T, where, source string) {
	text, err := os.ReadFile(filepath.Join(root, "examples/snp-image/policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse("policy.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := policy.ParseTests(where, []byte(source), p)
	if err != nil {
		t.Error(err)
	}
	for _, result := range policy.RunEach(p, tests, openClaims) {
		if !result.Pass {
			t.Errorf("%s: %s: %s", where, result.Name, result.Detail)
		}
	}
}

func indent(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString("    " + line)
	}
	return out.String()
}

func checkPolicy(t *testing.T, where, note, source string) {
	t.Helper()
	p, warnings, err := policy.Check("policy.yaml", []byte(source))
	what, expected, _ := strings.Cut(note, ": ")
	if what == "refused" {
		var problems *policy.Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), expected) {
			t.Errorf("%s: expected an error with %q: %v", where, expected, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	if what == "warned" {
		found := false
		for _, w := range warnings {
			found = found || strings.Contains(w.String(), expected)
		}
		if !found {
			t.Errorf("%s: expected a warning with %q: %v", where, expected, warnings)
		}
	}
	failed := ""
	for _, result := range policy.RunTests(p, openClaims) {
		if !result.Pass {
			failed += fmt.Sprintf("%s: %s\n", result.Name, result.Detail)
		}
	}
	switch {
	case what == "fails" && !strings.Contains(failed, expected):
		t.Errorf("%s: expected a test that fails with %q: %q", where, expected, failed)
	case what != "fails" && failed != "":
		t.Errorf("%s: %s", where, failed)
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestLinks follows every link to a file of the project, and to a heading in it.
func TestLinks(t *testing.T) {
	all := pages(t)
	for page, text := range all {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s links to %s, which is not there", page, match[1])
				continue
			}
			if other, ok := all[path]; ok && anchor != "" && !headings(other)[anchor] {
				t.Errorf("%s links to %s, and there is no such heading", page, match[1])
			}
		}
	}
}

// headings returns the anchors of a page's headings, as GitHub makes them.
func headings(page string) map[string]bool {
	out := map[string]bool{}
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "#") {
			continue
		}
		title := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
		out[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return r
			}
			return -1
		}, title)] = true
	}
	return out
}

// TestCommands holds every command line of this project's programs that a page shows against the programs: the commands and flags exist.
func TestCommands(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "../cmd/...").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	known := map[string]string{} // help by command
	help := func(words []string) string {
		key := strings.Join(words, " ")
		if _, ok := known[key]; !ok {
			out, err := exec.CommandContext(t.Context(), filepath.Join(bin, words[0]), slices.Concat(words[1:], []string{"--help"})...).CombinedOutput()
			if err != nil {
				out = nil
			}
			known[key] = string(out)
		}
		return known[key]
	}
	checked := 0
	blocks(t, "sh", func(where string, b fences.Block) {
		for line := range strings.SplitSeq(strings.ReplaceAll(b.Text, "\\\n", " "), "\n") {
			words := commandWords(line)
			if len(words) == 0 {
				continue
			}
			checked++
			checkCommand(t, where, words, help)
		}
	})
	if checked < 20 {
		t.Errorf("only %d command lines were found", checked)
	}
}

// commandWords returns the words of a line that runs one of the programs, from its name on, without what is behind a comment or pipe.
func commandWords(line string) []string {
	line, _, _ = strings.Cut(line, " #")
	words := strings.Fields(line)
	for i, word := range words {
		name := filepath.Base(word)
		if name != "vouchsafe" && name != "vouchsafe-agent" || strings.HasPrefix(word, "/var/") || strings.HasPrefix(word, "/etc/") {
			continue
		}
		// The program stands first, or behind an assignment or a pipe.
		if i > 0 && !strings.Contains(words[i-1], "=") && words[i-1] != "|" && words[i-1] != "sudo" && words[i-1] != "&&" {
			continue
		}
		out := []string{name}
		for _, argument := range words[i+1:] {
			if argument == "|" || argument == "&&" || argument == "&" || strings.HasPrefix(argument, ">") || strings.HasPrefix(argument, "2>") {
				break
			}
			out = append(out, argument)
		}
		return out
	}
	return nil
}

var testName = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]*)`")

// TestNamedTestsExist finds every test that a page names as proof.
func TestNamedTestsExist(t *testing.T) {
	exist := map[string]bool{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		for _, match := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			exist[match[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for page, text := range pages(t) {
		for _, match := range testName.FindAllStringSubmatch(text, -1) {
			if !exist[match[1]] {
				t.Errorf("%s names %s, and there is no such test", page, match[1])
			}
		}
	}
}

var flagName = regexp.MustCompile(`^--?[a-z][a-z0-9-]*`)

func checkCommand(t *testing.T, where string, words []string, help func([]string) string) {
	t.Helper()
	// The command is the longest run of words for which there is help of its own.
	command := words[:1]
	for n := 2; n <= len(words) && n <= 3; n++ {
		if !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(words[n-1]) || !strings.Contains(help(words[:n-1]), "\n  "+words[n-1]+" ") {
			break
		}
		command = words[:n]
	}
	text := help(command)
	if text == "" {
		t.Errorf("%s: %s: there is no such command", where, strings.Join(words, " "))
		return
	}
	if len(command) == 1 && len(words) > 1 && !strings.HasPrefix(words[1], "-") {
		t.Errorf("%s: %s: there is no command %s", where, strings.Join(words, " "), words[1])
	}
	for _, word := range words[len(command):] {
		if word == "--" {
			break // what follows belongs to another program
		}
		if name := flagName.FindString(word); name != "" && !regexp.MustCompile(`(^|\s)`+regexp.QuoteMeta(name)+`[\s,=]`).MatchString(text) {
			t.Errorf("%s: %s: %s has no flag %s", where, strings.Join(words, " "), strings.Join(command, " "), name)
		}
	}
}
