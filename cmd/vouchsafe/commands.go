package main

import (
	"time"

	"github.com/spf13/cobra"
)

// now is when certificates are made.
func now() time.Time { return time.Now() }

func (p *program) addCommands(root *cobra.Command) {
	root.AddCommand(
		p.devCommand(), p.initCommand(), p.serverCommand(),
		p.secretCommand(), p.policyCommand(), p.referenceCommand(), p.explainCommand(), p.decisionsCommand(), p.auditCommand(),
		p.tokenCommand(), p.keyCommand(), p.enrolmentCommand(), p.backupCommand(),
		p.evidenceCommand(), p.storeCommand(), p.restoreCommand(),
	)
}
