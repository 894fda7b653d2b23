package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access/oidc"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/internal/cli"
)

// connection says which broker to administer, by flags or the environment.
type connection struct {
	address, tokenFile, caCert, certFile, keyFile string
}

// administer makes a command of f, which talks to a broker.
func (p *program) administer(c *cobra.Command, f func(c *cobra.Command, a *admin.Client, args []string) error) *cobra.Command {
	var at connection
	at.add(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		client, err := at.client()
		if err != nil {
			return err
		}
		return at.answered(f(c, client, args))
	}
	return c
}

// consult makes a command of f, which works without a broker, and with --broker asks one: then f gets a client, and nil otherwise.
func (p *program) consult(c *cobra.Command, f func(c *cobra.Command, a *admin.Client, args []string) error) *cobra.Command {
	var (
		at  connection
		ask bool
	)
	c.Flags().BoolVar(&ask, "broker", false, "ask the broker, too")
	at.add(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if !ask {
			for _, flag := range connectionFlags {
				if c.Flags().Changed(flag) {
					return fmt.Errorf("--%s says how to reach a broker, which only --broker does", flag)
				}
			}
			return f(c, nil, args)
		}
		client, err := at.client()
		if err != nil {
			return err
		}
		return at.answered(f(c, client, args))
	}
	return c
}

func (at *connection) add(c *cobra.Command) {
	c.Flags().StringVar(&at.address, "addr", "", "the broker's `URL` (default $VOUCHSAFE_ADDR)")
	c.Flags().StringVar(&at.tokenFile, "token-file", "", "`FILE` with an administrator's token, or a JWT of an issuer that the broker trusts (default $VOUCHSAFE_TOKEN_FILE)")
	c.Flags().StringVar(&at.caCert, "cacert", "", "PEM `FILE` of the authority to trust (default $VOUCHSAFE_CACERT)")
	c.Flags().StringVar(&at.certFile, "client-cert", "", "PEM `FILE` with your certificate, instead of a token (default $VOUCHSAFE_CLIENT_CERT)")
	c.Flags().StringVar(&at.keyFile, "client-key", "", "PEM `FILE` with its key (default $VOUCHSAFE_CLIENT_KEY)")
	cli.InSection("Flags that reach a broker", c.Flags(), connectionFlags...)
}

// connectionFlags are the names of the flags that reach a broker.
var connectionFlags = []string{"addr", "token-file", "cacert", "client-cert", "client-key"}

func (at *connection) client() (*admin.Client, error) {
	for _, v := range []struct {
		value *string
		name  string
	}{{&at.address, "VOUCHSAFE_ADDR"}, {&at.tokenFile, "VOUCHSAFE_TOKEN_FILE"}, {&at.caCert, "VOUCHSAFE_CACERT"},
		{&at.certFile, "VOUCHSAFE_CLIENT_CERT"}, {&at.keyFile, "VOUCHSAFE_CLIENT_KEY"}} {
		if *v.value == "" {
			*v.value = os.Getenv(v.name)
		}
	}
	if at.address == "" {
		return nil, errors.New("which broker? Set VOUCHSAFE_ADDR or say --addr https://HOST:PORT")
	}
	c := admin.Config{Address: at.address}
	if err := at.credential(&c); err != nil {
		return nil, err
	}
	var err error
	if at.caCert != "" {
		if c.CACert, err = readInput(nil, at.caCert, maxSettings); err != nil {
			return nil, fmt.Errorf("the authority to trust (VOUCHSAFE_CACERT or --cacert): %w", err)
		}
		// An empty one must not mean the system's authorities.
		if len(c.CACert) == 0 {
			return nil, fmt.Errorf("%s holds no PEM certificate", at.caCert)
		}
	}
	client, err := admin.New(c)
	if err != nil {
		return nil, fmt.Errorf("VOUCHSAFE_ADDR or --addr is %q: %w", at.address, err)
	}
	return client, nil
}

