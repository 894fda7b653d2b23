package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/internal/atomicfile"
)

func (p *program) tokenCommand() *cobra.Command {
	return group("admin", "token", "Make and revoke administrators' tokens", p.tokenCreate(), p.tokenList(), p.tokenRevoke())
}

func (p *program) tokenCreate() *cobra.Command {
	var (
		in       wire.TokenCreate
		roles    []string
		lifetime time.Duration
		file     string
	)
	c := &cobra.Command{
		Use:   "create NAME --role ROLE --file FILE",
		Short: "Make a token",
		Long: `Make a token, with roles that you hold yourself, and write it to a new file of mode 0600 (or, with --file -, to standard output). It is shown
nowhere else and cannot be had again.

Roles:
  custodian  writes secrets, and cannot read them
  author     drafts policies and reference values
  approver   has them count
  auditor    reads decisions, the audit log and metadata
  operator   tokens, keys, backups and enrolments
  enroller   enrols TPM hosts and does nothing else; for the hosts themselves

With --path, which operators and enrollers cannot have, the roles count at and below these paths of secrets: "payments/" is payments and payments/db, and
not payments2. A custodian then sees and changes only such secrets, an author or approver only policies all of whose patterns lie there, and an auditor
only what decisions and leases say of them. Reference values can be read, and not changed.

Verifying the audit log, which is one for all namespaces, takes the role auditor everywhere: --namespace '*'. So does the role operator for
keys, backups and the list of tokens.`,
		Example: "  vouchsafe token create ci --role author --lifetime 720h --file ci.token",
		Args:    cobra.ExactArgs(1),
	}
	c.Flags().StringArrayVar(&roles, "role", nil, "a `ROLE`; may be repeated (required)")
	c.Flags().DurationVar(&lifetime, "lifetime", access.DefaultLifetime, "how long it is good, like 720h")
	c.Flags().StringVar(&in.Namespace, "namespace", "", "`NAMESPACE` in which its roles count; * for everywhere (default the one that the broker serves)")
	c.Flags().StringArrayVar(&in.Scope, "path", nil, "a `PATH` of secrets at and below which its roles count; may be repeated (default everywhere)")
	c.Flags().StringVar(&in.Subject, "subject", "", "the `PERSON` or machine that will hold it, whose approvals count once however many tokens it has (default NAME)")
	c.Flags().StringVar(&file, "file", "", "new `FILE` to write it to; - for standard output (required)")
	_ = errors.Join(c.MarkFlagRequired("role"), c.MarkFlagRequired("file")) // the flags exist
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) (err error) {
		in.Name, in.Lifetime = args[0], int64(lifetime/time.Second)
		if in.Roles, err = access.ParseSet(roles...); err != nil {
			return err
		}
		// The file is made first: a token that cannot be written down would be lost.
		out, err := newFile(file, p.out)
		if err != nil {
			return err
		}
		made, err := a.CreateToken(c.Context(), in)
		if err != nil {
			return errors.Join(err, out.discard())
		}
		if err := out.finish([]byte(string(made.Token) + "\n")); err != nil {
			return errors.Join(err, a.RevokeToken(c.Context(), made.Record.ID))
		}
		if file == "-" {
			return nil
		}
		if p.json() {
			return p.printJSON(made.Record)
		}
		fmt.Fprintf(p.out, "Token %s of %q (%s) is in %s, good until %s\n", made.Record.ID, made.Record.Name, made.Record.Roles, file, when(made.Record.Expires))
		return nil
	})
}

// secretFile is a new file of mode 0600, or a stream.
type secretFile struct {
	file   *os.File
	stream io.Writer
}

func newFile(path string, stream io.Writer) (secretFile, error) {
	if path == "-" {
		return secretFile{stream: stream}, nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	return secretFile{file: file}, err
}

func (s secretFile) discard() error {
	if s.file == nil {
		return nil
	}
	return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
}

func (s secretFile) finish(content []byte) error {
	if s.file == nil {
		_, err := s.stream.Write(content)
		return err
	}
	_, err := s.file.Write(content)
	return errors.Join(err, s.file.Sync(), s.file.Close())
}

func (p *program) tokenList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List tokens, without their text", Args: cobra.NoArgs}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		all, err := pages(func(after string) (wire.List[access.Record], error) {
			return a.Tokens(c.Context(), wire.Page{After: after})
		})
		if err != nil || p.json() {
			return p.orJSON(all, err)
		}
		return p.table("ID NAME ROLES NAMESPACE PATHS EXPIRES", func(row func(...any)) {
			for _, r := range all {
				row(r.ID, r.Name, r.Roles, r.Namespace, orDash(strings.Join(r.Scope, ", ")), when(r.Expires))
			}
		})
	})
}

