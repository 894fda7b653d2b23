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
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/verifiers"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
)

// evidenceFlags say how evidence in a file is to be judged.
type evidenceFlags struct {
	kind         string
	at           string
	reportData   string
	config       string
	collateral   string
	certificates string
	crls         []string
	devices      []string
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
		Long: `Verify evidence and print the claims it proves, as JSON: {"kind": …, "claims": {…}}. FILE may be - for standard input. Nothing is fetched.

With --config it is judged as the server with those settings would: by its anchors, its least TCB and the collateral that it has. Without, by the
anchors that are built in and what the other flags give.

What is read, by kind; JSON is that of KBS clients:
  snp          a report, plain or extended by certificates, or JSON
  tdx, sgx     a quote, or JSON with it and the event log
  az-snp-vtpm  JSON of any layout
  az-tdx-vtpm  JSON of any layout
  nitro        the attestation document, COSE or JSON
  cca          the token, CBOR or JSON; needs --config with cca
  csv          JSON
  nvidia       JSON of the devices, or a set of tokens of NVIDIA's
  tpm          JSON; for enrolled keys with --enrolment
  token        the compact JWT, or JSON with it; needs --config with
               tokens
  se           JSON; always refused, since nothing can verify it
  virtual      an extended report of a development broker
  sample       JSON

Collateral comes from a folder: what a server or "vouchsafe collateral" keeps there, or plain files with the names of items, such as
intel/crl/root.der. The chain of who signed one is beside it, NAME.chain.pem. "evidence inspect" says which items evidence needs.

Without --report-data the evidence is not held against a nonce and key: its signatures and certificates are, and the claim bound is
false. Such claims are good for looking at, and in tests of policies; a broker releases nothing for them.

A refusal is printed on standard error as {"code": …, "detail": …}.

Exit codes: 0 verified; 1 refused; 2 cannot be judged, as when a certificate is missing.`,
		Example: `  vouchsafe evidence verify --kind snp --at 2025-06-01T00:00:00Z evidence.json
  vouchsafe evidence verify --kind snp --certificates vceks/ report.bin > claims.json
  vouchsafe evidence verify --kind tdx --collateral /var/lib/vouchsafe/collateral quote.dat
  vouchsafe evidence verify --kind cca --config /etc/vouchsafe/server.yaml token.cbor
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
	f.flags(c)
	c.Flags().Lookup("kind").Usage += ", from the list above (required)"
	_ = c.MarkFlagRequired("kind") // the flag exists
}

func (f *evidenceFlags) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.kind, "kind", "", "`KIND` of the evidence")
	c.Flags().StringVar(&f.config, "config", "", "YAML `FILE` with the settings of the server that is to judge")
	c.Flags().StringVar(&f.collateral, "collateral", "", "`DIR` of vendors' certificates, lists and levels (default that of --config)")
	c.Flags().StringVar(&f.at, "at", "", "judge certificates as of this `TIME`, RFC 3339 (default now)")
	c.Flags().StringVar(&f.reportData, "report-data", "", "`HEX` digest that the evidence must be bound to")
	c.Flags().StringArrayVar(&f.devices, "device", nil, "`KIND=FILE` of a device beside it; may be repeated")
	c.Flags().StringVar(&f.certificates, "certificates", "", "`DIR` of AMD certificates, for snp evidence that comes without its own")
	c.Flags().StringArrayVar(&f.crls, "crl", nil, "`FILE` with a DER revocation list of AMD's; may be repeated")
	c.Flags().StringVar(&f.root, "virtual-root", "", "PEM `FILE` with the development root, for virtual evidence")
	c.Flags().StringVar(&f.enrolment, "enrolment", "", "JSON `FILE` with the enrolment of a TPM's key, one item of \"vouchsafe enrolment list --format=json\"")
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
	kind := attest.Kind(f.kind)
	if !slices.Contains(attest.Kinds(), kind) {
		return nil, fmt.Errorf("--kind is %q, not one of %v", f.kind, attest.Kinds())
	}
	ev := attest.Evidence{Kind: kind}
	for _, device := range f.devices {
		name, file, ok := strings.Cut(device, "=")
		if !ok || !attest.Kind(name).Accompanies() {
			return nil, fmt.Errorf("--device is %q, not KIND=FILE with a kind that accompanies a machine, such as nvidia", device)
		}
		data, err := readInput(nil, file, maxEvidenceFile)
		if err != nil {
			return nil, err
		}
		ev.Devices = append(ev.Devices, attest.Device{Kind: attest.Kind(name), Data: data})
	}
	judges, err := f.verifiers(ctx, &ev)
	if err != nil {
		return nil, err
	}
	if ev.Primary, err = readInput(in, path, maxEvidenceFile); err != nil {
		return nil, err
	}
	if len(ev.Devices) > 0 {
		all, err := attest.NewAppraiser(judges...)
		if err != nil {
			return nil, err
		}
		return all.Appraise(ctx, ev, "default", binding, binding, at)
	}
	for _, v := range judges {
		if v.Kind() == kind { // a device alone too
			return v.Verify(ctx, attest.Input{Namespace: "default", Evidence: ev.Primary, Binding: binding, Time: at})
		}
	}
	return nil, fmt.Errorf("the server of %s does not verify %s evidence: see kinds in its settings", f.config, kind)
}

// maxEvidenceFile bounds what is read of a file, in bytes: as much as a broker reads of a request.
const maxEvidenceFile = 2 << 20

// verifiers returns those of a server's settings, or without any those that the evidence needs.
func (f *evidenceFlags) verifiers(ctx context.Context, ev *attest.Evidence) ([]attest.Verifier, error) {
	if ev.Kind.Development() {
		if f.config != "" {
			return nil, fmt.Errorf("no server's settings make it verify %s evidence: leave --config out", ev.Kind)
		}
		v, err := f.development(ev.Kind)
		return []attest.Verifier{v}, err
	}
	s := &settings{TPM: tpmSettings{GoogleAK: true}}
	if f.config != "" {
		read, err := readSettings(f.config)
		if err != nil {
			return nil, err
		}
		s = read
	} else {
		if ev.Kind == attest.CCA || ev.Kind == attest.Token {
			return nil, fmt.Errorf("%s evidence is judged by keys that you trust: say --config FILE of a server that has them, in %s", ev.Kind,
				map[attest.Kind]string{attest.CCA: "cca.trust_anchors", attest.Token: "tokens.verifiers"}[ev.Kind])
		}
		s.Kinds = []kindName{kindName(ev.Kind)}
		for _, d := range ev.Devices {
			if !slices.Contains(s.Kinds, kindName(d.Kind)) {
				s.Kinds = append(s.Kinds, kindName(d.Kind))
			}
		}
	}
	if f.certificates != "" {
		s.SNP.Certificates = f.certificates
	}
	s.SNP.RevocationLists = append(s.SNP.RevocationLists, f.crls...)
	items, err := f.items(ctx, s)
	if err != nil {
		return nil, err
	}
	c, err := s.verifiers(items)
	if err != nil {
		return nil, err
	}
	_, c.OCSP = items.(itemFiles)
	c.TPM.Enrolments = noEnrolments{}
	if f.enrolment != "" {
		if c.TPM.Enrolments, err = readEnrolment(f.enrolment); err != nil {
			return nil, err
		}
	}
	return verifiers.New(c)
}

// items are the collateral that evidence is judged by: of the folder that is named, or else of the server's where there is one.
func (f *evidenceFlags) items(ctx context.Context, s *settings) (attest.Endorsements, error) {
	if f.collateral != "" {
		return s.openItems(ctx, f.collateral)
	}
	dir, err := s.Collateral.folder(s.Data)
	if f.config == "" || err != nil {
		return itemFiles{}, nil
	}
	items, err := s.openItems(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return itemFiles{}, nil
	}
	return items, err
}

// development returns the verifier of a development kind.
func (f *evidenceFlags) development(kind attest.Kind) (attest.Verifier, error) {
	switch kind {
	case attest.Virtual:
		if f.root == "" {
			return nil, errors.New("virtual evidence needs its root: --virtual-root DIR/virtual-root.pem of the development broker")
		}
		root, err := readCertificate(f.root)
		if err != nil {
			return nil, err
		}
		return virtual.NewVerifier(root)
	case attest.SampleDevice:
		return sample.NewDevice(), nil
	default:
		return sample.New(), nil
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
