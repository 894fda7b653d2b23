package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	config                        string
	settings                      settings // of the file, if one is given
}

// inVault reports whether the store is to be made in Vault.
func (f *initFlags) inVault() bool { return f.settings.Store.Kind == inVault }

// initialised is what init made. Paths are as given.
type initialised struct {
	Data      string `json:"data,omitempty"`
	Store     string `json:"store,omitempty"` // where it is, when it is not a file in the data directory
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
		Use:     "init {--data DIR --url URL | --config FILE}",
		GroupID: "run",
		Short:   "Make the data directory of a new broker, and its first token",
		Long: `Make the data directory of a new broker: a sealed store, signing keys, an empty audit log, and the first administrator's token, which
has every role but enroller. It is done once; a directory that has a store is refused.

The store is sealed by a key file, made here unless it exists. By default it lies in the data directory, which protects backups and
lost disks only if it is not on them too: better give --seal-key a path on another disk, or use --seal-passphrase-file. --seal-transit
seals it with a key that stays in Vault's transit engine (make it first: "vault write -f transit/keys/vouchsafe"); the settings of --config say
where Vault is.

--tls-host makes a certificate for the server, from an authority of its own whose certificate clients are then given.

--config reads data, url and seal from the server's settings, and flags override it. Where those put the store in Vault, that is where it is made, once for all
brokers that will share it; the key of its seal must then be on each of their machines. What the token for Vault must be allowed,
"vouchsafe vault policy --create" prints.`,
		Example: `  vouchsafe init --data /var/lib/vouchsafe --url https://broker.example.org:8443 \
      --seal-key /etc/vouchsafe/seal.key --token-file /root/vouchsafe.token --tls-host broker.example.org`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.read(); err != nil {
				return err
			}
			made, err := f.make(c.Context(), p.errOut)
			if err != nil {
				return err
			}
			return p.printInitialised(made, &f)
		},
	}
	c.Flags().StringVar(&f.data, "data", "", "data directory `DIR` to make")
	c.Flags().StringVar(&f.url, "url", "", "`URL` by which workloads will reach the broker; it names the audit log")
	c.Flags().StringVar(&f.tokenFile, "token-file", "", "new `FILE` for the first token (default admin.token in the data directory)")
	c.Flags().StringVar(&f.tlsHost, "tls-host", "", "DNS `NAME` or IP address to make a certificate for")
	c.Flags().StringVar(&f.config, "config", "", "YAML `FILE` with the server's settings")
	addSealFlags(c, &f.seal)
	return c
}

// read takes what no flag says from the server's settings.
func (f *initFlags) read() error {
	if f.config != "" {
		s, err := readSettings(f.config)
		if err != nil {
			return err
		}
		if err := s.Store.check(); err != nil {
			return fmt.Errorf("%s: %w", f.config, err)
		}
		f.settings = *s
		orElse := func(flag *string, setting string) {
			if *flag == "" {
				*flag = setting
			}
		}
		orElse(&f.data, s.Data)
		orElse(&f.url, s.URL)
		if f.seal == (sealSettings{}) {
			f.seal = s.Seal
		}
	}
	switch {
	case f.data == "" && !f.inVault():
		return errors.New("no data directory: say --data DIR, or data in the file of --config")
	case f.url == "":
		return errors.New("no URL by which workloads will reach the broker: say --url URL, or url in the file of --config")
	case f.data == "" && f.tokenFile == "":
		return errors.New("no file for the first token: say --token-file FILE")
	case f.data == "" && f.seal == (sealSettings{}):
		return errors.New("no key for the seal: say --seal-key FILE, --seal-passphrase-file FILE or --seal-transit KEY")
	case f.data == "" && f.tlsHost != "":
		return errors.New("--tls-host makes a certificate in the data directory: say --data DIR")
	}
	return nil
}

