package clidoc_test

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/internal/cli"
	"github.com/vouchsafe/vouchsafe/internal/gen/clidoc"
)

func program() *cobra.Command {
	root := &cobra.Command{Use: "p", Short: "A program", Long: "It does <things>.\n\nExit codes:\n  0  done\n  1  no"}
	get := &cobra.Command{Use: "get NAME", Short: "Get a|b", Example: "  p get x", RunE: func(*cobra.Command, []string) error { return nil }}
	get.Flags().String("addr", "", "the `URL` (default $ADDR)")
	get.Flags().Int("count", 3, "how many")
	get.Flags().Bool("secret", false, "not for people")
	_ = get.Flags().MarkHidden("secret")
	cli.InSection("Flags that reach", get.Flags(), "addr")
	hidden := &cobra.Command{Use: "hidden", Hidden: true, Run: func(*cobra.Command, []string) {}}
	root.AddCommand(get, hidden)
	cli.Prepare(root)
	return root
}

func TestPage(t *testing.T) {
	const want = `# p

Generated from the program's help by ¬make it¬; do not edit.

It does \<things>.

Exit codes:

¬¬¬
0  done
1  no
¬¬¬

| command | |
|---|---|
| [¬p get¬](#p-get) | Get a\|b |

## p get

¬¬¬
p get NAME
¬¬¬

Get a|b.

For example:

¬¬¬sh
p get x
¬¬¬

| flag | |
|---|---|
| ¬--count int¬ | how many (default ¬3¬) |

And [flags that reach](#flags-that-reach).

## Flags that reach

| flag | |
|---|---|
| ¬--addr URL¬ | the URL (default $ADDR) |
`
	if got := clidoc.Page(program(), "make it"); got != strings.ReplaceAll(want, "¬", "`") {
		t.Errorf("the page is\n%s", got)
	}
}

// TestUpdate: the page is written when that is asked for, and is what is expected then.
func TestUpdate(t *testing.T) {
	path := t.TempDir() + "/p.md"
	t.Setenv(clidoc.Update, "1")
	clidoc.Test(t, program(), path, "cmd/p")
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(text), "# p\n\nGenerated") {
		t.Errorf("%q, %v", text, err)
	}
	t.Setenv(clidoc.Update, "")
	clidoc.Test(t, program(), path, "cmd/p")
}
