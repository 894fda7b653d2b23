package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/internal/atomicfile"
)

func (p *program) collateralKey() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "key NAME --file FILE",
		Short: "Make a key that signs bundles of collateral",
		Long: `Make a key that signs bundles: an Ed25519 key of C2SP signed-note, written to a new file of mode 0600. Its public key is printed; give that to whoever imports
the bundles, by a way that nobody else can change. NAME says whose it is, like ops.example.org.

Whoever has the key can have brokers keep what vendors signed, and choose among what is newer than what they have. Nobody can make up collateral with it, or
bring back an old list.`,
		Example: "  vouchsafe collateral key ops.example.org --file collateral.key > collateral.pub",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			private, public, err := note.GenerateKey(rand.Reader, args[0])
			if err == nil {
				_, err = note.NewVerifier(public) // what makes a key does not look at its name
			}
			if err != nil {
				return fmt.Errorf("%q cannot be the name of a key, which has no spaces and no +", args[0])
			}
			out, err := newFile(file, p.out)
			if err != nil {
				return err
			}
			if err := out.finish([]byte(private + "\n")); err != nil {
				return err
			}
			if p.json() {
				return p.printJSON(struct {
					Public string `json:"public"`
				}{public})
			}
			_, err = fmt.Fprintln(p.out, public)
			return err
		},
	}
	c.Flags().StringVar(&file, "file", "", "new `FILE` to write the key to (required)")
	_ = c.MarkFlagRequired("file") // the flag exists
	return c
}

func (p *program) collateralExport() *cobra.Command {
	var (
		f        collateralFlags
		key, out string
		only     []string
	)
	c := &cobra.Command{
		Use:   "export --key FILE --out FILE [--config FILE | --dir DIR]",
		Short: "Write collateral to one signed file",
		Long: `Write the items of a folder to one file, a bundle, signed by a key that "vouchsafe collateral key" made. Nothing in it is secret. Where it is imported, it is
verified by that key's public half, and each item by its vendor's signature.`,
		Example: `  vouchsafe collateral export --dir staging --key collateral.key --out monday.bundle
  vouchsafe collateral export --dir staging --key collateral.key --out lists.bundle --name amd/crl/`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			signer, err := readSigner(key)
			if err != nil {
				return err
			}
			m, err := f.open(toLook)
			if err != nil {
				return err
			}
			items := m.Items()
			if len(only) > 0 {
				items = slices.DeleteFunc(items, func(i *collateral.Item) bool {
					return !slices.ContainsFunc(only, func(prefix string) bool { return strings.HasPrefix(i.Name.String(), prefix) })
				})
			}
			if len(items) == 0 {
				return no{errors.New("there is nothing to export: \"vouchsafe collateral status\" lists what is there")}
			}
			if err := atomicfile.Create(out, 0o644, func(w io.Writer) error {
				return collateral.Export(c.Context(), w, items, signer, time.Now())
			}); err != nil {
				return err
			}
			if p.json() {
				return p.printJSON(struct {
					Items int    `json:"items"`
					Key   string `json:"key"`
				}{len(items), signer.Name()})
			}
			_, err = fmt.Fprintf(p.out, "%s: %d items, signed by %s\n", out, len(items), plain(signer.Name()))
			return err
		},
	}
	f.add(c)
	c.Flags().StringVar(&key, "key", "", "`FILE` with the key that signs (required)")
	c.Flags().StringVar(&out, "out", "", "`FILE` to write (required)")
	c.Flags().StringArrayVar(&only, "name", nil, "only items whose `NAME` begins so; may be repeated")
	_ = errors.Join(c.MarkFlagRequired("key"), c.MarkFlagRequired("out")) // the flags exist
	return c
}

func (p *program) collateralImport() *cobra.Command {
	var (
		f   collateralFlags
		key string
	)
	c := &cobra.Command{
		Use:   "import FILE --public-key KEY [--config FILE | --dir DIR]",
		Short: "Take collateral from a signed file",
		Long: `Take the items of a bundle into a folder. The bundle must be signed by the key whose public half is given, each item must pass its vendor's check besides, and
none takes the place of a newer one. A running broker sees within half a minute what has arrived. Run it as the broker's user.

FILE may be - for standard input.

Exit codes: 0 imported, be it nothing new; 1 the bundle is damaged or not signed by that key, or items in it were refused; 2 it could not be read or written.`,
		Example: `  vouchsafe collateral import monday.bundle --public-key collateral.pub --config /etc/vouchsafe/server.yaml`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			verifier, err := readVerifier(key)
			if err != nil {
				return err
			}
			in := p.in
			if args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer file.Close()
				in = file
			}
			p.promptFor(args[0], "the bundle")
			m, err := f.open(toChange)
			if err != nil {
				return err
			}
			progress := p.progress("items imported")
			got, err := m.Import(c.Context(), in, verifier, func(n int) { progress(uint64(n)) })
			if errors.Is(err, collateral.ErrBundle) || errors.Is(err, collateral.ErrSignature) {
				return no{err}
			}
			if err != nil {
				return err
			}
			return p.printImported(got)
		},
	}
	f.add(c)
	c.Flags().StringVar(&key, "public-key", "", "the public `KEY` that signed, or a file with it (required)")
	_ = c.MarkFlagRequired("public-key") // the flag exists
	return c
}

func (p *program) printImported(got *collateral.Imported) error {
	if p.json() {
		if err := p.printJSON(got); err != nil {
			return err
		}
	} else {
		for _, r := range got.Refused {
			fmt.Fprintf(p.out, "refused: %s: %s\n", plain(r.Name), plain(r.Reason))
		}
		for _, name := range got.Older {
			fmt.Fprintf(p.out, "older than what is there: %s\n", name)
		}
		for _, name := range got.Expired {
			fmt.Fprintf(p.out, "expired: %s\n", name)
		}
		fmt.Fprintf(p.out, "%d items of %s, signed by %s: %d added, %d unchanged, %d older, %d refused\n",
			got.Items, when(got.Created), plain(got.Signer), got.Added, got.Unchanged, len(got.Older), len(got.Refused))
	}
	if len(got.Refused) > 0 {
		return silent{exitNo}
	}
	return nil
}

// readSigner reads a key that "collateral key" made.
func readSigner(path string) (note.Signer, error) {
	text, err := readInput(nil, path, 4096)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	signer, err := note.NewSigner(string(bytes.TrimSpace(text)))
	if err != nil {
		return nil, fmt.Errorf("%s holds no key that \"vouchsafe collateral key\" made", path) // the cause may quote the key
	}
	return signer, nil
}

// readVerifier reads a public key, which is given itself or in a file.
func readVerifier(text string) (note.Verifier, error) {
	if !strings.Contains(text, "+") || fileExists(text) {
		content, err := readInput(nil, text, 4096)
		if err != nil {
			return nil, err
		}
		text = string(bytes.TrimSpace(content))
	}
	verifier, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("--public-key is no key that \"vouchsafe collateral key\" printed: %w", err)
	}
	return verifier, nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
