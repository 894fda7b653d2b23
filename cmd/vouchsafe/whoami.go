package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker/admin"
)

func (p *program) whoamiCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "whoami", GroupID: "admin", Short: "Say who the broker takes you for", Args: cobra.NoArgs,
		Long: `Say who the broker takes you for, how it knows, and what you may do where. The subject is what counts as a person: two credentials with one subject are one
approver.`,
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		who, err := a.WhoAmI(c.Context())
		if err != nil || p.json() {
			return p.orJSON(who, err)
		}
		return p.table("SUBJECT VIA CREDENTIAL ROLES NAMESPACE PATHS", func(row func(...any)) {
			row(who.Subject, who.Via, who.Token, orDash(who.Roles.String()), orDash(who.Namespace), orDash(strings.Join(who.Scope, ", ")))
		})
	})
}
