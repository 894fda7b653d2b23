package cli_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/internal/cli"
)

// tree is a program with a group, a command of its own, and flags of every sort.
func tree() *cobra.Command {
	root := &cobra.Command{
		Use: "tool", Short: "Do things", Version: "1",
		Long: "Tool does things, and says at some length which things it does, so that a line of it does not fit.\n\n  kept   as it is\n\nThe end.",
	}
	root.PersistentFlags().String("format", "table", "output as `FORMAT`")
	root.AddGroup(&cobra.Group{ID: "main", Title: "What it is for:"})
	things := &cobra.Command{Use: "thing", Short: "Keep things", GroupID: "main"}
	put := &cobra.Command{
		Use: "put NAME --from FILE", Short: "Put a thing", Args: cobra.ExactArgs(1), Example: "  tool thing put x --from y",
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	put.Flags().String("from", "", "`FILE` to read")
	put.Flags().String("addr", "", "where it goes")
	_ = put.MarkFlagRequired("from")
	cli.InSection("Flags that reach it", put.Flags(), "addr")
	list := &cobra.Command{Use: "list", Short: "List things", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return nil }}
	things.AddCommand(put, list)
	root.AddCommand(things)
	cli.Prepare(root)
	return root
}

func run(args ...string) (string, error) {
	var out bytes.Buffer
	root := tree()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(io.Discard)
	err := root.Execute()
	return out.String(), err
}

// TestMistakes: each is answered with what was expected, and never by cobra itself.
func TestMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"thng":                      `tool has no command "thng"; did you mean thing? See 'tool --help'`,
		"nonsense":                  `tool has no command "nonsense". See 'tool --help'`,
		"thing":                     `tool thing what? One of list, put; see 'tool thing --help'`,
		"thing lst":                 `tool thing has no command "lst"; did you mean list or put? See 'tool thing --help'`,
		"thing put":                 "an argument is missing\nusage: tool thing put NAME --from FILE\nSee 'tool thing put --help'",
		"thing put a b --from x":    "not what it takes: a b\nusage: tool thing put NAME --from FILE\nSee 'tool thing put --help'",
		"thing put a":               "--from is missing\nusage: tool thing put NAME --from FILE\nSee 'tool thing put --help'",
		"thing list x":              "not what it takes: x\nusage: tool thing list\nSee 'tool thing list --help'",
		"thing put a --form x":      "unknown flag: --form\nusage: tool thing put NAME --from FILE\nSee 'tool thing put --help'",
		"thing put a --from x":      "",
		"thing put --help":          "",
		"":                          "",
		"help thing":                "",
		"--version":                 "",
		"thing list --format=table": "",
	} {
		out, err := run(strings.Fields(args)...)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q:\n got %q\nwant %q", args, got, want)
		}
		if want != "" && out != "" {
			t.Errorf("%q also printed %q", args, out)
		}
	}
}

func TestHelp(t *testing.T) {
	out, err := run("thing", "put", "--help")
	const want = `Put a thing.

Usage:
  tool thing put NAME --from FILE

Examples:
  tool thing put x --from y

Flags:
      --from FILE   FILE to read

Flags that reach it:
      --addr string   where it goes

Flags of every command:
      --format FORMAT   output as FORMAT (default "table")
  -h, --help            help for put
`
	if err != nil || out != want {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = run()
	for _, part := range []string{"a line\nof it does not fit.\n\n  kept   as it is\n\nThe end.\n", "What it is for:\n  thing", "More:\n  completion"} {
		if err != nil || !strings.Contains(out, part) {
			t.Errorf("%v, %q is not in\n%s", err, part, out)
		}
	}
}

// TestWrap: no word is lost, added or moved, lines fit unless a word does not, and what is indented stays.
func TestWrap(t *testing.T) {
	const text = "One two three\nfour  five.\n\n  indented   line\n\tand one with a tab that is very much longer than the columns that there are\nsix ünïcödé averyveryveryverylongword end\n\n"
	for columns := 1; columns < 60; columns++ {
		got := cli.Wrap(text, columns)
		if a, b := strings.Fields(text), strings.Fields(got); strings.Join(a, " ") != strings.Join(b, " ") {
			t.Fatalf("%d columns: %q", columns, b)
		}
		for line := range strings.SplitSeq(got, "\n") {
			if utf8.RuneCountInString(line) > columns && strings.Contains(line, " ") && line[0] != ' ' && line[0] != '\t' {
				t.Errorf("%d columns: %q", columns, line)
			}
		}
		if !strings.Contains(got, "\n\n  indented   line\n\tand one") {
			t.Errorf("%d columns: what was indented changed: %q", columns, got)
		}
	}
	if got := cli.Wrap("", 80); got != "" {
		t.Errorf("nothing became %q", got)
	}
}
