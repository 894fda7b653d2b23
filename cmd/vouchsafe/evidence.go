package main

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
)

// evidenceFlags say how evidence in a file is to be judged.
type evidenceFlags struct {
	kind         string
	at           string
	reportData   string
	certificates string
	crls         []string
	root         string
	enrolment    string
}

func (p *program) evidenceCommand() *cobra.Command {
	return group("offline", "evidence", "Look at attestation evidence in a file", p.evidenceVerify(), p.evidenceInspect())
}

func (p *program) evidenceVerify() *cobra.Command {
	var f evidenceFlags
	c := &cobra.Command{
		Use:   "verify --kind KIND FILE",
		Short: "Verify evidence and print the claims it proves",
		Long: `Verify evidence and print the claims it proves, as JSON: {"kind": …, "claims": {…}}.

The evidence is in any form its kind has: for snp a raw or extended report, or the JSON of KBS clients; for tpm that JSON; for virtual
an extended report. FILE may be - for standard input.

Without --report-data the evidence is not held against a nonce and key: its signatures and certificates are, and the claim bound is
false. Such claims are good for looking at, and in tests of policies; a broker releases nothing for them.

A refusal is printed on standard error as {"code": …, "detail": …}.

Exit codes: 0 verified; 1 refused; 2 cannot be judged, as when a certificate is missing.`,
		Example: `  vouchsafe evidence verify --kind snp --at 2025-06-01T00:00:00Z evidence.json
  vouchsafe evidence verify --kind snp --certificates vceks/ report.bin > claims.json
  vouchsafe evidence verify --kind tpm --enrolment host.json quote.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p.promptFor(args[0], "the evidence")
			claims, err := f.judge(c.Context(), p.in, args[0])
			return p.printVerdict(claims, err)
		},
	}
	f.add(c)
	return c
}

func (f *evidenceFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.kind, "kind", "", "`KIND` of the evidence: snp, tpm, virtual or sample (required)")
	c.Flags().StringVar(&f.at, "at", "", "judge certificates as of this `TIME`, RFC 3339 (default now)")
	c.Flags().StringVar(&f.reportData, "report-data", "", "`HEX` digest that the evidence must be bound to")
	c.Flags().StringVar(&f.certificates, "certificates", "", "`DIR` of AMD certificates, for snp evidence that comes without its own")
	c.Flags().StringArrayVar(&f.crls, "crl", nil, "`FILE` with a DER revocation list of AMD's; may be repeated")
	c.Flags().StringVar(&f.root, "virtual-root", "", "PEM `FILE` with the development root, for virtual evidence")
	c.Flags().StringVar(&f.enrolment, "enrolment", "", "JSON `FILE` with the enrolment of a TPM's key, one item of \"vouchsafe enrolment list --format=json\"")
	_ = c.MarkFlagRequired("kind") // the flag exists
}

// judge verifies the evidence in a file.
func (f *evidenceFlags) judge(ctx context.Context, in io.Reader, path string) (*attest.Claims, error) {
	at := time.Now()
	if f.at != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, f.at); err != nil {
			return nil, fmt.Errorf("--at is not a time like 2025-06-01T12:00:00Z: %w", err)
		}
	}
	binding := attest.Unbound()
	if f.reportData != "" {
		digest, err := hex.DecodeString(f.reportData)
		if err != nil || len(digest) > 64 {
			return nil, errors.New("--report-data is not hex of at most 64 bytes")
		}
		binding = attest.BoundTo(digest)
	}
	verifier, err := f.verifier()
	if err != nil {
		return nil, err
	}
	evidence, err := readInput(in, path, maxEvidenceFile)
	if err != nil {
		return nil, err
	}
	return verifier.Verify(ctx, attest.Input{Namespace: "default", Evidence: evidence, Binding: binding, Time: at})
}

// maxEvidenceFile bounds what is read of a file, in bytes: as much as a broker reads of a request.
const maxEvidenceFile = 2 << 20

func (f *evidenceFlags) verifier() (attest.Verifier, error) {
	switch kind := attest.Kind(f.kind); kind {
	case attest.SNP:
		var c snp.Config
		if f.certificates != "" {
			c.Certificates = os.DirFS(f.certificates)
		}
		for _, name := range f.crls {
			list, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			c.RevocationLists = append(c.RevocationLists, list)
		}
		return snp.New(c)
	case attest.TPM:
		c := tpm.Config{AKRoots: tpm.GoogleAKRoots(), AKIntermediates: tpm.GoogleAKIntermediates()}
		if f.enrolment != "" {
			enrolment, err := readEnrolment(f.enrolment)
			if err != nil {
				return nil, err
			}
			c.Enrolments = enrolment
		}
		return tpm.New(c)
	case attest.Virtual:
		if f.root == "" {
			return nil, errors.New("virtual evidence needs its root: --virtual-root DIR/virtual-root.pem of the development broker")
		}
		root, err := readCertificate(f.root)
		if err != nil {
			return nil, err
		}
		return virtual.NewVerifier(root)
	case attest.Sample:
		return sample.New(), nil
	case attest.SampleDevice:
		return sample.NewDevice(), nil
	default:
		return nil, fmt.Errorf("--kind is %q, not one of %v", f.kind, attest.Kinds())
	}
}

// oneEnrolment is a store of enrolments with one in it.
type oneEnrolment tpm.Enrolment

// Lookup implements tpm.Enrolments.
func (e oneEnrolment) Lookup(_ context.Context, _, akDigest string) (*tpm.Enrolment, error) {
	if akDigest != e.AKSPKIDigest {
		return nil, tpm.ErrNotEnrolled
	}
	enrolment := tpm.Enrolment(e)
	return &enrolment, nil
}

func readEnrolment(path string) (oneEnrolment, error) {
	var e oneEnrolment
	text, err := os.ReadFile(path)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return e, fmt.Errorf("%s is not an enrolment: %w", path, err)
	}
	return e, nil
}

// readCertificate returns the first certificate in a PEM file, which may hold its key too, as that of a development root does.
func readCertificate(path string) (*x509.Certificate, error) {
	text, err := readInput(nil, path, maxSettings)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, fmt.Errorf("%s has no PEM block of type CERTIFICATE", path)
}

// printVerdict prints claims, or why there are none, as scripts expect it whatever --format is.
func (p *program) printVerdict(claims *attest.Claims, err error) error {
	var (
		refusal     *attest.Refusal
		unavailable *attest.Unavailable
	)
	switch {
	case err == nil:
		return p.printJSON(struct {
			Kind   attest.Kind    `json:"kind"`
			Claims *attest.Claims `json:"claims"`
		}{claims.Kind, claims})
	case errors.As(err, &refusal):
		p.printVerdictError(string(refusal.Code), refusal.Detail)
		return silent{exitNo}
	case errors.As(err, &unavailable):
		p.printVerdictError("cannot_judge", unavailable.Error())
		return silent{exitFailed}
	default:
		return err
	}
}

func (p *program) printVerdictError(code, detail string) {
	text, err := json.Marshal(struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}{code, detail})
	if err != nil { // two strings always encode
		panic(err)
	}
	fmt.Fprintf(p.errOut, "%s\n", text)
}

// readInput reads a file, or standard input for "-", of at most limit bytes.
func readInput(in io.Reader, path string, limit int64) ([]byte, error) {
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	content, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s has over %d bytes, the most that is read", path, limit)
	}
	return content, nil
}