func (p *program) tokenRevoke() *cobra.Command {
	c := &cobra.Command{Use: "revoke ID", Short: "End a token", Args: cobra.ExactArgs(1)}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		if err := a.RevokeToken(c.Context(), args[0]); err != nil {
			return err
		}
		return p.done("revoked", args[0])
	})
}

// done says that something was done.
func (p *program) done(what, object string) error {
	if p.json() {
		return p.printJSON(map[string]string{"done": what, "object": object})
	}
	_, err := fmt.Fprintf(p.out, "%s: %s\n", object, what)
	return err
}

func (p *program) keyCommand() *cobra.Command {
	return group("admin", "key", "List and rotate the broker's keys", p.keyList(), p.keyRotate())
}

func (p *program) keyList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the keys that sign tokens, replies and checkpoints", Args: cobra.NoArgs}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		list, err := a.Keys(c.Context())
		if err != nil || p.json() {
			return p.orJSON(list.Items, err)
		}
		return p.table("PURPOSE KEY CREATED RETIRED", func(row func(...any)) {
			for _, k := range list.Items {
				row(k.Purpose, k.KeyID, when(k.Created), when(k.Retired))
			}
		})
	})
}

func (p *program) keyRotate() *cobra.Command {
	c := &cobra.Command{
		Use:   "rotate token|reply|data",
		Short: "Replace a key",
		Long: `Replace a key:
  token  signs attestation result tokens; those signed before stay good until
         they expire
  reply  signs answers to workloads; guests that pinned the old one must learn
         the new one within a day
  data   encrypts the store; everything in it is encrypted anew

The audit log's key does not rotate: the log is known by it.`,
		Args: cobra.ExactArgs(1), ValidArgs: []string{"token", "reply", "data"},
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		switch purpose := keys.Purpose(args[0]); purpose {
		case "data":
			if err := a.RotateDataKey(c.Context()); err != nil {
				return err
			}
			return p.done("rotated", "data")
		case keys.Token, keys.Reply:
			rotated, err := a.RotateKey(c.Context(), wire.KeyRotate{Purpose: purpose})
			if err != nil {
				return err
			}
			return p.done("rotated, now "+rotated.KeyID, args[0])
		default:
			return fmt.Errorf("%q is not token, reply or data", args[0])
		}
	})
}

func (p *program) enrolmentCommand() *cobra.Command {
	return group("admin", "enrolment", "List and revoke enrolled TPM hosts", p.enrolmentList(), p.enrolmentRevoke())
}

func (p *program) enrolmentList() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List enrolled TPM attestation keys", Args: cobra.NoArgs,
		Long: "List enrolled TPM attestation keys. \"vouchsafe-agent enrol\" enrols one, on the host.",
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		all, err := pages(func(after string) (wire.List[tpm.Enrolment], error) {
			return a.Enrolments(c.Context(), wire.Page{After: after})
		})
		if err != nil || p.json() {
			return p.orJSON(all, err)
		}
		return p.table("HOST ENROLLED KEY MAKER", func(row func(...any)) {
			for _, e := range all {
				row(e.Host, when(e.EnrolledAt), e.AKSPKIDigest, strings.ReplaceAll(e.EKIssuer, "\t", " "))
			}
		})
	})
}

func (p *program) enrolmentRevoke() *cobra.Command {
	c := &cobra.Command{Use: "revoke KEY", Short: "Make an enrolled key count no more", Args: cobra.ExactArgs(1)}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		if err := a.RevokeEnrolment(c.Context(), args[0]); err != nil {
			return err
		}
		return p.done("revoked", args[0])
	})
}

func (p *program) backupCommand() *cobra.Command {
	var (
		recipients []string
		output     string
	)
	c := &cobra.Command{
		Use:     "backup --recipient age1… --output FILE",
		GroupID: "admin",
		Short:   "Back up a running broker's whole store",
		Long: `Back up a running broker's whole store, while it goes on serving. The backup is encrypted to age recipients ("age-keygen" makes one), over
what the store's seal encrypts already: a restored store opens with the same seal, so keep that too, elsewhere.

The file appears when the backup is complete.`,
		Example: "  vouchsafe backup --recipient age1ql3z… --output monday.backup",
		Args:    cobra.NoArgs,
	}
	c.Flags().StringArrayVar(&recipients, "recipient", nil, "`age1…` recipient; may be repeated (required)")
	c.Flags().StringVar(&output, "output", "", "`FILE` to write (required)")
	_ = errors.Join(c.MarkFlagRequired("recipient"), c.MarkFlagRequired("output")) // the flags exist
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		err := atomicfile.Create(output, 0o600, func(w io.Writer) error { return a.Backup(c.Context(), w, recipients...) })
		if err != nil {
			return err
		}
		written, err := os.Stat(output)
		if err != nil {
			return err
		}
		if p.json() {
			return p.printJSON(map[string]any{"file": output, "bytes": written.Size()})
		}
		_, err = fmt.Fprintf(p.out, "%s: %d bytes\n", output, written.Size())
		return err
	})
}