func (f *initFlags) make(ctx context.Context, log io.Writer) (made *initialised, err error) {
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
	if _, err := os.Stat(filepath.Join(f.data, data.StoreFile)); err == nil && !f.inVault() {
		return nil, no{fmt.Errorf("%s holds a broker's store already; nothing was changed", f.data)}
	}
	if f.data != "" {
		if err := os.MkdirAll(f.data, 0o700); err != nil {
			return nil, err
		}
	}
	logger, err := f.settings.Log.logger(log)
	if err != nil {
		return nil, err
	}
	f.settings.Seal = f.seal
	conn, err := f.settings.connect(ctx, logger)
	if err != nil {
		return nil, err
	}
	if conn != nil {
		defer func() { err = errors.Join(err, conn.Close()) }()
	}
	made.SealKey, _ = f.seal.makes(f.data)
	sealed, err := f.seal.create(f.data, conn)
	if err != nil {
		return nil, err
	}
	token, err := newFile(f.tokenFile, nil)
	if err != nil {
		return nil, fmt.Errorf("the first token's file: %w", err)
	}
	shared := f.settings.shared(conn, nil)
	if shared != nil {
		made.Store = shared.Where
	}
	d, err := data.Create(ctx, data.Config{
		Dir: f.data, Shared: shared, Purpose: store.Production, Seal: sealed, Origin: where.Host + "/vouchsafe", Logger: logger,
	})
	if errors.Is(err, seal.ErrAlreadySealed) {
		err = no{err}
	}
	if err != nil {
		return nil, errors.Join(err, token.discard())
	}
	defer func() {
		if err = errors.Join(err, d.Close()); err != nil && !f.inVault() {
			// A store whose first token nobody has is of no use.
			err = errors.Join(err, os.Remove(filepath.Join(f.data, data.StoreFile)), os.Remove(f.tokenFile))
		}
	}()
	text, record, err := firstToken(ctx, d, f.url)
	if err != nil {
		return nil, errors.Join(err, token.discard())
	}
	if err := token.finish([]byte(text.Reveal() + "\n")); err != nil {
		if f.inVault() { // so that the same call can be made again
			err = errors.Join(err, forget(ctx, d, record.ID))
		}
		return nil, err
	}
	made.TokenID, made.LogKey = record.ID, d.Keys.LogVerifierText()
	return made, f.certificate(made)
}

// forget removes the first token, which nobody has.
func forget(ctx context.Context, d *data.Data, id string) error {
	_, gone, err := d.Tokens.PrepareRevoke(ctx, id)
	if err != nil {
		return err
	}
	return d.Store.Apply(ctx, gone)
}

// firstToken makes a token in a broker that serves nobody yet. A broker needs a verifier; that of SNP needs nothing else.
func firstToken(ctx context.Context, d *data.Data, issuer string) (access.Token, access.Record, error) {
	amd, err := snp.New(snp.Config{})
	if err != nil {
		return access.Token{}, access.Record{}, err
	}
	var shared *broker.Shared
	if d.Shared != nil {
		shared = &broker.Shared{NonceKeys: d.Nonces, Staleness: d.Shared.Staleness}
	}
	b, err := broker.New(ctx, broker.Config{
		Purpose: store.Production, Store: d.Store, Logs: d.Logs, Shared: shared, Keys: d.Keys, Tokens: d.Tokens, Issuer: issuer,
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
	if made.Store != "" {
		fmt.Fprintf(p.out, "Store              %s\n", made.Store)
	} else {
		fmt.Fprintf(p.out, "Data directory     %s\n", made.Data)
	}
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
	case f.seal.Transit.used():
		sealFlag = " --config " + quote(f.config)
		if f.settings.Seal.Transit != f.seal.Transit {
			sealFlag += " --seal-transit " + f.seal.Transit.String()
		}
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
	if made.Store != "" {
		fmt.Fprint(p.out, "                   every broker that shares the store has a log of its own, with a key of its own: \"vouchsafe audit logs\" lists them\n")
		_, err := fmt.Fprintf(p.out, "\nRun as many brokers as you like, each with the seal's key:\n  vouchsafe server --config %s\n"+
			"\nAdminister them:\n  export VOUCHSAFE_ADDR=%s%s VOUCHSAFE_TOKEN_FILE=%s\n  vouchsafe token list\n",
			quote(f.config), quote(f.url), trust, quote(made.TokenFile))
		return err
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
