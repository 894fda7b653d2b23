package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// Widths of help, in columns: what a terminal of unknown width has, and the bounds of what is readable.
const (
	defaultWidth = 80
	minWidth     = 60
	maxWidth     = 100
)

// width is how many columns help on w has.
func width(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok {
		return defaultWidth
	}
	columns, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return defaultWidth
	}
	return min(max(columns, minWidth), maxWidth)
}

// Help writes a command's help in so many columns.
func Help(w io.Writer, c *cobra.Command, columns int) {
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(w, "%s\n", Wrap(text, columns))
	fmt.Fprintf(w, "\nUsage:\n  %s\n", UseLine(c))
	if c.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", c.Example)
	}
	for _, g := range Groups(c) {
		fmt.Fprintf(w, "\n%s\n", g.Title)
		for _, sub := range g.Commands {
			fmt.Fprintf(w, "  %-*s  %s\n", c.NamePadding(), sub.Name(), sub.Short)
		}
	}
	for _, s := range Sections(c) {
		fmt.Fprintf(w, "\n%s:\n%s", s.Title, s.Flags.FlagUsagesWrapped(columns))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n\"%s COMMAND --help\" says more about a command.\n", c.CommandPath())
	}
}

// UseLine is how a command is called.
func UseLine(c *cobra.Command) string {
	switch {
	case c.HasAvailableSubCommands():
		return c.CommandPath() + " COMMAND"
	case c.HasParent():
		return c.Parent().CommandPath() + " " + c.Use
	default:
		return c.Use
	}
}

// Group is subcommands under a heading.
type Group struct {
	Title    string
	Commands []*cobra.Command
}

// Groups returns a command's subcommands by their groups, in the order of the groups and then of their names.
func Groups(c *cobra.Command) []Group {
	var groups []Group
	add := func(title, id string) {
		g := Group{Title: title}
		for _, sub := range c.Commands() {
			if sub.GroupID == id && sub.IsAvailableCommand() {
				g.Commands = append(g.Commands, sub)
			}
		}
		if len(g.Commands) > 0 {
			groups = append(groups, g)
		}
	}
	for _, g := range c.Groups() {
		add(g.Title, g.ID)
	}
	rest := "Commands:"
	if len(groups) > 0 {
		rest = "More:"
	}
	add(rest, "")
	return groups
}

// section is the annotation of a flag that belongs to a section of its own.
const section = "vouchsafe_section"

// InSection puts flags under a heading of their own, because many commands have them.
func InSection(title string, flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		// The caller has just defined the flag; naming another is a mistake that every run of the program shows.
		if err := flags.SetAnnotation(name, section, []string{title}); err != nil {
			panic(err)
		}
	}
}

// Section is flags under a heading. Shared says that other commands have the same section.
type Section struct {
	Title  string
	Shared bool
	Flags  *pflag.FlagSet
}

// Sections returns a command's flags: its own, those of InSection, and those of all commands.
func Sections(c *cobra.Command) []Section {
	own := Section{Title: "Flags", Flags: pflag.NewFlagSet("", pflag.ContinueOnError)}
	var sections []Section
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Hidden {
			return
		}
		title := f.Annotations[section]
		if len(title) == 0 {
			own.Flags.AddFlag(f)
			return
		}
		for i := range sections {
			if sections[i].Title == title[0] {
				sections[i].Flags.AddFlag(f)
				return
			}
		}
		s := Section{Title: title[0], Shared: true, Flags: pflag.NewFlagSet("", pflag.ContinueOnError)}
		s.Flags.AddFlag(f)
		sections = append(sections, s)
	})
	if own.Flags.HasFlags() {
		sections = append([]Section{own}, sections...)
	}
	everywhere := Section{Title: "Flags of every command", Shared: true, Flags: pflag.NewFlagSet("", pflag.ContinueOnError)}
	everywhere.Flags.AddFlagSet(c.Root().PersistentFlags())
	if help := c.Flags().Lookup("help"); help != nil {
		everywhere.Flags.AddFlag(help)
	}
	if everywhere.Flags.HasFlags() {
		sections = append(sections, everywhere)
	}
	return sections
}

// Wrap breaks the paragraphs of a text into lines of so many columns. Lines that begin with white space stay as they are.
func Wrap(text string, columns int) string {
	var lines []string
	for _, block := range Blocks(text) {
		if block.Verbatim || block.Text == "" {
			lines = append(lines, block.Text)
			continue
		}
		line := ""
		for word := range strings.FieldsSeq(block.Text) {
			if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > columns {
				lines = append(lines, line)
				line = ""
			}
			if line != "" {
				line += " "
			}
			line += word
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// Block is a paragraph, lines to be shown as they are, or an empty line.
type Block struct {
	Text     string
	Verbatim bool
}

// Blocks cuts a text up.
func Blocks(text string) []Block {
	var blocks []Block
	last := func() *Block {
		if len(blocks) == 0 {
			return &Block{}
		}
		return &blocks[len(blocks)-1]
	}
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		verbatim := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		switch {
		case line == "":
			blocks = append(blocks, Block{})
		case last().Text != "" && last().Verbatim == verbatim:
			last().Text += "\n" + line
		default:
			blocks = append(blocks, Block{Text: line, Verbatim: verbatim})
		}
	}
	return blocks
}
