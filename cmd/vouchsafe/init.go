package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/localca"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// initFlags say what to make.
type initFlags struct {
	data, url, tokenFile, tlsHost string
	seal                          sealSettings
}

// initialised is what init made. Paths are as given.
type initialised struct {
	Data      string `json:"data"`
	SealKey   string `json:"seal_key,omitempty"`
	TokenFile string `json:"token_file"`
	TokenID   string `json:"token_id"`
	LogKey    string `json:"log_key"` // verifies the audit log's checkpoints
	CACert    string `json:"ca_cert,omitempty"`
	TLSCert   string `json:"tls_cert,omitempty"`
	TLSKey    string `json:"tls_key,omitempty"`
}

func (p *program) initCommand() *cobra.Command {
	var f initFlags
	c := &cobra.Command{
		Use:     "init --data DIR --url URL",
		GroupID: "run",
		Short:   "Make the data directory of a new broker, and its first token",
		Long: `Make the data directory of a new broker: a sealed store, signing keys, an empty audit log, and the first administrator's token, which
has every role but enroller. It is done once; a directory that has a store is refused.

The store is sealed by a key file, made here unless it exists. By default it lies in the data directory, which protects backups and
lost disks only if it is not on them too: better give --seal-key a path on another disk, or use --seal-passphrase-file.

--tls-host makes a certificate for the server, from an authority of its own whose certificate clients are then given.`,
		Example: `  vouchsafe init --data /var/lib/vouchsafe --url https://broker.example.org:8443 \
      --seal-key /etc/vouchsafe/seal.key --token-file /root/vouchsafe.token --tls-host broker.example.org`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			made, err := f.make(c.Context())
			if err != nil {
				return err
			}
			return p.printInitialised(made, &f)
		},
	}
	c.Flags().StringVar(&f.data, "data", "", "data directory `DIR` to make (required)")
	c.Flags().StringVar(&f.url, "url", "", "`URL` by which workloads will reach the broker; it names the audit log (required)")
	c.Flags().StringVar(&f.tokenFile, "token-file", "", "new `FILE` for the first token (default admin.token in the data directory)")
	c.Flags().StringVar(&f.tlsHost, "tls-host", "", "DNS `NAME` or IP address to make a certificate for")
	addSealFlags(c, &f.seal)
	_ = errors.Join(c.MarkFlagRequired("data"), c.MarkFlagRequired("url")) // the flags exist
	return c
}

func (f *initFlags) make(ctx context.Context) (made *initialised, err error) {
	where, err := url.Parse(f.url)
	if err != nil || where.Hostname() == "" || where.User != nil || where.Scheme != "https" && where.Scheme != "http" {
		return nil, fmt.Errorf("--url is %q, not https://HOST[:PORT]", f.url)
	}
	if where.Scheme == "http" && f.tlsHost != "" {
		return nil, errors.New("--tls-host makes a certificate, and --url is one of plain HTTP: say https://")
	}
	if f.tokenFile == "" {
		f.tokenFile = filepath.Join(f.data, "admin.token")
	}
	made = &initialised{Data: f.data, TokenFile: f.tokenFile}
	if _, err := os.Stat(filepath.Join(f.data, data.StoreFile)); err == nil {
		return nil, no{fmt.Errorf("%s holds a broker's store already; nothing was changed", f.data)}
	}
	if err := os.MkdirAll(f.data, 0o700); err != nil {
		return nil, err
	}
	sealed, err := f.newSeal(made)
	if err != nil {
		return nil, err
	}
	token, err := newFile(f.tokenFile, nil)
	if err != nil {
		return nil, fmt.Errorf("the first token's file: %w", err)
	}
	d, err := data.Create(ctx, data.Config{Dir: f.data, Purpose: store.Production, Seal: sealed, Origin: where.Host + "/vouchsafe"})
	if err != nil {
		return nil, errors.Join(err, token.discard())
	}
	defer func() {
		if err = errors.Join(err, d.Close()); err != nil {
			// A store whose first token nobody has is of no use.
			err = errors.Join(err, os.Remove(filepath.Join(f.data, data.StoreFile)), os.Remove(f.tokenFile))
		}
	}()
	text, record, err := firstToken(ctx, d, f.url)
	if err != nil {
		return nil, errors.Join(err, token.discard())
	}
	if err := token.finish([]byte(text.Reveal() + "\n")); err != nil {
		return nil, err
	}
	made.TokenID, made.LogKey = record.ID, d.Keys.LogVerifierText()
	return made, f.certificate(made)
}

