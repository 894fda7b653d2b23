package main

import (
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
)

func (p *program) evidenceInspect() *cobra.Command {
	var kind string
	c := &cobra.Command{
		Use:   "inspect --kind KIND FILE",
		Short: "Print what evidence says, without verifying any of it",
		Long: `Print what evidence says, as JSON, without verifying any of it: for finding out why it does not verify, or which certificate
or collateral it needs. Nothing that this prints is proved; see "vouchsafe evidence verify", which says what is read of each kind. FILE
may be - for standard input.`,
		Example: `  vouchsafe evidence inspect --kind snp report.bin
  vouchsafe evidence inspect --kind tdx quote.dat | jq -r '.collateral[]'`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := readInput(p.in, args[0], maxEvidenceFile)
			if err != nil {
				return err
			}
			said, err := inspect(attest.Kind(kind), data)
			if err != nil {
				return p.printVerdict(nil, err)
			}
			return p.printJSON(said)
		},
	}
	c.Flags().StringVar(&kind, "kind", "", "`KIND` of the evidence: virtual, "+joinKinds(productionKinds())+" (required)")
	_ = c.MarkFlagRequired("kind") // the flag exists
	return c
}

// inspected is what evidence says. Verified is always false, so that nobody who finds the output takes it for more.
type inspected struct {
	Verified     bool           `json:"verified"`
	Kind         attest.Kind    `json:"kind"`
	Products     []string       `json:"products,omitempty"`     // whose root could vouch
	Certificates []string       `json:"certificates,omitempty"` // those that came along
	Needs        []string       `json:"needs,omitempty"`        // the file that --certificates must have when none came along
	Collateral   []string       `json:"collateral,omitempty"`   // the items that it needs to be judged
	Claims       *attest.Claims `json:"claims,omitempty"`
	Said         any            `json:"said,omitempty"` // what else it says
	Quote        *quoteSaid     `json:"quote,omitempty"`
}

type quoteSaid struct {
	AKDigest  string `json:"ak_spki_sha256"`
	Bank      string `json:"bank"`
	PCRs      []int  `json:"pcrs"`
	ExtraData string `json:"extra_data"`
	PCRDigest string `json:"pcr_digest"`
	EventLog  int    `json:"event_log_bytes"`
}

func inspect(kind attest.Kind, data []byte) (*inspected, error) {
	switch kind {
	case attest.SNP, attest.Virtual:
		return inspectReport(kind, data)
	case attest.TDX, attest.SGX:
		return inspectDCAP(kind, data)
	case attest.AzSNPvTPM, attest.AzTDXvTPM:
		return inspectAzure(kind, data)
	case attest.Nitro:
		return inspectNitro(data)
	case attest.CCA:
		return inspectCCA(data)
	case attest.CSV:
		return inspectCSV(data)
	case attest.SE:
		return inspectSE(data)
	case attest.TPM:
		return inspectQuote(data)
	case attest.Token:
		return inspectToken(data)
	case attest.NVIDIA:
		return inspectDevices(data)
	default:
		return nil, fmt.Errorf("--kind is %q, not virtual or one of %v", kind, productionKinds())
	}
}

func inspectReport(kind attest.Kind, data []byte) (*inspected, error) {
	ev, err := snp.Parse(data)
	if err != nil {
		return nil, err
	}
	said := &inspected{Kind: kind}
	product, known := ev.Report.CPU.Product()
	for _, p := range snp.Products() {
		if !known || p == product {
			said.Products = append(said.Products, string(p))
		}
	}
	if len(said.Products) > 0 {
		if said.Claims, err = ev.Report.Claims(snp.Product(said.Products[0])); err != nil {
			return nil, err
		}
		said.Claims.Kind = kind
	}
	for name, der := range map[string][]byte{"VCEK": ev.Certificates.VCEK, "VLEK": ev.Certificates.VLEK} {
		if der != nil {
			said.Certificates = append(said.Certificates, name)
		}
	}
	said.need(attest.SNP, data)
	if kind != attest.SNP {
		said.Collateral = nil
	}
	if len(said.Certificates) == 0 {
		said.Needs, err = snp.CertificateNames(&ev.Report)
	}
	return said, err
}

func inspectQuote(data []byte) (*inspected, error) {
	ev, err := tpm.ParseEvidence(data)
	if err != nil {
		return nil, err
	}
	q, err := tpm.ParseQuote(ev.Message)
	if err != nil {
		return nil, err
	}
	return &inspected{Kind: attest.TPM, Quote: &quoteSaid{
		AKDigest: tpm.SPKIDigest(ev.AKPublic), Bank: q.Bank.String(), PCRs: q.Selected,
		ExtraData: hex.EncodeToString(q.ExtraData), PCRDigest: hex.EncodeToString(q.PCRDigest), EventLog: len(ev.EventLog),
	}}, nil
}
