package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/internal/cli"
)

// TestHelpFits: help fits a terminal of 80 columns, but for examples, which people copy and which have 110; and summaries are written alike.
func TestHelpFits(t *testing.T) {
	root := new(program).root()
	commands := 0
	var each func(c *cobra.Command)
	each = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if sub.Name() != "completion" && sub.Name() != "help" {
				each(sub)
			}
		}
		commands++
		if strings.HasSuffix(c.Short, ".") || c.Short == "" || c.Short[:1] == strings.ToLower(c.Short[:1]) {
			t.Errorf("%s: summary %q", c.CommandPath(), c.Short)
		}
		var help bytes.Buffer
		cli.Help(&help, c, 80)
		for line := range strings.SplitSeq(help.String(), "\n") {
			most := 80
			if strings.Contains(c.Example, line) {
				most = 110
			}
			if n := utf8.RuneCountInString(line); n > most {
				t.Errorf("%s: a line of %d columns: %s", c.CommandPath(), n, line)
			}
		}
	}
	each(root)
	if commands < 40 {
		t.Errorf("only %d commands", commands)
	}
}