// newSeal opens the seal that was named, or makes a key file.
func (f *initFlags) newSeal(made *initialised) (seal.Seal, error) {
	if f.seal.PassphraseFile != "" {
		return f.seal.open(f.data)
	}
	made.SealKey = f.seal.KeyFile
	if made.SealKey == "" {
		made.SealKey = filepath.Join(f.data, defaultKeyFile)
	}
	key, err := seal.CreateKeyFile(made.SealKey, nil)
	if errors.Is(err, os.ErrExist) {
		return seal.NewKeyFile(made.SealKey)
	}
	return key, err
}

// firstToken makes a token in a broker that serves nobody yet. A broker needs a verifier; that of SNP needs nothing else.
func firstToken(ctx context.Context, d *data.Data, issuer string) (access.Token, access.Record, error) {
	amd, err := snp.New(snp.Config{})
	if err != nil {
		return access.Token{}, access.Record{}, err
	}
	b, err := broker.New(ctx, broker.Config{
		Purpose: store.Production, Store: d.Store, Log: d.Log, Keys: d.Keys, Tokens: d.Tokens, Issuer: issuer,
		Verifiers: []attest.Verifier{amd}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return access.Token{}, access.Record{}, err
	}
	return b.FirstToken(ctx, "first administrator", 0)
}

func (f *initFlags) certificate(made *initialised) error {
	if f.tlsHost == "" {
		return nil
	}
	hosts := []string{f.tlsHost}
	if net.ParseIP(f.tlsHost) == nil && f.tlsHost != "localhost" {
		hosts = append(hosts, "localhost")
	}
	files, err := localca.Ensure(filepath.Join(f.data, "tls"), hosts, time.Now())
	made.CACert, made.TLSCert, made.TLSKey = files.CA, files.Certificate, files.Key
	return err
}

func (p *program) printInitialised(made *initialised, f *initFlags) error {
	if p.json() {
		return p.printJSON(made)
	}
	fmt.Fprintf(p.out, "Data directory     %s\n", made.Data)
	if made.SealKey != "" {
		fmt.Fprintf(p.out, "Seal key           %s\n", made.SealKey)
		fmt.Fprint(p.out, "                   without it nothing in the store can be read: keep a copy elsewhere\n")
	}
	fmt.Fprintf(p.out, "First token        %s\n                   has every role but enroller; make narrower ones with \"vouchsafe token create\"\n", made.TokenFile)
	fmt.Fprintf(p.out, "Audit log's key    %s\n                   auditors verify the log with it\n", made.LogKey)
	certificate, key := "CERTIFICATE", "KEY"
	if made.CACert != "" {
		fmt.Fprintf(p.out, "CA for clients     %s\n", made.CACert)
		certificate, key = quote(made.TLSCert), quote(made.TLSKey)
	}
	sealFlag := ""
	switch {
	case f.seal.PassphraseFile != "":
		sealFlag = " --seal-passphrase-file " + quote(f.seal.PassphraseFile)
	case f.seal.KeyFile != "":
		sealFlag = " --seal-key " + quote(f.seal.KeyFile)
	}
	tls := fmt.Sprintf(" --tls-cert %s --tls-key %s", certificate, key)
	where, _ := url.Parse(f.url) // make has parsed it
	if where.Scheme == "http" {
		tls = " --http"
	}
	trust := ""
	if made.CACert != "" {
		trust = " VOUCHSAFE_CACERT=" + quote(made.CACert)
	}
	_, err := fmt.Fprintf(p.out, "\nRun it:\n  vouchsafe server --data %s --listen %s --url %s%s%s\n"+
		"\nAdminister it:\n  export VOUCHSAFE_ADDR=%s%s VOUCHSAFE_TOKEN_FILE=%s\n  vouchsafe token list\n",
		quote(made.Data), f.listen(where), quote(f.url), tls, sealFlag, quote(f.url), trust, quote(made.TokenFile))
	return err
}

// listen is the address that a server is to listen on to be reached by its URL: every address of the machine, but with plain HTTP loopback only.
func (f *initFlags) listen(where *url.URL) string {
	port := where.Port()
	switch {
	case port != "":
	case where.Scheme == "http":
		port = "80"
	default:
		port = "443"
	}
	if where.Scheme == "http" {
		return net.JoinHostPort(where.Hostname(), port)
	}
	return ":" + port
}

// auditAll computes the log of an open data directory again.
func auditAll(ctx context.Context, d *data.Data) error {
	if d.Log.Size() == 0 {
		return nil
	}
	verifier := d.Keys.LogVerifier()
	_, err := audit.Audit(ctx, d.Log.ReadPath, audit.AuditConfig{Origin: verifier.Name(), Verifiers: note.VerifierList(verifier)})
	return err
}
