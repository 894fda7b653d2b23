// Package clidoc makes the reference page of a command-line program from its commands, so that the page says what the
// program's help says. A test of each program holds its page against it:
//
//	clidoc.Test(t, root, "../../docs/reference/cli.md", "cmd/vouchsafe")
//
// and writes the page instead when it is run with VOUCHSAFE_UPDATE=1.
package clidoc

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vouchsafe/vouchsafe/internal/cli"
)

// Update is the environment variable that has [Test] write the page.
const Update = "VOUCHSAFE_UPDATE"

// Test fails unless the file at path is the page of root. folder is the program's, from the project's root, for the
// page to say how it is made.
func Test(t *testing.T, root *cobra.Command, path, folder string) {
	t.Helper()
	command := fmt.Sprintf("%s=1 go test -run %s ./%s", Update, t.Name(), folder)
	want := Page(root, command)
	if os.Getenv(Update) == "1" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the program's help says. Write it anew with:\n\t%s", path, command)
	}
}

// Page returns the page of a program in Markdown: a section for each command that help lists, in its order, and then one
// for the flags that several commands share. command is how the page is made.
func Page(root *cobra.Command, command string) string {
	var p page
	fmt.Fprintf(&p, "# %s\n\nGenerated from the program's help by `%s`; do not edit.\n", root.Name(), command)
	p.section(root)
	for _, shared := range p.shared {
		fmt.Fprintf(&p, "\n## %s\n\n%s", shared.Title, table(shared.Flags))
	}
	return p.String()
}

// page is what was written, and the sections of flags that are still to be.
type page struct {
	strings.Builder
	shared []cli.Section
}

func (p *page) section(c *cobra.Command) {
	if c.HasParent() {
		fmt.Fprintf(p, "\n## %s\n\n```\n%s\n```\n", c.CommandPath(), cli.UseLine(c))
	}
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(p, "\n%s\n", prose(text))
	if c.Example != "" {
		fmt.Fprintf(p, "\nFor example:\n\n```sh\n%s\n```\n", unindent(c.Example))
	}
	p.flags(c)
	var commands []*cobra.Command
	for _, group := range cli.Groups(c) {
		for _, child := range group.Commands {
			if child.Name() != "completion" && child.Name() != "help" {
				commands = append(commands, child)
			}
		}
	}
	if len(commands) > 0 {
		p.WriteString("\n| command | |\n|---|---|\n")
		for _, child := range commands {
			fmt.Fprintf(p, "| [`%s`](#%s) | %s |\n", child.CommandPath(), anchor(child.CommandPath()), cell(child.Short))
		}
	}
	for _, child := range commands {
		p.section(child)
	}
}

// flags writes the table of a command's own flags, and links to those that it shares.
func (p *page) flags(c *cobra.Command) {
	var links []string
	for _, s := range cli.Sections(c) {
		if !s.Shared {
			fmt.Fprintf(p, "\n%s", table(s.Flags))
			continue
		}
		if table(s.Flags) == "" || c.HasSubCommands() {
			continue
		}
		links = append(links, fmt.Sprintf("[%s](#%s)", strings.ToLower(s.Title[:1])+s.Title[1:], anchor(s.Title)))
		if !slices.ContainsFunc(p.shared, func(other cli.Section) bool { return other.Title == s.Title }) {
			p.shared = append(p.shared, s)
		}
	}
	if len(links) > 0 {
		fmt.Fprintf(p, "\nAnd %s.\n", strings.Join(links, ", "))
	}
}

// anchor is the link to a heading.
func anchor(heading string) string { return strings.ReplaceAll(strings.ToLower(heading), " ", "-") }

// table is that of some flags, "" when there are none but what every program has.
func table(flags *pflag.FlagSet) string {
	var rows strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" && f.Name != "version" {
			rows.WriteString(row(f))
		}
	})
	if rows.Len() == 0 {
		return ""
	}
	return "| flag | |\n|---|---|\n" + rows.String()
}

func row(f *pflag.Flag) string {
	kind, usage := pflag.UnquoteUsage(f)
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if kind != "" {
		name += " " + kind
	}
	if f.DefValue != "" && f.DefValue != "[]" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
		usage += fmt.Sprintf(" (default `%s`)", f.DefValue)
	}
	return fmt.Sprintf("| `%s` | %s |\n", name, cell(usage))
}

// prose makes Markdown of a help text: paragraphs as they are, and paragraphs that are a table by their indentation as
// code.
func prose(text string) string {
	paragraphs := strings.Split(strings.TrimSpace(text), "\n\n")
	for i, p := range paragraphs {
		if strings.Contains("\n"+p, "\n  ") {
			paragraphs[i] = code(p)
		} else {
			paragraphs[i] = escape(p)
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

// code puts the indented lines of a paragraph into a block, after those that lead to them.
func code(paragraph string) string {
	lead, block, inside := "", "", false
	for line := range strings.Lines(paragraph) {
		inside = inside || strings.HasPrefix(line, "  ")
		if inside {
			block += strings.TrimPrefix(line, "  ")
		} else {
			lead += line
		}
	}
	if lead != "" {
		lead = escape(strings.TrimSuffix(lead, "\n")) + "\n\n"
	}
	return lead + "```\n" + strings.TrimSuffix(block, "\n") + "\n```"
}

func unindent(example string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.Trim(example, "\n")) {
		b.WriteString(strings.TrimPrefix(line, "  "))
	}
	return b.String()
}

// escape keeps what a help text says with < and * from being markup.
func escape(text string) string {
	return strings.NewReplacer("<", "\\<", "*", "\\*", "_", "\\_").Replace(text)
}

func cell(text string) string { return strings.ReplaceAll(escape(text), "|", "\\|") }
