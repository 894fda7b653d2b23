package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/spf13/cobra"
)

// ofOneStore are the commands for a broker that need a store of one kind, with the reason. One script anywhere runs them, as it does those that work without a
// broker. Every other command is run by scripts with a store of either kind.
var ofOneStore = map[string]string{
	"backup":     "copies a store in a file; vault/brokers has it refused",
	"audit logs": "lists those of brokers that share a store",
}

// TestScriptsRunEveryCommand: there is no command that no script runs, with a store of either kind where it has to do with one.
func TestScriptsRunEveryCommand(t *testing.T) {
	root := new(program).root()
	commands := commandsOf(root)
	inFile, inVault := runBy(t, commands, onlyFile, bothKinds, fromVault), runBy(t, commands, bothKinds, fromVault, onlyVault, sealVault)
	for _, c := range commands {
		found, _, err := root.Find(strings.Fields(c))
		if err != nil {
			t.Fatal(err)
		}
		for found.Parent() != root {
			found = found.Parent()
		}
		_, anywhere := ofOneStore[c]
		anywhere = anywhere || found.GroupID == "offline"
		switch {
		case anywhere && !inFile[c] && !inVault[c]:
			t.Errorf("no script runs %q with success", c)
		case !anywhere && !inFile[c]:
			t.Errorf("no script runs %q with success where the store is a file", c)
		case !anywhere && !inVault[c]:
			t.Errorf("no script runs %q with success where the store is in Vault", c)
		}
	}
	for c := range maps.Keys(ofOneStore) {
		if !slices.Contains(commands, c) {
			t.Errorf("there is no command %q", c)
		}
	}
	for _, s := range scripts(t, bothKinds, fromVault) {
		if !strings.Contains(s.text, "--vault=$STORE") && !strings.Contains(s.text, "--config server.yaml") {
			t.Errorf("%s does not start its broker with the store that it is told", s.name)
		}
	}
}

// commandsOf are the commands that do something, by their names below the program's.
func commandsOf(c *cobra.Command) []string {
	var all []string
	for _, sub := range c.Commands() {
		if sub.Name() != "completion" && sub.Name() != "help" {
			all = append(all, commandsOf(sub)...)
		}
	}
	if all == nil {
		_, below, _ := strings.Cut(c.CommandPath(), " ")
		return []string{below}
	}
	return all
}

// script is what a script runs, without the files below it.
type script struct{ name, text string }

func scripts(t *testing.T, folders ...string) []script {
	t.Helper()
	var all []script
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no scripts in %s: %v", folder, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			commands, _, _ := strings.Cut(string(text), "\n-- ")
			all = append(all, script{f, commands})
		}
	}
	return all
}

// runLine is a line that is to succeed: what is to fail shows nothing of what the command does.
var runLine = regexp.MustCompile(`(?m)^(?:\[[a-z]+\] )?exec (?:sh -c '(?:[^'\n]*; *)?)?vouchsafe (?:--format=json )?([a-z][a-z -]*)`)

// runBy says which commands the scripts of folders run.
func runBy(t *testing.T, commands []string, folders ...string) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	for _, s := range scripts(t, folders...) {
		for _, m := range runLine.FindAllStringSubmatch(s.text, -1) {
			for _, c := range commands {
				if strings.HasPrefix(m[1]+" ", c+" ") {
					known[c] = true
				}
			}
		}
	}
	return known
}

// mostCommands is how many commands a newcomer may need, from a policy with mistakes to the version of before.
const mostCommands = 12

// TestNewUser: what a newcomer is led through takes few commands, and the page that does it has the files, the commands and the output of the script that runs
// them.
func TestNewUser(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("testdata", bothKinds, "newuser.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	archive := txtar.Parse(content)
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "release-desk.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := between(string(text), "\n## A first change, in eleven commands\n", "\n## ")
	steps := between(string(archive.Comment), "\n# STEPS\n", "\n# END\n")

	ran := linesOf(steps, `(?m)^exec (?:sh -c ')?(vouchsafe(?:-agent)? .*?)(?:; test \$\? = 1')?$`)
	if len(ran) < 10 || len(ran) > mostCommands {
		t.Errorf("%d commands, at most %d are few", len(ran), mostCommands)
	}
	// The page's ids and digests are examples.
	page = regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`).ReplaceAllString(page, "$$DECISION")
	page = regexp.MustCompile(`sha256:[0-9a-f]{64}\b`).ReplaceAllString(page, "$$DIGEST")
	page = regexp.MustCompile(`\b[0-9a-f]{32}\b`).ReplaceAllString(page, "$$ID")
	_, after, _ := strings.Cut(page, "export ")
	if shown := linesOf(after, `(?m)^(vouchsafe(?:-agent)? .*?)(?: > genoa.json)?$`); !slices.Equal(ran, shown) {
		t.Errorf("the page shows %q, and the script runs %q", shown, ran)
	}
	page = strings.NewReplacer("$DECISION", "0", "$DIGEST", "sha256:0", "$ID", "0").Replace(page)
	for _, pattern := range linesOf(steps, `(?m)^std(?:out|err) '(.*)'$`) {
		if !regexp.MustCompile("(?m)" + pattern).MatchString(page) {
			t.Errorf("the page does not show what the script sees: %s", pattern)
		}
	}

	draft, right := string(archive.Files[0].Data), string(archive.Files[1].Data)
	if !strings.Contains(page, draft) {
		t.Errorf("the page does not show the draft of the script")
	}
	if strings.NewReplacer("prodct", "product", `"21"`, "21", "imgae", "image").Replace(draft) != right {
		t.Errorf("put right as the page says, the draft is not the policy of the script")
	}
}

// between is what is in a text after one mark and before the next.
func between(text, from, to string) string {
	_, text, _ = strings.Cut(text, from)
	text, _, _ = strings.Cut(text, to)
	return text
}

// linesOf are what the group of a pattern matches in a text.
func linesOf(text, pattern string) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}
