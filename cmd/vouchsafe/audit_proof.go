package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/internal/atomicfile"
)

func (p *program) auditKey() *cobra.Command {
	var which int
	c := &cobra.Command{
		Use: "key", Short: "Print the key that the audit log verifies with", Args: cobra.NoArgs,
		Long: `Print the key that the audit log's checkpoints and proofs verify with, as C2SP signed-note writes it. It stays the same for as long as the log
does. "vouchsafe init" prints it too: where it matters, compare the two.`,
		Example: "  vouchsafe audit key > broker.key",
	}
	addLogFlag(c, &which)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		text, err := logReader{a, which}.key(c.Context())
		if err != nil {
			return err
		}
		key := strings.TrimSpace(string(text))
		if _, err := logVerifier(key); err != nil {
			return err
		}
		if p.json() {
			return p.printJSON(map[string]string{"key": key})
		}
		_, err = fmt.Fprintln(p.out, key)
		return err
	})
}

func (p *program) auditProve() *cobra.Command {
	var (
		output string
		which  int
	)
	c := &cobra.Command{
		Use:   "prove DECISION|INDEX",
		Short: "Write the proof that a decision, or an entry, is in the log",
		Long: `Write the proof that a decision, or the entry at an index, is in the log: the entry on the first line, and its C2SP tlog-proof behind it.
"vouchsafe audit check" verifies it without a broker, with the log's key.`,
		Example: "  vouchsafe audit prove 019ab2c4-… --output proof.txt",
		Args:    cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&output, "output", "-", "`FILE` to write; - for standard output")
	addLogFlag(c, &which)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		index, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			e, err := a.Explain(c.Context(), args[0])
			if err != nil {
				return err
			}
			index, which = e.Index, e.Log
		}
		log, err := readLog(c.Context(), a, which)
		if err != nil {
			return err
		}
		if index >= log.size {
			return no{fmt.Errorf("the log has %d entries, counted from 0; there is no entry %d", log.size, index)}
		}
		var entry []byte
		for e, err := range log.Entries(c.Context(), index, index+1) {
			if err != nil {
				return verdict(err)
			}
			entry = e.Data
		}
		receipt, err := logReader{a, which}.receipt(c.Context(), index)
		if err != nil {
			return err
		}
		if _, _, err := audit.VerifyReceipt(log.verifiers, log.origin, entry, receipt); err != nil {
			return verdict(err)
		}
		proof := append(append(entry, '\n'), receipt...)
		if output == "-" {
			_, err = p.out.Write(proof)
			return err
		}
		return atomicfile.Write(output, proof, 0o644)
	})
}

func (p *program) auditCheckReceipt() *cobra.Command {
	var keyFile string
	c := &cobra.Command{
		Use:   "check --key FILE PROOF",
		Short: "Verify a proof that \"audit prove\" wrote, without a broker",
		Long: `Verify a proof that "vouchsafe audit prove" wrote, without a broker, and print the entry that it proves.

FILE holds the log's key, as "vouchsafe audit key" prints it. A key that came with the proof proves nothing: have it from the broker's operator.

Exit codes: 0 it holds; 1 it does not.`,
		Example: "  vouchsafe audit check --key broker.key proof.txt",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := readInput(nil, keyFile, 4096)
			if err != nil {
				return err
			}
			verifier, err := logVerifier(string(key))
			if err != nil {
				return fmt.Errorf("%s: %w", keyFile, err)
			}
			proof, err := readInput(p.in, args[0], audit.MaxEntry+audit.MaxReceipt+1)
			if err != nil {
				return err
			}
			entry, receipt, _ := strings.Cut(string(proof), "\n")
			proved, head, err := audit.VerifyReceipt(note.VerifierList(verifier), verifier.Name(), []byte(entry), []byte(receipt))
			if err != nil {
				return verdict(err)
			}
			if p.json() {
				_, err := fmt.Fprintln(p.out, entry)
				return err
			}
			_, err = fmt.Fprintf(p.out, "%s\nis entry %d of %s, which had %d entries when this was proved\n", entry, proved.Index, head.Origin, head.Size)
			return err
		},
	}
	c.Flags().StringVar(&keyFile, "key", "", "`FILE` with the log's key (required)")
	_ = c.MarkFlagRequired("key") // the flag exists
	return c
}
