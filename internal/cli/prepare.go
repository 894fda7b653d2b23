package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Prepare gives a finished tree of commands the behaviour that the package describes.
func Prepare(root *cobra.Command) {
	root.SilenceUsage, root.SilenceErrors = true, true
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.SetHelpFunc(func(c *cobra.Command, _ []string) {
		c.InitDefaultHelpFlag()
		Help(c.OutOrStdout(), c, width(c.OutOrStdout()))
	})
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return mistake(c, err) })
	if root.RunE == nil {
		root.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	prepare(root)
}

func prepare(c *cobra.Command) {
	if c.HasSubCommands() && c.Name() != "help" {
		c.Args = subcommand
		if c.RunE == nil {
			c.RunE = func(c *cobra.Command, _ []string) error {
				var names []string
				for _, sub := range c.Commands() {
					if sub.IsAvailableCommand() {
						names = append(names, sub.Name())
					}
				}
				return fmt.Errorf("%s what? One of %s; see '%s --help'", c.CommandPath(), strings.Join(names, ", "), c.CommandPath())
			}
		}
	} else if c.Name() != "help" {
		check := c.Args
		c.Args = func(c *cobra.Command, args []string) error { return arguments(c, args, check) }
	}
	for _, sub := range c.Commands() {
		prepare(sub)
	}
}

// subcommand refuses a name that no subcommand has.
func subcommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = 2
	near := "."
	if names := c.SuggestionsFor(args[0]); len(names) > 0 {
		near = "; did you mean " + strings.Join(names, " or ") + "?"
	}
	return fmt.Errorf("%s has no command %q%s See '%s --help'", c.CommandPath(), args[0], near, c.CommandPath())
}

// arguments checks how many arguments there are, and that required flags are.
func arguments(c *cobra.Command, args []string, check cobra.PositionalArgs) error {
	if check != nil {
		if err := check(c, args); err != nil {
			switch len(args) {
			case 0:
				return mistake(c, errors.New("an argument is missing"))
			default:
				return mistake(c, fmt.Errorf("not what it takes: %s", strings.Join(args, " ")))
			}
		}
	}
	var missing []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if required := f.Annotations[cobra.BashCompOneRequiredFlag]; len(required) > 0 && required[0] == "true" && !f.Changed {
			missing = append(missing, "--"+f.Name)
		}
	})
	switch len(missing) {
	case 0:
		return nil
	case 1:
		return mistake(c, fmt.Errorf("%s is missing", missing[0]))
	default:
		return mistake(c, fmt.Errorf("%s are missing", strings.Join(missing, " and ")))
	}
}

// mistake adds to an error how the command is called.
func mistake(c *cobra.Command, err error) error {
	return fmt.Errorf("%w\nusage: %s\nSee '%s --help'", err, UseLine(c), c.CommandPath())
}
