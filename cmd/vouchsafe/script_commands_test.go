package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// storeless are the commands that no store has a part in, or a store of one kind only, with the reason. Every other command is run by scripts with a store of
// either kind.
var storeless = map[string]string{
	"backup":            "of a store in a file; that it is refused for one in Vault is in vault/brokers",
	"restore":           "to a file",
	"audit logs":        "of brokers that share a store",
	"store check":       "of a file",
	"store migrate":     "has a folder of its own, seal",
	"store reseal":      "has a folder of its own, seal",
	"collateral export": "local",
	"collateral import": "local",
	"collateral key":    "local",
	"collateral status": "local",
	"collateral sync":   "local",
	"evidence inspect":  "local",
	"evidence verify":   "local",
	"measure nitro":     "local",
	"measure snp":       "local",
	"measure tdx":       "local",
	"measure tpm":       "local",
	"schema":            "local",
	"vault doctor":      "of Vault only",
	"vault policy":      "of Vault only",
	"version":           "local",
	"enrolment revoke":  "",
}

// TestScriptsRunEveryCommand: there is no command that no script runs, with a store of either kind where it has to do with one.
func TestScriptsRunEveryCommand(t *testing.T) {
	commands := commandsOf(new(program).root())
	inFile, inVault := runBy(t, commands, onlyFile, bothKinds), runBy(t, commands, bothKinds, onlyVault, sealVault)
	for _, c := range commands {
		_, anywhere := storeless[c]
		switch {
		case anywhere && !inFile[c] && !inVault[c]:
			t.Errorf("no script runs %q with success", c)
		case anywhere && inFile[c] && inVault[c]:
			t.Errorf("%q is run with stores of both kinds: it needs no exception", c)
		case !anywhere && !inFile[c]:
			t.Errorf("no script in %s or %s runs %q with success", onlyFile, bothKinds, c)
		case !anywhere && !inVault[c]:
			t.Errorf("no script in %s, %s or %s runs %q with success", bothKinds, onlyVault, sealVault, c)
		}
	}
	for c := range maps.Keys(storeless) {
		if !slices.Contains(commands, c) {
			t.Errorf("there is no command %q", c)
		}
	}
	for _, s := range scripts(t, bothKinds) {
		if !strings.Contains(s.text, "--vault=$STORE") {
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
var runLine = regexp.MustCompile(`(?m)^exec (?:sh -c '(?:[^'\n]*; *)?)?vouchsafe (?:--format=json )?([a-z][a-z -]*)`)

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
