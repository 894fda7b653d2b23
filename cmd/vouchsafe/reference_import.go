package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy/provenance"
	"github.com/vouchsafe/vouchsafe/policy/provenance/registry"
)

// artefactPrefix begins what names an artefact in a registry instead of a file.
const artefactPrefix = "oci://"

// maxAttachments is how many attachments of an artefact are sent to the broker before it has believed one, the newest first.
const maxAttachments = 32

// importFlags are the flags of "reference import".
type importFlags struct {
	in               wire.ReferencesImport
	as, signature    string
	notBefore, until string
	registryCA       string
}

func (p *program) referenceImport() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import FILE|oci://HOST/NAME[:TAG|@DIGEST] --set SET",
		Short: "Add the values of a signed statement, or of a list, to a set",
		Long: `Add the values of a document to a set of reference values. FILE, "-" for the standard input, holds one of

  dsse    an in-toto statement with SLSA provenance, in a DSSE envelope
  cosign  the payload that cosign signs of an image; --signature names the
          file with the signature
  kbs     a registration message for a Confidential Containers key broker
  json    a list of {"value", "note", "not_before", "expires"}

Of an artefact in a registry the attestations are tried, and then the signatures, that cosign keeps beside it, the newest first. Credentials
are those of docker login.

The broker verifies what is signed by the keys in its configuration, not this command. The values are staged, and count when an approver has activated them; with
--activate at once. A value that was retired is not brought back.`,
		Example: "  vouchsafe reference import provenance.json --set payments-image\n  vouchsafe reference import oci://ghcr.io/acme/payments:v2 --set payments-image",
		Args:    cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&f.in.Name, "set", "", "`NAME` of the set; needed")
	c.Flags().StringVar(&f.as, "as", "", "`FORMAT`: dsse, cosign, kbs or json; default: what it looks like")
	c.Flags().StringVar(&f.signature, "signature", "", "`FILE` with the signature of a cosign payload, base64")
	c.Flags().StringVar(&f.in.Artefact, "artefact", "", "`DIGEST` of the artefact that a signed document must be about")
	c.Flags().StringArrayVar(&f.in.Values, "value", nil, "a `VALUE` that a signed document must have, to import only that; may be repeated")
	c.Flags().StringVar(&f.in.Source, "name", "", "`NAME` in a registration message whose values are meant")
	c.Flags().StringVar(&f.in.Note, "note", "", "`TEXT` for people")
	c.Flags().StringVar(&f.notBefore, "not-before", "", "they count from this `TIME` on, RFC 3339")
	c.Flags().StringVar(&f.until, "expires", "", "they count until this `TIME`, RFC 3339")
	c.Flags().BoolVar(&f.in.Activate, "activate", false, "have them count at once, which needs the role approver")
	c.Flags().StringVar(&f.registryCA, "registry-ca", "", "PEM `FILE` with the authority of the registry's certificate")
	_ = c.MarkFlagRequired("set")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		imported, err := p.importReferences(c.Context(), a, f, args[0])
		if err != nil || p.json() {
			return p.orJSON(imported, err)
		}
		for _, v := range imported.Values {
			fmt.Fprintf(p.out, "%s: %s %s\n", imported.Name, v.State, v.Value)
		}
		if o := imported.Origin; o != nil {
			fmt.Fprintln(p.out, plain(strings.Join(originLines(o), "\n")))
		} else {
			return p.warn("nobody signed this document: who imported it vouches for it")
		}
		return nil
	})
}

// importReferences sends a document, or what is attached to an artefact until the broker believes something of it.
func (p *program) importReferences(ctx context.Context, a *admin.Client, f importFlags, from string) (broker.Imported, error) {
	var none broker.Imported
	var err error
	if f.in.NotBefore, err = parseTime("--not-before", f.notBefore); err != nil {
		return none, err
	}
	if f.in.Expires, err = parseTime("--expires", f.until); err != nil {
		return none, err
	}
	if artefact, ok := strings.CutPrefix(from, artefactPrefix); ok {
		return p.importArtefact(ctx, a, f, artefact)
	}
	if f.in.Document, err = readInput(p.in, from, provenance.MaxDocument); err != nil {
		return none, err
	}
	if f.signature != "" {
		text, err := readInput(nil, f.signature, maxSettings)
		if err != nil {
			return none, err
		}
		f.in.Signature = strings.TrimSpace(string(text))
	}
	if f.in.Format = broker.ImportFormat(f.as); f.as == "" {
		if f.in.Format = looksLike(f.in.Document); f.in.Format == "" {
			return none, fmt.Errorf("%s looks like none of the documents that can be imported: say which with --as", from)
		}
	}
	return a.ImportReferences(ctx, f.in)
}

// looksLike guesses the format of a document, "" if it is like none.
func looksLike(document []byte) broker.ImportFormat {
	var list []json.RawMessage
	if json.Unmarshal(document, &list) == nil {
		return broker.ImportPlain
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(document, &members) != nil {
		return ""
	}
	for _, guess := range []struct {
		member string
		format broker.ImportFormat
	}{{"payloadType", broker.ImportStatement}, {"critical", broker.ImportImage}, {"version", broker.ImportKBS}} {
		if _, ok := members[guess.member]; ok {
			return guess.format
		}
	}
	return ""
}

func (p *program) importArtefact(ctx context.Context, a *admin.Client, f importFlags, artefact string) (broker.Imported, error) {
	var none broker.Imported
	config := registry.Config{Keychain: authn.DefaultKeychain}
	if f.registryCA != "" {
		text, err := readInput(nil, f.registryCA, maxSettings)
		if err != nil {
			return none, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return none, fmt.Errorf("%s holds no certificate in PEM", f.registryCA)
		}
		config.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	}
	found, err := registry.Find(ctx, config, artefact)
	if err != nil {
		return none, err
	}
	if f.in.Artefact != "" && f.in.Artefact != found.Digest {
		return none, fmt.Errorf("%s is %s, not %s", artefact, found.Digest, f.in.Artefact)
	}
	f.in.Artefact = found.Digest
	var tries []wire.ReferencesImport
	try := func(format broker.ImportFormat, document []byte, signature string) {
		if f.as == "" || f.as == string(format) {
			in := f.in
			in.Format, in.Document, in.Signature, in.Values = format, document, signature, slices.Clone(f.in.Values)
			tries = append(tries, in)
		}
	}
	for _, s := range found.Statements {
		try(broker.ImportStatement, s, "")
	}
	for _, s := range found.Signatures {
		try(broker.ImportImage, s.Payload, s.Base64)
	}
	if len(tries) == 0 {
		return none, fmt.Errorf("nothing that could be imported is attached to %s (%s)", artefact, found.Digest)
	}
	var refusals []string
	for i, in := range tries {
		if i == maxAttachments {
			refusals = append(refusals, fmt.Sprintf("and %d more that were not tried", len(tries)-maxAttachments))
			break
		}
		imported, err := a.ImportReferences(ctx, in)
		var refused *admin.Error
		if !errors.As(err, &refused) || refused.Code != broker.CodeInvalid {
			return imported, err
		}
		refusals = append(refusals, fmt.Sprintf("%s: %s", in.Format, refused.Message))
	}
	return none, fmt.Errorf("the broker believed nothing that is attached to %s (%s):\n  %s", artefact, found.Digest, strings.Join(refusals, "\n  "))
}
