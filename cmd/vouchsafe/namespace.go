package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/audit"
)

func (p *program) namespaceCommand() *cobra.Command {
	return group("admin", "namespace", "Declare namespaces, and bound what they take", p.namespaceCreate(), p.namespaceList(), p.namespaceQuota())
}

func quotaFlags(c *cobra.Command, q *broker.Quota) {
	c.Flags().IntVar(&q.Secrets, "secrets", 0, "how `MANY` secrets there may be (default no bound)")
	c.Flags().Int64Var(&q.Bytes, "bytes", 0, "how many `BYTES` of values may be stored (default no bound)")
	c.Flags().IntVar(&q.Policies, "policies", 0, "how `MANY` policies there may be (default no bound)")
	c.Flags().IntVar(&q.Sets, "reference-sets", 0, "how `MANY` sets of reference values there may be (default no bound)")
	c.Flags().IntVar(&q.Decisions, "decisions", 0, "how `MANY` attestations and releases are judged a minute, by each broker (default no bound)")
}

func (p *program) namespaceCreate() *cobra.Command {
	var in wire.NamespaceQuota
	c := &cobra.Command{
		Use: "create NAME", Short: "Declare a namespace", Args: cobra.ExactArgs(1),
		Long: `Declare a namespace: a tenant with its own secrets, policies, reference values, enrolments, roles and view of the log. It is served below /ns/NAME/, to guests of both
protocols and to administrators: with VOUCHSAFE_ADDR=https://HOST:PORT/ns/NAME every command is about it. Its first token is made with
"vouchsafe token create --namespace NAME".`,
		Example: "  vouchsafe namespace create payments --secrets 500 --decisions 600",
	}
	quotaFlags(c, &in.Quota)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		in.Name = args[0]
		made, err := a.CreateNamespace(c.Context(), in)
		if err != nil || p.json() {
			return p.orJSON(made, err)
		}
		return p.done("created", made.Name)
	})
}

func (p *program) namespaceQuota() *cobra.Command {
	var in wire.NamespaceQuota
	c := &cobra.Command{
		Use: "quota NAME", Short: "Replace a namespace's quota", Args: cobra.ExactArgs(1),
		Long: "Replace a namespace's quota. A bound that is not given is none. What is there already stays, also over it; the namespace \"default\" may have one, too.",
	}
	quotaFlags(c, &in.Quota)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		in.Name = args[0]
		set, err := a.SetQuota(c.Context(), in)
		if err != nil || p.json() {
			return p.orJSON(set, err)
		}
		return p.done("quota set", set.Name)
	})
}

func (p *program) namespaceList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List namespaces and their quotas", Args: cobra.NoArgs}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		all, err := pages(func(after string) (wire.List[broker.Namespace], error) {
			return a.Namespaces(c.Context(), wire.Page{After: after})
		})
		if err != nil || p.json() {
			return p.orJSON(all, err)
		}
		bound := func(n int64) string {
			if n == 0 {
				return "-"
			}
			return strconv.FormatInt(n, 10)
		}
		return p.table("NAMESPACE SECRETS BYTES POLICIES SETS DECISIONS/MIN CREATED", func(row func(...any)) {
			for _, n := range all {
				q := n.Quota
				row(n.Name, bound(int64(q.Secrets)), bound(q.Bytes), bound(int64(q.Policies)), bound(int64(q.Sets)), bound(int64(q.Decisions)), when(n.Created))
			}
		})
	})
}

func (p *program) auditEntries() *cobra.Command {
	var (
		from  uint64
		which int
	)
	c := &cobra.Command{
		Use: "entries", Short: "Print one namespace's entries of the audit log, each proved", Args: cobra.NoArgs,
		Long: `Print the entries of one namespace, one line each; with --format=json as they are in the log. Each comes with the proof that it is in the log, which is verified
with the log's key. An auditor of the namespace may; the whole log, and that nothing was left out of it, is for auditors of all namespaces.`,
	}
	c.Flags().Uint64Var(&from, "from", 0, "`INDEX` of the entry to begin with")
	addLogFlag(c, &which)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		key, err := logReader{a, which}.key(c.Context())
		if err != nil {
			return err
		}
		verifier, err := logVerifier(string(key))
		if err != nil {
			return err
		}
		for {
			in := wire.EntriesQuery{From: from}
			var page wire.EntriesPage
			if which == ownLog {
				page, err = a.Entries(c.Context(), in)
			} else {
				page, err = a.EntriesOf(c.Context(), wire.LogEntriesQuery{LogNumber: wire.LogNumber{Log: which}, EntriesQuery: in})
			}
			if err != nil {
				return err
			}
			for _, e := range page.Items {
				if err := checkEntry(verifier, e); err != nil {
					return no{fmt.Errorf("entry %d: %w", e.Index, err)}
				}
				if err := p.printEntry(e.Index, e.Event); err != nil {
					return err
				}
			}
			if !page.More || page.Next <= from {
				return nil
			}
			from = page.Next
		}
	})
}

// checkEntry holds an entry to its proof.
func checkEntry(verifier note.Verifier, e broker.LogEntry) error {
	proved, _, err := audit.VerifyReceipt(note.VerifierList(verifier), verifier.Name(), e.Event, []byte(e.Proof))
	if err == nil && proved.Index != e.Index {
		err = fmt.Errorf("%w: it is the proof of entry %d", audit.ErrProof, proved.Index)
	}
	return err
}
