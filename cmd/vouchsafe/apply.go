package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// documentFlags adds the flags of apply and diff.
func documentFlags(c *cobra.Command, paths *[]string, prune *bool) {
	c.Flags().StringArrayVarP(paths, "file", "f", nil, "a `FILE`, or a folder with every document below it; may be repeated")
	_ = c.MarkFlagRequired("file") // the flag is there: one line above
	c.Flags().BoolVar(prune, "prune", false, "also retire the policies, and the reference values, that no document states")
}

func (p *program) applyCommand() *cobra.Command {
	var (
		paths []string
		in    wire.ApplyDocuments
		quiet bool
	)
	c := &cobra.Command{
		Use:     "apply -f DIR",
		GroupID: "admin",
		Short:   "Make what judges as documents in a folder state it",
		Long: `Make what judges as the documents in a folder state it: release policies, sets of reference values (kind ReferenceSet) and approval rules.

Every document is checked and every test is run, those in documents of kind PolicyTests too, before anything is sent. What differs is then changed at
once: all of it, in one entry of the audit log, or nothing. What is so already is left alone, so applying the same folder again changes nothing.
A set of reference values is what its document says: other values of the set are retired. What no document states stays, unless --prune is given;
approval rules stay in any case.

Where the approval rules want approvals nothing is applied. With --propose that is proposed, and the rest applied, but for what must not come
before it; once it is approved and activated, apply again. An author who is no approver proposes everything.

Somebody may change something meanwhile: then nothing is applied. With --base, the digest that "vouchsafe diff --format=json" prints, what is applied is what
that showed.

Exit codes: 0 it is as stated, or proposed; 1 a document has errors, a test failed, approvals are needed, or something changed meanwhile.`,
		Example: `  vouchsafe apply -f policies/ --reason 'release 2.1'
  vouchsafe apply -f policies/ --prune --propose --reason 'release 2.1'`,
		Args: cobra.NoArgs,
	}
	documentFlags(c, &paths, &in.Prune)
	c.Flags().BoolVar(&in.Propose, "propose", false, "propose what needs approvals, and apply the rest; needs --reason")
	c.Flags().StringVar(&in.Base, "base", "", "apply nothing unless what judges has this `DIGEST`, which diff prints as JSON")
	c.Flags().BoolVar(&quiet, "quiet", false, "do not print the differences")
	reasonFlag(c, &in.Reason, false)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		if in.Propose && strings.TrimSpace(in.Reason) == "" {
			return fmt.Errorf("--propose needs --reason: it is what approvers read")
		}
		var err error
		if in.Documents, err = p.goodDocuments(paths); err != nil {
			return err
		}
		look := in
		look.DryRun = true
		plan, err := a.Apply(c.Context(), look)
		if err != nil {
			return err
		}
		if differs(plan) && !quiet && !p.json() {
			p.printDifference(plan)
			fmt.Fprintln(p.out)
		}
		in.Base = plan.Base
		result, err := a.Apply(c.Context(), in)
		if err != nil {
			return err
		}
		return p.printOutcome(result)
	})
}

func differs(r broker.ApplyResult) bool {
	return slices.ContainsFunc(r.Changes, func(c broker.AppliedDocument) bool { return c.Action != broker.ApplyUnchanged })
}

// documentTitle names what a document states.
func documentTitle(c broker.AppliedDocument) string {
	switch c.Kind {
	case policy.DocumentKind:
		return "policy " + c.Name
	case reference.DocumentKind:
		return "reference " + c.Name
	}
	return "approval rules"
}

// printOutcome says what applying came to. A change that could not even be proposed is a failure.
func (p *program) printOutcome(r broker.ApplyResult) error {
	refused := slices.ContainsFunc(r.Changes, func(c broker.AppliedDocument) bool { return c.Refused != "" })
	if p.json() {
		if err := p.printJSON(r); err != nil {
			return err
		}
	} else {
		done := map[broker.ApplyAction]string{broker.ApplyCreate: "created", broker.ApplyChange: "changed", broker.ApplyRetire: "retired"}
		for _, c := range r.Changes {
			switch {
			case c.Made:
				fmt.Fprintf(p.out, "%s: %s\n", documentTitle(c), done[c.Action])
			case c.Proposal != "":
				fmt.Fprintf(p.out, "%s: proposed as %s, because it needs %s\n", documentTitle(c), c.Proposal, plain(c.Needs))
			case c.Refused != "":
				fmt.Fprintf(p.out, "%s: not changed, and not proposed: %s\n", documentTitle(c), plain(c.Refused))
			}
		}
		if !differs(r) {
			fmt.Fprintf(p.out, "nothing to do: what judges is as %d documents state it\n", len(r.Changes))
		}
	}
	if refused {
		return silent{exitNo}
	}
	return nil
}

func (p *program) diffCommand() *cobra.Command {
	var (
		paths []string
		in    = wire.ApplyDocuments{DryRun: true}
	)
	c := &cobra.Command{
		Use:     "diff -f DIR",
		GroupID: "admin",
		Short:   "Show what differs between what judges and what documents state",
		Long: `Show what "vouchsafe apply" would change, and what of it needs approvals. It changes nothing; everyone may who may read policies. As for apply, every document
is checked and every test run first. Of a set of reference values the values that count or are staged are compared, whatever the document's layout.

Exit codes: 0 nothing differs; 1 something does, or a document has errors; 2 it could not be compared.`,
		Example: "  vouchsafe diff -f policies/ --prune",
		Args:    cobra.NoArgs,
	}
	documentFlags(c, &paths, &in.Prune)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		var err error
		if in.Documents, err = p.goodDocuments(paths); err != nil {
			return err
		}
		plan, err := a.Apply(c.Context(), in)
		if err != nil {
			return err
		}
		if p.json() {
			err = p.printJSON(plan)
		} else {
			p.printDifference(plan)
		}
		if err == nil && differs(plan) {
			return silent{exitNo}
		}
		return err
	})
}

// printDifference prints what a plan changes, as diff -u would.
func (p *program) printDifference(plan broker.ApplyResult) {
	between := ""
	for _, c := range plan.Changes {
		if c.Action == broker.ApplyUnchanged {
			continue
		}
		fmt.Fprintf(p.out, "%s%s: %s\n", between, documentTitle(c), c.Action)
		between = "\n"
		if c.Needs != "" {
			fmt.Fprintf(p.out, "needs %s\n", plain(c.Needs))
		}
		from, to := "nothing", "nothing"
		if c.Before != "" {
			from = documentTitle(c) + ", as it judges"
		}
		if c.Filename != "" {
			to = c.Filename
		}
		for _, line := range unified(from, to, c.Before, c.After) {
			fmt.Fprintln(p.out, plain(line))
		}
	}
}
