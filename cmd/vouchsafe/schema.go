package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/policy/docschema"
)

func (p *program) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "schema NAME",
		GroupID: "offline",
		Short:   "Print the JSON Schema of a kind of document, for editors",
		Long: `Print the JSON Schema of a kind of document, by which editors complete and check while you type: ` + strings.Join(docschema.Names(), ", ") + `.

Editors with a YAML language server take it from a comment in a document's first line:

  # yaml-language-server: $schema=policy.schema.json

A schema knows less than "vouchsafe policy check": not the types of expressions, for one.`,
		Example:   "  vouchsafe schema policy > policy.schema.json",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: docschema.Names(),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := docschema.Schema(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.out, "%s", text)
			return err
		},
	}
}
