//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/client/enrol"
	"github.com/vouchsafe/vouchsafe/client/tpmdevice"
)

// enroller is the command enrol.
type enroller struct {
	at        connection
	guest     guest
	host      string
	tokenFile string
	keyType   string
	format    string
}

func (p *program) enrolCommand() *cobra.Command {
	e := new(enroller)
	c := &cobra.Command{
		Use:   "enrol --host NAME",
		Short: "Enrol this host's TPM with the broker, once",
		Long: `Enrol this host's TPM with the broker, once, so that its evidence counts afterwards.

The TPM makes an attestation key, kept in --tpm-state in a form only this TPM can use. The broker checks the
certificate of the TPM's maker, and has the TPM prove by credential activation that the attestation key is in that
very TPM. Policies then see the host's name as claims.tpm.host: it belongs to this TPM, and only an operator can give
it to another.

It takes an administrator's token with the role enroller, which can do nothing else. Remove the file with it when the
host is enrolled.

Enrolling again, with the same TPM and name, is harmless. When the TPM is cleared or replaced, or the state folder
lost, the host is enrolled anew. On clouds whose TPMs have certified attestation keys, such as Google's, there is
nothing to enrol.`,
		Example: `  vouchsafe-agent enrol --host node-17.example --token-file /run/enrol.token`,
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return e.run(c.Context(), p) },
	}
	c.Flags().StringVar(&e.host, "host", "", "`NAME` that claims will carry for this host (required)")
	c.Flags().StringVar(&e.tokenFile, "token-file", "", "`FILE` with the token of an enroller (default $VOUCHSAFE_TOKEN_FILE)")
	c.Flags().StringVar(&e.keyType, "tpm-key-type", string(tpmdevice.ECDSAP256),
		"`TYPE` of an attestation key that is made: ecdsa-p256 or rsa-2048")
	c.Flags().StringVar(&e.format, "format", "text", "`FORMAT` of the answer: text or json")
	_ = c.MarkFlagRequired("host") // the flag exists
	e.at.add(c)
	e.guest.add(c, true)
	return c
}

func (e *enroller) run(ctx context.Context, p *program) error {
	if !slices.Contains([]string{"text", "json"}, e.format) {
		return fmt.Errorf("--format is %q, not text or json", e.format)
	}
	ca, err := e.at.read()
	if err != nil {
		return err
	}
	orEnvironment(&e.tokenFile, "VOUCHSAFE_TOKEN_FILE")
	if e.tokenFile == "" {
		return errors.New("who enrols this host? Set VOUCHSAFE_TOKEN_FILE or say --token-file FILE")
	}
	token, err := readFile(e.tokenFile, maxToken)
	if err != nil {
		return fmt.Errorf("the enroller's token: %w", err)
	}
	e.guest.tpm.Algorithm = tpmdevice.Algorithm(e.keyType)
	device, err := e.guest.openTPM(ctx, p.system)
	if err != nil {
		return err
	}
	defer device.Close()
	config := enrol.Config{URL: e.at.address, CA: ca, Token: string(bytes.TrimSpace(token)), Timeout: e.at.timeout}
	enrolment, err := enrol.Host(ctx, config, e.host, device)
	if err != nil {
		return err
	}
	if e.format == "json" {
		return printJSON(p.out, enrolment)
	}
	_, err = fmt.Fprintf(p.out, `Enrolled %s.
  attestation key  sha256:%s, kept in %s
  TPM              certificate %s of %s, good until %s
`, enrolment.Host, enrolment.AKSPKIDigest, e.guest.tpm.StateDir,
		enrolment.EKSerial, enrolment.EKIssuer, enrolment.EKExpires.UTC().Format(time.RFC3339))
	return err
}