// credential reads who asks: a token, or a certificate with its key.
func (at *connection) credential(c *admin.Config) error {
	switch {
	case at.certFile != "" && at.tokenFile != "":
		return errors.New("you have a token (VOUCHSAFE_TOKEN_FILE or --token-file) and a certificate (VOUCHSAFE_CLIENT_CERT or --client-cert): give one of them")
	case (at.certFile == "") != (at.keyFile == ""):
		return errors.New("a certificate needs its key, and a key its certificate: say --client-cert FILE and --client-key FILE")
	case at.certFile != "":
		pair, err := tls.LoadX509KeyPair(at.certFile, at.keyFile)
		if err != nil {
			return fmt.Errorf("your certificate (VOUCHSAFE_CLIENT_CERT or --client-cert) with its key: %w", err)
		}
		c.Pair = &pair
		return nil
	case at.tokenFile == "":
		return errors.New("who are you? Set VOUCHSAFE_TOKEN_FILE or say --token-file FILE; or show a certificate with --client-cert and --client-key")
	}
	token, err := readInput(nil, at.tokenFile, oidc.MaxToken)
	if err != nil {
		return fmt.Errorf("the administrator's token (VOUCHSAFE_TOKEN_FILE or --token-file): %w", err)
	}
	if c.Token = string(bytes.TrimSpace(token)); c.Token == "" {
		return fmt.Errorf("%s holds no token", at.tokenFile)
	}
	return nil
}

// credentialFile names what the caller is known by.
func (at *connection) credentialFile() string {
	if at.certFile != "" {
		return "the certificate in " + at.certFile
	}
	return "the token in " + at.tokenFile
}

// answered makes an error that is the broker's answer, and not a failure to get one, exit with exitNo, and says of a failure what to do.
func (at *connection) answered(err error) error {
	var (
		e    *admin.Error
		file aboutFile
		of   string
	)
	if !errors.As(err, &e) {
		return at.unreached(err)
	}
	if errors.As(err, &file) {
		of = file.name + ": "
	}
	switch e.Code {
	case "":
		text := fmt.Sprintf("%s answers, with status %d, but not as a broker does: is it the broker's address?", at.address, e.Status)
		if e.Status == http.StatusBadRequest && strings.HasPrefix(at.address, "http://") {
			text = fmt.Sprintf("%s does not answer plain HTTP: say https://", at.address)
		}
		return told{text, err}
	case broker.CodeUnavailable, broker.CodeOverloaded:
		text := "the broker cannot do it now: " + e.Message
		if e.RetryAfter > 0 {
			text += fmt.Sprintf("; try again in %v", e.RetryAfter)
		}
		return told{text, err}
	case broker.CodeUnauthenticated:
		return no{told{e.Message + ": " + at.credentialFile() + " is unknown, revoked or expired", err}}
	case broker.CodeInvalid:
		if len(e.Problems) > 0 {
			lines := make([]string, len(e.Problems))
			for i, problem := range e.Problems {
				lines[i] = strings.TrimSuffix(of, " ") + problem.String()
			}
			return no{told{strings.Join(lines, "\n"), err}}
		}
	}
	return no{told{of + e.Message, err}}
}

// unreached says what to do about an error of the connection.
func (at *connection) unreached(err error) error {
	var (
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
		wrong    x509.HostnameError
		plain    tls.RecordHeaderError
		name     *net.DNSError
		deadline interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &unknown) && at.caCert == "":
		return told{fmt.Sprintf("the certificate of %s comes from an authority that this system does not trust: "+
			"set VOUCHSAFE_CACERT or say --cacert FILE, with the authority's PEM certificate", at.address), err}
	case errors.As(err, &unknown):
		return told{fmt.Sprintf("the certificate of %s does not come from the authority in %s: is it another broker's?", at.address, at.caCert), err}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return told{fmt.Sprintf("the certificate of %s was good from %s to %s, and this machine's clock says %s", at.address,
			when(invalid.Cert.NotBefore), when(invalid.Cert.NotAfter), when(time.Now())), err}
	case errors.As(err, &wrong):
		return told{fmt.Sprintf("the certificate of %s is for other names: %v", at.address, wrong), err}
	case errors.As(err, &plain):
		return told{fmt.Sprintf("%s does not speak TLS: is the port right?", at.address), err}
	case errors.Is(err, syscall.ECONNREFUSED):
		return told{fmt.Sprintf("nothing listens at %s: is the broker running, and is this its address (VOUCHSAFE_ADDR)?", at.address), err}
	case errors.As(err, &name):
		return told{fmt.Sprintf("the name in %s cannot be looked up: %v", at.address, name), err}
	case errors.Is(err, context.Canceled):
		return told{"interrupted", err}
	case errors.As(err, &deadline) && deadline.Timeout():
		return told{fmt.Sprintf("%s did not answer in time", at.address), err}
	}
	return err
}

// aboutFile is an error about one of the files that a command was given.
type aboutFile struct {
	name string
	error
}

func (a aboutFile) Unwrap() error { return a.error }

// told is an error in words for the person at the terminal.
type told struct {
	text  string
	cause error
}

func (t told) Error() string { return t.text }

func (t told) Unwrap() error { return t.cause }
